//! The queues: what a driver offers is taken whole or answered, what comes is given whole or not at
//! all.

use super::*;

#[test]
fn a_frame_goes_out_however_its_driver_cut_it() {
    let frame = udp(MAC, (GUEST, 7), (HOST, 53));
    for cut in [1, 11, 12, 13, 26, 40] {
        let mut machine = Machine::new(NetworkRules::any(), 0);
        machine.memory.write(OUT, &[&[0; HEADER][..], &frame].concat()).unwrap();
        let rest = (HEADER + frame.len()) as u32 - cut;
        machine.offer(1, 2, &[(OUT, cut, false), (OUT + u64::from(cut), rest, false)]);
        machine.turn();
        assert_eq!(machine.answers(1), [(2, 0)]);
        assert_eq!(machine.came_out(), Some(frame.clone()), "{cut}");
    }
}

/// Protects the filter: the bytes that go out are those that were looked at, though the guest
/// changes them meanwhile; here they are longer than what is looked at.
#[test]
fn frames_longer_than_what_is_looked_at_are_whole() {
    let mut machine = Machine::new(NetworkRules::any(), 0);
    let head = [&CARD[..], &MAC, &[8, 0]].concat();
    let frame: Vec<u8> = head.into_iter().chain((0..3000_u32).map(|n| n as u8)).collect();
    machine.send(&frame);
    assert_eq!(machine.came_out(), Some(frame));
}

#[test]
fn chains_that_are_no_frame_are_answered_and_the_queue_goes_on() {
    let mut machine = Machine::new(NetworkRules::any(), 0);
    let long = (HEADER + MAX_FRAME + 1) as u32;
    for parts in [
        &[(OUT, 11, false)][..],
        &[(OUT, 12, false)],
        &[(OUT, 25, false)],
        &[(OUT, 64, true)],
        &[(OUT, long, false)],
        &[(0x40_0000, 64, false)],
        &[(OUT, 0, false)],
    ] {
        machine.offer(1, 0, parts);
        machine.turn();
        assert_eq!(machine.answers(1), [(0, 0)], "{parts:?}");
        assert_eq!(machine.came_out(), None, "{parts:?}");
    }
    let frame = udp(MAC, (GUEST, 7), (HOST, 53));
    machine.send(&frame);
    assert_eq!(machine.came_out(), Some(frame));
}

/// Protects a driver from half a frame: it sees all buffers of one or none.
#[test]
fn a_frame_in_several_buffers_is_seen_when_it_is_whole() {
    let mut machine = Machine::new(NetworkRules::any(), feature::MRG_RXBUF);
    let frame: Vec<u8> = (0..200_u8).collect();
    machine.comes_in(&frame);
    machine.offer(0, 0, &[(IN, 64, true)]);
    machine.offer(0, 1, &[(IN + 0x100, 64, true)]);
    machine.turn();
    assert_eq!(machine.answers(0), []);
    machine.offer(0, 2, &[(IN + 0x200, 64, true)]);
    machine.offer(0, 3, &[(IN + 0x300, 64, true)]);
    machine.turn();
    assert_eq!(machine.answers(0), [(0, 64), (1, 64), (2, 64), (3, 20)]);
    assert_eq!(machine.read(IN + 10, 2), [4, 0]);
    let parts = [(IN + 12, 52), (IN + 0x100, 64), (IN + 0x200, 64), (IN + 0x300, 20)];
    let all: Vec<u8> = parts.iter().flat_map(|(at, len)| machine.read(*at, *len)).collect();
    assert_eq!(all, frame);
    // One buffer is enough for the next.
    machine.comes_in(&frame[..40]);
    machine.offer(0, 4, &[(IN, 64, true)]);
    machine.turn();
    assert_eq!((machine.answers(0), machine.read(IN + 10, 2)), (vec![(4, 52)], vec![1, 0]));
}

/// Protects a driver from a device that waits for room that cannot come: when every buffer of the
/// ring is too little, they come back, and the next frame has them.
#[test]
fn a_frame_that_a_whole_ring_does_not_hold_is_dropped() {
    let mut machine = Machine::new(NetworkRules::any(), feature::MRG_RXBUF);
    machine.comes_in(&[7; 300]);
    for head in 0..SIZE {
        machine.offer(0, head, &[(IN + u64::from(head) * 0x100, 20, true)]);
    }
    machine.turn();
    assert_eq!(machine.answers(0).len(), usize::from(SIZE));
    machine.comes_in(&[8; 30]);
    machine.offer(0, 0, &[(IN, 64, true)]);
    machine.turn();
    assert_eq!((machine.answers(0), machine.read(IN + 12, 1)), (vec![(0, 42)], vec![8]));
}

#[test]
fn buffers_that_cannot_hold_a_frame_come_back_empty() {
    for (features, parts) in [
        (0, vec![(IN, 63, true)]),
        (feature::MRG_RXBUF, vec![(IN, 11, true)]),
        (feature::MRG_RXBUF, vec![(IN, 64, false)]),
        (feature::MRG_RXBUF, vec![(0x40_0000, 64, true)]),
    ] {
        let mut machine = Machine::new(NetworkRules::any(), features);
        machine.comes_in(&[7; 52]);
        machine.offer(0, 0, &parts);
        machine.turn();
        assert_eq!(machine.answers(0), [(0, 0)], "{parts:?}");
        machine.comes_in(&[8; 52]);
        machine.offer(0, 1, &[(IN, 64, true)]);
        machine.turn();
        assert_eq!((machine.answers(0), machine.read(IN + 12, 1)), (vec![(1, 64)], vec![8]));
    }
}

/// Protects a driver that comes after another: what the other had in hand is not its.
#[test]
fn a_frame_that_waits_for_buffers_is_not_the_next_drivers() {
    let mut machine = Machine::new(NetworkRules::any(), feature::MRG_RXBUF);
    machine.comes_in(&[7; 100]);
    machine.offer(0, 0, &[(IN, 64, true)]);
    machine.turn();
    machine.net.stopped();
    let again = Machine::new(NetworkRules::any(), 0);
    (machine.memory, machine.queues, machine.available) =
        (again.memory, again.queues, again.available);
    machine.net.started(false);
    machine.comes_in(&[8; 30]);
    machine.offer(0, 0, &[(IN, 0x100, true)]);
    machine.turn();
    assert_eq!((machine.answers(0), machine.read(IN + 12, 1)), (vec![(0, 42)], vec![8]));
}

/// Protects a host whose guest sends more than it is let: what is beyond its limits stays in its
/// own queue and in the TAP, for as long as it takes, and goes when somebody takes the limits away.
#[test]
fn what_is_beyond_the_limits_waits_in_both_directions_and_is_not_lost() {
    let mut machine = Machine::new(NetworkRules::any(), feature::MRG_RXBUF);
    // So little that no test lasts until more goes: a frame of 43 bytes is a debt of 42 seconds.
    let least = Limits { bytes: Rate::new(1, 1), operations: None };
    let throttle = Arc::new(Throttle::new(least).unwrap());
    machine.throttle(throttle.clone());
    let frame = |port| udp(MAC, (GUEST, port), (HOST, 53));
    machine.send(&frame(1));
    assert_eq!(machine.came_out(), Some(frame(1)));
    machine.offer(0, 0, &[(IN, 0x100, true)]);
    machine.comes_in(&frame(9));
    machine.memory.write(OUT + HEADER as u64, &frame(2)).unwrap();
    machine.offer(1, 0, &[(OUT, (HEADER + frame(2).len()) as u32, false)]);
    for _ in 0..3 {
        assert!(!machine.turn(), "it would not wait");
        assert_eq!(
            (machine.came_out(), machine.answers(0), machine.answers(1)),
            (None, vec![], vec![])
        );
        let mut waits_for = 0;
        let patience = machine.net.wait_for(&mut |_, _| waits_for += 1);
        assert!(patience.is_some_and(|time| !time.is_zero()) && waits_for == 0, "{patience:?}");
    }
    throttle.set(Limits::default());
    machine.turn();
    assert_eq!((machine.came_out(), machine.answers(1)), (Some(frame(2)), vec![(0, 0)]));
    assert_eq!(machine.answers(0), [(0, (HEADER + frame(9).len()) as u32)]);
}

/// Protects whoever watches a device whose TAP is gone from one that goes silent.
#[test]
fn a_tap_that_is_gone_is_told_of() {
    let mut machine = Machine::new(NetworkRules::any(), 0);
    // In place of a TAP: what gives an error for good when it is read.
    let gone = memfd_create("gone", MemfdFlags::CLOEXEC).unwrap();
    let only_written = rustix::fs::open(
        format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&gone)),
        rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    );
    machine.net.take_tap(only_written.unwrap());
    machine.turn();
    assert_eq!(machine.heard.0.lock().unwrap().1, Some(Over::TapGone));
}
