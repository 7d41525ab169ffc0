//! Output of two consoles on one terminal. Protects the terminal: what one console has begun, the
//! other neither ends nor goes on with, however their bytes are mixed. Cannot tell what the user
//! makes of lines that are mixed.

use crate::HostConsole;
use casemate_hypervisor::vm::supervisor::GuestConsole;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

fn pair() -> (OwnedFd, OwnedFd) {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap()
}

#[test]
fn a_sequence_that_one_console_begins_the_other_does_not_end() {
    let ((input, _keyboard), (output, screen)) = (pair(), pair());
    let mut host = HostConsole::over(input, output, None, None).filtered();
    let ((serial, vmm), (virtio, device)) = (pair(), pair());
    let guest = GuestConsole::over(serial).with_virtio(virtio);
    let (mut vmm, mut device) = (UnixStream::from(vmm), UnixStream::from(device));
    let mut screen = UnixStream::from(screen);
    let mut shown = |says: &mut UnixStream, bytes: &[u8]| {
        says.write_all(bytes).unwrap();
        for _ in 0..4 {
            host.turn(&guest, false);
        }
        let mut came = vec![0; 256];
        let len = screen.read(&mut came).unwrap_or(0);
        came.truncate(len);
        came
    };
    // The clipboard, in two halves, each harmless: neither reaches the terminal.
    assert_eq!(shown(&mut vmm, b"a\x1b]52;c;"), b"a");
    assert_eq!(shown(&mut device, b"aGVsbG8=\x07b"), b"aGVsbG8=\x07b");
    assert_eq!(shown(&mut vmm, b"aGVsbG8=\x07c"), b"c");
    // A colour is passed whole, and nothing of the other in it.
    assert_eq!(shown(&mut vmm, b"\x1b[3"), b"");
    assert_eq!(shown(&mut device, b"1m"), b"1m");
    assert_eq!(shown(&mut vmm, b"1m"), b"\x1b[31m");
    // A character, the same.
    assert_eq!(shown(&mut device, b"\xc3"), b"");
    assert_eq!(shown(&mut vmm, b"x"), b"x");
    assert_eq!(shown(&mut device, b"\xa4"), "\u{e4}".as_bytes());
}
