//! Back ends of other projects, looked up before anything is decided about them, connected to when
//! the policy has admitted them.
//!
//! The socket on this side is made first and given to the vmm process with everything else; what
//! is connected later is the same open file, so that process needs no descriptor afterwards, and a
//! VM that is denied has not knocked at anybody's door.

use crate::config::{Foreign, ForeignKind};
use casemate_foreign_text::value;
use casemate_policy::{DeviceFact, DeviceKind as Kind};
use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

/// How long a back end may take to take a connection. It takes one at a time, so one whose front
/// end is another VMM lets others wait for ever.
const CONNECT: Duration = Duration::from_secs(10);

/// A back end of the configuration: its socket is there.
#[derive(Debug)]
pub(super) struct OpenForeign {
    name: String,
    kind: ForeignKind,
    queues: u16,
    /// What the path led to, open for nothing but being named.
    place: OwnedFd,
    /// As the kernel names it: the policy's word is about this, and this is connected to, whatever
    /// is at the path by then.
    path: String,
    /// This side's.
    socket: OwnedFd,
}

/// A back end that cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("vhost_user `{name}`: {what}")]
pub struct ForeignError {
    name: String,
    #[source]
    what: What,
}

/// What is wrong with it.
#[derive(Debug, thiserror::Error)]
enum What {
    #[error("its `socket` {0} is not there: start the back end first, or correct the path")]
    Absent(String),
    #[error("its `socket` {0} cannot be used: {1}")]
    Path(String, #[source] io::Error),
    #[error("its `socket` {0} is no socket: name the one on which a vhost-user back end listens")]
    NoSocket(String),
    #[error("nobody listens at its `socket` {0}: start the back end first")]
    NobodyListens(String),
    #[error("its `socket` {0} is not of the kind that vhost-user back ends have (a stream)")]
    OtherKind(String),
    #[error(
        "the back end at its `socket` {0} took no connection within {seconds} s: does it serve \
         another VM?",
        seconds = CONNECT.as_secs()
    )]
    Busy(String),
    #[error("its `socket` {0} cannot be connected to: {1}")]
    Connect(String, #[source] io::Error),
}

impl ForeignError {
    /// Whether the user's input is at fault, not the program behind the socket.
    pub(super) const fn is_bad_input(&self) -> bool {
        !matches!(self.what, What::Busy(_) | What::Connect(..))
    }
}

/// Sockets for so many back ends, connected to nobody.
///
/// # Errors
/// The errno of `socket`.
pub(super) fn sockets(foreign: &[Foreign]) -> Result<Vec<OwnedFd>, Errno> {
    let one = |_| socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None);
    foreign.iter().map(one).collect()
}

/// Looks every back end's socket up.
///
/// # Errors
/// [`ForeignError`] for the first that is not there.
pub(super) fn look_up(
    foreign: &[Foreign],
    sockets: Vec<OwnedFd>,
) -> Result<Vec<OpenForeign>, ForeignError> {
    foreign.iter().zip(sockets).map(|(one, socket)| OpenForeign::new(one, socket)).collect()
}

impl OpenForeign {
    fn new(foreign: &Foreign, socket: OwnedFd) -> Result<Self, ForeignError> {
        let name = foreign.name.clone();
        match place(&foreign.socket) {
            Err(what) => Err(ForeignError { name, what }),
            Ok(place) => {
                // As with images: what nobody can tell is an empty path, which no rule but `any`
                // admits.
                let link = std::fs::read_link(format!("/proc/self/fd/{}", place.as_raw_fd()));
                let path = link.ok().and_then(|path| path.to_str().map(String::from));
                let path = path.unwrap_or_default();
                Ok(Self { name, kind: foreign.kind, queues: foreign.queues, place, path, socket })
            }
        }
    }

    /// What the policy is told. Whether a program of others writes is its own word, so it counts as
    /// one that does.
    pub(super) fn fact(&self) -> DeviceFact<'_> {
        let (kind, path) = match self.kind {
            ForeignKind::Block => (Kind::Block, Some(self.path.as_str())),
            // Policies know places of disks and of folders alone.
            ForeignKind::Net { .. } => (Kind::Net, None),
            ForeignKind::Vsock => (Kind::Vsock, None),
        };
        DeviceFact { kind, path, read_only: false, foreign: true, queues: self.queues.into() }
    }

    /// Whether it is a disk: of its size nobody knows.
    pub(super) fn is_disk(&self) -> bool {
        self.kind == ForeignKind::Block
    }

    /// Connects: the policy has admitted it.
    ///
    /// # Errors
    /// [`ForeignError`].
    pub(super) fn connect(self) -> Result<(), ForeignError> {
        let what = match self.try_connect() {
            Ok(()) => return Ok(()),
            Err(Errno::CONNREFUSED | Errno::NOENT) => What::NobodyListens(self.shown()),
            Err(Errno::PROTOTYPE) => What::OtherKind(self.shown()),
            Err(Errno::AGAIN) => What::Busy(self.shown()),
            Err(e) => What::Connect(self.shown(), e.into()),
        };
        Err(ForeignError { name: self.name, what })
    }

    fn try_connect(&self) -> Result<(), Errno> {
        // A full queue of connections is waited for as long as a send may take
        // (`unix_stream_connect`, net/unix/af_unix.c).
        set_socket_timeout(&self.socket, Timeout::Send, Some(CONNECT))?;
        let place = format!("/proc/self/fd/{}", self.place.as_raw_fd());
        connect(&self.socket, &SocketAddrUnix::new(place)?)
    }

    fn shown(&self) -> String {
        value(&self.path).to_string()
    }
}

/// What is at the path.
fn place(path: &Path) -> Result<OwnedFd, What> {
    let shown = || value(path.display()).to_string();
    let place = open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(|e| match e {
        Errno::NOENT | Errno::NOTDIR => What::Absent(shown()),
        e => What::Path(shown(), e.into()),
    })?;
    let stat = fstat(&place).map_err(|e| What::Path(shown(), e.into()))?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Socket => Ok(place),
        _ => Err(What::NoSocket(shown())),
    }
}

#[cfg(test)]
mod tests {
    use super::{OpenForeign, look_up, sockets};
    use crate::config::{Foreign, ForeignKind};
    use std::os::unix::net::{UnixDatagram, UnixListener};
    use std::path::{Path, PathBuf};

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("casemate-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir(&folder).unwrap();
        folder
    }

    fn one(socket: &Path) -> Result<OpenForeign, super::ForeignError> {
        let (name, kind) = ("data".into(), ForeignKind::Block);
        let foreign = [Foreign { name, socket: socket.into(), kind, queues: 1 }];
        look_up(&foreign, sockets(&foreign).unwrap()).map(|mut all| all.remove(0))
    }

    /// Protects the user's time: each mistake has one line that names the key and what to do.
    #[test]
    fn a_back_end_that_is_not_there_is_told_by_key_and_remedy() {
        let folder = folder("foreign");
        std::fs::write(folder.join("file"), "").unwrap();
        drop(UnixListener::bind(folder.join("left")).unwrap());
        let _datagrams = UnixDatagram::bind(folder.join("datagrams")).unwrap();
        for (name, words) in [
            ("none", "is not there: start the back end first"),
            ("file", "is no socket"),
            ("left", "nobody listens"),
            ("datagrams", "not of the kind"),
        ] {
            let said = one(&folder.join(name)).and_then(OpenForeign::connect).unwrap_err();
            assert!(said.is_bad_input(), "{said}");
            let said = said.to_string();
            let clear = said.starts_with("vhost_user `data`: ") && said.contains("`socket`");
            assert!(clear && said.contains(words), "{said}");
        }
        std::fs::remove_dir_all(folder).unwrap();
    }

    /// Protects the policy's roots: what is decided on is what the path led to, and what was
    /// decided on is what is connected to.
    #[test]
    fn what_was_looked_up_is_what_is_connected_to() {
        let folder = folder("foreign-moved");
        let first = UnixListener::bind(folder.join("first")).unwrap();
        std::os::unix::fs::symlink(folder.join("first"), folder.join("link")).unwrap();
        let found = one(&folder.join("link")).unwrap();
        let real = std::fs::canonicalize(folder.join("first")).unwrap();
        assert_eq!(found.fact().path, real.to_str());
        assert!(found.fact().foreign && !found.fact().read_only);
        // Another one is at both paths by now.
        std::fs::rename(folder.join("first"), folder.join("moved")).unwrap();
        std::fs::remove_file(folder.join("link")).unwrap();
        let _others = ["first", "link"].map(|name| UnixListener::bind(folder.join(name)).unwrap());
        first.set_nonblocking(true).unwrap();
        assert!(first.accept().is_err(), "nobody has connected before the policy has answered");
        found.connect().unwrap();
        first.accept().unwrap();
        std::fs::remove_dir_all(folder).unwrap();
    }
}
