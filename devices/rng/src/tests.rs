//! What the device does with buffers. Protects: a guest gets as many bytes as there is room for, up
//! to the bound, and none that its source did not give; nothing of them is kept; its profile has
//! what the frame needs, and one call. Cannot tell how random the kernel's bytes are.

use crate::profile::STEADY;
use crate::{BLOCK, Kernel, MAX_BYTES, Rng, Source};
use casemate_device_backend::{Device, Pulse, Turn};
use casemate_device_queue::{GuestMemory, Memory, Negotiating, Region, RingAddresses, Taken};
use casemate_values::Guest;
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use std::sync::atomic::{AtomicU8, Ordering};

const RINGS: RingAddresses = RingAddresses { descriptors: 0, available: 0x200, used: 0x400 };
const BUFFER: u64 = 0x1000;
const END: u64 = 0x8000;
const WRITE: u16 = 2;
const NEXT: u16 = 1;

/// Blocks of 1, 2, 3 and so on, up to its number; then nothing.
struct Counting(u8, AtomicU8);

impl Source for Counting {
    fn fill(&self, block: &mut [u8; BLOCK]) -> bool {
        let number = self.1.fetch_add(1, Ordering::Relaxed) + 1;
        if number <= self.0 {
            block.fill(number);
        }
        number <= self.0
    }
}

/// What a device makes of buffers of these descriptors: the used length, the memory from the first
/// one on, and what is left in the process.
fn answer<S: Source>(source: S, buffer: &[(u64, u32, u16)]) -> (u32, Vec<u8>, Vec<u8>) {
    let file = memfd_create("guest", MemfdFlags::CLOEXEC).unwrap();
    ftruncate(&file, END).unwrap();
    let memory = Memory::new(vec![Region::map(&file, 0, 0, END).unwrap()]).unwrap();
    memory.write(BUFFER, &[0xa5; 0x7000]).unwrap();
    for (index, (gpa, len, flags)) in (0_u16..).zip(buffer) {
        let at = 16 * u64::from(index);
        let next = if usize::from(index) + 1 < buffer.len() { NEXT } else { 0 };
        memory.write(at, &gpa.to_le_bytes()).unwrap();
        memory.write(at + 8, &len.to_le_bytes()).unwrap();
        memory.write(at + 12, &(flags | next).to_le_bytes()).unwrap();
        memory.write(at + 14, &(index + 1).to_le_bytes()).unwrap();
    }
    memory.store(RINGS.available + 2, 1).unwrap();
    let mut queue = Negotiating::default();
    queue.set_size(Guest::new(4)).unwrap();
    queue.set_rings(RINGS);
    let mut queue = queue.activate(&memory).unwrap();
    let device = Rng { source };
    let mut lane = device.lane();
    let Ok(Some(Taken::Request(_, request))) = queue.take(&memory) else { panic!() };
    let written = device.answer(&mut lane, &Turn::new(0, &|| (), &Pulse::default()), request);
    let mut back = vec![0; 0x7000];
    memory.read(BUFFER, &mut back).unwrap();
    (written, back, lane.to_vec())
}

/// A source that has more than is ever asked for.
fn endless() -> Counting {
    Counting(u8::MAX, AtomicU8::new(0))
}

#[test]
fn a_buffer_is_filled_up_to_the_bound_and_nothing_is_written_behind() {
    for (room, given) in
        [(1, 1), (64, 64), (255, 255), (257, 257), (4096, 4096), (4097, 4096), (0x7000, 4096)]
    {
        let (written, back, _) = answer(endless(), &[(BUFFER, room, WRITE)]);
        assert_eq!(written, given, "{room}");
        let (bytes, behind) = back.split_at(given as usize);
        let expected = (1..=16_u8).flat_map(|number| [number; BLOCK]).take(given as usize);
        assert!(bytes.iter().copied().eq(expected), "{room}");
        assert!(behind.iter().all(|byte| *byte == 0xa5), "{room}");
    }
    assert_eq!(MAX_BYTES, 4096);
}

#[test]
fn a_buffer_in_pieces_is_filled_in_order() {
    let pieces = [(BUFFER + 300, 100, WRITE), (BUFFER, 200, WRITE)];
    let (written, back, _) = answer(endless(), &pieces);
    assert_eq!(written, 300);
    assert!(back[300..400].iter().all(|byte| *byte == 1));
    assert!(back[..156].iter().all(|byte| *byte == 1) && back[156..200].iter().all(|b| *b == 2));
    assert!(back[200..300].iter().all(|byte| *byte == 0xa5));
}

#[test]
fn a_buffer_that_says_something_gets_nothing() {
    let (written, back, _) = answer(endless(), &[(BUFFER, 8, 0), (BUFFER + 8, 64, WRITE)]);
    assert_eq!((written, back[8]), (0, 0xa5));
    assert_eq!(answer(endless(), &[(BUFFER, 64, 0)]).0, 0);
}

/// Protects a guest's keys: a byte that nobody made is no random byte, and one that a guest has is
/// nobody else's.
#[test]
fn what_a_source_does_not_give_a_guest_does_not_get_and_nothing_is_kept() {
    let (written, back, left) = answer(Counting(2, AtomicU8::new(0)), &[(BUFFER, 1000, WRITE)]);
    assert_eq!((written, back[511], back[512]), (512, 2, 0xa5));
    assert!(left.iter().all(|byte| *byte == 0));
    assert_eq!(answer(Counting(0, AtomicU8::new(0)), &[(BUFFER, 1000, WRITE)]).0, 0);
}

#[test]
fn blocks_of_the_kernel_are_whole_and_differ() {
    let (written, back, _) = answer(Kernel, &[(BUFFER, 1024, WRITE)]);
    assert_eq!(written, 1024);
    let blocks: Vec<&[u8]> = back[..1024].chunks(BLOCK).collect();
    for (index, block) in blocks.iter().enumerate() {
        assert!(!blocks[..index].contains(block), "the same 2048 bits twice");
    }
}

#[test]
fn the_profile_is_the_frame_and_getrandom() {
    let calls =
        ["exit_group", "futex", "getrandom", "ppoll", "read", "recvmsg", "sendmsg", "write"];
    assert_eq!(STEADY.syscalls(), calls);
}
