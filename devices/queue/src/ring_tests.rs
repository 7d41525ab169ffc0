//! What a queue does with rings that no driver should write. Protects: each malformed chain is
//! answered and the queue goes on; an impossible index stops it; nothing is read twice by way of
//! the order of calls. Cannot tell: what another processor's stores look like (the orderings).

use crate::test_ring::{DATA, INDIRECT, NEXT, RINGS, SIZE, TestRing, WRITE};
use crate::{Malformed, Negotiating, QueueError, RingAddresses, RingError, Room, Taken};
use casemate_values::Guest;

/// What the first available chain is refused for; whatever it is, it is answered.
fn refused(ring: &mut TestRing) -> Option<Malformed> {
    let mut queue = ring.queue();
    let (head, wrong) = match queue.take(&ring.memory).unwrap().unwrap() {
        Taken::Malformed(head, wrong) => (head, Some(wrong)),
        Taken::Request(head, _) => (head, None),
    };
    queue.answer(&ring.memory, head, 0).unwrap();
    assert_eq!(ring.used_index(), 1);
    assert!(queue.take(&ring.memory).unwrap().is_none());
    // And the queue goes on.
    ring.describe(1, (DATA, 4, 0, 0));
    ring.offer(1);
    assert!(matches!(queue.take(&ring.memory), Ok(Some(Taken::Request(..)))));
    wrong
}

#[test]
fn a_malformed_chain_is_answered_and_the_queue_goes_on() {
    let end = (DATA, 16, 0, 0);
    for (wrong, table) in [
        // A loop over two, and over itself.
        (Some(Malformed::Loop), vec![(DATA, 16, NEXT, 1), (DATA, 16, NEXT, 0)]),
        (Some(Malformed::Loop), vec![(DATA, 16, NEXT, 0)]),
        (Some(Malformed::NoSuchDescriptor), vec![(DATA, 16, NEXT, SIZE)]),
        (Some(Malformed::NoSuchDescriptor), vec![(DATA, 16, NEXT, u16::MAX)]),
        (Some(Malformed::Outside), vec![(0x1_0000, 1, 0, 0)]),
        (Some(Malformed::Outside), vec![(0xffff, 2, 0, 0)]),
        (Some(Malformed::Outside), vec![(u64::MAX, 1, 0, 0)]),
        (Some(Malformed::Outside), vec![(u64::MAX - 15, 16, 0, 0)]),
        (Some(Malformed::Outside), vec![(0, u32::MAX, 0, 0)]),
        (Some(Malformed::Empty), vec![(DATA, 0, 0, 0)]),
        (Some(Malformed::Order), vec![(DATA, 1, WRITE | NEXT, 1), end]),
        (Some(Malformed::Indirect), vec![(DATA, 16, INDIRECT, 0)]),
        (Some(Malformed::Indirect), vec![(DATA, 16, INDIRECT | NEXT, 1), end]),
        // Memory that the rings are in is memory, and `next` without the flag means nothing.
        (None, vec![(RINGS.used, 16, 0, 9)]),
        (None, vec![(0, 0x1_0000, 0, 0)]),
    ] {
        let mut ring = TestRing::new();
        ring.table(&table);
        ring.offer(0);
        assert_eq!(refused(&mut ring), wrong, "{table:x?}");
    }
}

#[test]
fn a_chain_as_long_as_the_table_is_whole() {
    let mut ring = TestRing::new();
    for index in 0..SIZE {
        let flags = if index + 1 < SIZE { NEXT } else { 0 };
        ring.describe(index, (DATA, 1, flags, index + 1));
    }
    ring.offer(0);
    let mut queue = ring.queue();
    let taken = queue.take(&ring.memory).unwrap().unwrap();
    let Taken::Request(_, request) = taken else { panic!("{taken:?}") };
    assert_eq!(request.readable.len(), u32::from(SIZE));
}

#[test]
fn a_head_beyond_the_table_is_answered_as_it_was_written() {
    let mut ring = TestRing::new();
    ring.offer(SIZE);
    let mut queue = ring.queue();
    let taken = queue.take(&ring.memory).unwrap().unwrap();
    let Taken::Malformed(head, Malformed::NoSuchDescriptor) = taken else { panic!("{taken:?}") };
    queue.answer(&ring.memory, head, 7).unwrap();
    assert_eq!(ring.used(0), (SIZE.into(), 0));
}

#[test]
fn an_index_further_ahead_than_the_ring_is_long_stops_the_queue() {
    for index in [SIZE + 1, 0x8000, u16::MAX] {
        let mut ring = TestRing::new();
        ring.set_index(index);
        let mut queue = ring.queue();
        let jumped = queue.take(&ring.memory);
        assert!(matches!(jumped, Err(QueueError::IndexJumped { .. })), "{index}");
    }
    // With a request in flight the ring holds one less.
    let mut ring = TestRing::new();
    ring.table(&[(DATA, 1, 0, 0)]);
    ring.set_index(SIZE);
    let mut queue = ring.queue();
    let Ok(Some(Taken::Request(head, _))) = queue.take(&ring.memory) else { panic!() };
    ring.set_index(SIZE + 1);
    assert!(matches!(queue.take(&ring.memory), Err(QueueError::IndexJumped { .. })));
    queue.answer(&ring.memory, head, 0).unwrap();
    assert!(matches!(queue.take(&ring.memory), Ok(Some(_))));
}

#[test]
fn indices_wrap_and_the_place_survives_a_stop() {
    let mut ring = TestRing::new();
    ring.table(&[(DATA, 1, WRITE, 0)]);
    let mut negotiating = TestRing::negotiating();
    negotiating.set_next(u16::MAX);
    ring.set_index(u16::MAX);
    let mut queue = negotiating.activate(&ring.memory).unwrap();
    assert!(queue.take(&ring.memory).unwrap().is_none());
    ring.offer(0);
    ring.offer(0);
    for index in [u16::MAX, 0] {
        let Ok(Some(Taken::Request(head, _))) = queue.take(&ring.memory) else { panic!() };
        // More than it may write is not claimed.
        queue.answer(&ring.memory, head, 99).unwrap();
        assert_eq!(ring.used(index), (0, 1));
    }
    assert_eq!(ring.used_index(), 1);
    ring.offer(0);
    assert!(matches!(queue.take(&ring.memory), Ok(Some(_))));
    // Taken and not answered: to be taken again.
    assert_eq!(queue.answered(), 1);
    let mut again = TestRing::negotiating();
    again.set_next(queue.answered());
    let mut again = again.activate(&ring.memory).unwrap();
    assert!(matches!(again.take(&ring.memory), Ok(Some(_))));
    let unset = Negotiating::default().activate(&ring.memory);
    assert!(matches!(unset, Err(RingError::Unset)));
}

#[test]
fn what_the_guest_writes_into_the_used_ring_is_not_believed() {
    let mut ring = TestRing::new();
    ring.table(&[(DATA, 1, 0, 0)]);
    let mut queue = ring.queue();
    crate::GuestMemory::store(&ring.memory, RINGS.used + 2, 0x7777).unwrap();
    ring.offer(0);
    let Ok(Some(Taken::Request(head, _))) = queue.take(&ring.memory) else { panic!() };
    queue.answer(&ring.memory, head, 0).unwrap();
    assert_eq!(ring.used_index(), 1);
}

#[test]
fn flags_carry_who_wants_to_be_told() {
    let mut ring = TestRing::new();
    ring.table(&[(DATA, 1, 0, 0)]);
    let queue = ring.queue();
    assert_eq!(queue.wants_interrupt(&ring.memory), Ok(true));
    crate::GuestMemory::store(&ring.memory, RINGS.available, 1).unwrap();
    assert_eq!(queue.wants_interrupt(&ring.memory), Ok(false));
    queue.suppress_notifications(&ring.memory).unwrap();
    assert_eq!(crate::GuestMemory::load(&ring.memory, RINGS.used), Ok(1));
    assert_eq!(queue.allow_notifications(&ring.memory), Ok(false));
    ring.offer(0);
    assert_eq!(queue.allow_notifications(&ring.memory), Ok(true));
    assert_eq!(crate::GuestMemory::load(&ring.memory, RINGS.used), Ok(0));
}

#[test]
fn a_queue_of_one_entry_answers_one_request_after_the_other() {
    let mut ring = TestRing::new();
    let mut queue = TestRing::negotiating();
    queue.set_size(Guest::new(1)).unwrap();
    let mut queue = queue.activate(&ring.memory).unwrap();
    ring.table(&[(0x4000, 16, 0, 0)]);
    for round in 1..=3 {
        // The ring's one entry, and its one descriptor.
        ring.set_index(round);
        let Some(Taken::Request(head, _)) = queue.take(&ring.memory).unwrap() else {
            panic!("no request in round {round}")
        };
        queue.answer(&ring.memory, head, 0).unwrap();
        assert_eq!(ring.used_index(), round);
    }
    ring.set_index(5);
    assert!(matches!(queue.take(&ring.memory), Err(QueueError::IndexJumped { .. })));
}

#[test]
fn sizes_and_places_of_no_ring_are_refused() {
    let mut queue = TestRing::negotiating();
    for size in [0, 3, 2048, 0x1_0008, u32::MAX] {
        assert_eq!(queue.set_size(Guest::new(size)), Err(RingError::Size), "{size}");
    }
    let ring = TestRing::new();
    for rings in [
        RingAddresses { descriptors: 0x1008, ..RINGS },
        RingAddresses { available: 0x2001, ..RINGS },
        RingAddresses { used: 0x3002, ..RINGS },
        RingAddresses { descriptors: 0xfff0, ..RINGS },
        RingAddresses { available: 0xfffe, ..RINGS },
        RingAddresses { used: u64::MAX - 3, ..RINGS },
    ] {
        let mut queue = TestRing::negotiating();
        queue.set_rings(rings);
        let refused = queue.activate(&ring.memory);
        assert!(matches!(refused, Err(RingError::Place(_))), "{rings:x?}");
    }
}

#[test]
fn how_a_request_is_cut_means_nothing_and_nothing_is_read_twice() {
    let mut ring = TestRing::new();
    crate::GuestMemory::write(&ring.memory, DATA, b"abcdefgh").unwrap();
    ring.table(&[
        (DATA, 3, NEXT, 1),
        (DATA + 3, 1, NEXT, 2),
        (DATA + 4, 4, NEXT, 3),
        (DATA + 0x100, 2, NEXT | WRITE, 4),
        (DATA + 0x200, 3, WRITE, 0),
    ]);
    ring.offer(0);
    let mut queue = ring.queue();
    let Ok(Some(Taken::Request(_, mut request))) = queue.take(&ring.memory) else { panic!() };
    assert_eq!(request.readable.take(), Some(*b"abcde"));
    assert_eq!(request.readable.take::<4>(), None);
    assert_eq!(request.readable.take(), Some(*b"fgh"));
    assert!(request.readable.is_empty());
    let last = request.writable.split_last(1).unwrap();
    assert!(request.writable.split_last(5).is_none());
    assert_eq!((request.writable.put(b"12345"), last.put(b"!")), (Ok(4), Ok(1)));
    let mut written = [0; 5];
    crate::GuestMemory::read(&ring.memory, DATA + 0x100, &mut written[..2]).unwrap();
    crate::GuestMemory::read(&ring.memory, DATA + 0x200, &mut written[2..]).unwrap();
    assert_eq!(&written, b"1234!");
}

#[test]
fn files_and_guest_memory_exchange_bytes_in_pieces() {
    let mut ring = TestRing::new();
    crate::GuestMemory::write(&ring.memory, DATA, b"one two three").unwrap();
    ring.table(&[(DATA, 4, NEXT, 1), (DATA + 4, 9, NEXT, 2), (DATA + 0x100, 13, WRITE, 0)]);
    ring.offer(0);
    let mut queue = ring.queue();
    let Ok(Some(Taken::Request(_, request))) = queue.take(&ring.memory) else { panic!() };
    let file = rustix::fs::memfd_create("file", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    let mut room = Room::default();
    let pieces = request.readable.into_pieces(&mut room).unwrap();
    crate::write_file(&file, 100, pieces, crate::Durability::Through).unwrap();
    let pieces = request.writable.into_pieces(&mut room).unwrap();
    crate::read_file(&file, 100, pieces).unwrap();
    let mut back = [0; 13];
    crate::GuestMemory::read(&ring.memory, DATA + 0x100, &mut back).unwrap();
    assert_eq!(&back, b"one two three");
    // A file that ends too early is an error, not zeros.
    ring.offer(0);
    let Ok(Some(Taken::Request(_, request))) = queue.take(&ring.memory) else { panic!() };
    let pieces = request.writable.into_pieces(&mut room).unwrap();
    let short = crate::read_file(&file, 101, pieces).unwrap_err();
    assert_eq!(short.kind(), std::io::ErrorKind::UnexpectedEof);
}
