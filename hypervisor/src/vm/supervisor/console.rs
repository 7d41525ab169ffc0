//! The supervisor's ends of the guest's consoles.

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::cell::Cell;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// Console bytes from and to the guest: of its serial port, and of its virtio console where it has
/// one. Not reading is back-pressure: the bytes wait, first in the socket, then in the process that
/// serves the console, and at last the guest, too.
#[derive(Debug)]
pub struct GuestConsole {
    serial: Stream,
    virtio: Option<Stream>,
    /// Which was read last: the other one comes first, so that neither keeps the other waiting.
    last: Cell<Source>,
}

#[derive(Debug)]
struct Stream {
    socket: OwnedFd,
    over: Cell<bool>,
}

/// Which of a guest's consoles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The serial port, which the vmm process has.
    Serial,
    /// The virtio console, which is a process of its own.
    Virtio,
}

/// What reading or writing came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moved {
    /// So many bytes, at least one.
    Bytes(usize),
    /// None now; later, perhaps.
    NotNow,
    /// None any more: the other side is gone.
    Over,
}

impl Stream {
    const fn over(socket: OwnedFd) -> Self {
        Self { socket, over: Cell::new(false) }
    }

    fn read(&self, to: &mut [u8]) -> Moved {
        match recv(&self.socket, to, RecvFlags::DONTWAIT) {
            Ok((len @ 1.., _)) => Moved::Bytes(len),
            Err(Errno::AGAIN | Errno::INTR) => Moved::NotNow,
            Ok((0, _)) | Err(_) => {
                self.over.set(true);
                Moved::Over
            }
        }
    }
}

impl GuestConsole {
    /// The serial console behind a stream socket.
    #[must_use]
    pub const fn over(socket: OwnedFd) -> Self {
        Self { serial: Stream::over(socket), virtio: None, last: Cell::new(Source::Virtio) }
    }

    /// The same with a virtio console beside it, which then gets the input.
    #[must_use]
    pub fn with_virtio(self, socket: OwnedFd) -> Self {
        Self { virtio: Some(Stream::over(socket)), ..self }
    }

    /// Those from which something may still come.
    fn live(&self) -> impl Iterator<Item = (Source, &Stream)> {
        let serial = std::iter::once((Source::Serial, &self.serial));
        let virtio = self.virtio.iter().map(|stream| (Source::Virtio, stream));
        serial.chain(virtio).filter(|(_, stream)| !stream.over.get())
    }

    /// The one that gets the input.
    fn input(&self) -> &Stream {
        self.virtio.as_ref().filter(|stream| !stream.over.get()).unwrap_or(&self.serial)
    }

    /// What is polled, and for what, when `wish` is wanted of the whole.
    pub(super) fn polled(&self, wish: PollFlags) -> Vec<(BorrowedFd<'_>, PollFlags)> {
        let input = self.input().socket.as_raw_fd();
        let each = self.live().map(|(_, stream)| {
            let mut events = wish & PollFlags::IN;
            if stream.socket.as_raw_fd() == input {
                events |= wish & PollFlags::OUT;
            }
            (stream.socket.as_fd(), events)
        });
        // Without a wish it is left out: poll tells of a hang-up unasked, again and again, and the
        // holder may have to wait for a slow reader long after the process has gone.
        each.filter(|(_, events)| !events.is_empty()).collect()
    }

    /// Every socket, for the profile.
    pub(super) fn raw(&self) -> impl Iterator<Item = RawFd> {
        let all = std::iter::once(&self.serial).chain(&self.virtio);
        all.map(|stream| stream.socket.as_raw_fd())
    }

    /// Takes bytes that the guest has written, without waiting, and says by which console. It is
    /// over when all of them are.
    pub fn read(&self, to: &mut [u8]) -> (Source, Moved) {
        let mut live: Vec<_> = self.live().collect();
        live.sort_by_key(|(source, _)| *source == self.last.get());
        for (source, stream) in live {
            if let Moved::Bytes(len) = stream.read(to) {
                self.last.set(source);
                return (source, Moved::Bytes(len));
            }
        }
        let moved = if self.live().next().is_none() { Moved::Over } else { Moved::NotNow };
        (self.last.get(), moved)
    }

    /// Gives the guest input, without waiting: as many bytes as fit.
    pub fn write(&self, bytes: &[u8]) -> Moved {
        match send(&self.input().socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(0) | Err(Errno::AGAIN | Errno::INTR) => Moved::NotNow,
            Ok(len) => Moved::Bytes(len),
            Err(_) => Moved::Over,
        }
    }
}

#[cfg(test)]
mod tests {
    //! Protects a user of both consoles: bytes of each arrive in order and are told apart, neither
    //! keeps the other waiting, and an end of one is not the end of both. Cannot tell what is made
    //! of the bytes: that is `casemate-console`'s.

    use super::{GuestConsole, Moved, Source};
    use rustix::event::PollFlags;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    fn both() -> (GuestConsole, UnixStream, UnixStream) {
        let pair = || {
            let kind = SocketType::STREAM;
            socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap()
        };
        let ((serial, vmm), (virtio, device)) = (pair(), pair());
        (GuestConsole::over(serial).with_virtio(virtio), vmm.into(), device.into())
    }

    #[test]
    fn two_consoles_are_told_apart_and_neither_keeps_the_other_waiting() {
        let (console, mut vmm, mut device) = both();
        let mut to = [0; 4];
        assert_eq!(console.read(&mut to).1, Moved::NotNow);
        vmm.write_all(b"serial-serial").unwrap();
        device.write_all(b"hvc0").unwrap();
        assert_eq!((console.read(&mut to), &to), ((Source::Serial, Moved::Bytes(4)), b"seri"));
        assert_eq!((console.read(&mut to), &to), ((Source::Virtio, Moved::Bytes(4)), b"hvc0"));
        assert_eq!((console.read(&mut to), &to), ((Source::Serial, Moved::Bytes(4)), b"al-s"));
        drop(device);
        assert_eq!(console.read(&mut to).1, Moved::Bytes(4));
        assert_eq!(console.read(&mut to).1, Moved::Bytes(1));
        assert_eq!(console.read(&mut to).1, Moved::NotNow, "one of them is still there");
        // What has ended is not polled any more: it would be ready for ever.
        assert_eq!(console.polled(PollFlags::IN).len(), 1);
        drop(vmm);
        assert_eq!(console.read(&mut to).1, Moved::Over);
        assert!(console.polled(PollFlags::IN | PollFlags::OUT).is_empty());
    }

    #[test]
    fn keys_go_to_the_virtio_console_as_long_as_it_is_there() {
        let (console, mut vmm, mut device) = both();
        assert_eq!(console.write(b"a"), Moved::Bytes(1));
        let mut byte = [0];
        device.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"a");
        drop(device);
        assert_eq!(console.read(&mut [0; 4]).1, Moved::NotNow);
        assert_eq!(console.write(b"b"), Moved::Bytes(1));
        vmm.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"b");
    }
}
