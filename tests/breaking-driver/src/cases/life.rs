//! The device status and the features: 2.1, 2.2 and 3.1.1.

use super::{Case, case, try_to_set};
use crate::device::{ANSWERS, Answer, DATA, Descriptor, Device, PAGES, WRITE, pause};
use crate::disk::IN;
use crate::memory::PAGE;
use crate::registers::{
    ACKNOWLEDGE, DEVICE_FEATURE, DEVICE_FEATURE_SELECT, DRIVER, DRIVER_FEATURE,
    DRIVER_FEATURE_SELECT, DRIVER_OK, FAILED, FEATURES_OK, NEEDS_RESET, QUEUE_ENABLE, QUEUE_SELECT,
    STATUS, VERSION_1,
};
use std::time::Duration;

/// So long a device is looked at that should do nothing.
pub const A_WHILE: Duration = Duration::from_millis(100);

/// Writes these into a fresh status register, one after the other; what it reads as.
fn statuses(disk: &mut Device, values: &[u64]) -> String {
    disk.reset();
    disk.accept(disk.offered());
    values.iter().for_each(|value| disk.set(STATUS, *value));
    status(disk)
}

fn status(disk: &Device) -> String {
    format!("status {:#04x}", disk.get(STATUS))
}

/// Accepts these features; the status after FEATURES_OK.
fn agree(disk: &mut Device, change: impl Fn(u64) -> u64) -> String {
    disk.begin();
    disk.accept(change(disk.offered()));
    disk.set(STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK);
    status(disk)
}

/// What becomes of a request that no device should look at.
pub fn unheard(disk: &Device) -> String {
    match disk.answer(A_WHILE) {
        Answer::Silent => "not looked at".into(),
        other => format!("{other:?}"),
    }
}

/// A read that is in the ring, and that nobody was told of.
pub fn waiting(disk: &mut Device) {
    disk.header(IN, 0);
    let data = Descriptor { flags: WRITE, ..disk.piece(DATA, 512) };
    disk.chain(0, &disk.request(&[data]));
    disk.offer(0);
}

pub const CASES: &[Case] = &[
    case("driver-without-acknowledge", "3.1.1", |disk| statuses(disk, &[DRIVER])),
    case("features-ok-without-driver", "3.1.1", |disk| {
        statuses(disk, &[ACKNOWLEDGE, ACKNOWLEDGE | FEATURES_OK])
    }),
    case("driver-ok-without-features-ok", "3.1.1", |disk| {
        statuses(disk, &[ACKNOWLEDGE, ACKNOWLEDGE | DRIVER, ACKNOWLEDGE | DRIVER | DRIVER_OK])
    }),
    case("driver-ok-first", "3.1.1", |disk| statuses(disk, &[DRIVER_OK])),
    case("unknown-status-bits", "2.1", |disk| statuses(disk, &[ACKNOWLEDGE | DRIVER | 0x30])),
    case("all-status-bits-at-once", "2.1", |disk| statuses(disk, &[0xff])),
    case("status-bit-cleared", "2.1.1", |disk| {
        disk.negotiate();
        disk.set(STATUS, ACKNOWLEDGE);
        status(disk)
    }),
    case("status-bit-cleared-while-running", "2.1.1", |disk| {
        disk.start();
        disk.set(STATUS, ACKNOWLEDGE | DRIVER);
        let read = disk.read(1, 512);
        format!("{}, {read}", status(disk))
    }),
    case("needs-reset-set-by-driver", "2.1.1", |disk| {
        disk.start();
        disk.set(STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK | NEEDS_RESET);
        status(disk)
    }),
    case("driver-ok-twice", "3.1.1", |disk| {
        disk.start();
        disk.run();
        disk.read(1, 512)
    }),
    case("driver-ok-after-failed", "2.1.1", |disk| {
        disk.set_up();
        disk.set(STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK | FAILED);
        disk.run();
        status(disk)
    }),
    case("driver-ok-without-a-queue", "3.1.1", |disk| {
        disk.negotiate();
        disk.run();
        waiting(disk);
        disk.kick();
        let heard = unheard(disk);
        format!("{}, {heard}", status(disk))
    }),
    case("version-1-not-accepted", "6.1", |disk| agree(disk, |offered| offered & !VERSION_1)),
    case("indirect-accepted", "2.2.1", |disk| agree(disk, |offered| offered | 1 << 28)),
    case("event-index-accepted", "2.2.1", |disk| agree(disk, |offered| offered | 1 << 29)),
    case("packed-ring-accepted", "2.2.1", |disk| agree(disk, |offered| offered | 1 << 34)),
    case("in-order-accepted", "2.2.1", |disk| agree(disk, |offered| offered | 1 << 35)),
    case("ring-reset-accepted", "2.2.1", |disk| agree(disk, |offered| offered | 1 << 40)),
    case("scsi-accepted", "2.2.1", |disk| agree(disk, |offered| offered | 1 << 7)),
    case("all-features-accepted", "2.2.1", |disk| agree(disk, |_| u64::MAX)),
    case("no-feature-accepted", "2.2.1", |disk| agree(disk, |_| 0)),
    case("features-changed-after-features-ok", "2.2.1", |disk| {
        disk.negotiate();
        disk.set(DRIVER_FEATURE_SELECT, 0);
        try_to_set(disk, DRIVER_FEATURE, 0)
    }),
    case("features-changed-while-running", "2.2.1", |disk| {
        disk.start();
        disk.set(DRIVER_FEATURE_SELECT, 1);
        try_to_set(disk, DRIVER_FEATURE, 0xffff_ffff)
    }),
    case("features-beyond-the-second-half", "4.1.4.3.1", |disk| {
        disk.begin();
        let at = |select| {
            disk.set(DEVICE_FEATURE_SELECT, select);
            disk.get(DEVICE_FEATURE)
        };
        let shown = at(2) | at(0x8000_0000) | at(0xffff_ffff);
        disk.set(DRIVER_FEATURE_SELECT, 7);
        format!("shows {shown:#x}, {}", try_to_set(disk, DRIVER_FEATURE, 0xffff_ffff))
    }),
    case("reset-twice", "2.4.2", |disk| {
        disk.start();
        disk.set(STATUS, 0);
        disk.set(STATUS, 0);
        disk.reset();
        status(disk)
    }),
    case("registers-written-during-a-reset", "2.4.2", |disk| {
        disk.start();
        disk.set(STATUS, 0);
        disk.set(STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
        disk.set(QUEUE_SELECT, 0);
        disk.set(QUEUE_ENABLE, 1);
        // The reset may be over by then: what follows is another one.
        disk.reset();
        status(disk)
    }),
    case("reset-at-every-step", "2.4.1", |disk| {
        let steps: [fn(&mut Device); 5] =
            [Device::reset, Device::begin, Device::negotiate, Device::set_up, Device::start];
        for step in steps {
            step(disk);
            disk.reset();
        }
        status(disk)
    }),
    case("a-hundred-resets", "2.4.1", |disk| {
        for _ in 0..100 {
            disk.start();
            disk.set(STATUS, 0);
        }
        disk.reset();
        status(disk)
    }),
    case("reset-in-the-middle-of-requests", "2.4.1", |disk| {
        let mut changed = 0;
        for round in 0..20_u32 {
            disk.start();
            disk.header(IN, 0);
            for chain in 0..5 {
                let at = DATA + 2 * usize::from(chain) * PAGE;
                let data = Descriptor { flags: WRITE, ..disk.piece(at, 4096) };
                disk.chain(3 * chain, &disk.request(&[data]));
                disk.offer(3 * chain);
            }
            disk.kick();
            (0..round * 500).for_each(|_| std::hint::spin_loop());
            disk.reset();
            // From now on the memory is the driver's again.
            let pages = (PAGES - 5) * PAGE;
            disk.memory.write(DATA, &vec![0x5a; pages]);
            pause();
            pause();
            let data = disk.memory.read(DATA, pages);
            let rings = disk.memory.read(ANSWERS, PAGE);
            changed += u32::from(data.iter().any(|byte| *byte != 0x5a));
            changed += u32::from(rings.iter().any(|byte| *byte != 0));
        }
        format!("{changed} of 20 wrote afterwards")
    }),
];
