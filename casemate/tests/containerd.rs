//! The released program as containerd's runtime, on this node.
//!
//! Protects: under its name for containerd the program is a runtime, and a pod that cannot be an
//! SNP guest is refused by a sentence that `ctr` shows, with nothing left of it. Cannot tell what
//! happens on a node with SEV-SNP: where the test runs on one it sees the other sentence.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use casemate_process_guest::engine::Engine;
use casemate_process_guest::package::Release;
use casemate_process_guest::pod::{bind, container, manifest};
use std::path::Path;

#[test]
fn a_pod_is_an_snp_guest_or_is_refused_with_a_sentence() {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let folder = cache.join("containerd-shim");
    std::fs::create_dir_all(&folder).unwrap();
    let link = folder.join("containerd-shim-casemate-v2");
    let _ = std::fs::remove_file(&link);
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_casemate"), &link).unwrap();
    let engine = Engine::start(cache, &folder, "io.containerd.casemate.v2", Release::Debian12);
    let Some(mut engine) = engine else { return };
    let one = container("refused", "exit 0");
    let pod = bind(&manifest(vec![one.clone()]), "refused");
    let output = engine.run(&["--rm"], &pod, "refused", &one.args);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    let without = said.contains("is an SEV-SNP guest, and this node has none");
    assert!(without || said.contains("no guest image for pods yet"), "{said}\n{}", engine.log());
    engine.finish();
}
