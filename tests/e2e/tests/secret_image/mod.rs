//! An image whose workload says what it finds of its secrets, and the policies that give it some.
#![allow(dead_code, reason = "part of tests, not all of it of each")]

use casemate_e2e::{build_image, kernel};
use casemate_test_host::Output;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A root file system with a shell and the probe.
pub fn source(folder: &Path) {
    let tree = folder.join("source");
    fs::create_dir_all(tree.join("bin")).unwrap();
    let busybox = kernel().parent().unwrap().join("busybox/bin/busybox");
    let probe = Path::new(env!("CARGO_MANIFEST_DIR")).join("l1/secrets-probe.sh");
    for (from, to) in [(busybox, "busybox"), (probe, "probe")] {
        let to = tree.join("bin").join(to);
        fs::copy(from, &to).unwrap();
        fs::set_permissions(&to, PermissionsExt::from_mode(0o755)).unwrap();
    }
    std::os::unix::fs::symlink("busybox", tree.join("bin/sh")).unwrap();
}

/// An image of it, of user 100:101.
pub fn build(folder: &Path, name: &str, options: &[&str]) -> PathBuf {
    let options = [&["--console", "public", "--user", "100:101"], options].concat();
    build_image(folder, name, &options, &["/bin/probe"]).expect("an image")
}

/// The secrets that the images of these tests ask for.
pub const WANTED: [&str; 4] = ["--secret", "acme/db/key=db.key", "--secret", "acme/db/motto=motto"];

/// What follows `word` in launch.json, up to the end of that string.
pub fn of_launch(image: &Path, word: &str) -> String {
    let launch = fs::read_to_string(image.join("launch.json")).unwrap();
    launch.split_once(word).expect("there").1.split('"').next().unwrap().to_owned()
}

/// The launch digest for one vCPU.
pub fn digest(image: &Path) -> String {
    of_launch(image, "\"digest\": \"")
}

/// The virtual SNP host's launch policy, for a guest whose initdata has it.
pub fn launch_policy() -> String {
    let strict = Path::new(env!("CARGO_MANIFEST_DIR")).join("../host/snp/policy.toml");
    let strict = fs::read_to_string(strict).unwrap();
    let policy = strict.replace("host_data = \"any\"", "host_data = [\"initdata\"]");
    assert_ne!(strict, policy);
    policy
}

/// Everything of the section `attestation` open, and this grant.
pub fn policy(grant: &str) -> String {
    const OPEN: &str = "generations reported_tcb launch_tcb chip_allow measurement host_data \
        id_key author_key family_id image_id platform_info guest_policy csp_id model_root \
        crl_checked crl_age_hours";
    let open: String = OPEN.split_whitespace().map(|name| format!("{name} = \"any\"\n")).collect();
    format!(
        "schema_version = 1\nmin_engine = \"0.1.0\"\n[attestation]\n{open}guest_svn = 0\n\
         context = [\"casemate-kbs-v1\"]\n{grant}"
    )
}

/// A policy with a grant of `resource` to one launch with one HOST_DATA, to so many sessions.
pub fn grant(resource: &str, measurement: &str, host_data: &str, uses: u32) -> String {
    policy(&format!(
        "[secrets.\"{resource}\"]\nmeasurement = [\"{measurement}\"]\n\
         host_data = [\"{host_data}\"]\ncontext = [\"casemate-kbs-v1\"]\nuses = {uses}\n\
         window = \"any\"\n"
    ))
}

/// Everything that a host's command printed.
pub fn said(output: &Output) -> String {
    format!("{}\n{}", output.stdout.replace('\r', ""), output.stderr)
}

#[track_caller]
pub fn has(text: &str, all: &[&str]) {
    for said in all {
        assert!(text.contains(said), "not there: {said}\n{text}");
    }
}
