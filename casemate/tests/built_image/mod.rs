//! A folder with a kernel, a root file system and the images that are built of them. The kernel is
//! a header without code.
#![allow(clippy::unwrap_used, dead_code, reason = "part of tests, not all of it of each")]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub struct Place(pub PathBuf);

impl Place {
    /// A folder with a kernel and a root file system in it.
    pub fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("casemate-build-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        let place = Self(path);
        std::fs::write(place.0.join("vmlinuz"), casemate_test_support::bzimage::bzimage(&[]))
            .unwrap();
        let all = ["bin/app", "bin/ls", "etc/passwd", "etc/group"];
        fill(&place.0.join("root"), &all);
        place
    }

    pub fn casemate(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_casemate"));
        command.env_remove("SOURCE_DATE_EPOCH");
        command.current_dir(&self.0).args(arguments).output().unwrap()
    }

    /// Builds `source` as `image`, with more options and a program.
    pub fn build(&self, source: &str, image: &str, more: &[&str]) -> Output {
        let start = ["image", "build", source, "-o", image, "--kernel", "vmlinuz"];
        self.casemate(&[&start[..], more].concat())
    }

    pub fn built(&self, source: &str, image: &str, more: &[&str]) {
        let output = self.build(source, image, more);
        assert!(output.status.success(), "{output:?}");
    }

    pub fn read(&self, file: &str) -> Vec<u8> {
        std::fs::read(self.0.join(file)).unwrap()
    }

    /// What is there, temporary files included.
    pub fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A root file system, its files made in this order.
pub fn fill(folder: &Path, names: &[&str]) {
    for name in names {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let text = match *name {
            "etc/passwd" => "root:x:0:0::/root:/bin/sh\napp:x:100:101::/srv:/bin/sh\n",
            "etc/group" => "root:x:0:\nlog:x:7:app\n",
            _ => "#!/bin/sh\n",
        };
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    }
    for path in ["", "bin", "etc"] {
        std::fs::set_permissions(folder.join(path), PermissionsExt::from_mode(0o755)).unwrap();
    }
}

pub const FILES: [&str; 5] = ["kernel", "initrd", "root.img", "manifest.json", "launch.json"];
pub const PROGRAM: [&str; 6] = ["--user", "app", "--", "app", "-x", "a b"];

/// The document in these bytes.
pub fn json(bytes: &[u8]) -> serde_json::Value {
    serde_json::from_slice(bytes).unwrap()
}
