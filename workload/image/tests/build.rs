//! Protects what an image runs: a container image's configuration becomes the manifest, with its
//! names looked up in its own files, and what is written over it wins; what cannot be run is
//! refused when it is built. The archive is put together here as `docker save` writes one. Cannot
//! tell whether a guest does what the manifest says: `tests/e2e` boots some.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

use casemate_image::build::{self, Image, Settings};
use casemate_image::kernel::Kernel;
use casemate_image::launch::{Folder, Launch, Snp};
use casemate_image::process::Changes;
use casemate_image::{ImageError, Spool};
use casemate_manifest::{Console, Manifest, RootDisk};
use std::fs::File;
use std::path::PathBuf;

fn tar(files: &[(&str, u32, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, mode, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(*mode);
        tar.append_data(&mut header, path, *bytes).unwrap();
    }
    tar.into_inner().unwrap()
}

fn sha256(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An archive of an image with this process, and these files.
fn archive(process: &str, files: &[(&str, u32, &[u8])]) -> Vec<u8> {
    let layer = tar(files);
    let config = format!(
        "{{\"architecture\":\"amd64\",\"os\":\"linux\",\"created\":\"2026-02-03T04:05:06.7Z\",\
         \"config\":{process},\"rootfs\":{{\"type\":\"layers\",\"diff_ids\":[\"sha256:{}\"]}}}}",
        sha256(&layer)
    );
    let name = format!("{}.json", sha256(config.as_bytes()));
    let manifest =
        format!("[{{\"Config\":\"{name}\",\"Layers\":[\"layer.tar\"],\"RepoTags\":[\"a:1\"]}}]");
    tar(&[
        ("manifest.json", 0o644, manifest.as_bytes()),
        (&name, 0o644, config.as_bytes()),
        ("layer.tar", 0o644, &layer),
    ])
}

const PASSWD: &[u8] = b"root:x:0:0::/root:/bin/sh\nweb:x:33:33::/var/www:/bin/sh\n";
const GROUP: &[u8] = b"log:x:7:web\nweb:x:33:\n";
const FILES: [(&str, u32, &[u8]); 4] = [
    ("etc/passwd", 0o644, PASSWD),
    ("etc/group", 0o644, GROUP),
    ("opt/bin/server", 0o755, b"#!/bin/sh\n"),
    ("usr/bin/other", 0o755, b"#!/bin/sh\n"),
];
const PROCESS: &str = "{\"Entrypoint\":[\"server\"],\"Cmd\":[\"--port\",\"80\"],\"User\":\"web\",\
    \"Env\":[\"PATH=/nowhere:/opt/bin\",\"A=1\",\"A=2\"],\"WorkingDir\":\"/srv/app\",\
    \"StopSignal\":\"SIGQUIT\",\"ExposedPorts\":{\"80/tcp\":{}}}";

struct Built {
    image: Image,
    disk: Vec<u8>,
    spool: Spool,
}

fn temporary() -> File {
    use rustix::fs::{Mode, OFlags, open};
    let flags = OFlags::TMPFILE | OFlags::RDWR;
    open(std::env::temp_dir(), flags, Mode::RUSR | Mode::WUSR).unwrap().into()
}

fn settings(changes: Changes) -> Settings {
    Settings {
        reference: None,
        keep_owners: false,
        mtime: 0,
        changes,
        recipients: Vec::new(),
        secrets: Vec::new(),
        broker: None,
        console: Console::Status,
        debug: false,
        time_floor: 5,
    }
}

fn kernel() -> Kernel {
    Kernel { file: b"kernel".to_vec(), modules: Vec::new() }
}

/// Builds an image of an archive.
fn build(archive: &[u8], changes: Changes) -> Result<Built, ImageError> {
    static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let name = format!("casemate-image-{}-{number}.tar", std::process::id());
    let source: PathBuf = std::env::temp_dir().join(name);
    std::fs::write(&source, archive).unwrap();
    let room = || Spool::new(&std::env::temp_dir(), 1 << 24);
    let (mut spool, settings) = (room().unwrap(), settings(changes));
    let loaded = build::load(&source, &settings, &mut spool, room);
    std::fs::remove_file(&source).unwrap();
    let disk = temporary();
    let (boot, _) = build::boot(&kernel(), b"init");
    let image = build::build(loaded?, boot, &settings, &mut spool, &disk)?;
    use std::os::unix::fs::FileExt;
    let mut bytes = vec![0; usize::try_from(disk.metadata().unwrap().len()).unwrap()];
    disk.read_exact_at(&mut bytes, 0).unwrap();
    Ok(Built { image, disk: bytes, spool })
}

#[test]
fn the_configuration_of_a_container_image_is_what_is_run() {
    let Built { image, disk, .. } = build(&archive(PROCESS, &FILES), Changes::default()).unwrap();
    let process = &image.manifest.process;
    assert_eq!(process.program, "/opt/bin/server");
    assert_eq!(process.args, ["server", "--port", "80"]);
    assert_eq!(process.env, ["PATH=/nowhere:/opt/bin", "A=2", "HOME=/var/www"]);
    assert_eq!((process.user.uid, process.user.gid), (33, 33));
    assert_eq!(process.user.groups, [7]);
    assert_eq!((process.working_dir.as_str(), process.stop_signal), ("/srv/app", 3));
    assert_eq!(process.ports, ["80/tcp"]);
    assert!(image.manifest.built.image.as_deref().unwrap().starts_with("sha256:"));
    // What the disk holds is the manifest, and the command line names the disk.
    assert_eq!(Manifest::from_bytes(&image.manifest_bytes).unwrap(), image.manifest);
    assert!(disk.windows(image.manifest_bytes.len()).any(|part| part == image.manifest_bytes));
    let root = RootDisk::from_cmdline(&image.cmdline).unwrap();
    assert_eq!((root.hash, root.data_blocks), (image.root.root, image.root.data_blocks));
    // Folders that a guest mounts on, and the one it starts in, are there.
    for name in ["proc", "srv", "app", ".casemate"] {
        assert!(disk.windows(name.len()).any(|part| part == name.as_bytes()), "{name}");
    }
}

#[test]
fn what_is_written_over_a_configuration_wins() {
    let changes = Changes {
        args: vec!["/usr/bin/other".into(), "x".into()],
        env: vec!["A=3".into(), "B=".into()],
        user: Some("7:7".into()),
        working_dir: Some("/opt".into()),
    };
    let process = build(&archive(PROCESS, &FILES), changes).unwrap().image.manifest.process;
    assert_eq!(
        (process.program.as_str(), &process.args[1..]),
        ("/usr/bin/other", &["x".into()][..])
    );
    assert_eq!(process.env, ["PATH=/nowhere:/opt/bin", "A=3", "B=", "HOME=/"]);
    assert_eq!((process.user.uid, process.user.gid, process.user.groups.len()), (7, 7, 0));
    assert_eq!(process.working_dir, "/opt");
    // A path that is relative is one from where the program starts.
    let changes = Changes { args: vec!["bin/server".into()], ..Changes::default() };
    let config = "{\"WorkingDir\":\"/opt\"}";
    let process = build(&archive(config, &FILES), changes).unwrap().image.manifest.process;
    assert_eq!(process.program, "/opt/bin/server");
    assert_eq!(process.env[0], "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    assert_eq!((process.user.uid, process.stop_signal), (0, 15));
}

#[test]
fn what_cannot_be_run_is_refused_with_a_reason() {
    let refused = |process: &str, why: &str| {
        let error = build(&archive(process, &FILES), Changes::default()).err().unwrap();
        let text = error.to_string();
        assert!(error.is_bad_input() && text.contains(why), "{process}: {text}");
        assert!(!text.chars().any(char::is_control), "{text:?}");
    };
    refused("{}", "nothing says what to run");
    refused("{\"Cmd\":[\"\"]}", "nothing says what to run");
    refused("{\"Cmd\":[\"gone\"]}", "no program gone");
    refused("{\"Cmd\":[\"/etc/passwd\"]}", "no program /etc/passwd");
    refused("{\"Cmd\":[\"/opt/bin/server\"],\"User\":\"\\u001b[2J\"}", "its user");
    refused(
        "{\"Cmd\":[\"/opt/bin/server\"],\"StopSignal\":\"SIGNONE\"}",
        "its stop signal SIGNONE",
    );
    refused("{\"Cmd\":[\"/opt/bin/server\"],\"StopSignal\":\"37\"}", "its stop signal 37");
    refused("{\"Cmd\":[\"/opt/bin/server\"],\"WorkingDir\":\"x\"}", "its working directory x");
    refused("{\"Cmd\":[\"/opt/bin/server\",\"a\\u0000b\"]}", "a zero byte");
    refused("{\"Cmd\":[\"/opt/bin/server\"],\"Env\":[\"=x\"]}", "not NAME=VALUE");
    let long = format!("{{\"Cmd\":[\"/opt/bin/server\",\"{}\"]}}", "x".repeat(200_000));
    refused(&long, "131071");
    let mut theirs = FILES.to_vec();
    theirs.push((".casemate/manifest.json", 0o644, b"{}"));
    let error = build(&archive(PROCESS, &theirs), Changes::default()).err().unwrap().to_string();
    assert!(error.contains("this name is Casemate's"), "{error}");
}

#[test]
fn the_same_archive_is_the_same_disk() {
    let archive = archive(PROCESS, &FILES);
    let one = build(&archive, Changes::default()).unwrap();
    let two = build(&archive, Changes::default()).unwrap();
    assert!(one.disk == two.disk && one.image.cmdline == two.image.cmdline);
    drop((one.spool, two.spool));
}

#[test]
fn a_folder_is_opened_with_the_files_that_it_was_made_with_and_no_others() {
    let Built { image, disk, .. } = build(&archive(PROCESS, &FILES), Changes::default()).unwrap();
    let folder = std::env::temp_dir().join(format!("casemate-folder-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.join(name), bytes).unwrap();
    let (_, initrd) = build::boot(&kernel(), b"init");
    let snp = Snp { c_bit: 51, vmsa_features: 0 };
    let digests = [(1, [1; 48]), (2, [2; 48])];
    let launch = Launch::new(&image, snp, digests.into_iter(), settings(Changes::default()));
    for (name, bytes) in [
        ("kernel", &b"kernel"[..]),
        ("initrd", &initrd),
        ("root.img", &disk),
        ("manifest.json", &image.manifest_bytes),
        ("launch.json", &launch.to_bytes().unwrap()),
    ] {
        write(name, bytes);
    }
    let opened = Folder::open(&folder).unwrap();
    assert_eq!(opened.launch, launch);
    let two = opened.launch.launch_of(2).unwrap();
    assert_eq!(two.digest, "02".repeat(48));
    assert_eq!(opened.launch.launch_of(3), None);
    assert_eq!(opened.file("kernel"), folder.join("kernel"));
    for (name, bytes) in [("kernel", &b"Kernel"[..]), ("initrd", b""), ("manifest.json", b"{}")] {
        let before = std::fs::read(folder.join(name)).unwrap();
        write(name, bytes);
        let error = Folder::open(&folder).unwrap_err();
        assert!(error.is_bad_input() && error.to_string().contains(name), "{error}");
        write(name, &before);
    }
    let newer = String::from_utf8(launch.to_bytes().unwrap()).unwrap();
    write("launch.json", newer.replace("\"version\": 1", "\"version\": 2").as_bytes());
    assert!(Folder::open(&folder).unwrap_err().to_string().contains("version 2"));
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(Folder::open(&folder).unwrap_err().is_bad_input());
}
