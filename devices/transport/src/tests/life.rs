//! The status register and what follows from it.

use super::driver::{BACK_END, Guest, QUEUES, reg};
use crate::{ACCESS_PLATFORM, Effects, Request, VERSION_1};

#[test]
fn offered_is_what_the_back_end_has_and_the_transport_knows() {
    let mut guest = Guest::ready();
    let mut offered = Vec::new();
    for select in [0, 1, 2, u32::MAX] {
        let _ = guest.w32(reg::DEVICE_FEATURE_SELECT, select);
        offered.push(guest.r32(reg::DEVICE_FEATURE));
    }
    assert_eq!(offered, [1 << 6 | 1 << 9, 3, 0, 0]);
    assert_ne!(BACK_END & (1 << 28 | 1 << 29 | 1 << 30 | 1 << 34), 0, "the back end has more");
}

#[test]
fn access_platform_is_taken_and_never_forwarded() {
    let mut guest = Guest::ready();
    guest.negotiate(VERSION_1 | ACCESS_PLATFORM | 1 << 6);
    assert_eq!(guest.status(), 11);
    let _ = guest.w8(reg::STATUS, 15);
    let Some(Request::Activate(_, activation)) = guest.function.take_request() else { panic!() };
    assert_eq!(activation.features, VERSION_1 | 1 << 6);
}

#[test]
fn features_that_cannot_be_are_not_agreed_on() {
    for features in [0, 1 << 6, VERSION_1 | 1 << 5, VERSION_1 | 1 << 28, VERSION_1 | 1 << 34, !0] {
        let mut guest = Guest::ready();
        guest.negotiate(features);
        assert_eq!(guest.status(), 3, "{features:#x}");
        let _ = guest.w8(reg::STATUS, 15);
        assert_eq!(guest.status(), 3, "{features:#x}");
        assert_eq!(guest.function.take_request(), None);
        // A driver may try again with other ones.
        guest.negotiate(VERSION_1);
        assert_eq!(guest.status(), 11);
        guest.still_works();
    }
}

#[test]
fn features_cannot_be_changed_once_they_are_agreed_on() {
    let mut guest = Guest::ready();
    guest.negotiate(VERSION_1);
    guest.accept(VERSION_1 | 1 << 6);
    let _ = guest.w32(reg::DRIVER_FEATURE_SELECT, 0);
    assert_eq!(guest.r32(reg::DRIVER_FEATURE), 0);
    let _ = guest.w8(reg::STATUS, 15);
    guest.accept(VERSION_1 | 1 << 9);
    let Some(Request::Activate(_, activation)) = guest.function.take_request() else { panic!() };
    assert_eq!(activation.features, VERSION_1);
}

#[test]
fn status_bits_out_of_order_are_not_taken() {
    for (written, read) in [(2, 0), (4, 0), (8, 0), (14, 0), (5, 1), (9, 1), (64, 0), (32, 0)] {
        let mut guest = Guest::ready();
        guest.accept(VERSION_1);
        let _ = guest.w8(reg::STATUS, written);
        assert_eq!(guest.status(), read, "{written}");
        assert_eq!(guest.function.take_request(), None);
        guest.still_works();
    }
}

#[test]
fn status_bits_are_never_cleared_but_by_a_reset() {
    let mut guest = Guest::driven();
    for written in [1, 2, 4, 8, 16, 32, 64, 3] {
        assert_eq!(guest.w8(reg::STATUS, written), Effects::default());
        assert_eq!(guest.status(), 15, "{written}");
    }
    assert_eq!(guest.function.take_request(), None, "activated twice");
    guest.still_works();
}

#[test]
fn a_write_of_all_bits_is_as_good_as_one_after_the_other() {
    let mut guest = Guest::ready();
    guest.accept(VERSION_1);
    let effects = guest.w8(reg::STATUS, 0x0f);
    assert!(effects.request);
    assert_eq!(guest.status(), 15);
    guest.still_works();
}

#[test]
fn a_driver_that_gave_up_gets_on_by_a_reset_only() {
    let mut guest = Guest::ready();
    guest.accept(VERSION_1);
    let _ = guest.w8(reg::STATUS, 0xff);
    assert_eq!(guest.status(), 0x83);
    let _ = guest.w8(reg::STATUS, 0x0f);
    assert_eq!(guest.status(), 0x83);
    assert_eq!(guest.function.take_request(), None);
    guest.still_works();
}

/// Protects the queues from a device that was given none.
#[test]
fn driver_ok_without_a_queue_activates_a_device_with_no_ring() {
    let mut guest = Guest::ready();
    guest.negotiate(VERSION_1);
    let _ = guest.w8(reg::STATUS, 15);
    let Some(Request::Activate(ticket, activation)) = guest.function.take_request() else {
        panic!()
    };
    assert!(activation.rings.iter().all(Option::is_none));
    let _ = guest.function.activated(ticket, true);
    assert_eq!(guest.w32(0x1000, 0).kick.iter().next(), None, "nothing to wake");
    guest.still_works();
}

#[test]
fn reset_is_done_when_the_device_says_so_and_the_driver_reads_it() {
    let mut guest = Guest::driven();
    assert!(guest.w8(reg::STATUS, 0).request);
    assert_eq!(guest.status(), 15, "a reset that is not done reads as not done");
    // Whatever the driver does meanwhile changes nothing, and asks for nothing.
    let quiet = |guest: &mut Guest| {
        for value in [0, 1, 3, 11, 15, 0xff] {
            assert_eq!(guest.w8(reg::STATUS, value), Effects::default());
        }
        guest.accept(VERSION_1);
        guest.set_up_queue(0);
        assert_eq!(guest.r16(reg::QUEUE_ENABLE), 0);
        assert_eq!(guest.status(), 15);
    };
    quiet(&mut guest);
    let Some(Request::Reset(ticket)) = guest.function.take_request() else { panic!() };
    assert_eq!(guest.function.take_request(), None);
    quiet(&mut guest);
    let _ = guest.function.stopped(ticket);
    assert_eq!(guest.status(), 0);
    guest.still_works();
}

#[test]
fn a_reset_leaves_nothing_behind() {
    let mut guest = Guest::driven();
    guest.reset();
    let mut fresh = Guest::ready();
    fresh.reset();
    for queue in 0..QUEUES {
        for guest in [&mut guest, &mut fresh] {
            let _ = guest.w16(reg::QUEUE_SELECT, queue);
        }
        for at in 0..0x38 {
            assert_eq!(guest.r8(at), fresh.r8(at), "{at:#x}");
            assert_eq!(guest.r16(at), fresh.r16(at), "{at:#x}");
            assert_eq!(guest.r32(at), fresh.r32(at), "{at:#x}");
        }
    }
    // Features from before are not agreed on again.
    let _ = guest.w8(reg::STATUS, 11);
    assert_eq!(guest.status(), 3);
}

#[test]
fn reset_at_every_step_back_to_back_ends_and_the_device_runs_afterwards() {
    for step in 0..=8 {
        let mut guest = Guest::ready();
        let steps: [&dyn Fn(&mut Guest); 8] = [
            &|g| drop(g.w8(reg::STATUS, 1)),
            &|g| drop(g.w8(reg::STATUS, 3)),
            &|g| g.accept(VERSION_1),
            &|g| drop(g.w8(reg::STATUS, 11)),
            &|g| g.set_up_queue(0),
            &|g| g.set_up_queue(1),
            &|g| drop(g.w8(reg::STATUS, 15)),
            &|g| {
                let Some(Request::Activate(ticket, _)) = g.function.take_request() else {
                    panic!()
                };
                let _ = g.function.activated(ticket, true);
            },
        ];
        steps.iter().take(step).for_each(|step| step(&mut guest));
        guest.reset();
        guest.reset();
        guest.still_works();
    }
}

#[test]
fn a_reset_before_the_device_heard_of_its_activation_is_done_at_once() {
    let mut guest = Guest::ready();
    guest.negotiate(VERSION_1);
    let _ = guest.w8(reg::STATUS, 15);
    let _ = guest.w8(reg::STATUS, 0);
    assert_eq!((guest.status(), guest.function.take_request()), (0, None));
    guest.still_works();
}

#[test]
fn an_answer_to_an_older_request_is_for_nobody() {
    let mut guest = Guest::ready();
    let (old, _) = guest.drive();
    guest.reset();
    let (new, _) = guest.drive();
    assert_eq!(guest.function.activated(old, false), Effects::default());
    assert_eq!(guest.status(), 15);
    let _ = guest.function.stopped(old);
    assert_eq!(guest.status(), 15);
    let _ = guest.w8(reg::STATUS, 0);
    let _ = guest.function.activated(new, true);
    let _ = guest.function.stopped(new);
    assert_eq!(guest.status(), 15, "only the answer to the reset ends it");
    guest.still_works();
}

#[test]
fn a_device_that_cannot_go_on_is_told_of_once_and_a_reset_clears_it() {
    let mut guest = Guest::driven();
    assert!(guest.function.broke().signal_config);
    assert_eq!(guest.status(), 15 | 64);
    assert!(!guest.function.broke().signal_config);
    let _ = guest.w8(reg::STATUS, 64 | 15);
    assert_eq!(guest.status(), 15 | 64);
    guest.reset();
    guest.still_works();

    let mut guest = Guest::ready();
    assert_eq!(guest.function.broke(), Effects::default(), "no driver to tell");
    let (ticket, _) = guest.drive();
    assert!(guest.function.activated(ticket, false).signal_config);
    assert_eq!(guest.status(), 15 | 64);
    guest.still_works();
}

/// Protects against a device that is silent for ever: a doorbell may have been rung, and its event
/// taken, before the device knew of the ring.
#[test]
fn every_queue_is_woken_once_when_the_device_has_begun() {
    let mut guest = Guest::ready();
    let (ticket, _) = guest.drive();
    let kicked = |effects: Effects| effects.kick.iter().collect::<Vec<_>>();
    assert_eq!(kicked(guest.function.activated(ticket, true)), [0, 1, 2]);
    assert_eq!(kicked(guest.function.activated(ticket, true)), [], "an answer that comes twice");
    let (ticket, _) = guest.drive();
    assert_eq!(kicked(guest.function.activated(ticket, false)), [], "nobody to wake");
    guest.still_works();
}
