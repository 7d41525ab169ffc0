//! `casemate device block` judged by programs that nobody here wrote: unmodified QEMU as front end,
//! its firmware and Debian's kernel as drivers. Protects: a machine boots from a disk that the
//! command serves, and from nothing else; the command serves both drivers, one after the other,
//! and the kernel writes, flushes, drops its caches and reads the same back; its process does that
//! under its layers and its profile for foreign front ends. Cannot tell: performance, which an
//! emulated processor does not have, and anything of confidential guests.

#![cfg(feature = "vm")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use casemate_test_devices::scratch::Scratch;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// The command, ended with the test.
struct Device(Child);

impl Device {
    /// Begins to serve an image to the first front end that comes.
    fn serve(image: &Path, socket: &Path, queues: u16) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_casemate"));
        command.args(["device", "block", "--once", "--serial", "casemate-test", "--queues"]);
        command.arg(queues.to_string()).arg("--file").arg(image).arg("--socket").arg(socket);
        let mut device = Self(command.stdin(Stdio::null()).spawn().unwrap());
        // Looked at, not connected to: that would be the first front end.
        while !socket.exists() {
            assert!(device.0.try_wait().unwrap().is_none(), "it does not serve");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        device
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn a_machine_boots_from_the_disk(queues: u16) {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests");
    // The guest's kernel, module and shell are those of the virtual host.
    let built = Command::new(tests.join("host/build")).status().unwrap();
    assert!(built.success(), "the virtual host's kernel cannot be had");
    let scratch = Scratch::new();
    let (image, socket, log) = (scratch.path("disk"), scratch.path("socket"), scratch.path("log"));
    let mut disk = Command::new(tests.join("devices/qemu-disk"));
    let made = disk.arg(&image).arg(queues.to_string()).status().unwrap();
    assert!(made.success(), "the disk cannot be made");
    let mut device = Device::serve(&image, &socket, queues);
    let qemu = Command::new(tests.join("devices/qemu"))
        .args([&socket, Path::new(&queues.to_string()), &log])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&std::fs::read(&log).unwrap_or_default()).into_owned();
    let Some((_, hash)) = said.split_once("DISK OK ") else {
        panic!("{said}\n{}", String::from_utf8_lossy(&qemu.stderr));
    };
    assert_eq!(device.0.wait().unwrap().code(), Some(0));
    assert!(!socket.exists(), "the command leaves its socket");
    // What the guest read is what is in the image, asked of a program of the host's.
    let sum = Command::new("sh")
        .arg("-c")
        .arg("dd if=\"$0\" bs=64k skip=768 count=64 status=none | sha256sum")
        .arg(&image)
        .output()
        .unwrap();
    assert_eq!(hash.get(..64), std::str::from_utf8(&sum.stdout).unwrap().get(..64));
}

#[test]
fn qemu_boots_debians_kernel_from_a_disk_that_the_command_serves() {
    a_machine_boots_from_the_disk(1);
}

#[test]
fn qemu_boots_debians_kernel_from_a_disk_of_two_queues_that_the_command_serves() {
    a_machine_boots_from_the_disk(2);
}
