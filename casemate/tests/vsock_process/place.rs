//! A socket device with its connector, everybody else's ends, and where its sockets are.

use casemate_device_process::{
    DeviceKind, FrontEnd, PathSocket, Start, connector_layers, spawn, spawn_connector,
};
use casemate_device_vsock::profile::layers;
use casemate_device_vsock::{Connects, Entry, Facts};
use casemate_sandbox::{Child, Image, Layer, Layers};
use casemate_test_devices::scratch::Scratch;
use casemate_test_devices::vsock::CID;
use casemate_test_support::device::pair;
use rustix::net::SocketType;
use std::fs::Permissions;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

pub static IMAGE: &[u8] = include_bytes!(env!("CASEMATE_DEVICE_IMAGE"));
/// The port of the host that the guest may connect to.
pub const PORT: u32 = 52;

/// A folder that every user gets into, with the device's sockets and one of the host's.
pub struct Place {
    pub scratch: Scratch,
    pub host: UnixListener,
    pub path: PathSocket,
    pub forward: PathSocket,
}

impl Place {
    pub fn new() -> Self {
        let scratch = Scratch::new();
        let folder = scratch.path("v").parent().unwrap().to_owned();
        std::fs::set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
        let name = scratch.path(&format!("v_{PORT}"));
        let host = UnixListener::bind(&name).unwrap();
        std::fs::set_permissions(&name, Permissions::from_mode(0o777)).unwrap();
        let path = PathSocket::at("path", &scratch.path("v")).unwrap();
        let forward = PathSocket::at("forward", &scratch.path("f")).unwrap();
        Self { scratch, host, path, forward }
    }

    pub fn folder(&self) -> PathBuf {
        self.scratch.path("v").parent().unwrap().to_owned()
    }

    pub fn facts() -> Facts {
        Facts { cid: CID, entries: vec![Entry::Path, Entry::Port(22)], ports: vec![PORT] }
    }

    pub fn connects() -> Connects {
        Connects { name: b"v".to_vec(), ports: vec![PORT], named: None }
    }

    pub fn start(front_end: FrontEnd) -> Start {
        Start { kind: DeviceKind::Vsock, front_end, config: Self::facts().encode() }
    }

    pub fn listeners(&self) -> [OwnedFd; 2] {
        [self.path.polled().unwrap(), self.forward.polled().unwrap()]
    }
}

/// A device with its connector, and everybody else's ends.
pub struct Device {
    pub child: Child,
    pub control: OwnedFd,
    pub connector: Child,
    pub socket: UnixStream,
    pub place: Place,
}

pub fn fenced() -> Layers {
    layers("device").with(Layer::MemoryFence)
}

pub fn device(front_end: FrontEnd, before: impl FnOnce(&Child)) -> Device {
    device_beside(front_end, |_| (), before)
}

pub fn device_beside(
    front_end: FrontEnd,
    before_connector: impl FnOnce(&Child),
    before: impl FnOnce(&Child),
) -> Device {
    let place = Place::new();
    let image = Image::new("casemate-device", IMAGE).unwrap();
    let (channel, its_channel) = pair(SocketType::SEQPACKET);
    let (_said, its_control) = pair(SocketType::SEQPACKET);
    let connector = spawn_connector(
        &image,
        connector_layers(&place.folder()),
        &Place::connects(),
        &its_channel,
        &its_control,
        before_connector,
    );
    let (socket, theirs) = pair(SocketType::STREAM);
    let (control, its_control) = pair(SocketType::SEQPACKET);
    let [path, forward] = place.listeners();
    let own = [path.as_fd(), forward.as_fd(), channel.as_fd()];
    let start = Place::start(front_end);
    let child = spawn(&image, fenced(), &start, &theirs, &its_control, &own, before);
    Device {
        child: child.unwrap(),
        control,
        connector: connector.unwrap(),
        socket: socket.into(),
        place,
    }
}
