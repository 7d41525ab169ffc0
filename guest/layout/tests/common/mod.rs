//! A guest that is right.
#![allow(dead_code, clippy::unwrap_used, reason = "each test file uses its part")]

use casemate_layout::{Blob, KernelKind, Mode, Params, Range, Ranges, map, ports};

pub const MIB: u64 = 1 << 20;
pub const GIB: u64 = 1 << 30;

pub const fn blob(size: u64) -> Blob {
    Blob { size, sha256: [7; 32] }
}

pub fn params(mode: Mode) -> Params {
    Params {
        mode,
        sha_extensions: true,
        c_bit: if mode == Mode::Snp { 51 } else { 0 },
        report_port: ports::REPORT_PORT,
        mark_port: ports::MARK_PORT,
        rsdp: map::ACPI.start + 0x40,
        kernel_kind: KernelKind::BzImage,
        kernel_memory: Range { start: 16 * MIB, size: 40 * MIB },
        initrd_limit: 1 << 31,
        kernel: blob(12 * MIB + 5),
        initrd: blob(9 * MIB + 1),
        cmdline: blob(21),
        acpi: blob(0x900),
    }
}

/// RAM as the hypervisor lays it out.
pub fn ram(size: u64) -> Ranges<32> {
    let mut ram = Ranges::default();
    let low = size.min(map::DEVICE_HOLE.start);
    ram.push(Range { start: 0, size: low }).unwrap();
    if size > low {
        ram.push(Range { start: map::DEVICE_HOLE.end(), size: size - low }).unwrap();
    }
    ram
}
