//! The sockets of a VM's socket device: looked at before anything is decided about them, made when
//! the policy has admitted the VM.
//!
//! They are in the file system from then on. As long as this process may remove them it does, when
//! the VM does not start; of one that starts a janitor removes them, see [`super::vsock`].

use crate::config::Vsock;
use casemate_device_process::{PathSocket, SocketError};
use casemate_device_vsock::{Connects, Entry, Facts, PORT_ROOM, QUEUES};
use casemate_layout::ports::BROKER_VSOCK_PORT;
use casemate_policy::{DeviceFact, DeviceKind as Kind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A socket device of the configuration, whose sockets are not there yet.
#[derive(Debug)]
pub(super) struct FoundVsock(Vsock);

/// The same with its sockets.
#[derive(Debug)]
pub(super) struct OpenVsock {
    pub(super) facts: Facts,
    pub(super) sockets: Vec<PathSocket>,
    /// What the connector is told; None where the guest may connect to nothing.
    pub(super) connects: Option<Connects>,
    pub(super) directory: PathBuf,
}

/// A socket device whose sockets cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum VsockError {
    /// One of them.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The connector of root's is somebody else, who does not get in.
    #[error(
        "the folder {folder} of the VM's sockets lets only its owner in, and not the process which \
         connects for the guest, user 65534: `chmod o+x` it (without `vsock.ports` and a key broker \
         there is no such process)"
    )]
    Folder {
        /// The folder, escaped.
        folder: String,
    },
}

impl FoundVsock {
    /// Looks at the place of every socket, and makes none.
    ///
    /// # Errors
    /// [`VsockError`] for the first that cannot be had.
    pub(super) fn look(vsock: &Vsock) -> Result<Self, VsockError> {
        if vsock.connects() {
            check_folder(&vsock.directory)?;
        }
        let found = Self(vsock.clone());
        found.places().try_for_each(|(_, key, path, room)| PathSocket::look(key, path, room))?;
        Ok(found)
    }

    /// What leads to the guest: its key, path, and the room that is left for names beside it.
    fn places(&self) -> impl Iterator<Item = (Entry, &'static str, &Path, usize)> {
        let Self(vsock) = self;
        let room = if vsock.ports.is_empty() { 0 } else { PORT_ROOM };
        let path = vsock.path.iter().map(move |path| (Entry::Path, "vsock.path", &**path, room));
        let forwards = vsock.forwards.iter();
        path.chain(
            forwards.map(|(port, path)| (Entry::Port(*port), "vsock.forward.path", &**path, 0)),
        )
    }

    /// Makes every socket.
    ///
    /// # Errors
    /// [`VsockError`] for the first that cannot be had; those before it are removed.
    pub(super) fn open(self) -> Result<OpenVsock, VsockError> {
        let (mut entries, mut sockets) = (Vec::new(), Vec::new());
        for (entry, key, path, room) in self.places() {
            sockets.push(PathSocket::with_room(key, path, room)?);
            entries.push(entry);
        }
        let Self(vsock) = self;
        let name = |path: &Option<PathBuf>| {
            path.as_ref().and_then(|path| path.file_name()).map(|name| name.as_bytes().to_vec())
        };
        let named = name(&vsock.broker).map(|name| (BROKER_VSOCK_PORT, name));
        let mut ports = vsock.ports.clone();
        ports.extend(named.as_ref().map(|(port, _)| *port));
        let connects = vsock.connects().then(|| {
            let name = name(&vsock.path).unwrap_or_default();
            Connects { name, ports: vsock.ports.clone(), named }
        });
        let facts = Facts { cid: vsock.cid, entries, ports };
        Ok(OpenVsock { facts, sockets, connects, directory: vsock.directory })
    }

    /// What the policy is told.
    pub(super) fn fact() -> DeviceFact<'static> {
        DeviceFact {
            kind: Kind::Vsock,
            path: None,
            read_only: false,
            foreign: false,
            queues: QUEUES.into(),
        }
    }
}

/// Whether the connector of root's will get into the directory. Told here, where somebody reads it:
/// later the guest would be refused and nobody know why.
fn check_folder(directory: &Path) -> Result<(), VsockError> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    match std::fs::metadata(directory) {
        Ok(folder) if folder.permissions().mode() & 0o001 == 0 => {
            let folder = casemate_foreign_text::value(directory.display()).to_string();
            Err(VsockError::Folder { folder })
        }
        // What is wrong with it otherwise, making the socket says.
        _ => Ok(()),
    }
}
