//! Protects layers as disks: the same bytes whatever the layer was compressed with, another digest
//! refused, and what a layer removes shown by the kernel's own overlayfs as removed. Cannot tell
//! what a kernel of another version does.
//!
//! Mounting takes root and a kernel with EROFS, overlay and loop devices; where there is none, the
//! test says SKIPPED.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use casemate_image::overlay::{Alone, Disk, Stack};
use casemate_image::{Digest, ImageError, Limits, Spool};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("casemate-overlay-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn spool() -> Spool {
    Spool::new(&std::env::temp_dir(), 1 << 24).unwrap()
}

/// `d NAME`, `f NAME TEXT`, `l NAME TARGET`, `c NAME`: folder, file, link, device 0:0.
fn layer(entries: &[&str]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for entry in entries {
        let words: Vec<&str> = entry.splitn(3, ' ').collect();
        let mut header = tar::Header::new_gnu();
        header.set_mtime(9);
        header.set_mode(if words[0] == "d" { 0o750 } else { 0o644 });
        match words[0] {
            "f" => {
                header.set_size(words[2].len() as u64);
                tar.append_data(&mut header, words[1], words[2].as_bytes()).unwrap();
            }
            "l" => {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_size(0);
                tar.append_link(&mut header, words[1], words[2]).unwrap();
            }
            kind => {
                let directory = kind == "d";
                let kind = if directory { tar::EntryType::Directory } else { tar::EntryType::Char };
                header.set_entry_type(kind);
                header.set_size(0);
                if !directory {
                    header.set_device_major(0).unwrap();
                    header.set_device_minor(0).unwrap();
                }
                tar.append_data(&mut header, words[1], &[][..]).unwrap();
            }
        }
    }
    tar.into_inner().unwrap()
}

fn build(stream: &[u8], out: &Path) -> Result<Disk, ImageError> {
    let mut spool = spool();
    let alone = Alone::read(stream, None, Limits::default(), &mut spool)?;
    let file = File::options().read(true).write(true).create_new(true).open(out).unwrap();
    alone.write(&spool, &file)
}

const LOWER: &[&str] = &[
    "d etc",
    "f etc/passwd app:x:7:8::/:/bin/app",
    "f etc/old old",
    "d opaque",
    "f opaque/below below",
    "d again",
    "f again/below below",
    "f gone gone",
    "d usr",
    "d usr/lib",
    "l lib usr/lib",
];
const UPPER: &[&str] = &[
    "d etc",
    "f etc/.wh.old ",
    "f .wh.gone ",
    "d opaque",
    "f opaque/.wh..wh..opq ",
    "f opaque/above above",
    "f .wh.again ",
    "d again",
    "f again/above above",
    "f etc/new new",
];

#[test]
fn one_layer_is_one_disk_however_it_was_compressed() {
    let place = Place::new("compressed");
    let plain = layer(LOWER);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).unwrap();
    let (one, two) = (place.0.join("one"), place.0.join("two"));
    let disk = build(&plain, &one).unwrap();
    assert_eq!(build(&gzip.finish().unwrap(), &two).unwrap(), disk);
    let bytes = std::fs::read(&one).unwrap();
    assert_eq!(bytes, std::fs::read(&two).unwrap());
    let blocks = disk.verity.data_blocks + disk.verity.tree_blocks;
    assert_eq!(bytes.len() as u64, blocks * 4096);
    assert_eq!(disk.diff_id, Digest::of(&plain).bytes());
    // A UUID that says what it is: version 8, variant of RFC 9562; made of the digest.
    let uuid = &bytes[1024 + 48..1024 + 64];
    assert_eq!((uuid[6] >> 4, uuid[8] >> 6), (8, 2));
    let other = build(&layer(UPPER), &place.0.join("three")).unwrap();
    assert_ne!(other.verity.root, disk.verity.root);
}

/// Protects tenants from a change that makes other disks of the same layers: that is another
/// layout, with a number of its own.
#[test]
fn the_disk_of_a_layer_stays_the_same_bytes() {
    let place = Place::new("golden");
    let disk = build(&layer(LOWER), &place.0.join("disk")).unwrap();
    let hex: String = disk.verity.root.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, "34e035579ccb09282e15ce7d3436179f1eb63f6818ef2a9d7900aed8ce7167c8");
}

#[test]
fn a_layer_of_another_digest_and_what_no_overlay_has_are_refused() {
    let read = |stream: &[u8], expected| {
        let alone = Alone::read(stream, expected, Limits::default(), &mut spool());
        alone.map(|_| ()).map_err(|error| error.to_string())
    };
    let plain = layer(LOWER);
    assert_eq!(read(&plain, Some(Digest::of(&plain))), Ok(()));
    assert!(read(&plain, Some(Digest::of(b"other"))).unwrap_err().contains("another digest"));
    assert!(read(&plain[..700], None).is_err(), "cut");
    assert!(read(&layer(&["c dev"]), None).unwrap_err().contains("0:0"));
    assert!(read(&layer(&["f .wh..wh..opq "]), None).unwrap_err().contains("root"));
    let small = Spool::new(&std::env::temp_dir(), 8);
    let error = Alone::read(&plain[..], None, Limits::default(), &mut small.unwrap()).unwrap_err();
    assert!(matches!(error, ImageError::Limit { .. }), "{error}");
}

#[test]
fn files_are_found_through_layers_as_an_overlay_shows_them() {
    let mut spool = spool();
    let mut stack = Stack::default();
    for entries in [LOWER, UPPER] {
        let stream = layer(entries);
        let alone = Alone::read(&stream[..], None, Limits::default(), &mut spool).unwrap();
        stack.push(alone).unwrap();
    }
    let text = |path: &str| {
        let bytes = stack.file(path.as_bytes(), 64, &spool).unwrap();
        bytes.map(|bytes| String::from_utf8(bytes).unwrap())
    };
    assert!(text("/etc/passwd").unwrap().starts_with("app:"));
    assert_eq!(text("/etc/new").as_deref(), Some("new"));
    for gone in ["/etc/old", "/gone", "/opaque/below", "/again/below", "/etc", "/etc/passwd/x"] {
        assert_eq!(text(gone), None, "{gone}");
    }
    assert_eq!(text("/again/above").as_deref(), Some("above"));
    // What was put behind a link would be somewhere else in an overlay.
    let stream = layer(&["d lib", "f lib/libc.so x"]);
    let alone = Alone::read(&stream[..], None, Limits::default(), &mut spool).unwrap();
    let error = stack.push(alone).unwrap_err().to_string();
    assert!(error.contains("/lib") && error.contains("symbolic link"), "{error}");
}

#[test]
fn an_overlay_of_the_kernel_shows_what_layers_come_to() {
    let place = Place::new("mounted");
    let path = |name: &str| place.0.join(name);
    for (name, entries) in [("lower", LOWER), ("upper", UPPER)] {
        build(&layer(entries), &path(&format!("{name}.erofs"))).unwrap();
        std::fs::create_dir(path(name)).unwrap();
    }
    std::fs::create_dir(path("merged")).unwrap();
    let script = "mount -t erofs -o ro,loop lower.erofs lower && \
                  mount -t erofs -o ro,loop upper.erofs upper && \
                  mount -t overlay -o ro,lowerdir=upper:lower none merged || exit 77; \
                  cd merged && find . -mindepth 1 | LC_ALL=C sort && stat -c %a etc";
    let run = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", script])
        .current_dir(&place.0)
        .output();
    let Ok(output) = run else { return println!("SKIPPED: there is no unshare") };
    if output.status.code() != Some(0) {
        let why = String::from_utf8_lossy(&output.stderr).into_owned();
        return println!("SKIPPED: nothing can be mounted here: {why}");
    }
    let found = String::from_utf8(output.stdout).unwrap();
    let expected = "./again\n./again/above\n./etc\n./etc/new\n./etc/passwd\n./lib\n./opaque\n\
                    ./opaque/above\n./usr\n./usr/lib\n750\n";
    assert_eq!(found, expected);
}
