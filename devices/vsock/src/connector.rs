//! The connector: the process that connects to the host for the guest, so that the device, which
//! reads the guest's packets, needs neither a path nor a call for it.
//!
//! It sees one directory and nothing else, and is told which ports there are. The device asks with
//! a message of a fixed size and gets a connected socket, or that there is none. It never waits for
//! who listens: a full backlog is a refusal.

use crate::machine::Dial;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv,
    recvmsg, sendmsg, socket_with,
};
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

/// Bytes of a question; an answer has the same.
const MESSAGE: usize = 10;

impl Dial {
    fn encode(self) -> [u8; MESSAGE] {
        let mut message = [0; MESSAGE];
        let parts = self.place.to_le_bytes().into_iter();
        let parts = parts.chain(self.turn.to_le_bytes()).chain(self.port.to_le_bytes());
        message.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
        message
    }

    fn decode(message: &[u8]) -> Option<Self> {
        let (place, rest) = message.split_first_chunk()?;
        let (turn, port) = rest.split_first_chunk()?;
        Some(Self {
            place: u16::from_le_bytes(*place),
            turn: u32::from_le_bytes(*turn),
            port: u32::from_le_bytes(port.try_into().ok()?),
        })
    }
}

/// What a connector is told at its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connects {
    /// Name of the path's socket, without its directory: `NAME_PORT` is what a port leads to.
    pub name: Vec<u8>,
    /// The ports.
    pub ports: Vec<u32>,
    /// A port that leads to a socket of another name in the same directory.
    pub named: Option<(u32, Vec<u8>)>,
}

impl Connects {
    /// For the start packet of the process.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut to = Vec::new();
        let (port, named) = self.named.as_ref().map_or((0, &[][..]), |(port, name)| (*port, name));
        for name in [&self.name[..], named] {
            to.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
            to.extend(name);
        }
        std::iter::once(&port).chain(&self.ports).for_each(|port| to.extend(port.to_le_bytes()));
        to
    }

    /// Out of such a packet; None where it is none. A name leads nowhere but to its directory.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let name = |bytes: &'_ [u8]| -> Option<(Vec<u8>, usize)> {
            let (len, rest) = bytes.split_first()?;
            let name = rest.get(..usize::from(*len))?;
            let good = !name.contains(&b'/') && !name.contains(&0) && !matches!(name, b"." | b"..");
            good.then(|| (name.to_vec(), name.len().saturating_add(1)))
        };
        let (first, end) = name(bytes)?;
        let rest = bytes.get(end..)?;
        let (named, end) = name(rest)?;
        let (ports, []) = rest.get(end..)?.as_chunks::<4>() else { return None };
        let (port, ports) = ports.split_first()?;
        let ports: Vec<u32> = ports.iter().map(|port| u32::from_le_bytes(*port)).collect();
        let named = (!named.is_empty()).then(|| (u32::from_le_bytes(*port), named));
        // Ports without a name to put them behind lead nowhere.
        let good = !first.is_empty() || (ports.is_empty() && named.is_some());
        good.then_some(Self { name: first, ports, named })
    }

    /// The path of a port's socket, in a root that is its directory; None of a port that is not
    /// named.
    fn path(&self, port: u32) -> Option<Vec<u8>> {
        match &self.named {
            Some((one, name)) if *one == port => Some([b"/", &name[..]].concat()),
            _ if self.ports.contains(&port) => {
                Some([b"/", &self.name[..], b"_", port.to_string().as_bytes()].concat())
            }
            _ => None,
        }
    }

    /// Serves the device at the other end of `channel` (SEQPACKET) until it goes.
    pub fn serve(&self, channel: &impl AsFd) {
        let mut message = [0; MESSAGE + 1];
        loop {
            let len = match recv(channel, &mut message[..], RecvFlags::empty()) {
                Ok((0, _)) => return,
                Ok((len, _)) => len,
                Err(Errno::INTR) => continue,
                Err(_) => return,
            };
            // A device that talks nonsense is not ours any more.
            let Some(dial) = message.get(..len).and_then(Dial::decode) else { return };
            if self.answer(channel, dial).is_err() {
                return;
            }
        }
    }

    fn answer(&self, channel: &impl AsFd, dial: Dial) -> Result<(), Errno> {
        let socket = self.path(dial.port).and_then(|path| Self::connect(path).ok());
        let message = dial.encode();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fds: Vec<_> = socket.iter().map(AsFd::as_fd).collect();
        if !fds.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(&fds));
        }
        loop {
            match sendmsg(channel, &[IoSlice::new(&message)], &mut control, SendFlags::NOSIGNAL) {
                Err(Errno::INTR) => {}
                // As many descriptors as the user may have are on their way between processes, of
                // whichever program: this one connection is refused.
                Err(Errno::TOOMANYREFS) if socket.is_some() => control.clear(),
                sent => return sent.map(drop),
            }
        }
    }

    fn connect(path: Vec<u8>) -> Result<OwnedFd, Errno> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        connect(&socket, &SocketAddrUnix::new(path)?)?;
        Ok(socket)
    }
}

/// Asks a connector; false when it takes no more.
pub(crate) fn ask(connector: &impl AsFd, dial: Dial) -> bool {
    let message = dial.encode();
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    let mut nothing = SendAncillaryBuffer::default();
    sendmsg(connector, &[IoSlice::new(&message)], &mut nothing, flags) == Ok(MESSAGE)
}

/// What came of asking.
pub(crate) enum Answer {
    /// Nothing yet.
    NotYet,
    /// A connection, or that there is none.
    Dialed(Dial, Option<OwnedFd>),
    /// The connector is gone, or talks nonsense.
    Gone,
}

/// The next answer, without waiting. At most one descriptor comes with one.
pub(crate) fn answer(connector: &impl AsFd) -> Answer {
    let mut message = [0; MESSAGE + 1];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let mut pieces = [IoSliceMut::new(&mut message)];
    let len = match recvmsg(connector, &mut pieces, &mut control, flags) {
        Ok(came) => came.bytes,
        Err(Errno::AGAIN | Errno::INTR) => return Answer::NotYet,
        Err(_) => return Answer::Gone,
    };
    let mut stream = None;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            stream = fds.last().or(stream);
        }
    }
    match message.get(..len).and_then(Dial::decode) {
        Some(dial) => Answer::Dialed(dial, stream),
        None => Answer::Gone,
    }
}

#[cfg(test)]
mod tests {
    use super::{Answer, Connects, answer, ask};
    use crate::machine::Dial;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    #[test]
    fn a_start_survives_the_trip_and_a_name_leads_to_no_other_directory() {
        let start = Connects { name: b"v.sock".to_vec(), ports: vec![1, 52], named: None };
        let named = Some((7, b"kbs.sock".to_vec()));
        let both = Connects { named: named.clone(), ..start.clone() };
        let alone = Connects { name: Vec::new(), ports: Vec::new(), named };
        for start in [&start, &both, &alone] {
            assert_eq!(Connects::decode(&start.encode()).as_ref(), Some(start));
        }
        for name in [&b""[..], b"a/b", b"..//x", b"a\0b", b"..", b"."] {
            let one = Connects { name: name.to_vec(), ..start.clone() };
            assert_eq!(Connects::decode(&one.encode()), None, "{name:?}");
            let other = Connects { named: Some((7, name.to_vec())), ..alone.clone() };
            assert_eq!(Connects::decode(&other.encode()), None, "{name:?}");
        }
    }

    #[test]
    fn a_port_leads_to_the_socket_that_is_named_for_it_and_others_nowhere() {
        let named = Some((7, b"kbs.sock".to_vec()));
        let start = Connects { name: b"v".to_vec(), ports: vec![52], named };
        assert_eq!(start.path(52).as_deref(), Some(&b"/v_52"[..]));
        assert_eq!(start.path(7).as_deref(), Some(&b"/kbs.sock"[..]));
        assert_eq!(start.path(8), None);
    }

    /// Protects the host from a device that an attacker has: ports that are not named lead nowhere.
    /// Cannot tell what of the directory is reached; the test of the process does.
    #[test]
    fn a_port_that_is_not_named_or_has_no_listener_is_refused_and_nonsense_ends_it() {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .unwrap();
        let start = Connects { name: b"no-such-socket".to_vec(), ports: vec![52], named: None };
        let served = std::thread::spawn(move || start.serve(&theirs));
        for port in [52, 53] {
            let dial = Dial { place: 3, turn: 9, port };
            assert!(ask(&ours, dial));
            loop {
                match answer(&ours) {
                    Answer::NotYet => std::thread::yield_now(),
                    Answer::Dialed(said, stream) => {
                        assert!(said == dial && stream.is_none());
                        break;
                    }
                    Answer::Gone => panic!(),
                }
            }
        }
        rustix::io::write(&ours, b"nonsense").unwrap();
        served.join().unwrap();
        assert!(matches!(answer(&ours), Answer::Gone), "it has ended");
        assert!(!ask(&ours, Dial { place: 3, turn: 9, port: 52 }));
    }

    /// Protects a device from a connector that is an attacker's.
    #[test]
    fn an_answer_that_is_none_is_the_end_of_the_connector() {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .unwrap();
        assert!(matches!(answer(&ours), Answer::NotYet));
        for nonsense in [&[0; 9][..], &[0; 11]] {
            rustix::io::write(&theirs, nonsense).unwrap();
            assert!(matches!(answer(&ours), Answer::Gone), "{nonsense:?}");
        }
    }
}
