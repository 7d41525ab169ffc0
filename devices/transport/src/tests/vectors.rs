//! MSI-X: where interrupts go, and that none is lost on the way.

use super::driver::{Guest, MESSAGE, QUEUES, reg};
use crate::{Effects, Message, QueueSet, Source};

fn message(vector: u32) -> Message {
    Message { address: 0xfee0_1000, data: MESSAGE.1 + vector }
}

fn route(guest: &Guest, queue: u16) -> Option<Message> {
    guest.function.route(Source::Queue(queue))
}

fn signalled(set: QueueSet) -> Vec<u16> {
    set.iter().collect()
}

#[test]
fn vectors_start_masked_and_lead_nowhere() {
    let mut guest = Guest::new();
    guest.config_write(4, &6_u16.to_le_bytes());
    let control = guest.msix_control();
    assert_eq!(guest.config_read::<2>(control), [3, 0], "a vector for each queue and one more");
    for vector in 0..=u64::from(QUEUES) {
        assert_eq!(guest.r32(reg::TABLE + 16 * vector + 12), 1);
    }
    let (ticket, _) = guest.drive();
    let _ = guest.function.activated(ticket, true);
    assert_eq!(route(&guest, 0), None);
    guest.still_works();
}

#[test]
fn a_vector_beyond_the_table_is_none_and_reads_so() {
    let mut guest = Guest::driven();
    for vector in [QUEUES + 1, 100, 0xfffe, 0xffff] {
        for register in [reg::QUEUE_VECTOR, reg::CONFIG_VECTOR] {
            let _ = guest.w16(register, 0);
            assert_eq!(guest.r16(register), 0);
            let _ = guest.w16(register, vector);
            assert_eq!(guest.r16(register), 0xffff, "{vector}");
        }
    }
    assert_eq!(guest.function.route(Source::Config), None);
    assert_eq!(guest.function.route(Source::Queue(QUEUES)), None);
    assert_eq!(guest.function.route(Source::Queue(0xffff)), None);
    guest.still_works();
}

/// Protects against lost interrupts: KVM drops one whose vector leads nowhere.
#[test]
fn queues_of_a_vector_are_signalled_when_it_leads_somewhere_again() {
    let mut guest = Guest::driven();
    let expected = Effects { routes: true, ..Effects::default() };
    assert_eq!(guest.mask(2, true), expected);
    assert_eq!((route(&guest, 0), route(&guest, 1)), (Some(message(1)), None));
    let effects = guest.mask(2, false);
    assert!(effects.routes);
    assert_eq!(signalled(effects.signal), [1]);
    assert_eq!(route(&guest, 1), Some(message(2)));
    // By the function's mask, by MSI-X itself, by bus mastering: all queues.
    let control = guest.msix_control();
    for (at, off, on) in [
        (control, 0xc000_u16, 0x8000_u16),
        (control, 0, 0x8000),
        (4, 2, 6),
        (control, 0x4000, 0x8000),
    ] {
        assert_eq!(guest.config_write(at, &off.to_le_bytes()), expected);
        assert!((0..QUEUES).all(|queue| route(&guest, queue).is_none()));
        let effects = guest.config_write(at, &on.to_le_bytes());
        assert!(effects.routes);
        assert_eq!(signalled(effects.signal), [0, 1, 2]);
    }
    // By the queue's own register, and two queues on one vector.
    let _ = guest.w16(reg::QUEUE_SELECT, 2);
    assert_eq!(guest.w16(reg::QUEUE_VECTOR, 0xffff), expected);
    assert_eq!(signalled(guest.w16(reg::QUEUE_VECTOR, 1).signal), [2]);
    assert_eq!(guest.mask(1, true), expected);
    assert_eq!(signalled(guest.mask(1, false).signal), [0, 2]);
}

#[test]
fn a_vector_changed_while_the_queue_runs_takes_effect() {
    let mut guest = Guest::driven();
    let moved = Effects { routes: true, ..Effects::default() };
    assert_eq!(guest.w32(reg::TABLE + 16 + 8, 0x99), moved, "in use, and never led nowhere");
    assert_eq!(route(&guest, 0), Some(Message { data: 0x99, ..message(1) }));
    let _ = guest.w16(reg::QUEUE_SELECT, 0);
    assert_eq!(guest.w16(reg::QUEUE_VECTOR, 3), moved);
    assert_eq!(route(&guest, 0), Some(message(3)));
    assert_eq!(guest.w32(reg::TABLE + 16 + 8, 0x98), Effects::default(), "nobody uses it now");
}

/// Protects every device's interrupts: KVM takes all routes in one table.
#[test]
fn a_message_that_leads_to_no_processor_is_no_route() {
    let mut guest = Guest::driven();
    for address in [0, 0x1000, 0xfed0_0000, 0xfef0_0000, 0x1_fee0_0000, u64::MAX] {
        guest.set_message(1, address, 1);
        assert_eq!(route(&guest, 0), None, "{address:#x}");
        assert_eq!(route(&guest, 1), Some(message(2)));
    }
    guest.set_message(1, 0xfeef_fffc, 1);
    assert_eq!(route(&guest, 0), Some(Message { address: 0xfeef_fffc, data: 1 }));
}

#[test]
fn nobody_is_signalled_without_a_driver_that_is_ready() {
    let mut guest = Guest::ready();
    guest.negotiate(crate::VERSION_1);
    guest.set_up_queue(0);
    let _ = guest.mask(1, true);
    let effects = guest.mask(1, false);
    assert!(effects.routes && effects.signal.is_empty());
    // Nor a queue that is not enabled.
    let _ = guest.w16(reg::QUEUE_SELECT, 1);
    let _ = guest.w16(reg::QUEUE_VECTOR, 2);
    let _ = guest.w8(reg::STATUS, 15);
    let _ = guest.mask(2, true);
    assert!(guest.mask(2, false).signal.is_empty());
}

#[test]
fn the_interrupt_that_says_needs_reset_is_not_lost_behind_a_mask() {
    let mut guest = Guest::driven();
    let _ = guest.mask(0, true);
    assert!(guest.function.broke().signal_config);
    assert!(guest.mask(0, false).signal_config);
    let mut whole = Guest::driven();
    let _ = whole.mask(0, true);
    assert!(!whole.mask(0, false).signal_config, "nothing has happened");
}

#[test]
fn a_reset_takes_the_vectors_and_leaves_the_table() {
    let mut guest = Guest::driven();
    assert!(guest.w8(reg::STATUS, 0).routes);
    assert!((0..QUEUES).all(|queue| route(&guest, queue).is_none()));
    assert_eq!(guest.r16(reg::QUEUE_VECTOR), 0xffff);
    assert_eq!(guest.r32(reg::TABLE), 0xfee0_1000);
    guest.still_works();
}

#[test]
fn table_and_pending_bits_answer_aligned_accesses_of_4_and_8_bytes_only() {
    let mut guest = Guest::ready();
    let end = reg::TABLE + 16 * u64::from(QUEUES + 1);
    let before: Vec<u32> = (reg::TABLE..end).step_by(4).map(|at| guest.r32(at)).collect();
    for at in reg::TABLE - 8..end + 8 {
        for len in [1, 2, 3, 4, 8] {
            let inside = at >= reg::TABLE && at + len as u64 <= end;
            if inside && matches!(len, 4 | 8) && at % len as u64 == 0 {
                continue;
            }
            let mut data = [0; 8];
            guest.function.bar_read(at, &mut data[..len]);
            assert_eq!(data[..len], [0xff; 8][..len], "{at:#x} {len}");
            assert_eq!(guest.write(at, &[0x5a; 8][..len]), Effects::default());
        }
    }
    let after: Vec<u32> = (reg::TABLE..end).step_by(4).map(|at| guest.r32(at)).collect();
    assert_eq!(before, after);
    let _ = guest.write(reg::TABLE + 8, &[0xff; 8]);
    assert_eq!(guest.read::<8>(reg::TABLE + 8), [0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0]);
    assert_eq!(guest.read::<8>(0x3000), [0; 8]);
    assert_eq!(guest.read::<4>(0x3004), [0; 4]);
    assert_eq!((guest.r8(0x3000), guest.r32(0x3002)), (0xff, u32::MAX));
    assert_eq!(guest.read::<8>(0x3008), [0xff; 8]);
    let _ = guest.write(0x3000, &[0xff; 8]);
    assert_eq!(guest.read::<8>(0x3000), [0; 8]);
}
