//! A virtio-pci driver as a script: what a kernel's driver writes, in its order (virtio 1.2, 3.1.1
//! and 4.1).

use crate::guests::{KERNEL, elf_kernel, page_tables_at, plan, plan_of};
use crate::script::{SCRIPT, Script, interpreter};
use casemate_hypervisor::launch::{LaunchPlan, PageKind};

/// Configuration space of the first device.
pub const HEADER: u64 = 0xe000_8000;
/// Its BAR.
pub const BAR: u64 = 0xc000_4000;
const STATUS: u64 = BAR + 0x14;
const TABLE: u64 = BAR + 0x2000;
const DOORBELL: u64 = BAR + 0x1000;
/// Descriptors, available and used ring of queue 0.
pub const RING: [u64; 3] = [0x20_0000, 0x20_1000, 0x20_2000];
/// A request's header, data and status byte.
pub const REQUEST: [u64; 3] = [0x21_0000, 0x21_1000, 0x21_0100];
/// Bytes between what belongs to one queue and what belongs to the next: rings, requests.
pub const QUEUE_STEP: u64 = 0x2_0000;
/// Where an interrupt waits to be taken: bits of the local APIC's request register from vector 64.
const REQUESTED: u64 = 0xfee0_0220;

/// The plan of a guest that follows `script`.
pub fn scripted(script: &Script) -> LaunchPlan {
    let mut plan = plan(&interpreter(), 1);
    plan.add_pages("script", PageKind::Normal, SCRIPT, script.memory()).unwrap();
    plan
}

/// The same with this much RAM.
pub fn scripted_with(script: &Script, ram: u64) -> LaunchPlan {
    let mut plan = plan_of(&interpreter(), 1, ram);
    plan.add_pages("script", PageKind::Normal, SCRIPT, script.memory()).unwrap();
    plan
}

/// A kernel for the real launch path that follows `script`. It has page tables of its own, since
/// those that a kernel begins with map RAM alone, and puts the script where it is looked for.
pub fn scripted_kernel(script: &Script) -> Vec<u8> {
    const TABLES: usize = 0x1000;
    let script = script.memory();
    let (tables, text) = (KERNEL + TABLES as u64, KERNEL + TABLES as u64 + 0x6000);
    let word = |register: u8, value: u64| [&[0x48, register][..], &value.to_le_bytes()].concat();
    let mut kernel = [
        // mov rax, TABLES; mov cr3, rax
        word(0xb8, tables),
        vec![0x0f, 0x22, 0xd8],
        // mov rsi, text; mov rdi, SCRIPT; mov rcx, its bytes; cld; rep movsb
        word(0xbe, text),
        word(0xbf, SCRIPT),
        word(0xb9, script.len() as u64),
        vec![0xfc, 0xf3, 0xa4],
        interpreter(),
    ]
    .concat();
    assert!(kernel.len() <= TABLES && SCRIPT + script.len() as u64 <= RING[0]);
    kernel.resize(TABLES, 0);
    kernel.extend(page_tables_at(tables));
    kernel.extend(script);
    elf_kernel(&kernel)
}

/// A driver's steps for the first device.
pub trait Driver: Sized {
    /// Memory space, bus mastering, MSI-X on, and the local APIC as a processor has it to see
    /// interrupts. The device is a disk.
    fn open(self) -> Self {
        self.open_kind(2)
    }
    /// The same of a device of this number (virtio 1.2, 5).
    fn open_kind(self, number: u32) -> Self;
    /// Resets, and waits for it.
    fn reset(self) -> Self;
    /// From the reset to DRIVER_OK with VERSION_1 and these low features; vector `n` is 64 + n.
    fn drive(self, features: u32) -> Self {
        self.drive_queues(features, 1)
    }
    /// The same with so many queues, each with a vector of its own behind that of queue 0.
    fn drive_queues(self, features: u32, queues: u16) -> Self;
    /// Masks or unmasks MSI-X vector 1, which is queue 0's.
    fn mask(self, masked: bool) -> Self;
    /// Lets vector 1 lead to this processor interrupt.
    fn vector(self, interrupt: u8) -> Self;
    /// Waits until this processor interrupt has come.
    fn interrupted(self, interrupt: u8) -> Self;
    /// Puts a block request of one data buffer into the ring and rings the doorbell; `number` is
    /// how many there were before. Waits for its end and that its status is 0.
    fn request(self, number: u16, kind: u32, sector: u64, data: u32) -> Self {
        self.request_by(0, number, (kind, sector, data))
    }
    /// Puts a buffer of so many bytes that the device writes into the ring of a queue, as its
    /// first, and waits until the device has.
    fn receive(self, queue: u16, len: u32) -> Self;
    /// Puts bytes into the ring of a queue as one buffer that the device reads, and rings the
    /// doorbell; `number` is how many there were before. Waits for its end.
    fn give(self, queue: u16, number: u16, bytes: &[u8]) -> Self;
    /// The same by any queue: kind, sector, bytes of data.
    fn request_by(self, queue: u16, number: u16, request: (u32, u64, u32)) -> Self;
}

impl Driver for Script {
    fn open_kind(self, number: u32) -> Self {
        // Software enable, in the spurious vector's register.
        self.write(4, 0xfee0_00f0, 0x1ff)
            .write(2, HEADER + 4, 6)
            .expect_u32(HEADER, (0x1040 + number) << 16 | 0x1af4)
            .expect_u32(HEADER + 0x10, 0xc000_4000)
            // The capabilities before MSI-X: common 16, notify 20, ISR 16, device 16.
            .write(2, HEADER + 0x40 + 68 + 2, 0x8000)
    }

    fn reset(self) -> Self {
        self.write(1, STATUS, 0).wait_u8(STATUS, 0)
    }

    fn drive_queues(self, features: u32, queues: u16) -> Self {
        let mut script = self.write(1, STATUS, 1).write(1, STATUS, 3);
        for (select, half) in [(0, features), (1, 1)] {
            script = script.write(4, BAR + 8, select).write(4, BAR + 12, half.into());
        }
        script = script.write(1, STATUS, 11).wait_u8(STATUS, 11);
        for queue in 0..u64::from(queues) {
            script = script.write(2, BAR + 0x16, queue).write(2, BAR + 0x18, 16);
            let rings = RING.map(|ring| ring + QUEUE_STEP * queue);
            for (offset, address) in [0x20, 0x28, 0x30].into_iter().zip(rings) {
                script = script.write(4, BAR + offset, address).write(4, BAR + offset + 4, 0);
            }
            // The rings begin anew.
            script = script.write(4, rings[1], 0).write(4, rings[2], 0);
            let entry = TABLE + 16 * (1 + queue);
            script = script.write(4, entry, 0xfee0_0000).write(4, entry + 4, 0);
            script = script.write(4, entry + 8, 64 + 1 + queue).write(4, entry + 12, 0);
            script = script.write(2, BAR + 0x1a, 1 + queue).write(2, BAR + 0x1c, 1);
        }
        script.write(1, STATUS, 15)
    }

    fn mask(self, masked: bool) -> Self {
        self.write(4, TABLE + 16 + 12, masked.into())
    }

    fn vector(self, interrupt: u8) -> Self {
        self.write(4, TABLE + 16, 0xfee0_0000).write(4, TABLE + 16 + 4, 0).write(
            4,
            TABLE + 16 + 8,
            interrupt.into(),
        )
    }

    fn interrupted(self, interrupt: u8) -> Self {
        self.wait_bits(REQUESTED, 1 << (interrupt - 64))
    }

    fn receive(self, queue: u16, len: u32) -> Self {
        let step = QUEUE_STEP * u64::from(queue);
        let (at, ring) = (REQUEST[1] + step, RING.map(|at| at + step));
        self.write(8, ring[0], at)
            .write(8, ring[0] + 8, u64::from(len) | 2 << 32)
            .write(2, ring[1] + 4, 0)
            .write(2, ring[1] + 2, 1)
            .write(2, DOORBELL + 4 * u64::from(queue), queue.into())
            .wait_u16(ring[2] + 2, 1)
    }

    fn give(self, queue: u16, number: u16, bytes: &[u8]) -> Self {
        let step = QUEUE_STEP * u64::from(queue);
        let (at, ring) = (REQUEST[1] + step, RING.map(|at| at + step));
        let mut script = self;
        for (to, word) in (at..).step_by(8).zip(bytes.chunks(8)) {
            let mut eight = [0; 8];
            eight[..word.len()].copy_from_slice(word);
            script = script.write(8, to, u64::from_le_bytes(eight));
        }
        let (len, slot) = (bytes.len() as u64, u64::from(number % 16));
        script
            .write(8, ring[0], at)
            .write(8, ring[0] + 8, len)
            .write(2, ring[1] + 4 + 2 * slot, 0)
            .write(2, ring[1] + 2, u64::from(number) + 1)
            .write(2, DOORBELL + 4 * u64::from(queue), queue.into())
            .wait_u16(ring[2] + 2, number + 1)
    }

    fn request_by(self, queue: u16, number: u16, (kind, sector, data): (u32, u64, u32)) -> Self {
        let step = QUEUE_STEP * u64::from(queue);
        let [header, buffer, status] = REQUEST.map(|at| at + step);
        let ring = RING.map(|at| at + step);
        let writes = if kind == 0 { 2 } else { 0 };
        let number = u64::from(number);
        let descriptor = |script: Self, at: u64, address: u64, len: u32, flags: u64, next: u64| {
            let at = ring[0] + 16 * at;
            let rest = u64::from(len) | flags << 32 | next << 48;
            script.write(8, at, address).write(8, at + 8, rest)
        };
        let script = self.write(8, header, kind.into()).write(8, header + 8, sector);
        let script = script.write(1, status, 0xff);
        let script = if data == 0 {
            descriptor(script, 0, header, 16, 1, 2)
        } else {
            let script = descriptor(script, 0, header, 16, 1, 1);
            descriptor(script, 1, buffer, data, 1 | writes, 2)
        };
        descriptor(script, 2, status, 1, 2, 0)
            .write(2, ring[1] + 4 + 2 * (number % 16), 0)
            .write(2, ring[1] + 2, number + 1)
            .write(2, DOORBELL + 4 * u64::from(queue), queue.into())
            .wait_u16(ring[2] + 2, u16::try_from(number + 1).unwrap())
            .wait_u8(status, 0)
    }
}
