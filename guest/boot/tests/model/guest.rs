//! A small guest for the model: kernel, initrd, command line, tables, and the launch that brings them.

use super::Model;
use casemate_boot::sha256::{Engine, sha256};
use casemate_layout::{Blob, Flags, KernelKind, Mode, Params, Range, Ranges, map, paging, ports};

pub const MIB: u64 = 1 << 20;
/// Low RAM; high RAM begins at 4 GiB.
pub const LOW: Range = Range { start: 0, size: 8 * MIB };
pub const HIGH: Range = Range { start: 4096 * MIB, size: 2 * MIB };
pub const STAGING: Range = Range { start: 6 * MIB, size: MIB };
pub const KERNEL_AT: u64 = 2 * MIB - SETUP;
pub const INITRD_AT: u64 = 5 * MIB;
const SETUP: u64 = 1024;
pub const C_BIT: u8 = 51;

/// A bzImage with a header that passes and code that is noise.
pub fn bzimage() -> Vec<u8> {
    let mut file = vec![0; 0x3000];
    for (index, byte) in file.iter_mut().enumerate().skip(1024) {
        *byte = (index * 7 % 251) as u8;
    }
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0x1f1, &[1]);
    put(0x1f4, &((0x3000_u32 - 1024) / 16).to_le_bytes());
    put(0x1fe, &0xaa55_u16.to_le_bytes());
    put(0x200, &[0xeb, 0x6a]);
    put(0x202, b"HdrS");
    put(0x206, &0x020f_u16.to_le_bytes());
    put(0x211, &[1]);
    put(0x22c, &0x7fff_ffff_u32.to_le_bytes());
    put(0x230, &(2 * MIB as u32).to_le_bytes());
    put(0x234, &[1]);
    put(0x236, &1_u16.to_le_bytes());
    put(0x258, &(2 * MIB).to_le_bytes());
    put(0x260, &(2 * MIB as u32).to_le_bytes());
    file
}

/// An ELF kernel of one segment at 2 MiB, entered there.
pub fn elf() -> Vec<u8> {
    let mut file = vec![0x90; 0x3000];
    file[..120].fill(0);
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"\x7fELF\x02\x01\x01");
    put(0x10, &2_u16.to_le_bytes());
    put(0x12, &62_u16.to_le_bytes());
    put(0x18, &(2 * MIB).to_le_bytes());
    put(0x20, &64_u64.to_le_bytes());
    put(0x34, &64_u16.to_le_bytes());
    put(0x36, &56_u16.to_le_bytes());
    put(0x38, &1_u16.to_le_bytes());
    put(64, &1_u32.to_le_bytes());
    put(68, &5_u32.to_le_bytes());
    put(72, &0x1000_u64.to_le_bytes());
    put(80, &0xffff_ffff_8100_0000_u64.to_le_bytes());
    put(88, &(2 * MIB).to_le_bytes());
    put(96, &0x2000_u64.to_le_bytes());
    put(104, &0x5000_u64.to_le_bytes());
    file
}

pub fn acpi() -> Vec<u8> {
    let mut tables = vec![0x11; 0x400];
    tables[0x40..0x48].copy_from_slice(b"RSD PTR ");
    tables
}

pub fn initrd() -> Vec<u8> {
    (0..10_000_u32).map(|index| (index % 253) as u8).collect()
}

pub const CMDLINE: &[u8] = b"console=ttyS0 quiet";

/// Parameters and staging contents of a good launch.
pub fn launch(mode: Mode, kernel: &[u8]) -> (Params, Vec<u8>) {
    let mut staging = vec![0; usize::try_from(STAGING.size).unwrap()];
    let mut at = 0;
    let mut stage = |bytes: &[u8], destination: u64| {
        staging[at..at + bytes.len()].copy_from_slice(bytes);
        let staged = Range { start: STAGING.start + at as u64, size: bytes.len() as u64 };
        at += bytes.len().next_multiple_of(4096);
        Blob { staged, destination, sha256: sha256(Engine::Software, bytes) }
    };
    let elf = kernel.starts_with(b"\x7fELF");
    let mut params = Params {
        mode,
        flags: Flags { sha_extensions: true, reclaim_staging: true },
        c_bit: if mode == Mode::Snp { C_BIT } else { 0 },
        report_port: ports::REPORT_PORT,
        mark_port: ports::MARK_PORT,
        rsdp: map::ACPI.start + 0x40,
        ram: Ranges::default(),
        launched: Ranges::default(),
        staging: STAGING,
        kernel_kind: if elf { KernelKind::Elf } else { KernelKind::BzImage },
        kernel: stage(kernel, if elf { 4 * MIB } else { KERNEL_AT }),
        initrd: stage(&initrd(), INITRD_AT),
        cmdline: stage(CMDLINE, map::CMDLINE.start),
        acpi: stage(&acpi(), map::ACPI.start),
    };
    params.ram.push(LOW).unwrap();
    params.ram.push(HIGH).unwrap();
    let end = if mode == Mode::Snp { map::SECRETS.end() } else { map::PARAMS.end() };
    let start = map::BOOT_TABLES.start;
    params.launched.push(Range { start, size: end - start }).unwrap();
    params.launched.push(Range { start: map::BOOT_CODE.start, size: 0x5000 }).unwrap();
    (params, staging)
}

/// A CPUID page with the encryption leaf.
pub fn cpuid_page() -> Vec<u8> {
    let mut page = vec![0; 4096];
    page[0] = 1;
    page[0x10..0x14].copy_from_slice(&0x8000_001f_u32.to_le_bytes());
    page[0x10 + 0x18] = 0x1a;
    page[0x10 + 0x1c] = C_BIT;
    page
}

/// The machine at the boot code's first call.
pub fn machine(params: &Params, staging: Vec<u8>) -> Model {
    let snp = params.mode == Mode::Snp;
    let low = usize::try_from(LOW.size).unwrap();
    let mut model = Model::new(&[LOW, HIGH], low, STAGING, snp);
    model.staging = staging;
    model.launch(map::BOOT_TABLES.start, &paging::boot_tables(params.c_bit));
    model.launch(map::PARAMS.start, &params.encode());
    if snp {
        model.launch(map::CPUID.start, &cpuid_page());
        model.launch(map::SECRETS.start, &[0x5e; 4096]);
    }
    model.launch(map::BOOT_CODE.start, &[0xcc; 0x5000]);
    model.make_valid(map::SCRATCH);
    model
}
