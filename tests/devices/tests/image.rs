//! Images that cannot be used. Protects: each is refused before a process is made, by a line that
//! names it and what to do; nothing is written to it; a second VM is kept out, readers are not.
//! Cannot tell: block devices and direct I/O where the machine has none.
#![allow(clippy::unwrap_used, reason = "tests")]

use casemate_device_block::{Facts, Image, ImageError, Options, layers};
use casemate_test_devices::scratch::Scratch;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

fn refused(path: &Path, options: &Options) -> String {
    Image::open(path, options).unwrap_err().to_string()
}

#[test]
fn what_is_no_image_is_refused_by_name_and_with_a_remedy() {
    let scratch = Scratch::new();
    let fifo = scratch.path("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    let socket = scratch.path("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    for (path, says) in [
        (scratch.path("missing"), "No such file"),
        (scratch.as_ref().to_path_buf(), "is a directory"),
        (fifo, "is a FIFO"),
        (socket, "No such device or address"),
        ("/dev/null".into(), "is a character device"),
        (scratch.sparse("empty", 0), "truncate -s 1G"),
        (scratch.sparse("odd", 1000), "truncate -s %512"),
    ] {
        for read_only in [true, false] {
            let said = refused(&path, &Options { read_only, ..Options::default() });
            let named = said.contains(path.to_str().unwrap());
            // A directory cannot be opened for writing at all.
            assert!(named && said.contains(says) && said.lines().count() == 1, "{said}");
        }
    }
    let line = scratch.path("new\nline");
    assert_eq!(refused(&line, &Options::default()).lines().count(), 1);
}

/// Protects what a guest has flushed: who takes an image over hears of lost writes himself, by an
/// open file of his own. That it is another one is seen by its lock, which the first one's keeps
/// out. Cannot tell what the kernel says of writes that fail: no storage fails here.
#[test]
fn an_image_that_is_opened_again_is_the_same_and_shares_nothing_with_the_first() {
    use rustix::fs::{FlockOperation, OFlags, fcntl_getfl, flock, fstat};
    let scratch = Scratch::new();
    let path = scratch.image("disk", 8);
    for read_only in [false, true] {
        let options = Options { read_only, ..Options::default() };
        let image = Image::open(&path, &options).unwrap();
        // What is at the path is another one by now.
        let moved = scratch.path("moved");
        std::fs::rename(&path, &moved).unwrap();
        std::fs::write(&path, "another").unwrap();
        let again = image.open_again(&path).unwrap();
        std::fs::rename(&moved, &path).unwrap();
        let inode = |file| fstat(file).unwrap().st_ino;
        assert_eq!(inode(image.file()), inode(&again));
        let mode = |file| fcntl_getfl(file).unwrap() & OFlags::RWMODE;
        assert_eq!(mode(image.file()), mode(&again));
        flock(image.file(), FlockOperation::NonBlockingLockExclusive).unwrap();
        assert!(flock(&again, FlockOperation::NonBlockingLockExclusive).is_err());
    }
}

#[test]
fn a_serial_number_is_short_and_printable() {
    let scratch = Scratch::new();
    let image = scratch.image("disk", 8);
    for serial in ["123456789012345678901", "a b", "ä", "a\n"] {
        let options = Options { serial: serial.into(), ..Options::default() };
        let said = refused(&image, &options);
        assert!(said.contains("at most 20") && said.lines().count() == 1, "{said}");
    }
    let serial = "12345678901234567890";
    let options = Options { serial: serial.into(), ..Options::default() };
    assert_eq!(Image::open(&image, &options).unwrap().facts().serial, serial.as_bytes());
}

#[test]
fn a_second_vm_is_kept_out_until_the_first_is_gone_and_readers_share() {
    let scratch = Scratch::new();
    let image = scratch.image("disk", 8);
    let (write, read) = (Options::default(), Options { read_only: true, ..Options::default() });
    let first = Image::open(&image, &write).unwrap();
    // The lock is the open description's: a copy of the descriptor holds it.
    let copy = first.file().try_clone().unwrap();
    drop(first);
    for options in [&write, &read] {
        let second = Image::open(&image, options);
        assert!(matches!(second, Err(ImageError::Locked { .. })), "{second:?}");
    }
    drop(copy);
    let readers = (Image::open(&image, &read).unwrap(), Image::open(&image, &read).unwrap());
    // That it is readers is said: anybody who may read it can be one.
    assert!(matches!(Image::open(&image, &write), Err(ImageError::Read { .. })));
    drop(readers);
    assert!(Image::open(&image, &write).is_ok());
}

#[test]
fn looking_at_an_image_leaves_its_size_its_bytes_and_its_blocks() {
    use std::os::unix::fs::MetadataExt;
    let scratch = Scratch::new();
    let image = scratch.image("disk", 9);
    let before = std::fs::read(&image).unwrap();
    let blocks = std::fs::metadata(&image).unwrap().blocks();
    drop(Image::open(&image, &Options::default()).unwrap());
    assert!(std::fs::read(&image).unwrap() == before);
    assert_eq!(std::fs::metadata(&image).unwrap().blocks(), blocks);
}

#[test]
fn a_file_that_may_not_be_written_says_read_only() {
    if rustix::process::geteuid().is_root() {
        println!("SKIPPED: root writes everything");
        return;
    }
    let scratch = Scratch::new();
    let image = scratch.image("disk", 8);
    std::fs::set_permissions(&image, std::fs::Permissions::from_mode(0o444)).unwrap();
    assert!(refused(&image, &Options::default()).contains("say read_only"));
    assert!(Image::open(&image, &Options { read_only: true, ..Options::default() }).is_ok());
}

#[test]
fn direct_io_says_its_block_or_why_not() {
    let scratch = Scratch::new();
    let image = scratch.sparse("disk", 1 << 20);
    match Image::open(&image, &Options { direct: true, ..Options::default() }) {
        Ok(image) => {
            assert!([512, 4096].contains(&image.facts().block_size));
            let odd = scratch.sparse("odd", 512 + 4096);
            let options = Options { direct: true, ..Options::default() };
            let whole = image.facts().block_size == 512;
            assert_eq!(Image::open(&odd, &options).is_ok(), whole);
        }
        Err(e) => assert!(e.to_string().contains("leave `direct` out"), "{e}"),
    }
}

#[test]
fn facts_survive_a_packet_and_bound_the_file() {
    let scratch = Scratch::new();
    let image = scratch.image("disk", 77);
    let image = Image::open(&image, &Options { queues: 3, ..Options::default() }).unwrap();
    let facts = image.facts();
    assert_eq!(Facts::decode(&facts.encode()).as_ref(), Some(facts));
    assert_eq!(Facts::decode(&facts.encode()[1..]), None);
    assert_eq!(Facts::decode(&[&facts.encode()[..], &[0]].concat()), None);
    assert_eq!(layers("dev-root", facts).name(), "dev-root");
}
