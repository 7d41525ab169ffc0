//! The initramfs: PID 1, its modules, and nothing else.
//!
//! An archive of the kind `cpio -H newc` (Linux Documentation/driver-api/early-userspace/
//! buffer-format.rst): numbers in eight hexadecimal digits, names and contents filled up to four
//! bytes. Inodes are counted from 1, owners are root, times are 0: nothing of the machine that
//! writes it is in it. Not compressed, since decompressing costs the guest more than hashing saves.

use crate::kernel::Module;
use std::fmt::Write as _;

/// The program that is PID 1, as the kernel looks for it (`ramdisk_execute_command`).
const INIT: &str = "init";
/// Where PID 1 finds modules, in the order of their names.
const MODULES: &str = "casemate/modules";

/// Kinds of files, as `st_mode` has them.
const DIRECTORY: u32 = 0o04_0000;
const CHARACTER: u32 = 0o02_0000;
const REGULAR: u32 = 0o10_0000;

/// Folders that PID 1 mounts on, and what the kernel opens before it starts. Rust's runtime opens
/// `/dev/null` where a program is started without its three standard files, as it is in a guest
/// whose console is nobody's.
const FOLDERS: [(&str, u32); 7] = [
    ("casemate", 0o755),
    (MODULES, 0o755),
    ("dev", 0o755),
    ("proc", 0o755),
    ("root", 0o700),
    ("sys", 0o755),
    ("tmp", 0o755),
];
const DEVICES: [(&str, u32, u32, u32); 2] =
    [("dev/console", 0o600, 5, 1), ("dev/null", 0o666, 1, 3)];

/// An archive that is being written.
#[derive(Debug, Default)]
pub struct Archive {
    bytes: Vec<u8>,
    inodes: u32,
}

/// A header's numbers that differ from file to file.
#[derive(Debug, Clone, Copy, Default)]
struct Head {
    mode: u32,
    links: u32,
    device: (u32, u32),
}

impl Archive {
    /// A folder.
    pub fn folder(&mut self, name: &str, permissions: u32) {
        self.add(name, Head { mode: DIRECTORY | permissions, links: 2, device: (0, 0) }, &[]);
    }

    /// A regular file.
    pub fn file(&mut self, name: &str, permissions: u32, contents: &[u8]) {
        let head = Head { mode: REGULAR | permissions, links: 1, device: (0, 0) };
        self.add(name, head, contents);
    }

    /// A character device.
    pub fn device(&mut self, name: &str, permissions: u32, major: u32, minor: u32) {
        let head = Head { mode: CHARACTER | permissions, links: 1, device: (major, minor) };
        self.add(name, head, &[]);
    }

    /// The whole archive.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.inodes = u32::MAX;
        self.add("TRAILER!!!", Head { links: 1, ..Head::default() }, &[]);
        self.bytes
    }

    fn add(&mut self, name: &str, head: Head, contents: &[u8]) {
        debug_assert!(!name.starts_with('/') && !name.contains('\0'), "{name}");
        // The format has 32 bits for a size; what is put in is bounded far below.
        let size = u32::try_from(contents.len()).unwrap_or(u32::MAX);
        let name_size = u32::try_from(name.len() + 1).unwrap_or(u32::MAX);
        self.inodes = self.inodes.wrapping_add(1);
        let Head { mode, links, device: (major, minor) } = head;
        let mut header = String::from("070701");
        for number in [self.inodes, mode, 0, 0, links, 0, size, 0, 0, major, minor, name_size, 0] {
            // Writing to a string does not fail.
            let _ = write!(header, "{number:08x}");
        }
        self.bytes.extend(header.bytes());
        self.bytes.extend(name.bytes());
        self.bytes.push(0);
        self.fill();
        self.bytes.extend(contents);
        self.fill();
    }

    fn fill(&mut self) {
        let whole = self.bytes.len().next_multiple_of(4);
        self.bytes.resize(whole, 0);
    }
}

/// The initramfs of an image.
#[must_use]
pub fn write(init: &[u8], modules: &[Module]) -> Vec<u8> {
    let mut archive = Archive::default();
    for (name, permissions) in FOLDERS {
        archive.folder(name, permissions);
    }
    for (name, permissions, major, minor) in DEVICES {
        archive.device(name, permissions, major, minor);
    }
    archive.file(INIT, 0o755, init);
    for (number, module) in modules.iter().enumerate() {
        // Two digits, so that the order of names is that of numbers: there are at most 99.
        let name = format!("{MODULES}/{number:02}-{}.ko", module.name);
        archive.file(&name, 0o644, &module.file);
    }
    archive.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::{Command, Stdio};

    /// Protects the format, with the word of a reader that is not ours; `cpio` is what the tests'
    /// hosts are made with.
    #[test]
    fn another_reader_finds_what_was_written() {
        let module = Module { name: "erofs".into(), file: vec![7; 5] };
        let bytes = write(b"program", &[module]);
        assert_eq!(bytes.len() % 4, 0);
        let mut cpio = Command::new("cpio");
        cpio.args(["-itv", "--quiet", "--numeric-uid-gid"]).env("TZ", "UTC");
        let mut cpio = cpio
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        cpio.stdin.take().unwrap().write_all(&bytes).unwrap();
        let output = cpio.wait_with_output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        let list = String::from_utf8(output.stdout).unwrap();
        for (line, name) in [
            ("-rwxr-xr-x   1 0        0               7 Jan  1  1970", "init"),
            ("crw-rw-rw-   1 0        0          1,   3 Jan  1  1970", "dev/null"),
            ("-rw-r--r--   1 0        0               5 Jan  1  1970", "00-erofs.ko"),
            ("drwx------   2 0        0               0 Jan  1  1970", "root"),
        ] {
            let found = list.lines().find(|entry| entry.ends_with(name));
            assert!(found.is_some_and(|entry| entry.starts_with(line)), "{name}: {list}");
        }
    }
}
