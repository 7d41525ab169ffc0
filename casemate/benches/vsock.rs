//! Streams through `casemate device vsock`, locked as it is, beside vhost-device-vsock: the same
//! driver, which sends packets of 64 KiB and posts buffers of 4 KiB as Linux does, and the same
//! programs at the other ends; interleaved, medians of the rounds. A round trip is 64 bytes that
//! the host sends back. Without vhost-device-vsock, which `tests/host/others` fetches and nothing
//! installs, only ours is printed. The goals are 1.0.
//!
//! `cargo bench -p casemate --bench vsock [-- ROUNDS]`
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a measurement stops at what goes wrong"
)]

use casemate_device_vsock::{Credit, HEADER, HOST, Op, Ports, Sent};
use casemate_test_devices::driver::DATA;
use casemate_test_devices::scratch::Scratch;
use casemate_test_devices::vsock::{CID, Guest};
use casemate_test_support::shipped;
use std::fs::Permissions;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Bytes of a stream that is measured, of a packet of the guest, of a buffer for what comes.
const STREAM: u64 = 256 << 20;
const PACKET: u32 = 64 << 10;
const BUFFER: u64 = 4096;
const BUFFERS: u16 = 128;
/// What the guest can take, as Linux has it (`VIRTIO_VSOCK_DEFAULT_BUFFER_SIZE`).
const ROOM: u32 = 256 << 10;
/// Packets of the guest that are under way at most, and where they are.
const SLOTS: u16 = 16;
const OUT: u64 = 0x80_0000;
const SLOT: u64 = 0x2_0000;
const TRIPS: u32 = 20_000;
const TRIP: u32 = 64;
const PORT: u32 = 52;
const RECEIVE: usize = 0;
const TRANSMIT: usize = 1;

/// A connection of the guest's, and the packets of both queues.
struct Line {
    guest: Guest,
    ports: Ports,
    free: Vec<u16>,
    sent: u32,
    host: Credit,
    received: u32,
    told: u32,
    accepted: bool,
}

/// A number of a packet's header.
fn word(header: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(header[at..at + 4].try_into().unwrap())
}

impl Line {
    fn new(mut guest: Guest) -> Self {
        guest.driver.ram.write(DATA, &vec![0; BUFFER as usize * usize::from(BUFFERS)]);
        guest.driver.ram.write(OUT, &vec![0; SLOT as usize * usize::from(SLOTS)]);
        guest.begin();
        // Those that it has posted are the first.
        (guest.driver.queues[RECEIVE].available..BUFFERS).for_each(|index| guest.post(index));
        let ports = Ports { guest: 1024, host: PORT };
        let free = (0..SLOTS).collect();
        let host = Credit::default();
        Self { guest, ports, free, sent: 0, host, received: 0, told: 0, accepted: false }
    }

    /// Sends a packet, if a place for it is free.
    fn send(&mut self, op: Op, len: u32) -> bool {
        let Some(slot) = self.free.pop() else { return false };
        let header = Sent {
            from_cid: CID,
            to_cid: HOST,
            // As the host would write it.
            ports: Ports { guest: self.ports.host, host: self.ports.guest },
            len,
            kind: 1,
            op,
            flags: 0,
            credit: Credit { size: ROOM, taken: self.received },
        };
        let (at, driver) = (OUT + SLOT * u64::from(slot), &mut self.guest.driver);
        driver.ram.write(at, &header.encode());
        let parts = [(at, HEADER, false), (at + u64::from(HEADER), len, false)];
        driver.chain(TRANSMIT, slot * 2, if len == 0 { &parts[..1] } else { &parts });
        driver.put(TRANSMIT, slot * 2);
        driver.publish(TRANSMIT);
        (self.sent, self.told) = (self.sent.wrapping_add(len), self.received);
        true
    }

    /// Bytes that the host can take.
    const fn room(&self) -> u32 {
        self.host.size.saturating_sub(self.sent.wrapping_sub(self.host.taken))
    }

    /// Takes what has come; whether something has.
    fn take(&mut self) -> bool {
        let (mut some, mut asked, mut posted) = (false, false, false);
        while let Some((head, _)) = self.guest.driver.answer(TRANSMIT) {
            self.free.push(head as u16 / 2);
            some = true;
        }
        while let Some((head, _)) = self.guest.driver.answer(RECEIVE) {
            let driver = &mut self.guest.driver;
            let at = DATA + u64::from(head) * BUFFER;
            let header = driver.ram.read(at, HEADER as usize);
            let op = word(&header, 28) >> 16;
            self.host = Credit { size: word(&header, 36), taken: word(&header, 40) };
            self.accepted |= op == Op::Response as u32;
            asked |= op == Op::CreditRequest as u32;
            if op == Op::Data as u32 {
                self.received = self.received.wrapping_add(word(&header, 24));
            }
            assert!(![3, 4].contains(&op), "the connection has ended");
            driver.chain(RECEIVE, head as u16, &[(at, BUFFER as u32, true)]);
            driver.put(RECEIVE, head as u16);
            (some, posted) = (true, true);
        }
        if posted {
            self.guest.driver.publish(RECEIVE);
        }
        if asked || self.received.wrapping_sub(self.told) > ROOM / 2 {
            self.send(Op::CreditUpdate, 0);
        }
        some
    }

    /// Waits until one of the queues has an answer.
    fn wait(&mut self) {
        if self.take() {
            return;
        }
        self.guest.driver.called(&[RECEIVE, TRANSMIT]);
        self.take();
    }

    /// Begins a connection to who listens.
    fn connect(&mut self, listener: &UnixListener) -> UnixStream {
        self.ports.guest += 1;
        (self.sent, self.received, self.told, self.accepted) = (0, 0, 0, false);
        assert!(self.send(Op::Request, 0));
        let (stream, _) = listener.accept().unwrap();
        while !self.accepted {
            self.wait();
        }
        stream
    }

    /// MiB a second from the guest to the host.
    fn out(&mut self, stream: &UnixStream) -> f64 {
        let mut host = stream.try_clone().unwrap();
        let reader = std::thread::spawn(move || {
            let (mut buffer, mut left) = (vec![0; 256 << 10], STREAM);
            while left > 0 {
                left -= host.read(&mut buffer).unwrap() as u64;
            }
        });
        let (mut left, begun) = (STREAM, Instant::now());
        while left > 0 {
            // As Linux does: what fits, if anything.
            let len = self.room().min(left.min(PACKET.into()) as u32);
            if len > 0 && self.send(Op::Data, len) {
                left -= u64::from(len);
                self.take();
            } else {
                self.wait();
            }
        }
        reader.join().unwrap();
        (STREAM >> 20) as f64 / begun.elapsed().as_secs_f64()
    }

    /// MiB a second from the host to the guest.
    fn back(&mut self, stream: &UnixStream) -> f64 {
        let mut host = stream.try_clone().unwrap();
        let (end, begun) = (self.received.wrapping_add(STREAM as u32), Instant::now());
        let writer = std::thread::spawn(move || {
            let bytes = vec![0x5a; 256 << 10];
            (0..STREAM / bytes.len() as u64).for_each(|_| host.write_all(&bytes).unwrap());
        });
        while self.received != end {
            self.wait();
        }
        writer.join().unwrap();
        (STREAM >> 20) as f64 / begun.elapsed().as_secs_f64()
    }

    /// Round trips a second.
    fn trips(&mut self, stream: &UnixStream) -> f64 {
        let mut host = stream.try_clone().unwrap();
        let echo = std::thread::spawn(move || {
            let mut bytes = [0; TRIP as usize];
            for _ in 0..TRIPS {
                host.read_exact(&mut bytes).unwrap();
                host.write_all(&bytes).unwrap();
            }
        });
        let begun = Instant::now();
        for _ in 0..TRIPS {
            let end = self.received.wrapping_add(TRIP);
            while !self.send(Op::Data, TRIP) {
                self.wait();
            }
            while self.received != end {
                self.wait();
            }
        }
        echo.join().unwrap();
        f64::from(TRIPS) / begun.elapsed().as_secs_f64()
    }
}

/// A program that serves a socket device, with a guest's connection through it. Killed in the end.
struct Device {
    command: Child,
    line: Line,
    stream: UnixStream,
    _scratch: Scratch,
}

impl Device {
    fn start(mut command: Command, own: impl FnOnce(&mut Command, &Path, &Path)) -> Self {
        let scratch = Scratch::in_memory();
        let (socket, path) = (scratch.path("socket"), scratch.path("v"));
        // The connector is another user when this one is root.
        std::fs::set_permissions(socket.parent().unwrap(), Permissions::from_mode(0o755)).unwrap();
        let name = scratch.path(&format!("v_{PORT}"));
        let listener = UnixListener::bind(&name).unwrap();
        std::fs::set_permissions(&name, Permissions::from_mode(0o777)).unwrap();
        own(&mut command, &socket, &path);
        let mut command = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        let stream = loop {
            assert!(command.try_wait().unwrap().is_none(), "it does not serve");
            match UnixStream::connect(&socket) {
                Ok(stream) => break stream,
                Err(_) => std::thread::sleep(Duration::from_millis(1)),
            }
        };
        let mut line = Line::new(Guest::new(stream));
        let stream = line.connect(&listener);
        Self { command, line, stream, _scratch: scratch }
    }

    fn ours() -> Self {
        let program = Command::new(shipped(env!("CARGO_BIN_EXE_casemate")));
        Self::start(program, |command, socket, path| {
            command.args(["device", "vsock", "--once", "--cid", &CID.to_string(), "--port"]);
            command.arg(PORT.to_string()).arg("--socket").arg(socket).arg("--path").arg(path);
        })
    }

    /// vhost-device-vsock, by its own C library's loader; None where it cannot be had.
    fn theirs() -> Option<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/host/others");
        let said = Command::new(script).stderr(Stdio::null()).output().ok()?;
        let said = String::from_utf8(said.stdout).ok()?;
        let root = said.lines().find_map(|line| line.strip_prefix("vhost-device-vsock "))?;
        let library = PathBuf::from(root).join("usr/lib/x86_64-linux-gnu");
        let mut program = Command::new(library.join("ld-linux-x86-64.so.2"));
        program.arg("--library-path").arg(&library);
        program.arg(PathBuf::from(root).join("usr/bin/vhost-device-vsock"));
        Some(Self::start(program, |command, socket, path| {
            command.args(["--guest-cid", &CID.to_string(), "--socket"]).arg(socket);
            command.arg("--uds-path").arg(path);
        }))
    }

    /// One round: out, back, round trips.
    fn round(&mut self) -> [f64; 3] {
        [self.line.out(&self.stream), self.line.back(&self.stream), self.line.trips(&self.stream)]
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let _ = self.command.kill();
        let _ = self.command.wait();
    }
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or(0.0)
}

fn main() {
    let rounds = std::env::args().find_map(|word| word.parse().ok()).unwrap_or(9_u32);
    let (mut ours, mut theirs) = (Device::ours(), Device::theirs());
    let mut numbers = [[const { Vec::new() }; 3], [const { Vec::new() }; 3]];
    for _ in 0..rounds {
        for (of, device) in numbers.iter_mut().zip([Some(&mut ours), theirs.as_mut()]) {
            let round = device.map(Device::round);
            of.iter_mut().zip(round.into_iter().flatten()).for_each(|(all, one)| all.push(one));
        }
    }
    println!("socket device and vhost-device-vsock, {rounds} rounds:");
    let [ours, theirs] = numbers.map(|of| of.map(median));
    let loads = [
        ("stream out, packets of 64 KiB", "MiB/s"),
        ("stream in, buffers of 4 KiB", "MiB/s"),
        ("round trips of 64 bytes", "/s"),
    ];
    for ((what, unit), (ours, theirs)) in loads.into_iter().zip(ours.into_iter().zip(theirs)) {
        let against = if theirs > 0.0 {
            format!("{theirs:9.0} {unit}   ratio {:.2} (goal 1.0)", ours / theirs)
        } else {
            format!("{unit}   vhost-device-vsock is not there")
        };
        println!("{what:32} {ours:9.0} {against}");
    }
}
