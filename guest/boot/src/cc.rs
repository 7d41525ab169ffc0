//! What Linux needs to know about SNP: the confidential-computing blob, and the checks on the pages
//! it names.
//!
//! Layouts: Linux, arch/x86/include/asm/sev.h (`cc_blob_sev_info`, `cc_setup_data`,
//! `snp_cpuid_table`, `snp_secrets_page`).

use crate::machine::Machine;
use casemate_kernel::bytes::{put, u32_at};
use casemate_layout::map::{CC_BLOB, CPUID, PAGE_SIZE, SECRETS};
use casemate_layout::{Params, Range, Termination};

const MAGIC: u32 = 0x4544_4d41;
const BLOB_BYTES: u64 = 0x28;
const SETUP_CC_BLOB: u32 = 7;
/// `setup_data` follows the blob in its page.
pub const SETUP_DATA: u64 = CC_BLOB.start + 0x100;

const SEV: u64 = 1;
const SEV_ES: u64 = 1 << 1;
const SNP: u64 = 1 << 2;
/// Features that change nothing for the boot code: debug swap, host IBS prevention, BTB isolation,
/// secure TSC, SMT protection (Linux, msr-index.h). Linux refuses by itself those that it does not
/// know.
const HARMLESS_FEATURES: u64 = 1 << 7 | 1 << 8 | 1 << 9 | 1 << 11 | 1 << 17;
const KNOWN_FEATURES: u64 = SEV | SEV_ES | SNP | HARMLESS_FEATURES;

const CPUID_ENTRIES: usize = 0x10;
const CPUID_ENTRY_BYTES: usize = 0x30;
const MAX_CPUID_ENTRIES: u32 = 64;
const ENCRYPTION_LEAF: u32 = 0x8000_001f;
/// `EAX[7:0]`: bits of a physical address.
pub const ADDRESS_LEAF: u32 = 0x8000_0008;
const FEATURE_LEAF: u32 = 7;
const SHA_BIT: u32 = 1 << 29;
/// `EBX[5:0]` of the encryption leaf: position of the C-bit.
const C_BIT_FIELD: u32 = 0x3f;

/// Checks that the processor runs this guest under SNP, with the C-bit that everyone has in mind.
///
/// # Errors
/// [`Termination`] for the first disagreement.
pub fn check_protection(machine: &mut impl Machine, params: &Params) -> Result<(), Termination> {
    let status = machine.sev_status();
    if status & (SEV | SEV_ES | SNP) != SEV | SEV_ES | SNP {
        return Err(Termination::SnpNotActive);
    }
    if status & !KNOWN_FEATURES != 0 {
        return Err(Termination::SnpFeatures);
    }
    let page = machine.memory(CPUID).ok_or(Termination::Internal)?;
    let (_, ebx) = cpuid_leaf(page, ENCRYPTION_LEAF)?.ok_or(Termination::CpuidPage)?;
    let from_page = ebx & C_BIT_FIELD;
    let in_use = machine.c_bit_in_use();
    if from_page != u32::from(params.c_bit) || in_use != params.c_bit {
        return Err(Termination::CBitMismatch);
    }
    Ok(())
}

/// How many bits a guest physical address has, as the CPUID page says.
///
/// # Errors
/// [`Termination::CpuidPage`] when it does not.
pub fn address_bits(machine: &mut impl Machine) -> Result<u8, Termination> {
    let page = machine.memory(CPUID).ok_or(Termination::Internal)?;
    let (eax, _) = cpuid_leaf(page, ADDRESS_LEAF)?.ok_or(Termination::CpuidPage)?;
    let [bits, ..] = eax.to_le_bytes();
    Ok(bits)
}

/// Whether the CPUID page offers the SHA instructions.
#[must_use]
pub fn offers_sha(cpuid_page: &[u8]) -> bool {
    matches!(cpuid_leaf(cpuid_page, FEATURE_LEAF), Ok(Some((_, ebx))) if ebx & SHA_BIT != 0)
}

/// EAX and EBX of subleaf 0 of `leaf` in a CPUID page.
fn cpuid_leaf(page: &[u8], leaf: u32) -> Result<Option<(u32, u32)>, Termination> {
    let count = u32_at(page, 0).ok_or(Termination::CpuidPage)?;
    if count == 0 || count > MAX_CPUID_ENTRIES {
        return Err(Termination::CpuidPage);
    }
    let entries = page.get(CPUID_ENTRIES..).ok_or(Termination::CpuidPage)?;
    let found = entries
        .chunks_exact(CPUID_ENTRY_BYTES)
        .zip(0..count)
        .find(|(entry, _)| u32_at(entry, 0) == Some(leaf) && u32_at(entry, 4) == Some(0));
    Ok(found.and_then(|(entry, _)| Some((u32_at(entry, 0x18)?, u32_at(entry, 0x1c)?))))
}

/// Writes the blob and its `setup_data`; gives the address of the latter.
///
/// # Errors
/// [`Termination::Internal`] when the page cannot be written.
pub fn write_blob(machine: &mut impl Machine) -> Result<u64, Termination> {
    let page = machine.memory_mut(CC_BLOB).ok_or(Termination::Internal)?;
    page.fill(0);
    fill_blob(page).ok_or(Termination::Internal)?;
    Ok(SETUP_DATA)
}

fn fill_blob(page: &mut [u8]) -> Option<()> {
    put(page, 0, &MAGIC.to_le_bytes())?;
    // Version 0.
    for (offset, part) in [(0x08, SECRETS), (0x18, CPUID)] {
        put(page, offset, &part.start.to_le_bytes())?;
        put(page, offset + 8, &u32::try_from(PAGE_SIZE).ok()?.to_le_bytes())?;
    }
    let setup = usize::try_from(SETUP_DATA - CC_BLOB.start).ok()?;
    // struct setup_data { next, type, len }, then the address of the blob as a u32.
    put(page, setup + 8, &SETUP_CC_BLOB.to_le_bytes())?;
    put(page, setup + 12, &4_u32.to_le_bytes())?;
    put(page, setup + 16, &u32::try_from(CC_BLOB.start).ok()?.to_le_bytes())
}

const _: () = assert!(BLOB_BYTES <= SETUP_DATA - CC_BLOB.start, "blob and setup_data overlap");

/// Where the blob is.
#[must_use]
pub const fn blob_range() -> Range {
    Range { start: CC_BLOB.start, size: BLOB_BYTES }
}
