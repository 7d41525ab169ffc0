//! The processor: `Machine` with real instructions.

use crate::{ghcb, is_snp};
use casemate_layout::map::{
    BOOT_CODE, BOOT_TABLE, CPUID, HOST_MAP, PAGE_SIZE, PARAMS, SCRATCH, SCRATCH_TABLES,
};
use casemate_layout::paging::c_bit_mask;
use casemate_layout::{MAP_BYTES, Range, Termination};
use casemate_boot::cc;
use casemate_boot::machine::{Machine, PageSize, Validation};
use casemate_boot::paging::{
    IDENTITY_END, RAM_WINDOW, RAM_WINDOW_TABLE, STAGING_WINDOW, STAGING_WINDOW_TABLE, TABLES,
    Table, WINDOW_BYTES, aim, fill,
};
use casemate_boot::sha256::{Engine, Extensions};

const SEV_STATUS: u32 = 0xc001_0131;
/// The entry of the first page table that maps the boot code.
const FIRST_LEAF: u64 = BOOT_TABLE.start + BOOT_CODE.start / PAGE_SIZE * 8;
/// Address bits of low memory, and flags.
const LOW_BITS: u64 = (1 << 32) - 1;
const NO_WINDOW: u64 = u64::MAX;
/// SSE instructions are legal (the image has them in the hash alone).
const CR4_OSFXSR: u64 = 1 << 9;

/// The processor that boots, and what of memory its page tables reach so far.
pub struct Processor {
    c_bit: u64,
    mapped: bool,
    /// First address of the GiB that the window on RAM shows.
    ram_window: u64,
}

impl Processor {
    /// At the first instruction: only low memory is mapped.
    pub fn new() -> Self {
        Self { c_bit: 0, mapped: false, ram_window: NO_WINDOW }
    }

    fn tables(&mut self) -> &mut [Table; TABLES] {
        // SAFETY: the range is mapped, valid, aligned, of this size, and in use by nothing else;
        // `&mut self` makes the reference unique. The processor reads it only at page walks, after
        // `load_tables`.
        unsafe { &mut *(SCRATCH_TABLES.start as *mut [Table; TABLES]) }
    }

    fn aim_window(&mut self, table: usize, gpa: u64, c_bit: u64) -> u64 {
        let first = match self.tables().get_mut(table) {
            Some(window) => aim(window, gpa, c_bit),
            None => NO_WINDOW,
        };
        load_tables();
        first
    }

    /// Where `gpa` is reached for acceptance.
    fn private_address(&mut self, gpa: u64) -> u64 {
        if gpa < IDENTITY_END {
            return gpa;
        }
        let offset = gpa % WINDOW_BYTES;
        if self.ram_window != gpa - offset {
            let c_bit = self.c_bit;
            self.ram_window = self.aim_window(RAM_WINDOW_TABLE, gpa, c_bit);
        }
        RAM_WINDOW + offset
    }

    /// Where `range` is reached, which is below 4 GiB, or within one GiB; not what the boot code
    /// runs on.
    fn far(&mut self, range: Range) -> Option<u64> {
        if self.mapped && self.reachable(range) && range.start != 0 {
            return Some(range.start);
        }
        let offset = range.start % WINDOW_BYTES;
        let in_one = range.start >= IDENTITY_END && range.size <= WINDOW_BYTES - offset;
        (self.mapped && in_one).then(|| self.private_address(range.start))
    }

    /// Whether `range` is mapped and is not what the boot code itself runs on.
    fn reachable(&self, range: Range) -> bool {
        let end = if self.mapped { IDENTITY_END } else { SCRATCH.start };
        range.checked_end().is_some_and(|range_end| range_end <= end) && !range.overlaps(SCRATCH)
    }
}

impl Machine for Processor {
    fn params_page(&self) -> &[u8; 4096] {
        params_page()
    }

    fn sev_status(&mut self) -> u64 {
        let (low, high): (u32, u32);
        // SAFETY: reading the MSR has no effect; it exists where SNP does, and elsewhere ends the
        // guest.
        unsafe {
            core::arch::asm!("rdmsr", in("ecx") SEV_STATUS, out("eax") low, out("edx") high, options(nomem, nostack));
        }
        u64::from(high) << 32 | u64::from(low)
    }

    fn c_bit_in_use(&mut self) -> u8 {
        // SAFETY: the first page table is mapped and was launched.
        let leaf = unsafe { core::ptr::read_volatile(FIRST_LEAF as *const u64) };
        match leaf & !LOW_BITS {
            0 => 0,
            high if high.is_power_of_two() => high.trailing_zeros() as u8,
            _ => 0xff,
        }
    }

    fn copy_map(&mut self) -> [u8; MAP_BYTES] {
        let mut map = [0; MAP_BYTES];
        let (from, to) = (HOST_MAP.start, map.as_mut_ptr().expose_provenance() as u64);
        // SAFETY: the launched page table maps the source, shared, until `map_memory`; the target
        // is of this size.
        unsafe { copy_words(from, to, MAP_BYTES as u64) };
        map
    }

    fn address_bits(&mut self) -> u8 {
        let [highest, ..] = cpuid(0x8000_0000);
        match highest >= cc::ADDRESS_LEAF {
            true => cpuid(cc::ADDRESS_LEAF)[0] as u8,
            // What a processor without the leaf has (AMD64 APM volume 3, appendix E.4.7).
            false => 36,
        }
    }

    fn map_memory(&mut self, ram: &[Range], c_bit: u8) -> Result<(), Termination> {
        self.c_bit = c_bit_mask(c_bit);
        let c_bit = self.c_bit;
        fill(self.tables(), SCRATCH_TABLES.start, ram, c_bit);
        load_tables();
        self.mapped = true;
        Ok(())
    }

    fn validate(&mut self, gpa: u64, size: PageSize) -> Validation {
        let address = self.private_address(gpa);
        let (code, unchanged): (u64, u8);
        // SAFETY: the address is mapped; PVALIDATE changes the page's state, which nothing holds a
        // reference to yet.
        unsafe {
            core::arch::asm!(
                ".byte 0xf2, 0x0f, 0x01, 0xff",
                "setc {unchanged}",
                unchanged = out(reg_byte) unchanged,
                inout("rax") address => code,
                in("ecx") u32::from(size == PageSize::Large),
                in("edx") 1,
                options(nostack),
            );
        }
        match (unchanged, code & 0xffff_ffff) {
            (1, _) => Validation::Unchanged,
            (_, 0) => Validation::Done,
            (_, 6) => Validation::SizeMismatch,
            _ => Validation::Failed,
        }
    }

    fn touch(&mut self, gpa: u64) {
        let address = self.private_address(gpa);
        for offset in [0, 4095] {
            // SAFETY: the page is mapped and is RAM; reading it has no other effect than the one
            // wanted.
            unsafe { pointer(address.saturating_add(offset)).read_volatile() };
        }
    }

    /// The last page serves as GHCB for the rest, and is made private by itself.
    fn make_private(&mut self, range: Range) -> Result<(), Termination> {
        let rest = Range { start: range.start, size: range.size.saturating_sub(PAGE_SIZE) };
        let gpa = rest.end();
        if rest.size != 0 {
            self.aim_window(STAGING_WINDOW_TABLE, gpa, 0);
            // SAFETY: the page is shared still, and the window, which shows it without the C-bit,
            // is not moved below.
            let ghcb = unsafe { ghcb::Ghcb::register(gpa, STAGING_WINDOW + gpa % WINDOW_BYTES)? };
            ghcb.make_private(rest)?;
        }
        ghcb::make_page_private(gpa)
    }

    fn copy_staged(&mut self, from: Range, to: u64) -> Result<(), Termination> {
        let to = self.far(Range { start: to, size: from.size }).ok_or(Termination::Internal)?;
        let (mut left, mut target) = (from, Range { start: to, size: from.size });
        while left.size != 0 {
            let offset = left.start % WINDOW_BYTES;
            let (part, rest) = left.split(WINDOW_BYTES - offset);
            let (to, more) = target.split(part.size);
            self.aim_window(STAGING_WINDOW_TABLE, part.start, 0);
            // SAFETY: the window shows the part from `offset` on; the target is mapped RAM that no
            // reference exists to, outside the boot code.
            unsafe { copy_words(STAGING_WINDOW + offset, to.start, part.size) };
            (left, target) = (rest, more);
        }
        Ok(())
    }

    fn copy(&mut self, from: Range, to: u64) -> Result<(), Termination> {
        let target = Range { start: to, size: from.size };
        if !self.mapped || !self.reachable(from) || !self.reachable(target) || from.overlaps(target)
        {
            return Err(Termination::Internal);
        }
        // SAFETY: both ranges are mapped RAM outside the boot code that no reference exists to.
        unsafe { copy_words(from.start, to, from.size) };
        Ok(())
    }

    fn clear(&mut self, range: Range) -> Result<(), Termination> {
        if !self.reachable(range) {
            return Err(Termination::Internal);
        }
        // SAFETY: the range is mapped RAM outside the scratch range that no reference exists to.
        unsafe { clear_words(range.start, range.size) };
        Ok(())
    }

    fn memory(&self, range: Range) -> Option<&[u8]> {
        let size = usize::try_from(range.size).ok()?;
        // A reference cannot have the address 0.
        if !self.reachable(range) || range.start == 0 {
            return None;
        }
        // SAFETY: the range is mapped RAM outside scratch; private memory changes only through
        // `&mut self`.
        Some(unsafe { core::slice::from_raw_parts(pointer(range.start), size) })
    }

    fn far_memory(&mut self, range: Range) -> Option<&[u8]> {
        let size = usize::try_from(range.size).ok()?;
        let address = self.far(range)?;
        // SAFETY: as in `memory`; the window on RAM moves only through `&mut self`.
        Some(unsafe { core::slice::from_raw_parts(pointer(address), size) })
    }

    fn memory_mut(&mut self, range: Range) -> Option<&mut [u8]> {
        let size = usize::try_from(range.size).ok()?;
        if !self.reachable(range) || range.start == 0 {
            return None;
        }
        // SAFETY: the range is mapped RAM outside scratch; `&mut self` makes the reference unique.
        Some(unsafe { core::slice::from_raw_parts_mut(pointer(range.start), size) })
    }

    fn hash_engine(&mut self) -> Engine {
        let offered = if is_snp() {
            self.memory(CPUID).is_some_and(cc::offers_sha)
        } else {
            processor_offers_sha()
        };
        if !offered {
            return Engine::Software;
        }
        enable_vector_state();
        // SAFETY: the processor has the instructions, and the state is enabled.
        Engine::Extensions(unsafe { Extensions::promise() })
    }

    fn mark(&mut self, port: u16, step: u8) {
        // SAFETY: port output touches no memory; the port is the hypervisor's.
        unsafe {
            core::arch::asm!("out dx, al", in("dx") port, in("al") step, options(nomem, nostack));
        };
    }

    fn mark_by_page(&mut self, gpa: u64) {
        // Nothing depends on the answer: a host that lies about it lies to itself.
        let _ = ghcb::make_page_private(gpa);
    }
}

/// The parameter page, as the VMM launched it; on SNP it is in the launch digest.
pub fn params_page() -> &'static [u8; 4096] {
    // SAFETY: the page is mapped, was launched, and nothing writes it.
    unsafe { &*(PARAMS.start as *const [u8; 4096]) }
}

/// A pointer to identity-mapped memory.
fn pointer(gpa: u64) -> *mut u8 {
    core::ptr::with_exposed_provenance_mut(gpa as usize)
}

/// Makes the boot code's tables the processor's, and forgets translations.
fn load_tables() {
    // SAFETY: the tables map everything that the boot code uses to where it was.
    unsafe { core::arch::asm!("mov cr3, {}", in(reg) SCRATCH_TABLES.start, options(nostack)) };
}

/// Copies in address order, each byte once.
///
/// # Safety
/// Both ranges are mapped, they do not overlap, and no reference to the target exists.
unsafe fn copy_words(from: u64, to: u64, size: u64) {
    // SAFETY: the caller's promise; the direction flag is clear.
    unsafe {
        core::arch::asm!(
            "rep movsq",
            "mov rcx, {rest}",
            "rep movsb",
            rest = in(reg) size % 8,
            inout("rcx") size / 8 => _,
            inout("rsi") from => _,
            inout("rdi") to => _,
            options(nostack, preserves_flags),
        );
    }
}

/// Writes zeros.
///
/// # Safety
/// The range is mapped and no reference to it exists.
unsafe fn clear_words(at: u64, size: u64) {
    // SAFETY: the caller's promise; the direction flag is clear.
    unsafe {
        core::arch::asm!(
            "rep stosq",
            "mov rcx, {rest}",
            "rep stosb",
            rest = in(reg) size % 8,
            in("rax") 0_u64,
            inout("rcx") size / 8 => _,
            inout("rdi") at => _,
            options(nostack, preserves_flags),
        );
    }
}

/// CPUID leaf 7 EBX bit 29 (SHA); leaf 1 ECX bits 9 (SSSE3) and 19 (SSE4.1).
fn processor_offers_sha() -> bool {
    const SSSE3_AND_SSE4_1: u32 = 1 << 9 | 1 << 19;
    let [highest, ..] = cpuid(0);
    let [_, _, features, _] = cpuid(1);
    highest >= 7 && features & SSSE3_AND_SSE4_1 == SSSE3_AND_SSE4_1 && {
        let [_, extended, ..] = cpuid(7);
        extended & 1 << 29 != 0
    }
}

fn cpuid(leaf: u32) -> [u32; 4] {
    let result = core::arch::x86_64::__cpuid_count(leaf, 0);
    [result.eax, result.ebx, result.ecx, result.edx]
}

fn enable_vector_state() {
    // SAFETY: the bit only makes instructions legal that nothing but the hash uses.
    unsafe {
        core::arch::asm!(
            "mov {scratch}, cr4",
            "or {scratch}, {osfxsr}",
            "mov cr4, {scratch}",
            scratch = out(reg) _,
            osfxsr = const CR4_OSFXSR,
            options(nostack),
        );
    }
}

/// Writes a report to a port.
pub fn out_u32(port: u16, value: u32) {
    // SAFETY: port output touches no memory.
    unsafe {
        core::arch::asm!("out dx, eax", in("dx") port, in("eax") value, options(nomem, nostack));
    };
}
