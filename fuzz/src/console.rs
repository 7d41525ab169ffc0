//! The console's pump: bytes between a guest, which writes and reads what it likes, and a user's
//! side that takes them slowly, in part, or not at all any more.

use arbitrary::{Result, Unstructured};
use casemate_console::HostConsole;
use casemate_hypervisor::vm::supervisor::GuestConsole;
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair, sockopt,
};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// Whatever is written, read, typed and closed, in whatever order: what the user's side gets is the
/// guest's bytes from the first on, in order; every other one is counted as lost, with a cause, and
/// none is lost without one; the guest gets what was typed, but for commands.
pub fn pump(data: &[u8]) {
    let _ = pump_of(&mut Unstructured::new(data));
}

/// A byte that tells its place.
fn pattern(at: u64) -> u8 {
    (at % 251) as u8
}

struct Pump {
    console: HostConsole,
    guest: GuestConsole,
    /// The guest's end; None once it is closed.
    vmm: Option<OwnedFd>,
    /// The user's ends.
    keyboard: Option<OwnedFd>,
    screen: Option<OwnedFd>,
    escape: bool,
    written: u64,
    seen: u64,
    typed: u64,
    heard: u64,
}

fn pair() -> (OwnedFd, OwnedFd) {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None).expect("a pair of sockets")
}

impl Pump {
    fn new(u: &mut Unstructured) -> Result<Self> {
        let ((guest, vmm), (input, keyboard), (output, screen)) = (pair(), pair(), pair());
        // The smallest that there is: a screen that is soon full.
        sockopt::set_socket_send_buffer_size(&output, 1).expect("a size");
        let escape: bool = u.arbitrary()?;
        // Without end, or none at all: no oracle depends on the clock.
        let wait = if u.arbitrary()? { None } else { Some(Duration::ZERO) };
        let console = HostConsole::over(input, output, escape.then_some(1), wait);
        let (vmm, keyboard, screen) = (Some(vmm), Some(keyboard), Some(screen));
        let guest = GuestConsole::over(guest);
        let (written, seen, typed, heard) = (0, 0, 0, 0);
        Ok(Self { console, guest, vmm, keyboard, screen, escape, written, seen, typed, heard })
    }

    fn turn(&mut self) {
        let wants = self.console.wants();
        assert!(wants.until.is_none() || wants.output.is_some(), "a time without a wish");
        if self.console.loss().is_none() && wants.output.is_some() {
            assert!(!wants.guest.contains(PollFlags::IN), "more is taken than there is room for");
        }
        let ready = wants.input.is_some();
        let command = self.console.turn(&self.guest, ready);
        assert!(self.escape || command.is_none(), "a command without an escape key");
    }

    fn writes(&mut self, len: u64) {
        let Some(vmm) = &self.vmm else { return };
        let bytes: Vec<u8> = (self.written..self.written + len).map(pattern).collect();
        match send(vmm, &bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(sent) => self.written += sent as u64,
            Err(errno) => assert_eq!(errno, Errno::AGAIN, "back-pressure, and nothing else"),
        }
    }

    fn types(&mut self, bytes: &[u8]) {
        let Some(keyboard) = &self.keyboard else { return };
        self.typed += send(keyboard, bytes, SendFlags::NOSIGNAL).unwrap_or(0) as u64;
    }

    fn looks(&mut self, most: usize) {
        let Some(screen) = &self.screen else { return };
        let mut bytes = vec![0; most];
        let len = recv(screen, &mut bytes[..], RecvFlags::empty()).map_or(0, |(len, _)| len);
        for byte in &bytes[..len] {
            assert_eq!(*byte, pattern(self.seen), "other bytes, or another order");
            self.seen += 1;
        }
    }

    fn hears(&mut self, most: usize) {
        let Some(vmm) = &self.vmm else { return };
        let mut bytes = vec![0; most];
        self.heard +=
            recv(vmm, &mut bytes[..], RecvFlags::empty()).map_or(0, |(len, _)| len) as u64;
        assert!(self.heard <= self.typed, "a guest hears more than was typed");
    }

    fn ends(mut self, at_once: bool) {
        self.vmm = None;
        let closed = self.screen.is_none();
        if at_once {
            self.console.finish_now(&self.guest);
        } else {
            // Bounded: each turn moves a byte, or the screen is looked at.
            for _ in 0..=self.written {
                self.turn();
                self.looks(1 << 16);
                if self.console.is_done() {
                    break;
                }
            }
        }
        assert!(self.console.is_done(), "the rest is neither written nor lost");
        self.looks(1 << 20);
        self.looks(1 << 20);
        let lost = self.console.take_loss();
        let bytes = lost.as_ref().map_or(0, |loss| loss.bytes);
        assert_eq!(lost.is_some(), bytes > 0, "a loss of nothing");
        if closed {
            assert!(self.seen + bytes <= self.written);
        } else {
            assert_eq!(self.seen + bytes, self.written, "a byte is neither there nor lost");
        }
    }
}

fn pump_of(u: &mut Unstructured) -> Result<()> {
    let mut pump = Pump::new(u)?;
    for _ in 0..u.int_in_range(1..=64)? {
        match u.int_in_range(0..=15_u8)? {
            0..=4 => pump.writes(u.int_in_range(0..=9000)?),
            5..=8 => pump.turn(),
            9..=10 => pump.looks(u.int_in_range(0..=9000)?),
            11 => {
                let len = u.int_in_range(0..=64)?;
                pump.types(u.bytes(len)?);
            }
            12 => pump.hears(u.int_in_range(1..=64)?),
            13 => pump.keyboard = None,
            14 if u.ratio(1, 8)? => pump.screen = None,
            _ => pump.turn(),
        }
    }
    pump.ends(u.arbitrary()?);
    Ok(())
}
