//! The channel between a parent and the child it spawned: one packet down when the child's ids are
//! mapped, one report or error up when it is confined, then it is closed.
//!
//! What travels is a small binary format. A layer or state is a byte, a text has its length before
//! it, and the end of the packet is the end of the message; so the child links no general-purpose
//! decoder, and the parent has a function of some lines to be sure of. The parent believes none of
//! it: a number that is no layer, a layer named twice, a byte too many or too few is
//! [`NoReport::Nonsense`]; texts are bounded and made fit to print.

use super::SandboxError;
use super::bytes::Bytes;
use super::identity::Ids;
use super::layer::{Layer, Report, State};
use casemate_foreign_text::value;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair,
};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::Instant;

/// Longest packet: a report of every layer with the longest texts fits.
const MAX: usize = 16384;
/// Longest text in a packet, bytes.
const MAX_TEXT: usize = 600;

/// First byte of a packet.
mod kind {
    pub(super) const CONFINED: u8 = 1;
    pub(super) const FAILED: u8 = 2;
}
/// What became of a layer; the text of the last one is empty.
mod state {
    pub(super) const APPLIED: u8 = 1;
    pub(super) const MISSING: u8 = 2;
    pub(super) const OFF: u8 = 3;
}
/// A failure outside of any layer.
const NO_LAYER: u8 = u8::MAX;

/// One end.
#[derive(Debug)]
pub(super) struct Channel(OwnedFd);

/// A [`SandboxError`] on its way to the parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    layer: Option<Layer>,
    call: String,
    /// The kernel's number, or 0 where the reason is no number but in `why`.
    errno: i32,
    why: String,
}

/// What a child tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Message {
    Confined(Report),
    Failed(Failure),
}

/// Why no report came.
#[derive(Debug)]
pub(super) enum NoReport {
    Nonsense,
    Failed(Failure),
}

impl NoReport {
    pub(super) fn about(self, name: &str) -> SandboxError {
        match self {
            Self::Nonsense => SandboxError::BadReport(name.to_owned()),
            Self::Failed(Failure { layer, call, errno, why }) => {
                let source = match errno {
                    0 => io::Error::other(why),
                    errno => io::Error::from_raw_os_error(errno),
                };
                match layer {
                    Some(layer) => SandboxError::Layer { layer, call, source },
                    None => {
                        SandboxError::System { call: "confine", source: io::Error::other(call) }
                    }
                }
            }
        }
    }
}

impl From<&SandboxError> for Failure {
    fn from(error: &SandboxError) -> Self {
        match error {
            SandboxError::Layer { layer, call, source } => {
                let errno = source.raw_os_error().unwrap_or(0);
                let why = if errno == 0 { source.to_string() } else { String::new() };
                Self { layer: Some(*layer), call: call.clone(), errno, why }
            }
            other => Self { layer: None, call: other.to_string(), errno: 0, why: String::new() },
        }
    }
}

impl Message {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self {
            Self::Confined(report) => {
                bytes.push(kind::CONFINED);
                for (layer, state) in report.iter() {
                    let (state, text) = match state {
                        State::Applied(details) => (state::APPLIED, details.as_str()),
                        State::Missing(why) => (state::MISSING, why.as_str()),
                        State::Off => (state::OFF, ""),
                    };
                    bytes.extend([layer.number(), state]);
                    push_text(&mut bytes, text);
                }
            }
            Self::Failed(Failure { layer, call, errno, why }) => {
                bytes.extend([kind::FAILED, layer.map_or(NO_LAYER, Layer::number)]);
                bytes.extend(errno.to_le_bytes());
                push_text(&mut bytes, call);
                push_text(&mut bytes, why);
            }
        }
        bytes
    }

    /// The message of a packet; None when it is none.
    pub(super) fn decode(packet: &[u8]) -> Option<Self> {
        let mut rest = Bytes(packet);
        let message = match rest.byte()? {
            kind::CONFINED => Self::Confined(rest.report()?),
            kind::FAILED => {
                let layer = match rest.byte()? {
                    NO_LAYER => None,
                    number => Some(Layer::from_number(number)?),
                };
                let errno = i32::from_le_bytes(*rest.take(4)?.first_chunk()?);
                Self::Failed(Failure { layer, errno, call: rest.text()?, why: rest.text()? })
            }
            _ => return None,
        };
        rest.0.is_empty().then_some(message)
    }
}

fn push_text(bytes: &mut Vec<u8>, text: &str) {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let text = text.get(..end).unwrap_or("");
    // It fits: MAX_TEXT does.
    bytes.extend(u16::try_from(text.len()).unwrap_or(0).to_le_bytes());
    bytes.extend(text.as_bytes());
}

impl Bytes<'_> {
    fn text(&mut self) -> Option<String> {
        let len = usize::from(u16::from_le_bytes(*self.take(2)?.first_chunk()?));
        let bytes = self.take(Some(len).filter(|len| *len <= MAX_TEXT)?)?;
        // It will stand in lines of ours.
        Some(value(std::str::from_utf8(bytes).ok()?).at_most(MAX_TEXT).to_string())
    }

    /// Layers until the end of the packet, each once.
    fn report(&mut self) -> Option<Report> {
        let mut report = Report::default();
        while !self.0.is_empty() {
            let layer = Layer::from_number(self.byte()?)?;
            let state = match (self.byte()?, self.text()?) {
                (state::APPLIED, details) => State::Applied(details),
                (state::MISSING, why) => State::Missing(why),
                (state::OFF, text) if text.is_empty() => State::Off,
                _ => return None,
            };
            if report.of(layer).is_some() {
                return None;
            }
            report.record(layer, state);
        }
        Some(report)
    }
}

impl Channel {
    /// A pair of ends: parent's, child's.
    pub(super) fn pair() -> Result<(Self, Self), SandboxError> {
        let flags = SocketFlags::CLOEXEC;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
            .map_err(|e| SandboxError::system("socketpair", e))?;
        Ok((Self(ours), Self(theirs)))
    }

    pub(super) fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// In an image: the end that the parent left it; None when it is none.
    pub(super) fn in_image(fd: OwnedFd) -> Option<Self> {
        let kind = rustix::net::sockopt::socket_type(&fd).ok()?;
        let local = rustix::net::sockopt::socket_domain(&fd).ok()? == AddressFamily::UNIX;
        (local && kind == SocketType::SEQPACKET).then_some(Self(fd))
    }

    /// Parent: a packet for an image. When the image has died, its end tells.
    pub(super) fn send(&self, packet: &[u8]) {
        let _ = send(&self.0, packet, SendFlags::NOSIGNAL);
    }

    /// Child: waits for a packet; its length, None when the parent is gone.
    pub(super) fn wait(&self, packet: &mut [u8]) -> Option<usize> {
        loop {
            match recv(&self.0, &mut *packet, RecvFlags::empty()) {
                Ok((len @ 1.., _)) => return Some(len),
                Err(Errno::INTR) => {}
                Ok(_) | Err(_) => return None,
            }
        }
    }

    /// Parent: the child has these ids, it may go on.
    pub(super) fn go(&self, ids: Ids) {
        // When the child has died, its end tells.
        self.send(&[ids.number()]);
    }

    /// Child: waits for [`Channel::go`]; None when the parent is gone.
    pub(super) fn wait_for_go(&self) -> Option<Ids> {
        let mut byte = [0];
        (self.wait(&mut byte)? == 1).then(|| Ids::from_number(byte[0]))?
    }

    /// Child: whether the parent still lives. A parent that died before the death signal was set
    /// sends none.
    pub(super) fn parent_lives(&self) -> bool {
        let mut byte = [0];
        recv(&self.0, &mut byte, RecvFlags::DONTWAIT | RecvFlags::PEEK) == Err(Errno::AGAIN)
    }

    /// Child: tells how confinement went.
    pub(super) fn tell(&self, outcome: Result<&Report, &SandboxError>) {
        let message = match outcome {
            Ok(report) => Message::Confined(report.clone()),
            Err(error) => Message::Failed(error.into()),
        };
        let _ = send(&self.0, &message.encode(), SendFlags::NOSIGNAL);
    }

    /// Parent: the child's report; None when it closed the channel without one. Waits until
    /// `until`, or as long as the child has its end open.
    pub(super) fn receive(self, until: Option<Instant>) -> Result<Option<Report>, NoReport> {
        // One byte more than any message has, so that a longer packet is not taken for its
        // beginning.
        let mut buffer = vec![0; MAX + 1];
        let len = self.packet(&mut buffer, until)?;
        let Some(bytes) = buffer.get(..len).filter(|bytes| !bytes.is_empty()) else {
            return Ok(None);
        };
        if len > MAX {
            return Err(NoReport::Nonsense);
        }
        let message = Message::decode(bytes).ok_or(NoReport::Nonsense)?;
        // Until the child has closed its end, which is then no descriptor of its any more.
        if self.packet(&mut [0], until)? != 0 {
            return Err(NoReport::Nonsense);
        }
        match message {
            Message::Confined(report) => Ok(Some(report)),
            Message::Failed(failure) => Err(NoReport::Failed(failure)),
        }
    }

    /// The next packet's length; 0 when the child has closed its end.
    fn packet(&self, buffer: &mut [u8], until: Option<Instant>) -> Result<usize, NoReport> {
        loop {
            if let Some(until) = until {
                let left = until.saturating_duration_since(Instant::now());
                let left = Timespec::try_from(left).unwrap_or_default();
                match poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&left)) {
                    Err(Errno::INTR) => continue,
                    Ok(0) | Err(_) => return Err(NoReport::Nonsense),
                    Ok(_) => {}
                }
            }
            match recv(&self.0, &mut *buffer, RecvFlags::empty()) {
                Ok((len, _)) => return Ok(len),
                Err(Errno::INTR) => {}
                Err(Errno::CONNRESET) => return Ok(0),
                Err(_) => return Err(NoReport::Nonsense),
            }
        }
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
