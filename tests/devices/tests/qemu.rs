//! A block device judged by programs that nobody here wrote: unmodified QEMU as front end, its
//! firmware and Debian's kernel as drivers. Protects: both drivers, one after the other, read,
//! write, flush and read back what they wrote; the process does it under its profile for foreign
//! front ends. Cannot tell: performance, which an emulated processor does not have, and anything of
//! confidential guests.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use casemate_test_devices::process::Process;
use casemate_test_devices::scratch::Scratch;
use std::path::Path;
use std::process::Command;

const BACKEND: &str = env!("CARGO_BIN_EXE_block-backend");

fn linux_uses_the_disk(queues: u16) {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    // The guest's kernel, module and shell are those of the virtual host.
    let built = Command::new(here.join("../host/build")).status().unwrap();
    assert!(built.success(), "the virtual host's kernel cannot be had");
    let scratch = Scratch::new();
    let image = scratch.sparse("disk", 32 << 20);
    let (socket, log) = (scratch.path("socket"), scratch.path("log"));
    let words = [image.to_str().unwrap(), "lock", &format!("queues={queues}")];
    let mut process = Process::start(BACKEND, &socket, &words);
    let qemu = Command::new(here.join("qemu"))
        .args([&socket, Path::new("32"), Path::new(&queues.to_string()), &log])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&std::fs::read(&log).unwrap_or_default()).into_owned();
    let Some((_, hash)) = said.split_once("DISK OK ") else {
        panic!("{said}\n{}", String::from_utf8_lossy(&qemu.stderr));
    };
    assert_eq!(process.wait().code(), Some(0));
    // What the guest read is what is in the image, asked of a program of the host's.
    let sum = Command::new("sh")
        .arg("-c")
        .arg("dd if=\"$0\" bs=64k skip=16 count=64 status=none | sha256sum")
        .arg(&image)
        .output()
        .unwrap();
    assert_eq!(hash.get(..64), std::str::from_utf8(&sum.stdout).unwrap().get(..64));
}

#[test]
fn firmware_and_linux_under_qemu_use_a_disk_of_one_queue() {
    linux_uses_the_disk(1);
}

#[test]
fn linux_under_qemu_uses_a_disk_of_two_queues() {
    linux_uses_the_disk(2);
}
