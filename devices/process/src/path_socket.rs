//! A socket in the file system: made for its owner only, and removed with the program.

use crate::janitor::Place;
use casemate_foreign_text::value;
use rustix::fs::{Mode, OFlags, chmod, fchmod, fstat, open};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, socket_with,
};
use std::fs::{metadata, remove_file, symlink_metadata};
use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// Longest path of a socket, bytes: `sun_path` of unix(7), and a zero behind it.
const LONGEST: usize = 107;

/// Who has connected and waits to be accepted, at most.
const WAITING: i32 = 16;

/// Why a socket cannot be had at a path. Each message names what the user wrote, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The kernel has no room for such a path.
    #[error(
        "`{key}` {path}: {len} bytes are more than the {most} that this socket's path may have; use \
         a shorter one"
    )]
    TooLong {
        /// The key or flag.
        key: &'static str,
        /// The path, escaped.
        path: String,
        /// Its bytes.
        len: usize,
        /// As many as there may be.
        most: usize,
    },
    /// Somebody listens there.
    #[error("`{key}` {path}: another program listens there; use another path")]
    InUse {
        /// The key or flag.
        key: &'static str,
        /// The path, escaped.
        path: String,
    },
    /// A socket without a listener.
    #[error(
        "`{key}` {path}: it exists, and nobody listens there: remove it, if a program that was \
         killed has left it"
    )]
    Left {
        /// The key or flag.
        key: &'static str,
        /// The path, escaped.
        path: String,
    },
    /// Something else.
    #[error("`{key}` {path}: it exists and is no socket; use another path")]
    Exists {
        /// The key or flag.
        key: &'static str,
        /// The path, escaped.
        path: String,
    },
    /// Its directory.
    #[error("`{key}` {path}: there is no such folder; make it, or use another path")]
    NoFolder {
        /// The key or flag.
        key: &'static str,
        /// The path, escaped.
        path: String,
    },
    /// The kernel refuses.
    #[error("`{key}` {path}: {source}")]
    Bind {
        /// The key or flag.
        key: &'static str,
        /// The path, escaped.
        path: String,
        /// Its reason.
        #[source]
        source: std::io::Error,
    },
}

/// A listening socket at a path. Dropped, it takes the path away, if it is still its own.
#[derive(Debug)]
pub struct PathSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of the path.
    file: Option<(u64, u64)>,
}

impl PathSocket {
    /// Makes it, mode 0600 from its first moment on: whoever may connect to a device's socket has
    /// the device. `key` is where its user has written the path.
    ///
    /// What is at the path already is left alone. A socket that a killed program has left looks
    /// like one whose program is about to listen: the user knows, this program does not.
    ///
    /// # Errors
    /// [`SocketError`].
    pub fn at(key: &'static str, path: &Path) -> Result<Self, SocketError> {
        Self::with_room(key, path, 0)
    }

    /// The same for a path to which others are made by adding so many bytes.
    ///
    /// # Errors
    /// [`SocketError`].
    pub fn with_room(key: &'static str, path: &Path, room: usize) -> Result<Self, SocketError> {
        fits(key, path, room)?;
        let listener = listen(path).map_err(|e| refused(key, path, e.into()))?;
        let file = symlink_metadata(path).ok().map(|file| (file.dev(), file.ino()));
        Ok(Self { listener, path: path.to_owned(), file })
    }

    /// Lets everybody connect who gets into its folder, for a socket that is to its service what a
    /// TCP port would be: the folder's mode says who comes, and nobody has to change the mode of a
    /// socket that is another one after each start.
    ///
    /// Not by its path, at which there can be something else by now (chmod(2) follows links): by
    /// a descriptor of what is there, if that is this socket.
    ///
    /// # Errors
    /// [`SocketError::Bind`].
    pub fn open_to_all(&self, key: &'static str) -> Result<(), SocketError> {
        let widen = || {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let there = open(&self.path, flags, Mode::empty())?;
            let found = fstat(&there)?;
            // That it is a socket, too: who may rename in the folder could have had another file of
            // this user's there when this one's number was taken down.
            let is_socket = rustix::fs::FileType::from_raw_mode(found.st_mode).is_socket();
            if !is_socket || self.file != Some((found.st_dev, found.st_ino)) {
                return Err(Errno::STALE);
            }
            let everybody = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::WGRP;
            let everybody = everybody | Mode::ROTH | Mode::WOTH;
            chmod(format!("/proc/self/fd/{}", there.as_raw_fd()), everybody)
        };
        widen().map_err(|errno| SocketError::Bind {
            key,
            path: shown(&self.path),
            source: errno.into(),
        })
    }

    /// Whether it could be had now, as [`PathSocket::with_room`] would say. Makes nothing: for what
    /// somebody has to admit first.
    ///
    /// # Errors
    /// [`SocketError`].
    pub fn look(key: &'static str, path: &Path, room: usize) -> Result<(), SocketError> {
        fits(key, path, room)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let found = match symlink_metadata(path) {
            Ok(_) => Err(Errno::ADDRINUSE.into()),
            Err(e) if e.kind() != ErrorKind::NotFound => Err(e),
            // The path, or a folder on the way.
            Err(_) => metadata(folder.unwrap_or(Path::new("."))).map(drop),
        };
        found.map_err(|e| refused(key, path, e))
    }

    /// A copy of the socket for a process that polls it: it does not block.
    ///
    /// # Errors
    /// The kernel's.
    pub fn polled(&self) -> std::io::Result<OwnedFd> {
        self.listener.set_nonblocking(true)?;
        self.listener.try_clone().map(OwnedFd::from)
    }

    /// What is at the path as long as it is this socket's, for who removes it.
    #[must_use]
    pub fn place(&self) -> Option<Place> {
        let (device, inode) = self.file?;
        Some(Place { name: self.path.file_name()?.as_bytes().to_vec(), device, inode })
    }

    /// The folder that it is in.
    #[must_use]
    pub fn folder(&self) -> &Path {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        folder.unwrap_or(Path::new("."))
    }

    /// Leaves the path: somebody else removes it.
    pub fn leave(mut self) {
        self.file = None;
    }
}

fn shown(path: &Path) -> String {
    value(path.display()).to_string()
}

/// Refuses a path that is longer than a socket's may be.
fn fits(key: &'static str, path: &Path, room: usize) -> Result<(), SocketError> {
    let (len, most) = (path.as_os_str().as_bytes().len(), LONGEST.saturating_sub(room));
    if len > most {
        Err(SocketError::TooLong { key, path: shown(path), len, most })
    } else {
        Ok(())
    }
}

/// Why no socket can be made at a path, by what the kernel says.
fn refused(key: &'static str, path: &Path, source: std::io::Error) -> SocketError {
    let name = path;
    let path = shown(name);
    match source.kind() {
        ErrorKind::AddrInUse => match is_listened_to(name) {
            Some(true) => SocketError::InUse { key, path },
            Some(false) => SocketError::Left { key, path },
            None => SocketError::Exists { key, path },
        },
        ErrorKind::NotFound | ErrorKind::NotADirectory => SocketError::NoFolder { key, path },
        _ => SocketError::Bind { key, path, source },
    }
}

/// Whether somebody listens at a path that is taken; None where it is no socket.
///
/// Nothing is connected to but a socket that is there itself: a link leads to a socket of somebody
/// who was not meant. And nobody is waited for: a listener whose backlog is full is one
/// (`EAGAIN`, `unix_stream_connect` in net/unix/af_unix.c). Only where the kernel says that nobody
/// listens may the user remove it; a socket of another kind, or of another user, is in use.
fn is_listened_to(path: &Path) -> Option<bool> {
    symlink_metadata(path).ok().filter(|file| file.file_type().is_socket())?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let tried = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
        .and_then(|socket| connect(&socket, &SocketAddrUnix::new(path)?));
    Some(tried != Err(Errno::CONNREFUSED))
}

/// A socket's file gets the mode of the socket itself, less the umask (`unix_bind_bsd` in
/// net/unix/af_unix.c): so it is never there with another.
fn listen(path: &Path) -> Result<UnixListener, Errno> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    rustix::net::listen(&socket, WAITING)?;
    Ok(socket.into())
}

impl AsFd for PathSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl Drop for PathSocket {
    fn drop(&mut self) {
        let now = symlink_metadata(&self.path).ok().map(|file| (file.dev(), file.ino()));
        if now.is_some() && now == self.file {
            let _ = remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        AddressFamily, Errno, LONGEST, PathSocket, SocketAddrUnix, SocketError, SocketFlags,
        SocketType, connect, socket_with,
    };
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("casemate-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir(&folder).unwrap();
        folder
    }

    #[test]
    fn a_socket_is_its_owners_and_goes_with_the_program() {
        let folder = folder("socket");
        let path = folder.join("disk");
        let socket = PathSocket::at("--socket", &path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(matches!(PathSocket::at("--socket", &path), Err(SocketError::InUse { .. })));
        drop(socket);
        assert!(!path.exists());
        std::fs::remove_dir(folder).unwrap();
    }

    /// Protects what lies where a socket was from getting its mode. Cannot tell who gets into the
    /// folder, which is what then decides.
    #[test]
    fn a_socket_that_everybody_may_use_is_this_one_and_nothing_that_took_its_place() {
        let folder = folder("everybody");
        let (path, private) = (folder.join("kbs"), folder.join("private"));
        let mode = |path: &PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let socket = PathSocket::at("listen", &path).unwrap();
        socket.open_to_all("listen").unwrap();
        assert_eq!(mode(&path), 0o666);
        std::fs::write(&private, "").unwrap();
        std::fs::set_permissions(&private, PermissionsExt::from_mode(0o600)).unwrap();
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(&private, &path).unwrap();
        assert!(matches!(socket.open_to_all("listen"), Err(SocketError::Bind { .. })));
        std::fs::rename(&private, &path).unwrap();
        assert!(matches!(socket.open_to_all("listen"), Err(SocketError::Bind { .. })));
        assert_eq!(mode(&path), 0o600);
        drop(socket);
        std::fs::remove_dir_all(folder).unwrap();
    }

    /// Protects what somebody else put there meanwhile.
    #[test]
    fn a_path_that_is_anothers_by_now_is_left_alone() {
        let folder = folder("taken");
        let path = folder.join("disk");
        let socket = PathSocket::at("--socket", &path).unwrap();
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "another's").unwrap();
        drop(socket);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "another's");
        std::fs::remove_dir_all(folder).unwrap();
    }

    /// Protects a start from waiting for somebody who does not accept, and who listens elsewhere
    /// from being connected to through a link. Would wait for ever, or accept, if it did not hold.
    #[test]
    fn who_is_at_the_path_is_not_waited_for_and_a_link_is_not_followed() {
        let folder = folder("full");
        let path = folder.join("full");
        let listener = super::listen(&path).unwrap();
        listener.set_nonblocking(true).unwrap();
        std::os::unix::fs::symlink(&path, folder.join("link")).unwrap();
        let link = PathSocket::at("--socket", &folder.join("link"));
        assert!(matches!(link, Err(SocketError::Exists { .. })));
        let accepted = listener.accept().map(drop).map_err(|e| e.kind());
        assert_eq!(accepted, Err(std::io::ErrorKind::WouldBlock), "through the link");
        // Who has connected and is gone waits in the backlog all the same.
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let knock = || {
            let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
            connect(&socket, &SocketAddrUnix::new(&path)?)
        };
        assert_eq!((0..1000).find_map(|_| knock().err()), Some(Errno::AGAIN));
        assert!(matches!(PathSocket::at("--socket", &path), Err(SocketError::InUse { .. })));
        std::fs::remove_dir_all(folder).unwrap();
    }

    /// Why there can be no socket: a look says the same as the attempt.
    fn tried(path: &std::path::Path) -> SocketError {
        let looked = PathSocket::look("--socket", path, 0).unwrap_err();
        let tried = PathSocket::at("--socket", path).unwrap_err();
        assert_eq!(looked.to_string(), tried.to_string());
        tried
    }

    #[test]
    fn what_is_at_the_path_is_named_and_stays() {
        let folder = folder("there");
        let left = folder.join("left");
        drop(std::os::unix::net::UnixListener::bind(&left).unwrap());
        assert!(matches!(tried(&left), SocketError::Left { .. }));
        let file = folder.join("file");
        std::fs::write(&file, "").unwrap();
        std::os::unix::fs::symlink("nowhere", folder.join("link")).unwrap();
        for path in [file, folder.join("link"), folder.clone()] {
            assert!(matches!(tried(&path), SocketError::Exists { .. }), "{path:?}");
            assert!(path.symlink_metadata().is_ok());
        }
        for path in [folder.join("none/disk"), folder.join("file/disk")] {
            assert!(matches!(tried(&path), SocketError::NoFolder { .. }), "{path:?}");
        }
        let long = folder.join("x".repeat(LONGEST));
        assert!(matches!(tried(&long), SocketError::TooLong { .. }));
        PathSocket::look("--socket", &folder.join("free"), 0).unwrap();
        assert!(!folder.join("free").exists(), "a look makes nothing");
        std::fs::remove_dir_all(folder).unwrap();
    }
}
