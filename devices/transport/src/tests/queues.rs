//! Queue registers.

use super::driver::{Guest, QUEUE_SIZE, QUEUES, RAM, reg};
use crate::{Effects, Request, VERSION_1};
use proptest::prelude::*;

fn negotiated() -> Guest {
    let mut guest = Guest::ready();
    guest.negotiate(VERSION_1);
    guest
}

#[test]
fn sizes_that_no_queue_has_are_not_taken() {
    let mut guest = negotiated();
    assert_eq!(guest.r16(reg::QUEUE_SIZE), QUEUE_SIZE);
    for size in [0, 3, 100, QUEUE_SIZE + 1, 2 * QUEUE_SIZE, 0x8000, 0xffff] {
        let _ = guest.w16(reg::QUEUE_SIZE, size);
        assert_eq!(guest.r16(reg::QUEUE_SIZE), QUEUE_SIZE, "{size}");
    }
    for size in [1, 2, 64, QUEUE_SIZE] {
        let _ = guest.w16(reg::QUEUE_SIZE, size);
        assert_eq!(guest.r16(reg::QUEUE_SIZE), size);
    }
    guest.still_works();
}

#[test]
fn queues_beyond_the_last_are_not_there() {
    let mut guest = negotiated();
    for queue in [QUEUES, QUEUES + 1, 16, 17, 0xffff] {
        let _ = guest.w16(reg::QUEUE_SELECT, queue);
        assert_eq!(guest.r16(reg::QUEUE_SELECT), queue);
        guest.set_up_queue(queue);
        assert_eq!(guest.r16(reg::QUEUE_SIZE), 0);
        assert_eq!(guest.r16(reg::QUEUE_ENABLE), 0);
        assert_eq!(guest.r16(reg::QUEUE_VECTOR), 0xffff);
        assert_eq!(guest.r32(reg::DESCRIPTORS), 0);
    }
    guest.still_works();
}

#[test]
fn a_queue_without_a_ring_in_ram_is_not_enabled() {
    let good = Guest::areas(0);
    let table = 16 * u64::from(QUEUE_SIZE);
    for (area, address) in [
        (0, 0x10_0008),
        (0, 0x10_0001),
        (1, 0x10_4001),
        (2, 0x10_8002),
        (0, RAM - table + 16),
        (0, RAM),
        (0, 0xc000_4000),
        (0, 0xfee0_0000),
        (1, RAM - 2),
        (2, u64::MAX - 3),
        (0, u64::MAX - 15),
        (0, 1 << 52),
        (1, 0xffff_ffff_0000_0000),
    ] {
        let mut guest = negotiated();
        let mut areas = good;
        areas[area] = address;
        guest.set_areas(areas);
        let _ = guest.w16(reg::QUEUE_ENABLE, 1);
        assert_eq!(guest.r16(reg::QUEUE_ENABLE), 0, "{area} {address:#x}");
        // It can be set right.
        guest.set_areas(good);
        let _ = guest.w16(reg::QUEUE_ENABLE, 1);
        assert_eq!(guest.r16(reg::QUEUE_ENABLE), 1);
        guest.still_works();
    }
    let mut guest = negotiated();
    guest.set_areas([RAM - table, good[1], good[2]]);
    let _ = guest.w16(reg::QUEUE_ENABLE, 1);
    assert_eq!(guest.r16(reg::QUEUE_ENABLE), 1, "the last place in RAM");
}

/// Protects against CVE-2026-5747's class: settings that change after the device was given them.
#[test]
fn settings_of_an_enabled_queue_stay() {
    let mut guest = negotiated();
    guest.set_up_queue(0);
    let change = |guest: &mut Guest| {
        let _ = guest.w16(reg::QUEUE_SELECT, 0);
        let _ = guest.w16(reg::QUEUE_SIZE, 128);
        guest.set_areas([0x20_0000, 0x21_0000, 0x22_0000]);
        for enable in [0, 1, 2, 0xffff] {
            let _ = guest.w16(reg::QUEUE_ENABLE, enable);
        }
        assert_eq!((guest.r16(reg::QUEUE_SIZE), guest.r16(reg::QUEUE_ENABLE)), (64, 1));
        assert_eq!(u64::from(guest.r32(reg::DESCRIPTORS)), Guest::areas(0)[0]);
    };
    change(&mut guest);
    let _ = guest.w8(reg::STATUS, 15);
    change(&mut guest);
    // Nor can another be enabled once the driver said that it is ready.
    guest.set_up_queue(1);
    assert_eq!(guest.r16(reg::QUEUE_ENABLE), 0);
    let Some(Request::Activate(_, activation)) = guest.function.take_request() else { panic!() };
    let ring = activation.rings[0].unwrap();
    assert_eq!([ring.descriptors, ring.available, ring.used], Guest::areas(0));
    assert_eq!((ring.size, activation.rings[1]), (64, None));
    change(&mut guest);
    guest.still_works();
}

#[test]
fn queues_cannot_be_set_before_features_are_agreed_on() {
    let mut guest = Guest::ready();
    guest.set_up_queue(0);
    assert_eq!(guest.r16(reg::QUEUE_ENABLE), 0);
    assert_eq!((guest.r16(reg::QUEUE_SIZE), guest.r32(reg::DESCRIPTORS)), (QUEUE_SIZE, 0));
    guest.still_works();
}

#[test]
fn enabling_takes_the_value_one_only() {
    let mut guest = negotiated();
    guest.set_areas(Guest::areas(0));
    for value in [0, 2, 0x100, 0xffff] {
        let _ = guest.w16(reg::QUEUE_ENABLE, value);
        assert_eq!(guest.r16(reg::QUEUE_ENABLE), 0, "{value}");
    }
}

#[test]
fn doorbells_of_queues_that_do_not_run_wake_nobody() {
    let mut guest = negotiated();
    guest.set_up_queue(1);
    assert_eq!(guest.w16(0x1004, 1).kick.iter().next(), None, "before DRIVER_OK");
    let _ = guest.w8(reg::STATUS, 15);
    assert_eq!(guest.w16(0x1004, 1).kick.iter().next(), Some(1));
    assert_eq!(
        guest.w32(0x1004, 0).kick.iter().next(),
        Some(1),
        "the address says which, not the value"
    );
    assert_eq!(guest.w16(0x1000, 0).kick.iter().next(), None, "not enabled");
    assert_eq!(guest.w16(0x100c, 3).kick.iter().next(), None, "not there");
    assert_eq!(guest.w16(0x1006, 1).kick.iter().next(), None, "between two");
    let _ = guest.w8(reg::STATUS, 0);
    assert_eq!(guest.w16(0x1004, 1).kick.iter().next(), None, "after the reset");
    guest.still_works();
}

#[test]
fn registers_answer_accesses_of_their_width_only() {
    let mut guest = negotiated();
    guest.set_up_queue(0);
    let before: Vec<u8> = (0..0x38).map(|at| guest.r8(at)).collect();
    let legal = |at: u64, len: usize| crate::common::Register::at(at, len).is_some();
    for at in 0..0x38 {
        for len in [1, 2, 3, 4, 8] {
            if !legal(at, len) {
                let mut data = [0; 8];
                guest.function.bar_read(at, &mut data[..len]);
                assert_eq!(data[..len], [0xff; 8][..len], "{at:#x} {len}");
                assert_eq!(guest.write(at, &[0; 8][..len]), Effects::default());
            }
        }
    }
    assert_eq!((0..0x38).map(|at| guest.r8(at)).collect::<Vec<_>>(), before);
    assert_eq!(guest.status(), 11);
    guest.still_works();
}

#[test]
fn read_only_registers_stay() {
    let mut guest = negotiated();
    let _ = (guest.w32(reg::DEVICE_FEATURE, 0), guest.w16(0x12, 9));
    let _ = (guest.w8(0x15, 9), guest.w16(0x1e, 9));
    assert_eq!((guest.r16(0x12), guest.r8(0x15), guest.r16(0x1e)), (QUEUES, 0, 0));
    let _ = guest.w16(reg::QUEUE_SELECT, 2);
    assert_eq!(guest.r16(0x1e), 2, "the doorbell of queue 2");
}

proptest! {
    /// Every ring that a device is given is aligned and wholly in RAM.
    #[test]
    fn rings_are_aligned_and_in_ram(
        size in 0_u32..10,
        areas: [u64; 3],
        near: [(u64, bool); 3],
    ) {
        let mut guest = negotiated();
        let size = 1_u16 << size;
        let _ = guest.w16(reg::QUEUE_SIZE, size);
        let addresses: Vec<u64> = areas.iter().zip(near).map(|(area, (offset, near))| {
            if near { (RAM - 0x3000 + offset % 0x6000) & !15 } else { *area }
        }).collect();
        guest.set_areas([addresses[0], addresses[1], addresses[2]]);
        let _ = guest.w16(reg::QUEUE_ENABLE, 1);
        let _ = guest.w8(reg::STATUS, 15);
        let Some(Request::Activate(_, activation)) = guest.function.take_request() else {
            panic!()
        };
        let n = u128::from(size.min(QUEUE_SIZE));
        let fits = |address: u64, align: u64, bytes: u128| {
            address.is_multiple_of(align) && u128::from(address) + bytes <= u128::from(RAM)
        };
        let good = fits(addresses[0], 16, 16 * n)
            && fits(addresses[1], 2, 6 + 2 * n)
            && fits(addresses[2], 4, 6 + 8 * n);
        // A size that is too large is not taken: the queue keeps its largest.
        let n = if size > QUEUE_SIZE { u128::from(QUEUE_SIZE) } else { n };
        prop_assert_eq!(activation.rings[0].is_some(), good && n > 0);
    }
}
