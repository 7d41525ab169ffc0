//! What the machine does with packets that no driver should send, and with hosts that do as they
//! like. Protects: a guest reaches the ports that are named and no others; each packet that makes
//! no sense ends its own connection, or is answered by a reset; nothing grows. Cannot tell what a
//! guest's driver makes of it: the tests with a Linux guest do.

use crate::machine::{Dial, Entry, Limits, Machine};
use crate::packet::{Credit, HEADER, HOST, NO_RECEIVE, NO_SEND, Op, Ports, Sent};
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

#[test]
fn bytes_go_both_ways_and_each_side_hears_of_the_others_end() {
    let mut world = World::new(4);
    let host = world.open_by_guest(PORTS, 100);
    world.send(&FromGuest { bytes: b"hello".to_vec(), ..packet(Op::Data, PORTS) });
    assert_eq!(host.borrow().heard, b"hello");
    host.borrow_mut().says.extend(b"good morning");
    world.machine.seen(0, true, false, false);
    let (sent, bytes) = world.next().unwrap();
    assert_eq!((sent.op, &bytes[..]), (Op::Data, &b"good morning"[..]));
    assert_eq!((sent.from_cid, sent.to_cid, sent.ports), (HOST, CID, PORTS));
    assert_eq!(sent.credit, Credit { size: BUFFER, taken: 5 });
    assert_eq!(world.op(), None);
    // The guest sends no more, and still receives.
    world.send(&FromGuest { flags: NO_SEND, ..packet(Op::Shutdown, PORTS) });
    assert!(host.borrow().sending_ended && !host.borrow().closed);
    host.borrow_mut().says.extend(b"bye");
    host.borrow_mut().ended = true;
    world.machine.seen(0, true, false, false);
    assert_eq!(world.next().unwrap().1, b"bye");
    world.machine.seen(0, true, false, false);
    let (sent, _) = world.next().unwrap();
    assert_eq!((sent.op, sent.flags), (Op::Shutdown, NO_SEND));
    world.send(&FromGuest { flags: NO_SEND | NO_RECEIVE, ..packet(Op::Shutdown, PORTS) });
    assert_eq!(world.op(), Some(Op::Reset));
    assert!(host.borrow().closed);
    assert_eq!(world.machine.connections(), 0);
}

#[test]
fn the_path_asks_for_a_port_and_is_told_when_the_guest_accepts() {
    let mut world = World::new(2);
    let (stream, host) = TestStream::new(100);
    assert!(world.machine.entered(stream, Entry::Path, NOW));
    host.borrow_mut().says.extend(b"CONNECT 10");
    world.machine.seen(0, true, false, false);
    assert_eq!(world.op(), None);
    host.borrow_mut().says.extend(b"24\nearly");
    world.machine.seen(0, true, false, false);
    let (sent, _) = world.next().unwrap();
    assert_eq!((sent.op, sent.ports.guest), (Op::Request, 1024));
    assert!(host.borrow().heard.is_empty());
    world.send(&packet(Op::Response, sent.ports));
    let line = format!("OK {}\n", sent.ports.host);
    assert_eq!(host.borrow().heard, line.as_bytes());
    // The line is no byte of the guest's, and what came behind the request is its peer's.
    world.machine.seen(0, true, false, false);
    let (data, bytes) = world.next().unwrap();
    assert_eq!((data.credit.taken, &bytes[..]), (0, &b"early"[..]));
}

#[test]
fn a_line_that_asks_for_nothing_ends_who_says_it_and_no_guest_hears_of_it() {
    for line in [
        &b"CONNECT \n"[..],
        b"CONNECT -1\n",
        b"CONNECT 4294967296\n",
        b"CONNECT 1 2\n",
        b"connect 1\n",
        b"\n",
        b"CONNECT \xff\n",
        b"CONNECT 00000000000000000000000000000001\n",
    ] {
        let mut world = World::new(1);
        let (stream, host) = TestStream::new(100);
        assert!(world.machine.entered(stream, Entry::Path, NOW));
        host.borrow_mut().says.extend(line);
        world.machine.seen(0, true, false, false);
        assert!(host.borrow().closed, "{line:?}");
        assert!(!world.machine.has_packet() && world.machine.has_place());
    }
    // One that says nothing is not waited for without end.
    let mut world = World::new(1);
    let (stream, host) = TestStream::new(100);
    assert!(world.machine.entered(stream, Entry::Path, NOW));
    assert!(world.machine.settle(NOW).is_some());
    world.machine.settle(NOW + Duration::from_secs(60));
    assert!(host.borrow().closed && world.machine.has_place());
}

/// Protects the host from its guest: which sockets of the host it reaches, the user says.
#[test]
fn a_guest_reaches_the_ports_that_are_named_and_no_others() {
    let mut world = World::new(4);
    for port in [0, 51, 54, u32::MAX] {
        let ports = Ports { guest: 1025, host: port };
        world.send(&packet(Op::Request, ports));
        assert_eq!(world.machine.next_dial(), None, "{port}");
        let (sent, _) = world.next().unwrap();
        assert_eq!((sent.op, sent.ports), (Op::Reset, ports));
    }
    // One that is named and has no listener.
    world.send(&packet(Op::Request, PORTS));
    let dial = world.machine.next_dial().unwrap();
    world.machine.dialed(dial, None);
    assert_eq!(world.op(), Some(Op::Reset));
    assert_eq!(world.machine.connections(), 0);
    // An answer that comes too late is for nobody.
    let (stream, host) = TestStream::new(1);
    world.machine.dialed(dial, Some(stream));
    assert!(host.borrow().closed && !world.machine.has_packet());
}

#[test]
fn a_packet_that_makes_no_sense_ends_its_connection_and_no_other() {
    type Wrong = fn(&mut FromGuest);
    let wrong: [(&str, Wrong); 9] = [
        ("another type", |p| p.kind = 2),
        ("no operation", |p| p.op = 0),
        ("an operation that there is not", |p| p.op = 8),
        ("a length that is a lie", |p| p.len = Some(6)),
        ("a length beyond all", |p| p.len = Some(u32::MAX)),
        ("a second request", |p| {
            p.op = Op::Request as u16;
            p.bytes.clear();
        }),
        ("an acceptance of what it asked for itself", |p| {
            p.op = Op::Response as u16;
            p.bytes.clear();
        }),
        ("bytes with an operation that has none", |p| p.op = Op::CreditUpdate as u16),
        ("bytes taken that were never sent", |p| p.credit.taken = 1),
    ];
    for (what, change) in wrong {
        let mut world = World::new(4);
        let host = world.open_by_guest(PORTS, 100);
        let other = Ports { guest: 9, host: 53 };
        let other_host = world.open_by_guest(other, 100);
        let mut bad = FromGuest { bytes: b"12345".to_vec(), ..packet(Op::Data, PORTS) };
        change(&mut bad);
        world.send(&bad);
        assert_eq!(world.op(), Some(Op::Reset), "{what}");
        if bad.kind == 1 {
            assert!(host.borrow().closed, "{what}");
            assert!(host.borrow().heard.is_empty(), "{what}");
        }
        world.send(&FromGuest { bytes: b"on".to_vec(), ..packet(Op::Data, other) });
        assert_eq!(other_host.borrow().heard, b"on", "{what}");
    }
}

#[test]
fn what_is_for_nobody_is_answered_by_a_reset_or_left() {
    let mut world = World::new(4);
    for op in Op::ALL {
        if op == Op::Request {
            continue;
        }
        world.send(&packet(op, PORTS));
        assert_eq!(world.op(), (op != Op::Reset).then_some(Op::Reset), "{op:?}");
    }
    // Another guest's address is not believed; another host's gets its own answer.
    world.send(&FromGuest { from: CID + 1, ..packet(Op::Request, PORTS) });
    assert!(!world.machine.has_packet());
    world.send(&FromGuest { to: 7, ..packet(Op::Request, PORTS) });
    let (sent, _) = world.next().unwrap();
    assert_eq!((sent.op, sent.from_cid, sent.kind), (Op::Reset, 7, 1));
    // Less than a header is nothing at all.
    let whole = packet(Op::Request, PORTS).encode();
    for len in [1, 43] {
        world.send_raw(&whole[..len]);
        assert!(!world.machine.has_packet() && world.machine.next_dial().is_none());
    }
}

/// Protects the host's memory: what its programs do not read is held within the credit that the
/// guest was given, and no further.
#[test]
fn a_reader_that_does_not_read_costs_a_buffer_and_no_more_than_that() {
    let mut world = World::new(4);
    let host = world.open_by_guest(PORTS, 10);
    let bytes = vec![7; 1000];
    for _ in 0..4 {
        world.send(&FromGuest { bytes: bytes.clone(), ..packet(Op::Data, PORTS) });
    }
    assert_eq!(host.borrow().heard.len(), 10);
    assert!(!world.machine.has_packet(), "nothing to tell: nothing was taken");
    // It reads: the guest hears of it once a quarter is free.
    host.borrow_mut().takes = 2000;
    world.machine.seen(0, false, true, false);
    let (sent, _) = world.next().unwrap();
    assert_eq!((sent.op, sent.credit.taken), (Op::CreditUpdate, 2010));
    // 4096 of credit, 4000 sent, 2010 taken: 2106 fit, and not one byte more.
    world.send(&FromGuest { bytes: vec![8; 2107], ..packet(Op::Data, PORTS) });
    assert_eq!(world.op(), Some(Op::Reset));
    assert!(host.borrow().closed);
}

/// Protects the guest: it gets no more than it has room for, and is asked for room when something
/// waits, once.
#[test]
fn a_guest_without_room_is_asked_for_some_and_gets_no_byte_before() {
    let mut world = World::new(4);
    let host = world.open_by_guest(PORTS, 10);
    host.borrow_mut().says.extend(vec![1; 1500]);
    world.machine.seen(0, true, false, false);
    assert_eq!(world.next().unwrap().1.len(), 956, "a buffer of 1000 has 44 of a header");
    assert_eq!(world.next().unwrap().1.len(), 44, "1000 is all its room");
    assert_eq!(world.op(), Some(Op::CreditRequest));
    assert_eq!(world.op(), None);
    let more = Credit { size: 1000, taken: 500 };
    world.send(&FromGuest { credit: more, ..packet(Op::CreditUpdate, PORTS) });
    assert_eq!(world.next().unwrap().1.len(), 500);
}

#[test]
fn a_host_that_goes_away_ends_the_connection_when_the_guest_has_all_that_it_said() {
    let mut world = World::new(4);
    let (host, ports) = world.open_by_host(10);
    host.borrow_mut().says.extend(b"last words");
    host.borrow_mut().gone = true;
    world.machine.seen(0, true, false, true);
    assert_eq!(world.next().unwrap().1, b"last words");
    let (sent, _) = world.next().unwrap();
    assert_eq!((sent.op, sent.flags), (Op::Shutdown, NO_SEND | NO_RECEIVE));
    assert_eq!(world.op(), None);
    // What the guest had sent by then is nobody's; a guest that never answers is not waited for.
    world.send(&FromGuest { bytes: b"late".to_vec(), ..packet(Op::Data, ports) });
    assert_eq!(world.machine.settle(NOW), Some(Duration::from_secs(10)));
    world.machine.settle(NOW + Duration::from_secs(10));
    assert_eq!(world.op(), Some(Op::Reset));
    assert_eq!(world.machine.connections(), 0);
}

/// Protects a guest that sends and does not receive from waiting for ever: that its reader has gone
/// it is told, although nobody will take what that one has said.
#[test]
fn a_guest_that_receives_no_more_hears_that_the_host_has_gone() {
    let mut world = World::new(4);
    let host = world.open_by_guest(PORTS, 100);
    world.send(&FromGuest { flags: NO_RECEIVE, ..packet(Op::Shutdown, PORTS) });
    assert!(host.borrow().receiving_ended);
    host.borrow_mut().says.extend(b"for nobody");
    host.borrow_mut().gone = true;
    world.machine.seen(0, true, false, true);
    let (sent, bytes) = world.next().unwrap();
    assert_eq!((sent.op, sent.flags, bytes.len()), (Op::Shutdown, NO_RECEIVE, 0));
    assert_eq!(world.op(), None);
    world.send(&FromGuest { flags: NO_SEND | NO_RECEIVE, ..packet(Op::Shutdown, PORTS) });
    assert_eq!(world.op(), Some(Op::Reset));
    assert_eq!(world.machine.connections(), 0);
}

#[test]
fn what_a_guest_sent_before_its_end_reaches_a_slow_reader() {
    let mut world = World::new(4);
    let host = world.open_by_guest(PORTS, 0);
    world.send(&FromGuest { bytes: b"all of it".to_vec(), ..packet(Op::Data, PORTS) });
    world.send(&FromGuest { flags: NO_SEND | NO_RECEIVE, ..packet(Op::Shutdown, PORTS) });
    // The guest is done with it, and may use the ports again.
    assert_eq!(world.op(), Some(Op::Reset));
    let second = world.open_by_guest(PORTS, 100);
    for _ in 0..2 {
        host.borrow_mut().takes += 5;
        world.machine.seen(0, false, true, false);
        world.machine.settle(NOW);
    }
    assert_eq!(host.borrow().heard, b"all of it");
    assert!(host.borrow().closed && !second.borrow().closed);
    assert_eq!(world.machine.connections(), 1);
}

#[test]
fn places_and_refusals_are_bounded_and_places_are_used_again() {
    let mut world = World::new(3);
    for guest in 0..3 {
        world.open_by_guest(Ports { guest, host: 52 }, 1);
    }
    world.send(&packet(Op::Request, Ports { guest: 9, host: 52 }));
    assert_eq!(world.op(), Some(Op::Reset));
    let (stream, host) = TestStream::new(1);
    assert!(!world.machine.entered(stream, Entry::Port(7), NOW));
    assert!(host.borrow().closed);
    world.send(&packet(Op::Reset, Ports { guest: 1, host: 52 }));
    world.open_by_guest(Ports { guest: 9, host: 52 }, 1);
    // A guest that takes no packets is not listened to for ever.
    let mut refused = 0;
    while world.machine.can_take() {
        world.send(&packet(Op::Data, Ports { guest: 77, host: 52 }));
        refused += 1;
    }
    assert_eq!(refused, 32);
    assert_eq!(world.op(), Some(Op::Reset));
    assert!(world.machine.can_take());
}

#[test]
fn a_guest_that_asks_for_connections_without_end_is_refused() {
    let mut world = World::new(1);
    let mut asked = 0;
    for _ in 0..300 {
        world.send(&packet(Op::Request, PORTS));
        if let Some(dial) = world.machine.next_dial() {
            asked += 1;
            world.machine.dialed(dial, None);
        }
        assert_eq!(world.op(), Some(Op::Reset));
    }
    assert_eq!(asked, 256);
}

#[test]
fn buffers_that_are_too_small_are_left_empty_and_no_byte_is_lost() {
    let mut world = World::new(1);
    let host = world.open_by_guest(PORTS, 1);
    host.borrow_mut().says.extend(b"0123456789");
    world.machine.seen(0, true, false, false);
    assert!(world.next_in(43).is_none());
    let (sent, bytes) = world.next_in(44).unwrap();
    assert_eq!((sent.op, bytes.len()), (Op::CreditUpdate, 0));
    assert_eq!(world.next_in(47).unwrap().1, b"012");
    assert_eq!(world.next_in(100).unwrap().1, b"3456789");
}

#[test]
fn dials_say_which_use_of_a_place_they_are_for() {
    let mut world = World::new(1);
    world.send(&packet(Op::Request, PORTS));
    let first = world.machine.next_dial().unwrap();
    world.send(&packet(Op::Reset, PORTS));
    world.send(&packet(Op::Request, PORTS));
    let second = world.machine.next_dial().unwrap();
    assert!(first != second && first.place == second.place);
    let (stream, host) = TestStream::new(1);
    world.machine.dialed(first, Some(stream));
    assert!(host.borrow().closed && !world.machine.has_packet());
    world.machine.dialed(Dial { place: 9, ..second }, None);
    world.machine.dialed(second, Some(TestStream::new(1).0));
    assert_eq!(world.op(), Some(Op::Response));
}
