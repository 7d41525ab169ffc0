//! A disk on /dev/kvm, end to end: a guest of a few instructions finds it on the PCI bus, drives
//! it, and reads what the image has; the device is the block back end, in a process of its own.
//!
//! Protects the whole way: PCI function, doorbells, interrupts and their routes, the thread that
//! talks to devices, the vhost-user front end. Cannot tell what a kernel's driver does.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use casemate_device_backend::{Mode, Session};
use casemate_device_block::{Block, Image, Options};
use casemate_device_process::DeviceKind;
use casemate_hypervisor::exits::{DeviceFault, Stop};
use casemate_hypervisor::vm::virtio::{BackEndOf, DeviceSocket};
use casemate_test_support::guests::run_with;
use casemate_test_support::script::Script;
use casemate_test_support::virtio::{BAR, Driver, HEADER, QUEUE_STEP, REQUEST, scripted};
use std::fs::{read, write};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// `VIRTIO_BLK_F_FLUSH`.
const FLUSH: u32 = 1 << 9;
const READ: u32 = 0;
const WRITE: u32 = 1;
const FLUSH_REQUEST: u32 = 4;

/// A folder with an image of 8 sectors, each of which begins with its number and a word.
struct Disk(PathBuf);

impl Disk {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("casemate-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let mut bytes = vec![b'.'; 8 * 512];
        for (number, sector) in bytes.chunks_mut(512).enumerate() {
            sector[..8].copy_from_slice(format!("{number} sector").as_bytes());
        }
        write(folder.join("disk.img"), bytes).unwrap();
        Self(folder)
    }

    fn path(&self) -> PathBuf {
        self.0.join("disk.img")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The process of a block back end, with the VM's end of its socket.
struct BackEnd(Child);

impl Drop for BackEnd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A block back end for an image: this very program, which serves its standard input.
fn block(path: &Path, read_only: bool) -> (BackEnd, DeviceSocket) {
    block_of(path, read_only, 1)
}

fn block_of(path: &Path, read_only: bool, queues: u16) -> (BackEnd, DeviceSocket) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "back_end"])
        .env("IMAGE", path)
        .env("READ_ONLY", read_only.to_string())
        .env("QUEUES", queues.to_string())
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .spawn();
    let socket = ours.into();
    let (kind, of, standby) = (DeviceKind::Block, BackEndOf::Ours, None);
    (BackEnd(child.unwrap()), DeviceSocket { kind, of, queues, socket, standby, mac: None })
}

#[test]
#[ignore = "the body of a process that other tests start"]
fn back_end() {
    let Some(path) = std::env::var_os("IMAGE") else { return };
    let read_only = std::env::var("READ_ONLY").is_ok_and(|yes| yes == "true");
    let socket = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned().unwrap());
    let queues = std::env::var("QUEUES").unwrap().parse().unwrap();
    let options = Options { read_only, queues, ..Options::default() };
    let image = Image::open(Path::new(&path), &options).unwrap();
    let device = Block::new(image.file().try_clone().unwrap(), *image.facts());
    let session = Session::set_up(socket, device, Mode::Ours, Box::new(|_, _| Ok(())));
    let ended = session.map(|mut session| session.serve());
    std::process::exit(ended.map_or(2, |ended| ended.status()));
}

#[test]
fn a_guest_reads_and_writes_its_disk_through_pci() {
    let disk = Disk::new("reads");
    let [_, data, _] = REQUEST;
    let script = Script::default().open().reset().drive(FLUSH);
    let script = script.request(0, READ, 3, 512).interrupted(65).print(data, 8);
    let script = script.bytes(data, b"written by the guest").request(1, WRITE, 5, 512);
    let script = script.request(2, FLUSH_REQUEST, 0, 0);
    // Another driver, as after firmware: it reads what the first one wrote.
    let script = script.reset().drive(FLUSH).bytes(data, &[0; 20]);
    let script = script.request(0, READ, 5, 512).print(data, 20).reset();
    let (_back_end, device) = block(&disk.path(), false);
    let Some(ran) = run_with(&scripted(&script), vec![device]) else { return };
    assert_eq!(ran.stop, Stop::PowerOff { status: None });
    assert_eq!(ran.output, "3 sectorwritten by the guest");
    let bytes = read(disk.path()).unwrap();
    assert_eq!(&bytes[5 * 512..][..20], b"written by the guest");
    assert_eq!(&bytes[4 * 512..][..8], b"4 sector");
}

#[test]
fn an_interrupt_that_comes_while_its_vector_is_masked_or_moved_is_not_lost() {
    let disk = Disk::new("masked");
    let script = Script::default().open().reset().drive(FLUSH);
    // Masked: the request ends, and its interrupt has nowhere to go.
    let script = script.mask(true).vector(70).request(0, READ, 0, 512);
    let script = script.mask(false).interrupted(70);
    // By the function's mask.
    let script = script.write(2, 0xe000_8000 + 0x40 + 70, 0xc000).vector(71);
    let script = script.request(1, READ, 1, 512).write(2, 0xe000_8000 + 0x40 + 70, 0x8000);
    let script = script.interrupted(71);
    // Moved while the queue runs, without a mask.
    let script = script.vector(72).request(2, READ, 2, 512).interrupted(72);
    let (_back_end, device) = block(&disk.path(), true);
    let Some(ran) = run_with(&scripted(&script), vec![device]) else { return };
    assert_eq!(ran.stop, Stop::PowerOff { status: None });
}

/// Protects the guest's processors from each other: each queue has a doorbell, a ring, a thread of
/// the device and an interrupt of its own. Cannot tell how they share the work: a Linux guest with
/// several processors is tried in the virtual host.
#[test]
fn a_disk_of_several_queues_answers_on_each_by_its_own_interrupt() {
    let disk = Disk::new("queues");
    let [_, data, _] = REQUEST;
    let script = Script::default().open().reset().drive_queues(FLUSH, 3);
    // The configuration says so, too (`num_queues`).
    let script = script.expect_u32(BAR + 0x400 + 32, 3 << 16);
    let script = script.request_by(2, 0, (READ, 6, 512)).interrupted(67);
    let script = script.print(data + 2 * QUEUE_STEP, 8);
    let script = script.request_by(0, 0, (READ, 1, 512)).interrupted(65).print(data, 8);
    let script = script.request_by(1, 0, (READ, 2, 512)).interrupted(66);
    let script = script.print(data + QUEUE_STEP, 8).request_by(2, 1, (READ, 7, 512)).reset();
    let (_back_end, device) = block_of(&disk.path(), true, 3);
    let Some(ran) = run_with(&scripted(&script), vec![device]) else { return };
    assert_eq!(ran.stop, Stop::PowerOff { status: None });
    assert_eq!(ran.output, "6 sector1 sector2 sector");
}

#[test]
fn two_disks_are_two_functions_with_interrupts_of_their_own() {
    let (first, second) = (Disk::new("first"), Disk::new("second"));
    // The second one's function and BAR are there; the first works beside it.
    let script = Script::default().expect_u32(0xe001_0000, 0x1042_1af4);
    let script = script.expect_u32(0xe001_0010, 0xc000_8000).expect_u32(0xe001_8000, u32::MAX);
    let script = script.open().reset().drive(FLUSH).request(0, READ, 7, 512).interrupted(65);
    let script = script.print(REQUEST[1], 8);
    let (_one, first) = block(&first.path(), false);
    let (_two, second) = block(&second.path(), true);
    let Some(ran) = run_with(&scripted(&script), vec![first, second]) else { return };
    assert_eq!((ran.stop, &*ran.output), (Stop::PowerOff { status: None }, "7 sector"));
}

/// Protects the guest from a device that is gone: it does not run on, and its VM says why.
#[test]
fn a_device_that_dies_ends_the_vm_with_a_reason() {
    let disk = Disk::new("dies");
    let (mut back_end, device) = block(&disk.path(), false);
    // The guest writes when it has its disk, and then waits for ever.
    let script = Script::default().open().reset().drive(FLUSH).bytes(REQUEST[1], b"I run");
    let script = script.request(0, WRITE, 0, 512).wait_u8(REQUEST[2], 0x77);
    let path = disk.path();
    let killer = std::thread::spawn(move || {
        while !read(&path).unwrap().starts_with(b"I run") {
            std::thread::sleep(std::time::Duration::from_millis(10));
            if back_end.0.try_wait().unwrap().is_some() {
                return;
            }
        }
        back_end.0.kill().unwrap();
    });
    let ran = run_with(&scripted(&script), vec![device]);
    killer.join().unwrap();
    let Some(ran) = ran else { return };
    assert_eq!(ran.stop, Stop::DeviceFailed { device: 0, fault: DeviceFault::Closed });
}

/// A back end of others that plays along until it is to begin, and then says nothing more; it ends
/// with its VM.
fn silent_from_activation_on() -> (std::thread::JoinHandle<u32>, DeviceSocket) {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let server = std::thread::spawn(move || {
        let mut asked_in_vain = 0;
        let mut header = [0; 12];
        while theirs.read_exact(&mut header).is_ok() {
            let word = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().unwrap());
            let (request, flags, len) = (word(0), word(4), word(8));
            let mut body = vec![0; usize::try_from(len).unwrap()];
            theirs.read_exact(&mut body).unwrap();
            // SET_VRING_NUM is the first that is said of a ring.
            if request == 8 || asked_in_vain > 0 {
                asked_in_vain += 1;
                continue;
            }
            let number = |value: u64| value.to_le_bytes().to_vec();
            let answer = match request {
                1 => number(1 << 32 | 1 << 30 | 1 << 9),
                15 => number(1 << 0 | 1 << 3 | 1 << 9),
                17 => number(1),
                24 => [&body[..12], &[8; 60]].concat(),
                _ if flags & 8 != 0 => number(0),
                _ => continue,
            };
            let head = [request, 5, u32::try_from(answer.len()).unwrap()];
            let head: Vec<u8> = head.iter().flat_map(|word| word.to_le_bytes()).collect();
            theirs.write_all(&[head, answer].concat()).unwrap();
        }
        asked_in_vain
    });
    let (kind, of) = (DeviceKind::Block, BackEndOf::Others);
    (server, DeviceSocket { kind, of, queues: 1, socket: ours.into(), standby: None, mac: None })
}

/// Protects the guest's processors from a back end that takes its time: each access to a register
/// has its answer, whatever is waited for elsewhere. Cannot tell how long one takes.
#[test]
fn a_vcpu_goes_on_whatever_its_devices_back_end_does() {
    let (server, device) = silent_from_activation_on();
    // DRIVER_OK, a doorbell, a reset that does not end while the back end is waited for, and
    // registers all along: the guest prints and switches off long before patience is over.
    let script = Script::default().open().reset().drive(FLUSH);
    let script = script.write(2, BAR + 0x1000, 0).write(1, BAR + 0x14, 0);
    let script = (0..100).fold(script, |script, _| script.expect_u32(HEADER, 0x1042_1af4));
    let script = script.bytes(REQUEST[1], b"I go on").print(REQUEST[1], 7);
    let Some(ran) = run_with(&scripted(&script), vec![device]) else { return };
    assert_eq!((ran.stop, &*ran.output), (Stop::PowerOff { status: None }, "I go on"));
    // The thread that talks to devices still waits for its answer.
    assert!(!server.is_finished(), "the back end was left alone");
}

/// Protects a device from the back ends of others: it is reset, begins and answers while another
/// one's is waited for. Cannot tell how long that takes; were it as long as that wait, the VM would
/// end by it.
#[test]
fn a_device_goes_on_whatever_the_back_end_of_another_does() {
    let disk = Disk::new("beside");
    let (_back_end, works) = block(&disk.path(), false);
    let (server, silent) = silent_from_activation_on();
    // The second function, from its header to DRIVER_OK.
    let (header, bar) = (HEADER + 0x8000, BAR + 0x4000);
    let mut script =
        Script::default().write(2, header + 4, 6).expect_u32(header + 0x10, 0xc000_8000);
    for (width, at, value) in [
        (1, 0x14, 3),
        (4, 0x8, 1),
        (4, 0xc, 1),
        (1, 0x14, 11),
        (2, 0x16, 0),
        (2, 0x18, 16),
        (4, 0x20, 0x28_0000),
        (4, 0x24, 0),
        (4, 0x28, 0x28_1000),
        (4, 0x2c, 0),
        (4, 0x30, 0x28_2000),
        (4, 0x34, 0),
        (2, 0x1c, 1),
        (1, 0x14, 15),
    ] {
        script = script.write(width, bar + at, value);
    }
    let [_, data, _] = REQUEST;
    let script = (1..=3).fold(script.open(), |script, sector| {
        let script = script.reset().drive(FLUSH).request(0, READ, sector, 512);
        script.interrupted(65).print(data, 8)
    });
    let Some(ran) = run_with(&scripted(&script), vec![works, silent]) else { return };
    assert_eq!(ran.stop, Stop::PowerOff { status: None });
    assert_eq!(ran.output, "1 sector2 sector3 sector");
    assert!(!server.is_finished(), "the back end was left alone");
}

/// Judged by a back end that nobody here wrote: QEMU's. Skipped, and said so, where it is not
/// installed.
#[test]
fn a_disk_that_qemus_storage_daemon_serves_is_read_and_written() {
    let disk = Disk::new("qemu");
    let socket = disk.0.join("socket");
    let (image, path) = (disk.path(), socket.display());
    let started = Command::new("qemu-storage-daemon")
        .args(["--blockdev", &format!("driver=file,node-name=f,filename={}", image.display())])
        .args([
            "--export",
            &format!(
                "type=vhost-user-blk,id=e,node-name=f,writable=on,addr.type=unix,addr.path={path}"
            ),
        ])
        .spawn();
    let Ok(daemon) = started else {
        println!("SKIPPED: there is no qemu-storage-daemon");
        return;
    };
    let mut daemon = BackEnd(daemon);
    let ours = loop {
        if let Ok(connected) = UnixStream::connect(&socket) {
            break connected;
        }
        assert!(daemon.0.try_wait().unwrap().is_none(), "it cannot export a disk");
        std::thread::sleep(std::time::Duration::from_millis(10));
    };
    let (kind, of, standby) = (DeviceKind::Block, BackEndOf::Others, None);
    let device = DeviceSocket { kind, of, queues: 1, socket: ours.into(), standby, mac: None };
    let [_, data, _] = REQUEST;
    let script = Script::default().open().reset().drive(FLUSH);
    let script = script.request(0, READ, 6, 512).interrupted(65).print(data, 8);
    let script = script.bytes(data, b"written by the guest").request(1, WRITE, 5, 512);
    let script = script.request(2, FLUSH_REQUEST, 0, 0);
    // A second driver, as after firmware: the daemon closed what it had of the first one's events.
    let script = script.reset().drive(FLUSH).bytes(data, &[0; 20]);
    let script = script.request(0, READ, 5, 512).interrupted(65).print(data, 20).reset();
    let Some(ran) = run_with(&scripted(&script), vec![device]) else { return };
    assert_eq!(ran.stop, Stop::PowerOff { status: None });
    assert_eq!(ran.output, "6 sectorwritten by the guest");
    assert_eq!(&read(&image).unwrap()[5 * 512..][..20], b"written by the guest");
}
