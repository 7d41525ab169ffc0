//! A network device, everybody else's ends, and the TAP that it is over.

use casemate_device_net::{Facts, Tap, Wanted, layers};
use casemate_device_process::{DeviceKind, FrontEnd, Limits, Start, spawn};
use casemate_policy::{NetworkRules, Policy};
use casemate_sandbox::{Child, Image, Layer, Layers};
use casemate_test_devices::net::{Guest, HOST, MAC};
use casemate_test_support::device::pair;
use casemate_test_support::network::ip;
use rustix::net::SocketType;
use std::net::UdpSocket;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU32, Ordering};

pub static IMAGE: &[u8] = include_bytes!(env!("CASEMATE_DEVICE_IMAGE"));

static NEXT: AtomicU32 = AtomicU32::new(0);

/// The name of the TAP that was made last.
pub fn last_tap() -> String {
    format!("net{}", NEXT.load(Ordering::Relaxed) - 1)
}

/// A new TAP with the host's address on it.
pub fn tap() -> Tap {
    let name = format!("net{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let tap = Tap::open(&Wanted::New { name: name.clone(), mtu: 1500 }).unwrap();
    assert!(ip(&["address", "add", &format!("{HOST}/24"), "dev", &name]));
    tap
}

/// The rules of a policy with this `[network]` table.
pub fn rules(network: &str) -> NetworkRules {
    let head = "schema_version = 1\nmin_engine = \"0.1.0\"\nname = \"n\"\n[network]\n";
    Policy::load(&format!("{head}{network}"), "n.toml").unwrap().network_rules()
}

/// Rules that let the guest open connections to one port of the host.
pub fn one_port(port: u16, more: &str) -> NetworkRules {
    rules(&format!(
        "egress = [{{ cidr = \"{HOST}/32\", ports = {port}, protocol = \"udp\" }}]\n{more}\n"
    ))
}

pub fn start(front_end: FrontEnd, tap: &Tap, rules: NetworkRules) -> Start {
    let limits = Limits::default();
    let facts = Facts { mac: MAC, mtu: 1500, offered: tap.offered(), limits, rules };
    Start { kind: DeviceKind::Net, front_end, config: facts.encode() }
}

/// A device, and everybody else's ends.
pub struct Device {
    pub child: Child,
    pub control: OwnedFd,
    pub guest: Guest,
    pub host: UdpSocket,
}

pub fn fenced() -> Layers {
    layers("device").with(Layer::MemoryFence)
}

pub fn raw_device(
    front_end: FrontEnd,
    rules: NetworkRules,
    before: impl FnOnce(&Child),
) -> (Child, OwnedFd, UnixStream, UdpSocket) {
    let tap = tap();
    let image = Image::new("casemate-device", IMAGE).unwrap();
    let (socket, theirs) = pair(SocketType::STREAM);
    let (control, its_control) = pair(SocketType::SEQPACKET);
    let start = start(front_end, &tap, rules);
    let own = [tap.file().as_fd()];
    let child = spawn(&image, fenced(), &start, &theirs, &its_control, &own, before).unwrap();
    let host = UdpSocket::bind((HOST, 0)).unwrap();
    host.set_read_timeout(Some(std::time::Duration::from_secs(60))).unwrap();
    (child, control, socket.into(), host)
}

/// A device whose guest has begun, with these features.
pub fn device(rules: NetworkRules, features: u64) -> Device {
    let (child, control, socket, host) = raw_device(FrontEnd::Ours, rules, |_| ());
    let mut guest = Guest::new(socket);
    guest.that_was_all();
    guest.begin(features);
    Device { child, control, guest, host }
}

impl Device {
    pub fn port(&self) -> u16 {
        self.host.local_addr().unwrap().port()
    }

    /// What the host hears next.
    pub fn heard(&self) -> Vec<u8> {
        let mut bytes = [0; 65_536];
        let (len, _) = self.host.recv_from(&mut bytes).unwrap();
        bytes[..len].to_vec()
    }
}
