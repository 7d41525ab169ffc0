//! A socket in the file system: made for its owner only, and removed with the program.

use casemate_foreign_text::value;
use rustix::fs::{Mode, fchmod};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, socket_with};
use std::fs::{remove_file, symlink_metadata};
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Longest path of a socket, bytes: `sun_path` of unix(7), and a zero behind it.
const LONGEST: usize = 107;

/// Front ends that may wait for the one before to end.
const WAITING: i32 = 4;

/// Why a socket cannot be had at a path.
#[derive(Debug, thiserror::Error)]
pub(super) enum SocketError {
    #[error("`--socket` {0}: {1} bytes are more than the {LONGEST} that a socket's path may have")]
    TooLong(String, usize),
    #[error("`--socket` {0}: another program listens there; use another path")]
    InUse(String),
    #[error(
        "`--socket` {0}: it exists, and nobody listens there: remove it, if a program that was \
         killed has left it"
    )]
    Left(String),
    #[error("`--socket` {0}: it exists and is no socket; use another path")]
    Exists(String),
    #[error("`--socket` {0}: there is no such folder")]
    NoFolder(String),
    #[error("`--socket` {path}: {source}")]
    Bind {
        path: String,
        #[source]
        source: std::io::Error,
    },
}

/// A listening socket at a path. Dropped, it takes the path away, if it is still its own.
#[derive(Debug)]
pub(super) struct PathSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of the path.
    file: Option<(u64, u64)>,
}

impl PathSocket {
    /// Makes it, mode 0600 from its first moment on: whoever may connect to a disk's socket has the
    /// disk.
    ///
    /// What is at the path already is left alone. A socket that a killed program has left looks
    /// like one whose program is about to listen: the user knows, this program does not.
    ///
    /// # Errors
    /// [`SocketError`].
    pub(super) fn at(path: &Path) -> Result<Self, SocketError> {
        let shown = || value(path.display()).to_string();
        let len = path.as_os_str().as_bytes().len();
        if len > LONGEST {
            return Err(SocketError::TooLong(shown(), len));
        }
        let listener = listen(path).map_err(std::io::Error::from);
        let listener = listener.map_err(|source| match source.kind() {
            ErrorKind::AddrInUse => {
                let found = symlink_metadata(path).map(|file| file.file_type().is_socket());
                match (found, UnixStream::connect(path)) {
                    (Ok(true), Ok(_)) => SocketError::InUse(shown()),
                    (Ok(true), Err(_)) => SocketError::Left(shown()),
                    _ => SocketError::Exists(shown()),
                }
            }
            ErrorKind::NotFound | ErrorKind::NotADirectory => SocketError::NoFolder(shown()),
            _ => SocketError::Bind { path: shown(), source },
        })?;
        let file = symlink_metadata(path).ok().map(|file| (file.dev(), file.ino()));
        Ok(Self { listener, path: path.to_owned(), file })
    }
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
    use super::{LONGEST, PathSocket, SocketError};
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
        let socket = PathSocket::at(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(matches!(PathSocket::at(&path), Err(SocketError::InUse(_))));
        drop(socket);
        assert!(!path.exists());
        std::fs::remove_dir(folder).unwrap();
    }

    /// Protects what somebody else put there meanwhile.
    #[test]
    fn a_path_that_is_anothers_by_now_is_left_alone() {
        let folder = folder("taken");
        let path = folder.join("disk");
        let socket = PathSocket::at(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "another's").unwrap();
        drop(socket);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "another's");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_is_at_the_path_is_named_and_stays() {
        let folder = folder("there");
        let left = folder.join("left");
        drop(std::os::unix::net::UnixListener::bind(&left).unwrap());
        assert!(matches!(PathSocket::at(&left), Err(SocketError::Left(_))));
        let file = folder.join("file");
        std::fs::write(&file, "").unwrap();
        std::os::unix::fs::symlink("nowhere", folder.join("link")).unwrap();
        for path in [file, folder.join("link"), folder.clone()] {
            assert!(matches!(PathSocket::at(&path), Err(SocketError::Exists(_))), "{path:?}");
            assert!(path.symlink_metadata().is_ok());
        }
        for path in [folder.join("none/disk"), folder.join("file/disk")] {
            assert!(matches!(PathSocket::at(&path), Err(SocketError::NoFolder(_))), "{path:?}");
        }
        let long = folder.join("x".repeat(LONGEST));
        assert!(matches!(PathSocket::at(&long), Err(SocketError::TooLong(..))));
        std::fs::remove_dir_all(folder).unwrap();
    }
}
