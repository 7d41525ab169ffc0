//! The device over a queue in memory and a pair of sockets in place of a TAP, and the filter.
//! Protects: what a guest and its network send is read once, bounded, decided and answered; cannot
//! tell what a kernel makes of the frames: `net_process` has one.

use crate::filter::{Filter, Refusal, Verdict};
use crate::frame::{Content, Frame, Transport, Unread};
use crate::header::{HEADER, MAX_FRAME, feature};
use crate::{Facts, Net, Over, Refused, Watcher};
use casemate_device_backend::{Limits, PolledDevice, Rate, Served, Throttle};
use casemate_device_queue::{GuestMemory, Memory, Negotiating, Region, RingAddresses, Running};
use casemate_policy::{NetworkRules, Policy};
use casemate_values::Guest;
use proptest::prelude::*;
use rustix::event::PollFlags;
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const MAC: [u8; 6] = [0x52, 0x54, 0, 0, 0, 2];
const CARD: [u8; 6] = [0x52, 0x54, 0, 0, 0, 1];
const SIZE: u16 = 8;
const RINGS: [RingAddresses; 2] = [
    RingAddresses { descriptors: 0, available: 0x200, used: 0x400 },
    RingAddresses { descriptors: 0x800, available: 0xa00, used: 0xc00 },
];
const IN: u64 = 0x1000;
const OUT: u64 = 0x8_0000;

#[derive(Debug, Default, Clone)]
struct Heard(Arc<Mutex<(Vec<Refused>, Option<Over>)>>);

impl Watcher for Heard {
    fn refused(&self, refused: Refused) {
        self.0.lock().unwrap().0.push(refused);
    }
    fn over(&self, why: Over) {
        self.0.lock().unwrap().1 = Some(why);
    }
}

/// A device, its guest's memory and queues, and the other end of what it takes for a TAP.
struct Machine {
    net: Net,
    memory: Memory,
    queues: [Running; 2],
    available: [u16; 2],
    used: [u16; 2],
    other: OwnedFd,
    heard: Heard,
}

impl Machine {
    fn new(rules: NetworkRules, features: u64) -> Self {
        let file = memfd_create("guest", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&file, 0x20_0000).unwrap();
        let memory = Memory::new(vec![Region::map(&file, 0, 0, 0x20_0000).unwrap()]).unwrap();
        let queues = RINGS.map(|rings| {
            let mut queue = Negotiating::default();
            queue.set_size(Guest::new(SIZE.into())).unwrap();
            queue.set_rings(rings);
            queue.activate(&memory).unwrap()
        });
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (tap, other) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        let limits = Limits::default();
        let facts = Facts { mac: MAC, mtu: 1500, offered: feature::OFFLOADS, limits, rules };
        let heard = Heard::default();
        let mut net = Net::new(&facts, tap, Box::new(heard.clone()));
        net.negotiated(features);
        net.started(false);
        Self { net, memory, queues, available: [0; 2], used: [0; 2], other, heard }
    }

    /// Its guest is held back from now on.
    fn throttle(&mut self, throttle: Arc<Throttle>) {
        self.net.set_throttle(throttle);
    }

    /// Offers a chain of these parts: address, length, whether the device writes.
    fn offer(&mut self, queue: usize, head: u16, parts: &[(u64, u32, bool)]) {
        for (index, (gpa, len, write)) in (head..).zip(parts) {
            let at = RINGS[queue].descriptors + 16 * u64::from(index);
            let more = usize::from(index - head) + 1 < parts.len();
            let flags = u16::from(more) | if *write { 2 } else { 0 };
            self.memory.write(at, &gpa.to_le_bytes()).unwrap();
            self.memory.write(at + 8, &len.to_le_bytes()).unwrap();
            self.memory.write(at + 12, &flags.to_le_bytes()).unwrap();
            self.memory.write(at + 14, &(index + 1).to_le_bytes()).unwrap();
        }
        let at = RINGS[queue].available;
        let slot = u64::from(self.available[queue] % SIZE);
        self.memory.write(at + 4 + 2 * slot, &head.to_le_bytes()).unwrap();
        self.available[queue] += 1;
        self.memory.store(at + 2, self.available[queue]).unwrap();
    }

    fn turn(&mut self) -> bool {
        let [receive, transmit] = &mut self.queues;
        let tell = || ();
        let mut served =
            [Served::new(receive, &self.memory, &tell), Served::new(transmit, &self.memory, &tell)];
        self.net.turn(&mut served, &[PollFlags::IN], &|| false).unwrap()
    }

    /// The answers that the driver sees and has not seen: heads and lengths.
    fn answers(&mut self, queue: usize) -> Vec<(u32, u32)> {
        let index = self.memory.load(RINGS[queue].used + 2).unwrap();
        let mut all = Vec::new();
        while self.used[queue] != index {
            let mut entry = [0; 8];
            let at = RINGS[queue].used + 4 + 8 * u64::from(self.used[queue] % SIZE);
            self.memory.read(at, &mut entry).unwrap();
            let word = |at: usize| u32::from_le_bytes(entry[at..at + 4].try_into().unwrap());
            all.push((word(0), word(4)));
            self.used[queue] += 1;
        }
        all
    }

    fn send(&mut self, frame: &[u8]) {
        self.send_with([0; HEADER], frame);
    }

    fn send_with(&mut self, header: [u8; HEADER], frame: &[u8]) {
        self.memory.write(OUT, &header).unwrap();
        self.memory.write(OUT + HEADER as u64, frame).unwrap();
        self.offer(1, 0, &[(OUT, (HEADER + frame.len()) as u32, false)]);
        self.turn();
        assert_eq!(self.answers(1), [(0, 0)]);
    }

    /// What came out, without its header.
    fn came_out(&self) -> Option<Vec<u8>> {
        let mut bytes = vec![0; HEADER + MAX_FRAME];
        let len = rustix::io::read(&self.other, &mut bytes[..]).ok()?;
        Some(bytes[HEADER..len].to_vec())
    }

    fn comes_in(&self, frame: &[u8]) {
        let whole = [&[0; HEADER][..], frame].concat();
        rustix::io::write(&self.other, &whole).unwrap();
    }

    fn read(&self, gpa: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.memory.read(gpa, &mut bytes).unwrap();
        bytes
    }
}

/// A packet of UDP between these, over IPv4.
fn udp(source: [u8; 6], from: ([u8; 4], u16), to: ([u8; 4], u16)) -> Vec<u8> {
    let mut frame =
        [&CARD[..], &source, &[8, 0, 0x45, 0, 0, 29, 0, 0, 0, 0, 64, 17, 0, 0]].concat();
    frame.extend(from.0);
    frame.extend(to.0);
    frame.extend(from.1.to_be_bytes());
    frame.extend(to.1.to_be_bytes());
    frame.extend([0, 9, 0, 0, b'x']);
    frame
}

/// The same as it comes to the guest's card.
fn to_the_guest(mut frame: Vec<u8>) -> Vec<u8> {
    frame[..6].copy_from_slice(&MAC);
    frame
}

const GUEST: [u8; 4] = [10, 0, 0, 2];
const HOST: [u8; 4] = [10, 0, 0, 1];

fn rules(network: &str) -> NetworkRules {
    let head = "schema_version = 1\nmin_engine = \"0.1.0\"\nname = \"n\"\n[network]\n";
    Policy::load(&format!("{head}{network}"), "n.toml").unwrap().network_rules()
}

const ONE: &str = "egress = [{ cidr = \"10.0.0.1/32\", ports = 53, protocol = \"udp\" }]\n";

mod filter;
mod queue;
mod sums;
