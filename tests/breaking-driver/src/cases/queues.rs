//! Setting up queues, and the common configuration registers: 4.1.4.3 and 2.7.

use super::{Case, case, try_to_set};
use crate::device::{ANSWERS, Descriptor, Device, HEADER, RING, TABLE, pause};
use crate::registers::{
    AVAILABLE, DESCRIPTORS, DEVICE_FEATURE, GENERATION, NOTIFY_OFF, QUEUE_ENABLE, QUEUE_SELECT,
    QUEUE_SIZE, QUEUES, Register, STATUS, USED,
};

/// Sets the queue up with one of its areas elsewhere; whether it is enabled then.
fn placed(disk: &mut Device, register: Register, address: u64) -> String {
    disk.negotiate();
    disk.place();
    disk.set_address(register, address);
    disk.set(QUEUE_ENABLE, 1);
    enabled(disk)
}

fn enabled(disk: &Device) -> String {
    if disk.get(QUEUE_ENABLE) == 0 { "not enabled".into() } else { "enabled".into() }
}

fn sized(disk: &mut Device, size: u64) -> String {
    disk.negotiate();
    disk.set(QUEUE_SELECT, 0);
    try_to_set(disk, QUEUE_SIZE, size)
}

pub const CASES: &[Case] = &[
    case("queue-size-0", "4.1.4.3.2", |disk| sized(disk, 0)),
    case("queue-size-1", "2.7", |disk| {
        // Lawful, though no request of a disk fits: one that has no status is answered.
        disk.negotiate();
        disk.place();
        let size = try_to_set(disk, QUEUE_SIZE, 1);
        disk.set(QUEUE_ENABLE, 1);
        disk.run();
        format!("{size}, {}", disk.ask(&[disk.piece(HEADER, 16)]))
    }),
    case("queue-size-3", "2.7", |disk| sized(disk, 3)),
    case("queue-size-doubled", "4.1.4.3.2", |disk| {
        disk.negotiate();
        let max = disk.get(QUEUE_SIZE);
        sized(disk, 2 * max)
    }),
    case("queue-size-32768", "4.1.4.3.2", |disk| sized(disk, 32768)),
    case("queue-size-65535", "4.1.4.3.2", |disk| sized(disk, 65535)),
    case("queue-size-changed-after-enable", "4.1.4.3.2", |disk| {
        disk.set_up();
        try_to_set(disk, QUEUE_SIZE, 128)
    }),
    case("queue-size-changed-while-running", "4.1.4.3.2", |disk| {
        disk.start();
        format!("{}, {}", try_to_set(disk, QUEUE_SIZE, 2), disk.read(1, 512))
    }),
    case("queue-moved-while-running", "4.1.4.3.2", |disk| {
        disk.start();
        let moved = try_to_set(disk, USED, 0x1000);
        format!("{moved}, {}", disk.read(1, 512))
    }),
    case("queue-enabled-before-features-ok", "3.1.1", |disk| {
        disk.begin();
        disk.place();
        disk.set(QUEUE_ENABLE, 1);
        enabled(disk)
    }),
    case("queue-enabled-after-driver-ok", "3.1.1", |disk| {
        disk.negotiate();
        disk.run();
        disk.place();
        disk.set(QUEUE_ENABLE, 1);
        enabled(disk)
    }),
    case("queue-disabled", "4.1.4.3.2", |disk| {
        disk.start();
        format!("{}, {}", try_to_set(disk, QUEUE_ENABLE, 0), disk.read(1, 512))
    }),
    case("queue-enabled-with-2", "4.1.4.3.2", |disk| {
        disk.negotiate();
        disk.place();
        disk.set(QUEUE_ENABLE, 2);
        enabled(disk)
    }),
    case("queue-enabled-twice", "4.1.4.3.2", |disk| {
        disk.set_up();
        disk.set(QUEUE_ENABLE, 1);
        disk.run();
        disk.read(1, 512)
    }),
    case("descriptors-unaligned", "2.7", |disk| {
        let at = disk.memory.physical(TABLE) + 8;
        placed(disk, DESCRIPTORS, at)
    }),
    case("available-ring-unaligned", "2.7", |disk| {
        let at = disk.memory.physical(RING) + 1;
        placed(disk, AVAILABLE, at)
    }),
    case("used-ring-unaligned", "2.7", |disk| {
        let at = disk.memory.physical(ANSWERS) + 2;
        placed(disk, USED, at)
    }),
    case("descriptors-beyond-ram", "2.7", |disk| placed(disk, DESCRIPTORS, 1 << 32)),
    case("available-ring-in-the-local-apic", "2.7", |disk| placed(disk, AVAILABLE, 0xfee0_0000)),
    case("used-ring-in-a-bar", "2.7", |disk| {
        let bar = u64::from(disk.function.double(0x10) & !0xf);
        placed(disk, USED, bar)
    }),
    case("used-ring-over-the-end-of-addresses", "2.7", |disk| {
        placed(disk, USED, 0xffff_ffff_ffff_fffc)
    }),
    case("descriptors-across-the-end-of-ram", "2.7", |disk| {
        placed(disk, DESCRIPTORS, (256 << 20) - 16)
    }),
    case("areas-on-one-another", "2.7", |disk| {
        // One page is table, available and used ring: its bytes are each other's.
        disk.negotiate();
        disk.place();
        disk.set_address(AVAILABLE, disk.memory.physical(TABLE));
        disk.set_address(USED, disk.memory.physical(TABLE));
        disk.set(QUEUE_ENABLE, 1);
        // Flags 0, index 1, entry 0; as a descriptor: one byte at 0x10000, the end of its chain.
        disk.put(0, Descriptor { address: 0x1_0000, len: 1, flags: 0, next: 0 });
        disk.run();
        disk.kick();
        let begun = std::time::Instant::now();
        // The answer's index is the available one, which is there already; its length follows.
        while disk.memory.read(TABLE + 8, 4) != [0; 4] {
            assert!(begun.elapsed().as_secs() < 20, "the device is silent");
            pause();
        }
        format!("index {}", disk.memory.load(TABLE + 2))
    }),
    case("queue-select-out-of-range", "4.1.4.3.1", |disk| {
        disk.negotiate();
        disk.set(QUEUE_SELECT, 0xffff);
        let size = disk.get(QUEUE_SIZE);
        disk.set_address(DESCRIPTORS, disk.memory.physical(TABLE));
        disk.set(QUEUE_ENABLE, 1);
        format!("size {size}, {}", enabled(disk))
    }),
    case("read-only-registers-written", "4.1.4.3.2", |disk| {
        disk.start();
        let registers = [QUEUES, GENERATION, DEVICE_FEATURE, NOTIFY_OFF];
        registers.map(|register| try_to_set(disk, register, 0x55)).join(", ")
    }),
    case("status-written-by-four-bytes", "4.1.3.1", |disk| {
        disk.start();
        disk.set(Register(STATUS.0, 4), 0);
        disk.read(1, 512)
    }),
    case("address-written-by-eight-bytes", "4.1.3.1", |disk| {
        disk.negotiate();
        disk.set(QUEUE_SELECT, 0);
        disk.set(Register(DESCRIPTORS.0, 8), 0x1234_5000);
        let halves = disk.get(DESCRIPTORS) | disk.get(Register(DESCRIPTORS.0 + 4, 4)) << 32;
        format!("reads {halves:#x}")
    }),
    case("registers-read-askew", "4.1.3.1", |disk| {
        disk.start();
        let reads = [(0x19, 2), (0x18, 4), (0x12, 1), (0x12, 4), (0x20, 8), (0x35, 8)];
        let ones = reads.iter().all(|&(at, width)| {
            let all = u64::MAX >> (64 - 8 * width);
            disk.get(Register(at, width)) == all
        });
        if ones { "ones".into() } else { "something else".into() }
    }),
];
