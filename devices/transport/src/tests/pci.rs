//! Configuration space and the BAR's address space.

use super::driver::{BAR, CONFIG, Guest, QUEUES, reg};
use crate::layout::{BAR_SIZE, doorbell};
use crate::{Effects, Function, IdentityError, MAX_CONFIG};
use casemate_values::RamMap;

#[test]
fn header_says_a_modern_virtio_function_without_interrupt_pin_or_rom() {
    let guest = Guest::new();
    assert_eq!(guest.config_read::<4>(0), [0xf4, 0x1a, 0x42, 0x10]);
    let [revision, class @ ..] = guest.config_read::<4>(8);
    assert_eq!((revision, class), (1, [0, 0x80, 1]));
    assert_eq!(guest.config_read::<1>(0x0e), [0]);
    assert_eq!(guest.config_read::<2>(0x06), [0x10, 0]);
    assert_eq!(guest.config_read::<2>(0x3c), [0, 0]);
    assert_eq!(guest.config_read::<4>(0x30), [0; 4]);
    assert_eq!(guest.config_read::<4>(0x100), [0; 4], "no extended capability");
    assert_eq!(guest.config_read::<4>(0xffc), [0; 4]);
}

#[test]
fn capabilities_end_and_name_parts_of_the_bar_that_do_not_overlap() {
    let guest = Guest::new();
    let list = guest.capabilities();
    assert_eq!(list.iter().map(|(_, id)| *id).collect::<Vec<_>>(), [9, 9, 9, 9, 0x11]);
    let mut kinds = Vec::new();
    let mut parts = Vec::new();
    for (at, _) in list.iter().filter(|(_, id)| *id == 9) {
        let [_, _, length, kind] = guest.config_read::<4>(*at);
        let [bar, ..] = guest.config_read::<4>(at + 4);
        let word = |at| u64::from(u32::from_le_bytes(guest.config_read(at)));
        parts.push((word(at + 8), word(at + 12)));
        assert_eq!((bar, length), (0, if kind == 2 { 20 } else { 16 }));
        assert!(kind != 2 || word(at + 16) == 4);
        kinds.push(kind);
    }
    assert_eq!(kinds, [1, 2, 3, 4]);
    parts.extend([(0x2000, 16 * u64::from(QUEUES + 1)), (0x3000, 8)]);
    parts.sort_unstable();
    assert!(parts.windows(2).all(|two| two[0].0 + two[0].1 <= two[1].0));
    assert!(parts.iter().all(|(offset, length)| offset + length <= BAR_SIZE));
}

/// Protects drivers from a structure that is not there.
#[test]
fn a_device_without_configuration_has_no_capability_for_it() {
    let mut identity = super::driver::identity();
    identity.config.clear();
    let function = Function::new(identity, RamMap::new(super::driver::RAM).unwrap()).unwrap();
    assert_eq!(Guest { function }.capabilities().len(), 4);
}

#[test]
fn bar_tells_its_size_and_stays_where_it_is() {
    let mut guest = Guest::new();
    let bar = |guest: &Guest| u32::from_le_bytes(guest.config_read(0x10));
    assert_eq!(bar(&guest), BAR);
    for ones in [u32::MAX, 0xffff_fff0, 0xffff_c000] {
        guest.config_write(0x10, &ones.to_le_bytes());
        assert_eq!(bar(&guest), 0xffff_c000, "{ones:#x}");
        guest.config_write(0x10, &BAR.to_le_bytes());
        assert_eq!(bar(&guest), BAR);
    }
    for moved in [0, 0xd000_0000, 0xfee0_0000, 1, BAR + 0x4000] {
        guest.config_write(0x10, &moved.to_le_bytes());
        assert_eq!(bar(&guest), BAR, "{moved:#x}");
    }
    for other in [0x14, 0x18, 0x1c, 0x20, 0x24, 0x30] {
        guest.config_write(other, &[0xff; 4]);
        assert_eq!(guest.config_read::<4>(other), [0; 4], "{other:#x}");
    }
    guest.still_works();
}

#[test]
fn read_only_bytes_of_the_header_stay_whatever_is_written() {
    let mut guest = Guest::new();
    let control = guest.msix_control();
    let dwords = |guest: &Guest| (0..64).map(|at| guest.config_read::<4>(4 * at)).collect();
    let before: Vec<[u8; 4]> = dwords(&guest);
    for at in 0..64 {
        guest.config_write(4 * at, &[0xff; 4]);
    }
    let after: Vec<[u8; 4]> = dwords(&guest);
    for (at, (before, after)) in (0_u64..).zip(before.iter().zip(&after)) {
        match 4 * at {
            4 => assert_eq!(*after, [6, 4, 0x10, 0]),
            0x10 => assert_eq!(*after, [0, 0xc0, 0xff, 0xff]),
            at if at == control - 2 => assert_eq!(after[3], before[3] | 0xc0),
            _ => assert_eq!(after, before, "{at:#x}"),
        }
    }
    guest.config_write(0x10, &BAR.to_le_bytes());
    guest.still_works();
}

#[test]
fn configuration_accesses_of_no_legal_width_or_place_read_ones_and_write_nothing() {
    let mut guest = Guest::new();
    assert_eq!(guest.config_read::<8>(0), [0xff; 8]);
    assert_eq!(guest.config_read::<2>(1), [0xff; 2]);
    assert_eq!(guest.config_read::<4>(2), [0xff; 4]);
    assert_eq!(guest.config_read::<3>(0), [0xff; 3]);
    assert_eq!(guest.config_read::<1>(u64::MAX), [0xff]);
    assert_eq!(guest.config_read::<4>(4096), [0xff; 4]);
    guest.config_write(3, &[0xff; 2]);
    guest.config_write(0, &[0xff; 8]);
    guest.config_write(u64::MAX, &[0xff]);
    assert_eq!(guest.config_read::<2>(4), [0, 0]);
}

#[test]
fn bar_answers_only_while_memory_space_is_on() {
    let mut guest = Guest::new();
    assert_eq!(guest.r16(0x12), 0xffff);
    let _ = guest.w8(reg::STATUS, 1);
    guest.config_write(4, &2_u16.to_le_bytes());
    assert_eq!((guest.r16(0x12), guest.status()), (QUEUES, 0));
    guest.still_works();
}

/// Protects the doorbells, which KVM knows by their addresses.
#[test]
fn every_access_to_the_bar_has_an_answer_and_only_registers_have_an_effect() {
    for running in [false, true] {
        let mut guest = if running { Guest::driven() } else { Guest::ready() };
        for offset in (0..BAR_SIZE + 16).chain([u64::MAX - 7, u64::MAX]) {
            for len in [1, 2, 4, 8] {
                let mut data = [0xff; 8];
                guest.function.bar_read(offset, &mut data[..len]);
                let is_register = offset < 0x38;
                let is_table = (0x2000..0x2040).contains(&offset);
                let bell = (0..QUEUES).find(|queue| doorbell(*queue) == offset);
                if !is_register && !is_table {
                    let effects = guest.write(offset, &[0xff; 8][..len]);
                    let kick = crate::QueueSet::of(bell.filter(|_| running));
                    assert_eq!(effects, Effects { kick, ..Effects::default() }, "{offset:#x}");
                }
            }
        }
        guest.still_works();
    }
}

#[test]
fn device_configuration_is_read_at_every_width_and_cannot_be_written() {
    let mut guest = Guest::ready();
    assert_eq!(guest.read::<3>(0x40a), [0xff; 3], "beyond the end");
    for at in 0..10 {
        assert_eq!(guest.r8(0x400 + at), CONFIG[usize::try_from(at).unwrap()]);
    }
    assert_eq!(guest.r16(0x403), 0x0504);
    assert_eq!(guest.r32(0x404), 0x0807_0605);
    assert_eq!(guest.read::<8>(0x400), [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(guest.r32(0x408), u32::MAX, "reaches beyond the end");
    assert_eq!(guest.w32(0x400, 0), Effects::default());
    assert_eq!(guest.r32(0x400), 0x0403_0201);
    assert_eq!(guest.r8(0x15), 0, "the generation of what never changes");
}

#[test]
fn devices_that_no_function_can_be_are_refused() {
    let ram = || RamMap::new(super::driver::RAM).unwrap();
    let with = |change: &dyn Fn(&mut crate::Identity)| {
        let mut identity = super::driver::identity();
        change(&mut identity);
        Function::new(identity, ram()).err()
    };
    assert_eq!(with(&|_| ()), None);
    assert_eq!(with(&|i| i.queues = 0), Some(IdentityError::Queues(0)));
    assert_eq!(with(&|i| i.queues = 17), Some(IdentityError::Queues(17)));
    for size in [0, 3, 2048, 0xffff] {
        assert_eq!(with(&|i| i.queue_size = size), Some(IdentityError::QueueSize(size)));
    }
    let long = MAX_CONFIG + 1;
    assert_eq!(with(&|i| i.config = vec![0; long]), Some(IdentityError::Config(long)));
    for bar in [0, 0xc000_1000] {
        assert_eq!(with(&|i| i.bar = bar), Some(IdentityError::Bar(bar)));
    }
    for kind in [0, 64] {
        assert_eq!(with(&|i| i.kind = kind), Some(IdentityError::Kind(kind)));
    }
}
