//! What no driver should send, and what there is only so much of.

use super::{CID, FromGuest, NOW, PORTS, TestStream, World, packet};
use crate::machine::{Dial, Entry};
use crate::packet::{Credit, Op, Ports};

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
