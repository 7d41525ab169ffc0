//! The channel between a parent and the child it spawned: one byte down when the child's ids are mapped, one
//! report or error up when it is confined, then it is closed.

use super::SandboxError;
use super::layer::{Layer, Report};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair,
};
use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::Instant;

/// Longest message.
const MAX: usize = 8192;

/// One end.
#[derive(Debug)]
pub(super) struct Channel(OwnedFd);

/// A [`SandboxError`] on its way to the parent.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Failure {
    layer: Option<Layer>,
    call: String,
    errno: i32,
}

#[derive(Debug, Serialize, Deserialize)]
enum Message {
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
            Self::Failed(Failure { layer, call, errno }) => {
                let source = io::Error::from_raw_os_error(errno);
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
            SandboxError::Layer { layer, call, source } => Self {
                layer: Some(*layer),
                call: call.clone(),
                errno: source.raw_os_error().unwrap_or(0),
            },
            other => Self { layer: None, call: other.to_string(), errno: 0 },
        }
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

    /// Parent: the child's ids are mapped, it may go on.
    pub(super) fn go(&self) {
        // When the child has died, its end tells.
        let _ = send(&self.0, &[1], SendFlags::NOSIGNAL);
    }

    /// Child: waits for [`Channel::go`]; false when the parent is gone.
    pub(super) fn wait_for_go(&self) -> bool {
        let mut byte = [0];
        loop {
            match recv(&self.0, &mut byte, RecvFlags::empty()) {
                Ok((len, _)) => return len == 1,
                Err(Errno::INTR) => {}
                Err(_) => return false,
            }
        }
    }

    /// Child: whether the parent still lives. A parent that died before the death signal was set sends none.
    pub(super) fn parent_lives(&self) -> bool {
        let mut byte = [0];
        recv(&self.0, &mut byte, RecvFlags::DONTWAIT | RecvFlags::PEEK) == Err(Errno::AGAIN)
    }

    /// Child: tells how confinement went.
    pub(super) fn tell(self, outcome: Result<&Report, &SandboxError>) {
        let message = match outcome {
            Ok(report) => Message::Confined(report.clone()),
            Err(error) => Message::Failed(error.into()),
        };
        if let Ok(bytes) = serde_json::to_vec(&message) {
            let _ = send(&self.0, &bytes, SendFlags::NOSIGNAL);
        }
    }

    /// Parent: the child's report; None when it closed the channel without one. Waits until `until`, or as long as
    /// the child has its end open.
    pub(super) fn receive(self, until: Option<Instant>) -> Result<Option<Report>, NoReport> {
        let mut buffer = vec![0; MAX];
        let len = self.packet(&mut buffer, until)?;
        let Some(bytes) = buffer.get(..len).filter(|bytes| !bytes.is_empty()) else {
            return Ok(None);
        };
        let message = serde_json::from_slice(bytes).map_err(|_| NoReport::Nonsense)?;
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
