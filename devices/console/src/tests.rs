//! A port between memory and a stream. Protects: bytes arrive whole and in order in both
//! directions; a stream that takes nothing holds the guest back; what waits is bounded; an end is
//! the end, and nothing is waited for behind it. Cannot tell how the queues are served: that is
//! tried with the process.

use crate::{LEFT, Port, ROOM, profile::STEADY};
use casemate_device_queue::{
    GuestMemory, Memory, Negotiating, Region, Request, RingAddresses, Running, Taken,
};
use casemate_values::Guest;
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

const RINGS: RingAddresses = RingAddresses { descriptors: 0, available: 0x200, used: 0x400 };
const BUFFER: u64 = 0x1000;
const END: u64 = 0x40_1000;

struct Guests {
    memory: Memory,
    queue: Running,
    offered: u16,
}

impl Guests {
    fn new() -> Self {
        let file = memfd_create("guest", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&file, END).unwrap();
        let memory = Memory::new(vec![Region::map(&file, 0, 0, END).unwrap()]).unwrap();
        let mut queue = Negotiating::default();
        queue.set_size(Guest::new(2)).unwrap();
        queue.set_rings(RINGS);
        let queue = queue.activate(&memory).unwrap();
        Self { memory, queue, offered: 0 }
    }

    /// Has `each` look at one buffer of so many bytes; answers with what it gives.
    fn with(
        &mut self,
        len: u32,
        writes: bool,
        each: impl FnOnce(Request<'_, Memory>) -> u32,
    ) -> u32 {
        self.memory.write(0, &BUFFER.to_le_bytes()).unwrap();
        self.memory.write(8, &len.to_le_bytes()).unwrap();
        self.memory.write(12, &(if writes { 2_u16 } else { 0 }).to_le_bytes()).unwrap();
        self.offered = self.offered.wrapping_add(1);
        self.memory.store(RINGS.available + 2, self.offered).unwrap();
        let Ok(Some(Taken::Request(head, request))) = self.queue.take(&self.memory) else {
            panic!()
        };
        let written = each(request);
        self.queue.answer(&self.memory, head, written).unwrap();
        written
    }

    fn says(&mut self, port: &mut Port<OwnedFd>, bytes: &[u8]) {
        self.memory.write(BUFFER, bytes).unwrap();
        self.with(u32::try_from(bytes.len()).unwrap(), false, |request| {
            port.take(request.readable);
            0
        });
    }

    fn hears(&mut self, port: &mut Port<OwnedFd>, room: u32) -> Vec<u8> {
        let len = self.with(room, true, |request| port.give(&request.writable));
        let mut bytes = vec![0; len as usize];
        self.memory.read(BUFFER, &mut bytes).unwrap();
        bytes
    }
}

fn port() -> (Port<OwnedFd>, UnixStream) {
    let (ours, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
    (Port::new(ours), theirs.into())
}

#[test]
fn bytes_go_both_ways_when_the_stream_says_so() {
    let (mut guest, (mut port, mut host)) = (Guests::new(), port());
    // Nothing is taken before the stream has said that there is room.
    assert!(!port.can_take() && port.wants() == (true, true));
    port.seen(false, true);
    assert!(port.can_take() && port.wants() == (true, false));
    guest.says(&mut port, b"to the host");
    let mut bytes = [0; 11];
    host.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"to the host");
    host.write_all(b"to the guest").unwrap();
    assert!(!port.has_input());
    port.seen(true, false);
    assert!(port.has_input() && port.wants() == (false, false));
    assert_eq!(guest.hears(&mut port, 6), b"to the");
    // What is left is waited for anew.
    assert!(!port.has_input() && port.wants().0);
    port.seen(true, false);
    assert_eq!(guest.hears(&mut port, 64), b" guest");
}

/// Protects what a guest was told is written: once the stream polls as writable it takes a page
/// whole, up to the credit, and none of it is in a process that can be killed.
#[test]
fn a_stream_with_room_takes_its_credit_whole() {
    let (mut guest, (mut port, mut host)) = (Guests::new(), port());
    port.seen(false, true);
    let mut sent = Vec::new();
    for number in 0_u8.. {
        if !port.can_take() {
            break;
        }
        let page = [number; 4096];
        guest.says(&mut port, &page);
        assert_eq!(port.waiting(), 0);
        sent.extend(page);
    }
    assert_eq!(sent.len(), ROOM as usize);
    assert!(port.wants().1);
    let mut came = vec![0; sent.len()];
    host.read_exact(&mut came).unwrap();
    assert!(came == sent);
}

#[test]
fn a_reader_that_does_not_read_holds_the_guest_back_and_costs_a_bound() {
    let (mut guest, (mut port, mut host)) = (Guests::new(), port());
    port.seen(false, true);
    // Far more than any stream takes.
    let pattern: Vec<u8> = (0..4 << 20).map(|at: u32| (at % 251) as u8).collect();
    guest.says(&mut port, &pattern);
    assert_eq!(port.waiting(), LEFT);
    assert!(!port.can_take() && port.wants().1);
    host.set_nonblocking(true).unwrap();
    let (mut came, mut part) = (Vec::new(), vec![0; 1 << 16]);
    while port.waiting() > 0 {
        let len = host.read(&mut part).unwrap();
        came.extend_from_slice(&part[..len]);
        port.seen(false, true);
    }
    while let Ok(len @ 1..) = host.read(&mut part) {
        came.extend_from_slice(&part[..len]);
    }
    assert!(came.len() > LEFT && came == pattern[..came.len()], "in order, from the first on");
    port.seen(false, true);
    assert!(port.can_take());
}

#[test]
fn a_host_that_is_gone_is_waited_for_no_more_and_output_goes_nowhere() {
    let (mut guest, (mut port, host)) = (Guests::new(), port());
    drop(host);
    port.seen(true, true);
    assert!(guest.hears(&mut port, 64).is_empty());
    guest.says(&mut port, b"nobody");
    assert_eq!((port.wants(), port.can_take(), port.waiting()), ((false, false), true, 0));
    port.seen(true, true);
    assert!(!port.has_input());
}

#[test]
fn a_buffer_without_room_gets_nothing_and_loses_nothing() {
    let (mut guest, (mut port, mut host)) = (Guests::new(), port());
    host.write_all(b"kept").unwrap();
    port.seen(true, false);
    // A buffer for output in the queue for input.
    assert_eq!(guest.with(64, false, |request| port.give(&request.writable)), 0);
    assert!(port.wants().0);
    port.seen(true, false);
    assert_eq!(guest.hears(&mut port, 64), b"kept");
}

#[test]
fn the_profile_is_the_frame_and_no_other_call() {
    let calls = ["exit_group", "futex", "ppoll", "read", "recvmsg", "sendmsg", "write"];
    assert_eq!(STEADY.syscalls(), calls);
}
