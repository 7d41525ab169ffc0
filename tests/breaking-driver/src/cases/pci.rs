//! The function itself, MSI-X and doorbells: 4.1.4, 4.1.5 and the PCI specification.

use super::life::{unheard, waiting};
use super::{Case, case, try_to_set};
use crate::device::Device;
use crate::pci::{MASTER, MEMORY};
use crate::registers::{CONFIG_VECTOR, QUEUE_SELECT, QUEUE_VECTOR, STATUS};

/// MSI-X message control, and its bits for "enabled" and "all masked".
const CONTROL: u64 = 2;
const ENABLED: u16 = 1 << 15;
const ALL_MASKED: u16 = 1 << 14;

/// Sets this entry of the MSI-X table, uses it for the queue, and reads.
fn read_with_vector(disk: &mut Device, control: u16, entry: [u64; 4]) -> String {
    disk.set_up();
    let places = disk.function.places;
    disk.set(QUEUE_SELECT, 0);
    disk.set(QUEUE_VECTOR, 0);
    for (word, value) in entry.into_iter().enumerate() {
        disk.function.bar.write(places.table + 4 * word, 4, value);
    }
    disk.function.set(places.msix + CONTROL, &control.to_le_bytes());
    disk.run();
    let said = disk.read(1, 512);
    disk.function.set(places.msix + CONTROL, &[0, 0]);
    disk.function.bar.write(places.table + 12, 4, 1);
    said
}

/// Writes bytes into configuration space; whether they are read back.
fn try_to_configure(disk: &Device, places: &[u64]) -> String {
    let taken = places.iter().filter(|&&at| {
        let before: [u8; 4] = disk.function.get(at);
        let other = before.map(|byte| byte ^ 0x5a);
        disk.function.set(at, &other);
        disk.function.get::<4>(at) != before
    });
    format!("{} taken", taken.count())
}

pub const CASES: &[Case] = &[
    case("bar-moved", "PCI 6.2.5.1", |disk| {
        disk.start();
        let before = disk.function.double(0x10);
        disk.function.set(0x10, &0xd000_0000_u32.to_le_bytes());
        let after = disk.function.double(0x10);
        let moved = if before == after { "stays" } else { "moves" };
        format!("{moved}, {}", disk.read(1, 512))
    }),
    case("bar-left-in-sizing", "PCI 6.2.5.1", |disk| {
        disk.start();
        let before = disk.function.double(0x10);
        disk.function.set(0x10, &[0xff; 4]);
        let size = disk.function.double(0x10);
        let said = disk.read(1, 512);
        disk.function.set(0x10, &before.to_le_bytes());
        format!("{size:#x}, {said}")
    }),
    case("header-written", "PCI 6.1", |disk| {
        // Identity, class, the other BARs, subsystem, ROM, the list of capabilities.
        try_to_configure(disk, &[0, 8, 12, 20, 24, 28, 32, 36, 44, 48, 52, 64, 128, 252])
    }),
    case("capabilities-written", "4.1.4", |disk| {
        let first = disk.function.get::<1>(0x34).map(u64::from);
        try_to_configure(disk, &first.map(|at| [at, at + 4, at + 8, at + 12]).concat())
    }),
    case("registers-without-memory-space", "PCI 6.2.2", |disk| {
        disk.start();
        disk.function.set_command(MASTER);
        disk.set(STATUS, 0);
        let shown = disk.get(STATUS);
        disk.function.set_command(MEMORY | MASTER);
        format!("status {shown:#x}, {}", disk.read(1, 512))
    }),
    case("request-without-bus-mastering", "PCI 6.2.2", |disk| {
        disk.start();
        disk.function.set_command(MEMORY);
        let said = disk.read(1, 512);
        disk.function.set_command(MEMORY | MASTER);
        said
    }),
    case("isr-written", "4.1.4.5", |disk| {
        disk.start();
        let isr = disk.function.places.isr;
        disk.function.bar.write(isr, 1, 0xff);
        format!("reads {:#x}, {}", disk.function.bar.read(isr, 1), disk.read(1, 512))
    }),
    case("configuration-written", "5.2.4", |disk| {
        disk.start();
        let places = disk.function.places;
        let words = (0..places.config_len / 4).map(|word| places.config + 4 * word);
        let taken = words.filter(|&at| {
            let before = disk.function.bar.read(at, 4);
            disk.function.bar.write(at, 4, !before);
            disk.function.bar.read(at, 4) != before
        });
        format!("{} taken", taken.count())
    }),
    case("configuration-read-beyond-its-end", "4.1.4.6", |disk| {
        let places = disk.function.places;
        let end = places.config + places.config_len;
        let shown = disk.function.bar.read(end - 2, 4) & disk.function.bar.read(end, 4);
        format!("reads {shown:#x}")
    }),
    case("vectors-out-of-range", "4.1.5.1.2.2", |disk| {
        disk.negotiate();
        disk.set(QUEUE_SELECT, 0);
        let shown = [2, 255, 2048, 0xfffe].map(|vector| {
            disk.set(CONFIG_VECTOR, vector);
            disk.set(QUEUE_VECTOR, vector);
            disk.get(CONFIG_VECTOR) & disk.get(QUEUE_VECTOR)
        });
        format!("{:#x}", shown.iter().fold(0xffff, |all, vector| all & vector))
    }),
    case("vector-changed-while-running", "4.1.5.1.2.1", |disk| {
        disk.start();
        disk.set(QUEUE_SELECT, 0);
        let said = [1, 0xffff, 7, 0].map(|vector| {
            disk.set(QUEUE_VECTOR, vector);
            disk.read(1, 512)
        });
        said.join(", ")
    }),
    case("message-into-memory", "PCI 6.8.2", |disk| {
        read_with_vector(disk, ENABLED, [0x1000, 0, 0x4041, 0])
    }),
    case("message-beyond-four-gibibytes", "PCI 6.8.2", |disk| {
        read_with_vector(disk, ENABLED, [0xfee0_0000, 1, 0x4041, 0])
    }),
    case("message-of-no-vector", "PCI 6.8.2", |disk| {
        // Vector 0, and a processor that there is not.
        read_with_vector(disk, ENABLED, [0xfeef_f000, 0, 0, 0])
    }),
    case("message-while-masked", "PCI 6.8.2", |disk| {
        read_with_vector(disk, ENABLED | ALL_MASKED, [0xfee0_0000, 0, 0x4041, 0])
    }),
    case("table-read-askew", "PCI 6.8.2", |disk| {
        let (bar, table) = (&disk.function.bar, disk.function.places.table);
        // By a byte, by two, askew, over the end of the table.
        let shown = [(0, 1), (2, 2), (6, 4), (12, 8), (32, 4)];
        let ones = shown.iter().filter(|&&(at, width)| {
            bar.write(table + at, width, 0);
            bar.read(table + at, width) == u64::MAX >> (64 - 8 * width)
        });
        format!("{} of {} ones", ones.count(), shown.len())
    }),
    case("pending-bits-written", "PCI 6.8.2", |disk| {
        let (bar, pending) = (&disk.function.bar, disk.function.places.pending);
        bar.write(pending, 8, u64::MAX);
        format!("reads {:#x}", bar.read(pending, 8))
    }),
    case("doorbells-of-no-queue", "4.1.5.2", |disk| {
        disk.start();
        for queue in [1, 2, 15, 255, 511] {
            disk.ring(queue, 2, queue as u64);
        }
        disk.read(1, 512)
    }),
    case("doorbell-with-another-number", "4.1.5.2", |disk| {
        disk.start();
        waiting(disk);
        disk.ring(0, 2, 0xffff);
        disk.outcome(0)
    }),
    case("doorbell-of-any-width", "4.1.5.2", |disk| {
        disk.start();
        let said = [1, 4, 8].map(|width| {
            waiting(disk);
            disk.ring(0, width, 0);
            disk.outcome(0)
        });
        said.join(", ")
    }),
    case("doorbell-read", "4.1.4.4", |disk| {
        let at = disk.function.places.notify;
        format!("reads {:#x}", disk.function.bar.read(at, 2))
    }),
    case("doorbell-before-driver-ok", "3.1.1", |disk| {
        disk.set_up();
        waiting(disk);
        disk.kick();
        let before = unheard(disk);
        disk.run();
        format!("{before}, {}", disk.outcome(0))
    }),
    case("doorbell-after-a-reset", "2.4.1", |disk| {
        disk.start();
        disk.read(1, 512);
        disk.reset();
        waiting(disk);
        disk.kick();
        unheard(disk)
    }),
    case("doorbells-for-nothing", "2.7.13", |disk| {
        disk.start();
        (0..100).for_each(|_| disk.kick());
        disk.read(1, 512)
    }),
    case("every-register-written-with-ones", "4.1.4.3", |disk| {
        disk.start();
        let places = disk.function.places;
        // All of the BAR's first page; the status, too, which gives up (FAILED).
        for at in (0..0x1000).step_by(4) {
            disk.function.bar.write(at, 4, 0xffff_ffff);
        }
        for at in (0..0x40).step_by(2) {
            disk.function.bar.write(places.common + at, 2, 0xffff);
        }
        let status = try_to_set(disk, STATUS, 0xff);
        format!("status {status}")
    }),
];
