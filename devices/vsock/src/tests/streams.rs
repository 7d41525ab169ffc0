//! Connections as they should be: opened, used, ended by either side.

use super::{BUFFER, CID, FromGuest, NOW, PORTS, TestStream, World, packet};
use crate::machine::Entry;
use crate::packet::{Credit, HOST, NO_RECEIVE, NO_SEND, Op, Ports};
use std::time::Duration;

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
