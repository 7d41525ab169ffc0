//! Protects `casemate image root` as its users meet it: the same bytes wherever and however a
//! folder is copied, one line and status 2 for what is no image, and nothing left of a build that
//! fails. What is in the disk is the crate's own tests' business.

#![cfg(feature = "image")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("casemate-root-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn root(place: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_casemate"));
    command.current_dir(place).args(["image", "root"]).args(arguments).output().unwrap()
}

/// A small root file system, its files made in this order.
fn fill(folder: &Path, names: &[&str]) {
    for name in names {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, format!("this is {name}")).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    }
    symlink("bin/sh", folder.join("init")).unwrap();
    std::fs::hard_link(folder.join("bin/sh"), folder.join("bin/ash")).unwrap();
    for path in ["", "bin", "etc"] {
        std::fs::set_permissions(folder.join(path), PermissionsExt::from_mode(0o755)).unwrap();
    }
}

#[test]
fn the_same_folder_is_the_same_disk_whoever_copied_it_and_when() {
    let place = Place::new("same");
    fill(&place.0.join("one"), &["bin/sh", "etc/motd", "bin/ls"]);
    fill(&place.0.join("two"), &["bin/ls", "etc/motd", "bin/sh"]);
    let mut old = Command::new("touch");
    old.args(["-d", "2001-01-01", "two/bin/sh", "two/etc"]).current_dir(&place.0);
    assert!(old.status().unwrap().success());
    for (source, disk) in [("one", "1.img"), ("two", "2.img")] {
        let output = root(&place.0, &[source, "-o", disk, "--json"]);
        assert!(output.status.success(), "{output:?}");
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(json["files"], 7, "{json}");
        let size = json["bytes"].as_u64().unwrap();
        assert_eq!(place.0.join(disk).metadata().unwrap().len(), size);
        let table = json["table"].as_str().unwrap();
        assert!(table.contains(json["root_hash"].as_str().unwrap()), "{table}");
    }
    let read = |disk: &str| std::fs::read(place.0.join(disk)).unwrap();
    assert_eq!(read("1.img"), read("2.img"));
    let other = root(&place.0, &["one", "-o", "3.img", "--mtime", "5"]);
    assert!(other.status.success());
    assert_ne!(read("1.img"), read("3.img"), "a time that was asked for is in the disk");
}

#[test]
fn what_is_no_image_ends_with_one_line_and_leaves_nothing() {
    let place = Place::new("bad");
    let write = |name: &str, bytes: &[u8]| std::fs::write(place.0.join(name), bytes).unwrap();
    write("empty", b"");
    write("text", &[b'x'; 2048]);
    write("gzip", &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 1, 2, 3]);
    write("zstd", &[0x28, 0xb5, 0x2f, 0xfd, 1, 2, 3, 4, 5, 6]);
    std::fs::create_dir(place.0.join("layout")).unwrap();
    write("layout/oci-layout", b"{}");
    write("layout/index.json", b"{\"manifests\":[]}");
    write("there", b"mine");
    let fifo = Command::new("mkfifo").arg(place.0.join("fifo")).status().unwrap();
    assert!(fifo.success());
    let before = std::fs::read_dir(&place.0).unwrap().count();
    for source in ["empty", "text", "gzip", "zstd", "layout", "fifo", "missing"] {
        let output = root(&place.0, &[source, "-o", "out.img"]);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{source}: {text}");
        assert!(text.starts_with("casemate: ") && text.lines().count() == 1, "{source}: {text}");
    }
    let output = root(&place.0, &["layout", "-o", "there"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(std::fs::read(place.0.join("there")).unwrap(), b"mine");
    let output = root(&place.0, &["text", "-o", "no/such/folder"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert_eq!(std::fs::read_dir(&place.0).unwrap().count(), before, "something was left");
}
