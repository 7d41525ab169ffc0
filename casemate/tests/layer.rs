//! Protects `casemate layer build` as its users meet it: the same bytes for everybody, one line and
//! status 2 for what is no layer or another one, nothing left of a build that fails. What is in the
//! disk is the crate's own tests' business.
#![cfg(feature = "image")]
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("casemate-layer-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn files(&self) -> usize {
        std::fs::read_dir(&self.0).unwrap().count()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn build(place: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_casemate"));
    command.current_dir(place).args(["layer", "build"]).args(arguments).output().unwrap()
}

fn tar(place: &Place, name: &str) -> String {
    std::fs::create_dir_all(place.0.join("root/bin")).unwrap();
    std::fs::write(place.0.join("root/bin/app"), "a program").unwrap();
    std::fs::write(place.0.join("root/bin/.wh.old"), "").unwrap();
    let mut tar = Command::new("tar");
    tar.current_dir(&place.0).args(["--mtime=@9", "--owner=0", "--group=0", "-cf", name, "-C"]);
    assert!(tar.args(["root", "bin"]).status().unwrap().success());
    let bytes = std::fs::read(place.0.join(name)).unwrap();
    let digest = ring::digest::digest(&ring::digest::SHA256, &bytes);
    let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

#[test]
fn a_layer_is_the_same_disk_plain_and_compressed_and_known_by_its_digest() {
    let place = Place::new("same");
    let digest = tar(&place, "layer.tar");
    let gzip = Command::new("gzip").current_dir(&place.0).args(["-k", "layer.tar"]).status();
    assert!(gzip.unwrap().success());
    for (blob, disk) in [("layer.tar", "1.img"), ("layer.tar.gz", "2.img")] {
        let output = build(&place.0, &[blob, "-o", disk, "--diff-id", &digest, "--json"]);
        assert!(output.status.success(), "{output:?}");
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(json["diff_id"], digest.as_str());
        assert_eq!(json["layout"], 1);
        assert_eq!(json["files"], 4, "the root, a folder, a program and what is removed: {json}");
        let size = place.0.join(disk).metadata().unwrap().len();
        assert_eq!(json["bytes"].as_u64(), Some(size));
    }
    let read = |disk: &str| std::fs::read(place.0.join(disk)).unwrap();
    assert_eq!(read("1.img"), read("2.img"));
    let text = build(&place.0, &["layer.tar", "-o", "3.img"]);
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains(&digest) && text.contains("root hash"), "{text}");
}

#[test]
fn what_is_no_layer_or_another_one_ends_with_one_line_and_leaves_nothing() {
    let place = Place::new("bad");
    let digest = tar(&place, "layer.tar");
    let bytes = std::fs::read(place.0.join("layer.tar")).unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(place.0.join(name), bytes).unwrap();
    write("empty", b"");
    write("cut.tar", bytes.get(..1000).unwrap());
    write("gzip", &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 1, 2, 3]);
    write("there", b"mine");
    let before = place.files();
    let other = format!("sha256:{}", "0".repeat(64));
    let short = digest.get(..20).unwrap();
    for arguments in [
        &["missing", "-o", "out.img"][..],
        &["root", "-o", "out.img"],
        &["empty", "-o", "out.img"],
        &["cut.tar", "-o", "out.img"],
        &["gzip", "-o", "out.img"],
        &["layer.tar", "-o", "there"],
        &["layer.tar", "-o", "out.img", "--diff-id", &other],
    ] {
        let output = build(&place.0, arguments);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {text}");
        assert!(text.starts_with("casemate: ") && text.lines().count() == 1, "{text}");
    }
    let misuse = build(&place.0, &["layer.tar", "-o", "out.img", "--diff-id", short]);
    assert_eq!(misuse.status.code(), Some(2));
    assert_eq!(std::fs::read(place.0.join("there")).unwrap(), b"mine");
    assert_eq!(place.files(), before, "something was left");
}
