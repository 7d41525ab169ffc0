//! A small guest for the model: kernel, initrd, command line, tables, and the launch that brings
//! them.

use super::Model;
use casemate_boot::sha256::{Engine, sha256};
use casemate_layout::{
    Blob, KernelKind, MemoryMap, Mode, Params, Places, Range, Ranges, map, paging, ports,
};

pub const MIB: u64 = 1 << 20;
/// Low RAM; high RAM begins at 4 GiB.
pub const LOW: Range = Range { start: 0, size: 8 * MIB };
pub const HIGH: Range = Range { start: 4096 * MIB, size: 4 * MIB };
/// Where the rule puts things in that memory.
pub const STAGING: Range = Range { start: 4098 * MIB, size: 2 * MIB };
pub const KERNEL: Range = Range { start: 2 * MIB, size: 2 * MIB };
pub const KERNEL_FILE_AT: u64 = 4 * MIB;
pub const INITRD_AT: u64 = 8 * MIB - 0x3000;
pub const INITRD_LIMIT: u64 = 1 << 46;
/// Bytes of [`bzimage`] before the protected-mode part.
pub const SETUP: usize = 1024;
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

/// A launch: what is measured, what the host stages, and its memory map.
pub struct Launch {
    pub params: Params,
    pub map: MemoryMap,
    pub places: Places,
    /// Contents of the window.
    pub staging: Vec<u8>,
}

/// A good launch.
pub fn launch(mode: Mode, kernel: &[u8]) -> Launch {
    launch_in(mode, kernel, &[LOW, HIGH])
}

pub fn memory_map(ram: &[Range]) -> MemoryMap {
    let mut ranges = Ranges::default();
    for range in ram {
        ranges.push(*range).unwrap();
    }
    MemoryMap::new(ranges, 46).unwrap()
}

/// The same with other memory.
pub fn launch_in(mode: Mode, kernel: &[u8], ram: &[Range]) -> Launch {
    let blob =
        |bytes: &[u8]| Blob { size: bytes.len() as u64, sha256: sha256(Engine::Software, bytes) };
    let elf = kernel.starts_with(b"\x7fELF");
    let params = Params {
        mode,
        sha_extensions: true,
        c_bit: if mode == Mode::Snp { C_BIT } else { 0 },
        report_port: ports::REPORT_PORT,
        mark_port: ports::MARK_PORT,
        rsdp: map::ACPI.start + 0x40,
        kernel_kind: if elf { KernelKind::Elf } else { KernelKind::BzImage },
        kernel_memory: KERNEL,
        initrd_limit: INITRD_LIMIT,
        kernel: blob(kernel),
        initrd: blob(&initrd()),
        cmdline: blob(CMDLINE),
        acpi: blob(&acpi()),
    };
    let map = memory_map(ram);
    let places = params.places(map.ram()).unwrap();
    let mut staging = vec![0; usize::try_from(places.window.size).unwrap()];
    for (place, bytes) in [
        (places.kernel, kernel),
        (places.initrd, &initrd()),
        (places.cmdline, CMDLINE),
        (places.acpi, &acpi()),
    ] {
        let at = usize::try_from(place.staged.start - places.window.start).unwrap();
        staging[at..at + bytes.len()].copy_from_slice(bytes);
    }
    Launch { params, map, places, staging }
}

/// A CPUID page with the encryption leaf and that of address sizes.
pub fn cpuid_page() -> Vec<u8> {
    let mut page = vec![0; 4096];
    page[0] = 2;
    page[0x10..0x14].copy_from_slice(&0x8000_001f_u32.to_le_bytes());
    page[0x10 + 0x18] = 0x1a;
    page[0x10 + 0x1c] = C_BIT;
    page[0x40..0x44].copy_from_slice(&0x8000_0008_u32.to_le_bytes());
    page[ADDRESS_BITS_AT] = 48;
    page
}

/// Where the CPUID page says how many bits an address has.
pub const ADDRESS_BITS_AT: usize = 0x40 + 0x18;

/// The machine at the boot code's first call.
pub fn machine(launch: &Launch) -> Model {
    let params = &launch.params;
    let snp = params.mode == Mode::Snp;
    let mut model = Model::new(launch.map.ram(), launch.places.window, snp);
    model.staging.clone_from(&launch.staging);
    model.host_map = launch.map.encode();
    model.launch(map::BOOT_TABLE.start, &paging::boot_table(params.c_bit));
    model.launch(map::PARAMS.start, &params.encode());
    if snp {
        model.launch(map::CPUID.start, &cpuid_page());
        model.launch(map::SECRETS.start, &[0x5e; 4096]);
    }
    model.launch(map::BOOT_CODE.start, &[0xcc; 0x4000]);
    model.make_valid(map::SCRATCH);
    model
}
