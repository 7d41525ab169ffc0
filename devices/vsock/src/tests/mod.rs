//! What the machine does with packets that no driver should send, and with hosts that do as they
//! like. Protects: a guest reaches the ports that are named and no others; each packet that makes
//! no sense ends its own connection, or is answered by a reset; nothing grows. Cannot tell what a
//! guest's driver makes of it: the tests with a Linux guest do.

mod limits;
mod streams;

use crate::machine::{Entry, Limits, Machine};
use crate::packet::{Credit, HEADER, HOST, Op, Ports, Sent};
use crate::stream::Stream;
use casemate_device_queue::{
    GuestMemory, Memory, Negotiating, Readable, Region, Request, RingAddresses, Room, Taken,
    Writable,
};
use casemate_values::Guest;
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::Duration;

pub const CID: u64 = 42;
pub const BUFFER: u32 = 4096;
const RINGS: RingAddresses = RingAddresses { descriptors: 0, available: 0x200, used: 0x400 };
const OUT: u64 = 0x1000;
const IN: u64 = 0x4000;
const BYTES: u64 = 0x1_0000;
pub const NOW: Duration = Duration::from_secs(100);

/// The host's side of a connection, as a test has it.
#[derive(Debug, Default)]
pub struct Host {
    /// What the device sent.
    pub heard: Vec<u8>,
    /// What it can take before it is read.
    pub takes: usize,
    /// What it says.
    pub says: VecDeque<u8>,
    /// Says no more behind that.
    pub ended: bool,
    /// Is gone.
    pub gone: bool,
    pub sending_ended: bool,
    pub receiving_ended: bool,
    /// The device has closed it.
    pub closed: bool,
}

/// A stream to it.
#[derive(Debug)]
pub struct TestStream(pub Rc<RefCell<Host>>);

impl Drop for TestStream {
    fn drop(&mut self) {
        self.0.borrow_mut().closed = true;
    }
}

impl TestStream {
    pub fn new(takes: usize) -> (Self, Rc<RefCell<Host>>) {
        let host = Rc::new(RefCell::new(Host { takes, ..Host::default() }));
        (Self(host.clone()), host)
    }
}

impl Stream for TestStream {
    fn send<M: GuestMemory>(&self, from: &mut Readable<'_, M>, _: &mut Room) -> io::Result<u32> {
        let len = self.0.borrow().takes.min(from.len() as usize);
        if self.0.borrow().gone {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if len == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut bytes = vec![0; len];
        from.copy_to(&mut bytes).unwrap();
        Ok(self.send_bytes(&bytes).unwrap() as u32)
    }

    fn send_bytes(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut host = self.0.borrow_mut();
        if host.gone {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let len = host.takes.min(bytes.len());
        if len == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        host.takes -= len;
        host.heard.extend(&bytes[..len]);
        Ok(len)
    }

    fn receive<M: GuestMemory>(&self, to: &Writable<'_, M>, _: &mut Room) -> io::Result<u32> {
        let mut host = self.0.borrow_mut();
        if host.says.is_empty() {
            let over = host.ended || host.gone;
            return if over { Ok(0) } else { Err(io::ErrorKind::WouldBlock.into()) };
        }
        let len = host.says.len().min(to.len() as usize);
        let bytes: Vec<u8> = host.says.drain(..len).collect();
        Ok(to.put(&bytes).unwrap())
    }

    fn receive_byte(&self) -> io::Result<Option<u8>> {
        let mut host = self.0.borrow_mut();
        match host.says.pop_front() {
            None if host.ended || host.gone => Ok(None),
            None => Err(io::ErrorKind::WouldBlock.into()),
            byte => Ok(byte),
        }
    }

    fn end_sending(&self) {
        self.0.borrow_mut().sending_ended = true;
    }

    fn end_receiving(&self) {
        self.0.borrow_mut().receiving_ended = true;
    }
}

/// Runs `with` on a request of these parts (address, length, whether the device writes) of memory
/// that begins with `written`; gives what is at [`IN`] afterwards.
fn with_request<T>(
    written: &[u8],
    parts: &[(u64, u32, bool)],
    with: impl FnOnce(Request<'_, Memory>) -> T,
) -> (T, Vec<u8>) {
    let file = memfd_create("guest", MemfdFlags::CLOEXEC).unwrap();
    ftruncate(&file, BYTES).unwrap();
    let memory = Memory::new(vec![Region::map(&file, 0, 0, BYTES).unwrap()]).unwrap();
    memory.write(OUT, written).unwrap();
    for (index, (gpa, len, writes)) in parts.iter().enumerate() {
        let (at, last) = (16 * index as u64, index + 1 == parts.len());
        let flags = u16::from(!last) | if *writes { 2 } else { 0 };
        memory.write(at, &gpa.to_le_bytes()).unwrap();
        memory.write(at + 8, &len.to_le_bytes()).unwrap();
        memory.write(at + 12, &flags.to_le_bytes()).unwrap();
        memory.write(at + 14, &(index as u16 + 1).to_le_bytes()).unwrap();
    }
    memory.store(RINGS.available + 2, 1).unwrap();
    let mut queue = Negotiating::default();
    queue.set_size(Guest::new(16)).unwrap();
    queue.set_rings(RINGS);
    let mut queue = queue.activate(&memory).unwrap();
    let Ok(Some(Taken::Request(head, request))) = queue.take(&memory) else { panic!() };
    let done = with(request);
    queue.answer(&memory, head, 0).unwrap();
    let mut bytes = vec![0; 0x4000];
    memory.read(IN, &mut bytes).unwrap();
    (done, bytes)
}

/// A packet of the guest's.
#[derive(Debug, Clone)]
pub struct FromGuest {
    pub from: u64,
    pub to: u64,
    pub ports: Ports,
    pub kind: u16,
    pub op: u16,
    pub flags: u32,
    pub credit: Credit,
    pub bytes: Vec<u8>,
    /// What the header says; None for the truth.
    pub len: Option<u32>,
}

pub fn packet(op: Op, ports: Ports) -> FromGuest {
    FromGuest {
        from: CID,
        to: HOST,
        ports,
        kind: 1,
        op: op as u16,
        flags: 0,
        credit: Credit { size: 1000, taken: 0 },
        bytes: Vec::new(),
        len: None,
    }
}

impl FromGuest {
    fn encode(&self) -> Vec<u8> {
        let len = self.len.unwrap_or(self.bytes.len() as u32);
        let mut to = [self.from.to_le_bytes(), self.to.to_le_bytes()].concat();
        for int in [self.ports.guest, self.ports.host, len] {
            to.extend(int.to_le_bytes());
        }
        to.extend([self.kind.to_le_bytes(), self.op.to_le_bytes()].concat());
        for int in [self.flags, self.credit.size, self.credit.taken] {
            to.extend(int.to_le_bytes());
        }
        to.extend(&self.bytes);
        to
    }
}

/// The machine, with a guest's eyes.
pub struct World {
    pub machine: Machine<TestStream>,
}

impl World {
    pub fn new(connections: u16) -> Self {
        let limits = Limits { connections, buffer: BUFFER };
        Self { machine: Machine::new(CID, &[52, 53], limits) }
    }

    /// The guest sends; its bytes are cut into three descriptors.
    pub fn send(&mut self, packet: &FromGuest) {
        self.send_raw(&packet.encode());
    }

    pub fn send_raw(&mut self, bytes: &[u8]) {
        let (one, rest) = (bytes.len().min(7), bytes.len().saturating_sub(7));
        let two = rest.min(40);
        let parts = [(OUT, one), (OUT + 7, two), (OUT + 47, rest - two)];
        let parts: Vec<_> = parts
            .iter()
            .filter(|(_, len)| *len > 0)
            .map(|(gpa, len)| (*gpa, *len as u32, false))
            .collect();
        assert!(self.machine.can_take());
        let machine = &mut self.machine;
        with_request(bytes, &parts, |request| machine.take(request.readable, NOW));
    }

    /// The next packet for the guest, in a buffer of this size: header and bytes.
    pub fn next_in(&mut self, size: u32) -> Option<(Sent, Vec<u8>)> {
        self.machine.has_packet().then_some(())?;
        let machine = &mut self.machine;
        let parts = [(IN, size.min(20), true), (IN + 20, size - size.min(20), true)];
        let parts: Vec<_> = parts.into_iter().filter(|(_, len, _)| *len > 0).collect();
        let (written, bytes) =
            with_request(&[], &parts, |request| machine.fill(request.writable, NOW));
        if written == 0 {
            return None;
        }
        assert!((HEADER..=size).contains(&written), "{written}");
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let long = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        let (kind, op) = (word(28) as u16, (word(28) >> 16) as u16);
        let sent = Sent {
            from_cid: long(0),
            to_cid: long(8),
            ports: Ports { host: word(16), guest: word(20) },
            len: word(24),
            kind,
            op: Op::ALL.into_iter().find(|known| *known as u16 == op).unwrap(),
            flags: word(32),
            credit: Credit { size: word(36), taken: word(40) },
        };
        assert_eq!(written, HEADER + sent.len);
        assert_eq!(sent.encode(), bytes[..HEADER as usize]);
        Some((sent, bytes[HEADER as usize..written as usize].to_vec()))
    }

    pub fn next(&mut self) -> Option<(Sent, Vec<u8>)> {
        self.next_in(1000)
    }

    /// The operation of the next packet.
    pub fn op(&mut self) -> Option<Op> {
        self.next().map(|(sent, _)| sent.op)
    }

    /// A connection of the guest's, open.
    pub fn open_by_guest(&mut self, ports: Ports, takes: usize) -> Rc<RefCell<Host>> {
        self.send(&packet(Op::Request, ports));
        let dial = self.machine.next_dial().unwrap();
        assert_eq!(dial.port, ports.host);
        let (stream, host) = TestStream::new(takes);
        self.machine.dialed(dial, Some(stream));
        assert_eq!(self.op(), Some(Op::Response));
        host
    }

    /// A connection of the host's to the guest's port 7, open; its ports.
    fn open_by_host(&mut self, takes: usize) -> (Rc<RefCell<Host>>, Ports) {
        let (stream, host) = TestStream::new(takes);
        assert!(self.machine.entered(stream, Entry::Port(7), NOW));
        let (sent, _) = self.next().unwrap();
        assert_eq!((sent.op, sent.ports.guest), (Op::Request, 7));
        self.send(&packet(Op::Response, sent.ports));
        (host, sent.ports)
    }
}

const PORTS: Ports = Ports { guest: 1025, host: 52 };
