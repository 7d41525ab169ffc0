//! Frames through `casemate device net`, locked as it is, against a plain loop of reads and writes
//! over a TAP of the same kind in the same network namespace, by the same driver; interleaved, the
//! best round of each. Frames of 1442 bytes, the least work of the kernel's for a byte that needs
//! no offload. Skipped, and said so, not as root and without network namespaces. The goal is 0.9.
//!
//! `cargo bench -p casemate --bench net [-- ROUNDS]`
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a measurement stops at what goes wrong"
)]

use casemate_device_net::{Tap, Wanted, feature};
use casemate_test_devices::driver::DATA;
use casemate_test_devices::net::{BUFFER, GUEST, Guest, HEADER, HOST, MAC, udp};
use casemate_test_devices::scratch::Scratch;
use casemate_test_support::network::{ip, own_network};
use casemate_test_support::shipped;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{read, write};
use std::net::UdpSocket;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Frames of one measurement, and of one batch of the driver.
const FRAMES: u32 = 60_000;
const BATCH: u16 = 64;
const PAYLOAD: usize = 1400;
const OUT: u64 = DATA + 0x40_0000;
const TRANSMIT: usize = 1;
const RECEIVE: usize = 0;
const MAC_TEXT: &str = "52:54:00:00:00:02";

/// The host's side: its address on the TAP, the guest's as a neighbour, a socket that takes what
/// the guest sends and another that sends without end.
struct Host {
    card: [u8; 6],
    sink: UdpSocket,
    over: Arc<AtomicBool>,
}

impl Host {
    fn new(tap: &str) -> Self {
        assert!(ip(&["address", "add", &format!("{HOST}/24"), "dev", tap]));
        let neighbour = ["neighbour", "add", &GUEST.to_string(), "lladdr", MAC_TEXT, "dev", tap];
        assert!(ip(&neighbour));
        let shown = Command::new("ip").args(["link", "show", "dev", tap]).output().unwrap();
        let shown = String::from_utf8(shown.stdout).unwrap();
        let card = shown.split("link/ether ").nth(1).unwrap().get(..17).unwrap();
        let card: Vec<u8> =
            card.split(':').map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect();
        let sink = UdpSocket::bind((HOST, 0)).unwrap();
        Self { card: card.try_into().unwrap(), sink, over: Arc::default() }
    }

    fn frame(&self) -> Vec<u8> {
        let port = self.sink.local_addr().unwrap().port();
        udp(self.card, HOST, (7, port), &[0x5a; PAYLOAD])
    }

    /// Sends datagrams to the guest until the host is dropped.
    fn sends(&self) {
        let (over, socket) = (self.over.clone(), UdpSocket::bind((HOST, 0)).unwrap());
        std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                let _ = socket.send_to(&[0x5a; PAYLOAD], (GUEST, 7));
            }
        });
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

fn per_second(begun: Instant) -> f64 {
    f64::from(FRAMES) / begun.elapsed().as_secs_f64()
}

/// Frames a second out of a plain loop, and into it.
fn plain(number: u32) -> [f64; 2] {
    let name = format!("plain{number}");
    let tap = Tap::open(&Wanted::New { name: name.clone(), mtu: 1500 }).unwrap();
    let host = Host::new(&name);
    let frame = [&[0; HEADER][..], &host.frame()].concat();
    let begun = Instant::now();
    for _ in 0..FRAMES {
        write(tap.file(), &frame).unwrap();
    }
    let out = per_second(begun);
    host.sends();
    let (mut left, mut buffer, begun) = (FRAMES, vec![0; 65_536], Instant::now());
    while left > 0 {
        match read(tap.file(), &mut buffer[..]) {
            Ok(len) => left -= u32::from(len > PAYLOAD),
            Err(_) => {
                let _ = poll(&mut [PollFd::new(tap.file(), PollFlags::IN)], None);
            }
        }
    }
    [out, per_second(begun)]
}

/// The command, and its driver.
struct Device {
    command: Child,
    guest: Guest,
    host: Host,
    _scratch: Scratch,
}

impl Device {
    fn start(number: u32) -> Self {
        let (scratch, name) = (Scratch::new(), format!("device{number}"));
        let socket = scratch.path("socket");
        let mut command = Command::new(shipped(env!("CARGO_BIN_EXE_casemate")))
            .args(["device", "net", "--once", "--create", "--tap", &name, "--mac", MAC_TEXT])
            .arg("--socket")
            .arg(&socket)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let stream = loop {
            assert!(command.try_wait().unwrap().is_none(), "it does not serve");
            if let Ok(stream) = UnixStream::connect(&socket) {
                break stream;
            }
        };
        let mut guest = Guest::new(stream);
        guest.begin(feature::MRG_RXBUF);
        Self { command, guest, host: Host::new(&name), _scratch: scratch }
    }

    fn out(&mut self) -> f64 {
        let frame = [&[0; HEADER][..], &self.host.frame()].concat();
        let driver = &mut self.guest.driver;
        let len = u32::try_from(frame.len()).unwrap();
        for head in 0..BATCH {
            let at = OUT + u64::from(head) * 0x1000;
            driver.ram.write(at, &frame);
            driver.chain(TRANSMIT, head, &[(at, len, false)]);
        }
        let begun = Instant::now();
        let (mut given, mut taken) = (0, 0);
        while taken < FRAMES {
            // As a driver with much to send: whatever comes back goes out again.
            while given < FRAMES && given - taken < u32::from(BATCH) {
                driver.put(TRANSMIT, (given % u32::from(BATCH)) as u16);
                given += 1;
            }
            driver.publish(TRANSMIT);
            driver.wait(TRANSMIT).unwrap();
            taken += 1;
            while driver.answer(TRANSMIT).is_some() {
                taken += 1;
            }
        }
        per_second(begun)
    }

    fn received(&mut self) -> f64 {
        self.host.sends();
        let driver = &mut self.guest.driver;
        let (mut left, begun) = (FRAMES, Instant::now());
        while left > 0 {
            let mut next = driver.wait(RECEIVE);
            while let Some((head, len)) = next {
                left = left.saturating_sub(u32::from(len > PAYLOAD as u32));
                let at = DATA + u64::from(head) * u64::from(BUFFER);
                driver.chain(RECEIVE, head as u16, &[(at, BUFFER, true)]);
                driver.put(RECEIVE, head as u16);
                next = driver.answer(RECEIVE);
            }
            driver.publish(RECEIVE);
        }
        per_second(begun)
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let _ = self.command.kill();
        let _ = self.command.wait();
    }
}

fn main() {
    let root = rustix::process::geteuid().is_root();
    if !root || !own_network() {
        println!(
            "frames through a TAP: SKIPPED: network devices need root, a network namespace, `ip`"
        );
        return;
    }
    assert_eq!(MAC, [0x52, 0x54, 0, 0, 0, 2]);
    let rounds = std::env::args().find_map(|word| word.parse().ok()).unwrap_or(5_u32);
    let (mut loops, mut devices) = ([0_f64; 2], [0_f64; 2]);
    for number in 0..rounds {
        for (best, now) in loops.iter_mut().zip(plain(number)) {
            *best = best.max(now);
        }
        let mut device = Device::start(number);
        for (best, now) in devices.iter_mut().zip([device.out(), device.received()]) {
            *best = best.max(now);
        }
    }
    for (what, (device, plain)) in ["out", "in"].into_iter().zip(devices.into_iter().zip(loops)) {
        println!(
            "frames of 1442 bytes {what} through a TAP, best of {rounds}: {device:.0} a second, a plain \
             loop {plain:.0}, ratio {:.2} (goal 0.9)",
            device / plain
        );
    }
}
