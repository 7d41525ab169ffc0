//! The sockets of a VM's socket device, made before anything is decided about them.
//!
//! They are in the file system from then on. As long as this process may remove them it does, when
//! the VM does not start; of one that starts a janitor removes them, see [`super::vsock`].

use crate::config::Vsock;
use casemate_device_process::{PathSocket, SocketError};
use casemate_device_vsock::{Connects, Entry, Facts, PORT_ROOM, QUEUES};
use casemate_policy::{DeviceFact, DeviceKind as Kind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// A socket device of the configuration, with its sockets.
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
        "`vsock.path`: its folder {folder} lets only its owner in, so that the process which \
         connects for the guest, user 65534, does not: `chmod o+x` it, or leave `vsock.ports` out"
    )]
    Folder {
        /// The folder, escaped.
        folder: String,
    },
}

impl OpenVsock {
    /// Makes every socket.
    ///
    /// # Errors
    /// [`VsockError`] for the first that cannot be had; those before it are removed.
    pub(super) fn open(vsock: &Vsock) -> Result<Self, VsockError> {
        let with_ports = !vsock.ports.is_empty();
        if with_ports {
            check_folder(&vsock.directory)?;
        }
        let (mut entries, mut sockets) = (Vec::new(), Vec::new());
        if let Some(path) = &vsock.path {
            let room = if with_ports { PORT_ROOM } else { 0 };
            sockets.push(PathSocket::with_room("vsock.path", path, room)?);
            entries.push(Entry::Path);
        }
        for (port, path) in &vsock.forwards {
            sockets.push(PathSocket::at("vsock.forward.path", path)?);
            entries.push(Entry::Port(*port));
        }
        let name = vsock.path.as_ref().and_then(|path| path.file_name());
        let connects = name
            .filter(|_| with_ports)
            .map(|name| Connects { name: name.as_bytes().to_vec(), ports: vsock.ports.clone() });
        let facts = Facts { cid: vsock.cid, entries, ports: vsock.ports.clone() };
        Ok(Self { facts, sockets, connects, directory: vsock.directory.clone() })
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
fn check_folder(directory: &std::path::Path) -> Result<(), VsockError> {
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
