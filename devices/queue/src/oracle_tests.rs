//! The reader against `virtio-queue`, on the same memory. Protects: whatever chain we call whole,
//! it finds the same bytes in; whatever chain is well-formed by its reading, we call whole; answers
//! look the same. Cannot tell: anything of malformed chains, which the oracle ends silently.

use crate::test_ring::{DATA, Descriptor, NEXT, RINGS, SIZE, TestRing, WRITE};
use crate::{Head, Malformed, Segment, Taken};
use proptest::prelude::*;
use std::fs::File;
use virtio_queue::{Queue, QueueT};
use vm_memory::{FileOffset, GuestAddress, GuestMemoryMmap};

/// The oracle over the same file.
fn oracle(ring: &TestRing) -> (GuestMemoryMmap<()>, Queue) {
    let file = File::from(ring.file.try_clone().unwrap());
    let bytes = usize::try_from(crate::test_ring::BYTES).unwrap();
    let range = (GuestAddress(0), bytes, Some(FileOffset::new(file, 0)));
    let memory = GuestMemoryMmap::from_ranges_with_files([range]).unwrap();
    let mut queue = Queue::new(SIZE).unwrap();
    queue.try_set_desc_table_address(GuestAddress(RINGS.descriptors)).unwrap();
    queue.try_set_avail_ring_address(GuestAddress(RINGS.available)).unwrap();
    queue.try_set_used_ring_address(GuestAddress(RINGS.used)).unwrap();
    queue.set_ready(true);
    (memory, queue)
}

/// What the oracle makes of the next chain: head, segments to read and to write, whether they came
/// in that order, and whether the last one it saw was the end.
type Seen = (u16, Vec<Segment>, Vec<Segment>, bool, bool);

fn seen(memory: &GuestMemoryMmap<()>, queue: &mut Queue) -> Option<Seen> {
    let chain = queue.pop_descriptor_chain(memory)?;
    let head = chain.head_index();
    let (mut readable, mut writable, mut ordered, mut ended) = (vec![], vec![], true, false);
    for descriptor in chain {
        let segment = Segment { gpa: descriptor.addr().0, len: descriptor.len() };
        ordered &= descriptor.is_write_only() || writable.is_empty();
        let list = if descriptor.is_write_only() { &mut writable } else { &mut readable };
        list.push(segment);
        ended = !descriptor.has_next();
    }
    Some((head, readable, writable, ordered, ended))
}

fn descriptor() -> impl Strategy<Value = Descriptor> {
    let gpa = prop_oneof![8 => DATA..0xf000, 1 => 0xfff0_u64..0x1_0010, 1 => any::<u64>()];
    let len = prop_oneof![8 => 1_u32..0x1000, 1 => 0_u32..2, 1 => any::<u32>()];
    let flags = prop_oneof![
        4 => Just(0), 6 => Just(NEXT), 6 => Just(NEXT | WRITE), 4 => Just(WRITE), 1 => 0_u16..4
    ];
    (gpa, len, flags, 0..SIZE + 1)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn chains_are_read_as_virtio_queue_reads_them(
        table in prop::collection::vec(descriptor(), usize::from(SIZE)),
        heads in prop::collection::vec(0..SIZE, 1..4),
    ) {
        let mut ring = TestRing::new();
        ring.table(&table);
        heads.iter().for_each(|head| ring.offer(*head));
        let (memory, mut oracle) = oracle(&ring);
        let mut queue = ring.queue();
        for head in heads {
            let (theirs, readable, writable, ordered, ended) =
                seen(&memory, &mut oracle).unwrap();
            prop_assert_eq!(theirs, head);
            let in_memory = |s: &Segment| s.len > 0 && s.gpa.saturating_add(s.len.into())
                <= crate::test_ring::BYTES;
            let whole = ended && ordered && readable.iter().chain(&writable).all(in_memory);
            let token: Head = match queue.take(&ring.memory).unwrap().unwrap() {
                Taken::Request(token, request) => {
                    prop_assert!(whole);
                    let sum = |list: &[Segment]| list.iter().map(|s| s.len).sum::<u32>();
                    prop_assert_eq!(request.readable.len(), sum(&readable));
                    prop_assert_eq!(request.writable.len(), sum(&writable));
                    prop_assert_eq!(request.segments(), (&readable[..], &writable[..]));
                    token
                }
                Taken::Malformed(token, wrong) => {
                    prop_assert!(!whole, "{wrong:?}");
                    // The oracle lets an empty descriptor pass, and any order.
                    if !matches!(wrong, Malformed::Empty | Malformed::Order | Malformed::Outside) {
                        prop_assert!(!ended);
                    }
                    token
                }
            };
            queue.answer(&ring.memory, token, 0).unwrap();
        }
        prop_assert!(seen(&memory, &mut oracle).is_none());
    }

    #[test]
    fn answers_are_written_as_virtio_queue_writes_them(
        start in any::<u16>(),
        answers in prop::collection::vec((0..SIZE, 0_u32..64), 1..20),
    ) {
        let (mut ours, mut theirs) = (TestRing::new(), TestRing::new());
        let mut negotiating = TestRing::negotiating();
        negotiating.set_next(start);
        let mut queue = negotiating.activate(&ours.memory).unwrap();
        let (memory, mut oracle) = oracle(&theirs);
        oracle.set_next_used(start);
        ours.set_index(start);
        theirs.set_index(start);
        for (head, len) in answers {
            ours.describe(head, (DATA, 64, WRITE, 0));
            ours.offer(head);
            let Ok(Some(Taken::Request(token, _))) = queue.take(&ours.memory) else { panic!() };
            queue.answer(&ours.memory, token, len).unwrap();
            oracle.add_used(&memory, head, len).unwrap();
            prop_assert_eq!(ours.used_index(), theirs.used_index());
            for index in 0..SIZE {
                prop_assert_eq!(ours.used(index), theirs.used(index));
            }
        }
    }
}
