//! What the device does with requests. Protects: it says back what it was told and nothing else;
//! a length that is a lie is refused; its profile has what the frame needs, and no more. Cannot
//! tell: what a guest's driver makes of it, since there is none.

use crate::profile::STEADY;
use crate::{Counter, Echo};
use casemate_device_backend::{Device, Pulse, Turn};
use casemate_device_queue::{GuestMemory, Memory, Negotiating, Region, RingAddresses, Taken};
use casemate_values::Guest;
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

const RINGS: RingAddresses = RingAddresses { descriptors: 0, available: 0x200, used: 0x400 };
const SAID: u64 = 0x1000;
const HEARD: u64 = 0x1800;

/// What comes back when `said` is said into `room` bytes; and what the host heard.
fn answer(said: &[u8], room: u32) -> (Vec<u8>, u64) {
    let file = memfd_create("guest", MemfdFlags::CLOEXEC).unwrap();
    ftruncate(&file, 0x2000).unwrap();
    let memory = Memory::new(vec![Region::map(&file, 0, 0, 0x2000).unwrap()]).unwrap();
    memory.write(SAID, said).unwrap();
    for (index, (gpa, len, flags)) in
        [(SAID, u32::try_from(said.len()).unwrap(), 1_u16), (HEARD, room, 2)].iter().enumerate()
    {
        let at = 16 * index as u64;
        memory.write(at, &gpa.to_le_bytes()).unwrap();
        memory.write(at + 8, &len.to_le_bytes()).unwrap();
        memory.write(at + 12, &flags.to_le_bytes()).unwrap();
        memory.write(at + 14, &1_u16.to_le_bytes()).unwrap();
    }
    memory.store(RINGS.available + 2, 1).unwrap();
    let mut queue = Negotiating::default();
    queue.set_size(Guest::new(2)).unwrap();
    queue.set_rings(RINGS);
    let mut queue = queue.activate(&memory).unwrap();
    let device = Echo { host: Counter::default() };
    let Ok(Some(Taken::Request(head, request))) = queue.take(&memory) else { panic!() };
    let written = device.answer(&mut (), &Turn::new(0, &|| (), &Pulse::default()), request);
    queue.answer(&memory, head, written).unwrap();
    let mut back = vec![0; written as usize];
    memory.read(HEARD, &mut back).unwrap();
    (back, device.host.heard())
}

#[test]
fn what_was_said_comes_back_as_far_as_there_is_room() {
    assert_eq!(answer(b"\x05\0hello", 16), (b"hello".to_vec(), 5));
    assert_eq!(answer(b"\x05\0hello", 4), (b"hell".to_vec(), 5));
}

#[test]
fn a_length_that_is_a_lie_is_refused() {
    for lie in [&b"\x06\0hello"[..], b"\x04\0hello", b"\xff\xffhello", b"\x05"] {
        assert_eq!(answer(lie, 16), (vec![], 0), "{lie:?}");
    }
    let long = [&[65, 0][..], &[b'x'; 65]].concat();
    assert_eq!(answer(&long, 128), (vec![], 0));
}

#[test]
fn the_profile_is_the_frame_and_nothing_else() {
    let calls = ["exit_group", "futex", "ppoll", "read", "recvmsg", "sendmsg", "write"];
    assert_eq!(STEADY.syscalls(), calls);
}
