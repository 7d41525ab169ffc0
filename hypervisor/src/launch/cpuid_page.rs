//! The CPUID page of an SEV-SNP guest: what the firmware vouches for.
//!
//! At most 64 entries of 48 bytes (Linux `arch/x86/include/asm/sev.h`, `struct snp_cpuid_table`).
//! The firmware refuses leaves that promise more than the processor has, and some that KVM makes
//! up; those are taken out here.

use crate::memory::PAGE_BYTES;
use kvm_bindings::{CpuId, kvm_cpuid_entry2};
use std::fmt::Write as _;

/// Entries that a page can hold: Linux ends itself when there are more.
pub const MAX_ENTRIES: usize = 64;
const HEADER: usize = 16;
const ENTRY: usize = 48;
const PAGE: usize = PAGE_BYTES;

/// More leaves than the page can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the host has {0} CPUID leaves for the guest, the CPUID page holds 64")]
pub struct TooManyLeaves(pub usize);

/// A table that cannot have a 65th entry.
#[derive(Debug, Clone)]
pub struct CpuidTable(Vec<kvm_cpuid_entry2>);

impl CpuidTable {
    /// The table for a vCPU's CPUID.
    ///
    /// # Errors
    /// [`TooManyLeaves`].
    pub fn new(cpuid: &CpuId) -> Result<Self, TooManyLeaves> {
        let entries = cpuid.as_slice();
        if entries.len() > MAX_ENTRIES {
            return Err(TooManyLeaves(entries.len()));
        }
        Ok(Self(entries.to_vec()))
    }

    /// The page as the firmware takes it.
    #[must_use]
    pub fn encode(&self) -> [u8; PAGE] {
        let mut page = [0; PAGE];
        let count = u32::try_from(self.0.len()).unwrap_or(0);
        put(&mut page, 0, count);
        for (i, e) in self.0.iter().enumerate() {
            let at = HEADER + i * ENTRY;
            put(&mut page, at, e.function);
            put(&mut page, at + 4, e.index);
            // XCR0_IN is 1 for the two leaves whose size depends on it; Linux ignores other values.
            put(&mut page, at + 8, u32::from(e.function == 0xd && e.index < 2));
            for (i, value) in [e.eax, e.ebx, e.ecx, e.edx].into_iter().enumerate() {
                put(&mut page, at + 24 + i * 4, value);
            }
        }
        page
    }

    /// What differs between two pages, leaf by leaf, in words.
    #[must_use]
    pub fn differences(ours: &[u8; PAGE], firmware: &[u8; PAGE]) -> String {
        let mut text = String::new();
        for i in 0..MAX_ENTRIES {
            let at = HEADER + i * ENTRY;
            let (function, index) = (get(ours, at), get(ours, at + 4));
            for (i, register) in ["EAX", "EBX", "ECX", "EDX"].into_iter().enumerate() {
                let (asked, given) = (get(ours, at + 24 + i * 4), get(firmware, at + 24 + i * 4));
                if asked != given {
                    let separator = if text.is_empty() { "" } else { "; " };
                    let _ = write!(
                        text,
                        "{separator}leaf {function:#x}.{index} {register}: asked for {asked:#010x}, \
                         the processor has {given:#010x}"
                    );
                }
            }
        }
        if text.is_empty() {
            text.push_str("it does not say which leaf");
        }
        text
    }
}

fn put(page: &mut [u8; PAGE], at: usize, value: u32) {
    if let Some(field) = page.get_mut(at..at + 4) {
        field.copy_from_slice(&value.to_le_bytes());
    }
}

fn get(page: &[u8; PAGE], at: usize) -> u32 {
    page.get(at..).and_then(|tail| tail.first_chunk()).map_or(0, |b| u32::from_le_bytes(*b))
}

const XSAVE: u32 = 1 << 26;
const OSXSAVE: u32 = 1 << 27;
/// Leaf 1 ECX features that need XSAVE: FMA, AVX, F16C.
const NEED_XSAVE_1: u32 = 1 << 12 | 1 << 28 | 1 << 29;
/// Leaf 0xd.1 EAX: XSAVEC.
const XSAVEC: u32 = 1 << 1;

/// A vCPU's CPUID as the firmware accepts it. KVM gets the same, since it answers what the page
/// does not hold.
#[must_use]
pub fn filter(entries: &[kvm_cpuid_entry2]) -> Vec<kvm_cpuid_entry2> {
    // Linux ends itself without a word when there is an XSAVE leaf without XSAVEC.
    let xsavec = entries.iter().any(|e| (e.function, e.index) == (0xd, 1) && e.eax & XSAVEC != 0);
    let mut kept: Vec<kvm_cpuid_entry2> = entries
        .iter()
        .filter(|e| in_range(e.function) && (xsavec || e.function != 0xd))
        .map(|e| filtered(*e, xsavec))
        .filter(|e| e.eax | e.ebx | e.ecx | e.edx != 0)
        .collect();
    let highest = kept.iter().map(|e| e.function).filter(|f| *f < 0x1_0000).max().unwrap_or(0);
    for e in &mut kept {
        if e.function == 0 {
            e.eax = highest;
        }
    }
    kept
}

/// What the firmware knows, and the hypervisor's own leaves.
fn in_range(function: u32) -> bool {
    let known =
        matches!(function, 0..=0xffff | 0x4000_0000..=0x4000_ffff | 0x8000_0000..=0x8000_ffff);
    // Performance monitoring, nested virtualisation and extended topology are not for these guests.
    known && !matches!(function, 0xa | 0x8000_000a | 0x8000_0022 | 0x8000_0026)
}

fn filtered(mut e: kvm_cpuid_entry2, xsavec: bool) -> kvm_cpuid_entry2 {
    match (e.function, e.index) {
        (0x1, _) => {
            // TSC deadline: made up by KVM.
            e.ecx &= !(1 << 24);
            if !xsavec {
                e.ecx &= !(XSAVE | OSXSAVE | NEED_XSAVE_1);
            }
        }
        (0x7, 0) => {
            // TSC_ADJUST, and the speculation controls of other vendors' layout.
            e.ebx &= !(1 << 1);
            e.edx = 0;
            if !xsavec {
                // AVX2, AVX-512, VAES, VPCLMULQDQ.
                e.ebx &= !(1 << 5 | 1 << 16 | 1 << 17 | 1 << 21 | 1 << 28 | 1 << 30 | 1 << 31);
                e.ecx &= !(1 << 1 | 1 << 6 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 12 | 1 << 14);
            }
            // PKU, LA57: state that KVM does not save for SNP guests, and 4-level tables of ours.
            e.ecx &= !(1 << 3 | 1 << 4 | 1 << 16);
        }
        // Sizes as at reset, XCR0 = 1.
        (0xd, 0 | 1) => e.ebx = 0x240,
        // VIRT_SSBD.
        (0x8000_0008, _) => e.ebx &= !(1 << 25),
        (0x8000_001f, _) => {
            // SEV, SEV-ES, SEV-SNP; of EBX the C-bit and the lost address bits.
            e.eax = 0x1a;
            e.ebx &= 0xfff;
            (e.ecx, e.edx) = (0, 0);
        }
        (0x8000_0021, _) => {
            // NO_SMM_CTL_MSR.
            e.eax &= !(1 << 9);
            e.ecx = 0;
        }
        _ => {}
    }
    e
}

/// Position of the C-bit that KVM reports.
#[must_use]
pub fn c_bit(entries: &[kvm_cpuid_entry2]) -> Option<u8> {
    let leaf = entries.iter().find(|e| e.function == 0x8000_001f)?;
    u8::try_from(leaf.ebx & 0x3f).ok().filter(|bit| *bit >= 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(function: u32, index: u32, regs: [u32; 4]) -> kvm_cpuid_entry2 {
        let [eax, ebx, ecx, edx] = regs;
        kvm_cpuid_entry2 { function, index, eax, ebx, ecx, edx, ..Default::default() }
    }

    #[test]
    fn a_sixty_fifth_leaf_is_refused() {
        let leaves = |n: u32| {
            CpuId::from_entries(&(0..n).map(|i| entry(i, 0, [1; 4])).collect::<Vec<_>>()).unwrap()
        };
        assert!(CpuidTable::new(&leaves(64)).is_ok());
        assert_eq!(CpuidTable::new(&leaves(65)).unwrap_err(), TooManyLeaves(65));
    }

    #[test]
    fn differences_are_named_leaf_by_leaf() {
        let table = CpuId::from_entries(&[entry(7, 0, [0, 2, 0, 0])]).unwrap();
        let ours = CpuidTable::new(&table).unwrap().encode();
        let mut firmware = ours;
        firmware[16 + 28] = 0;
        let text = CpuidTable::differences(&ours, &firmware);
        assert_eq!(text, "leaf 0x7.0 EBX: asked for 0x00000002, the processor has 0x00000000");
    }

    #[test]
    fn xsave_goes_entirely_without_xsavec() {
        let all = u32::MAX;
        let leaves = [
            entry(0, 0, [0xd, 1, 1, 1]),
            entry(1, 0, [all; 4]),
            entry(7, 0, [0, all, all, all]),
            entry(0xd, 0, [7, 0, 0, 0]),
            entry(0xd, 1, [1, 0, 0, 0]),
        ];
        let kept = filter(&leaves);
        assert!(kept.iter().all(|e| e.function != 0xd));
        let one = kept.iter().find(|e| e.function == 1).unwrap();
        assert_eq!(one.ecx & (XSAVE | OSXSAVE | NEED_XSAVE_1 | 1 << 24), 0);
        assert_eq!(kept.iter().find(|e| e.function == 0).unwrap().eax, 7, "highest leaf follows");
    }

    #[test]
    fn nothing_the_firmware_refuses_is_left() {
        let kept = filter(&[
            entry(1, 0, [u32::MAX; 4]),
            entry(7, 0, [u32::MAX; 4]),
            entry(0xd, 0, [7, 1, 1, 0]),
            entry(0xd, 1, [2, 9, 0, 0]),
            entry(0x8000_0008, 0, [u32::MAX; 4]),
            entry(0x8000_001f, 0, [u32::MAX; 4]),
            entry(0x1_0000, 0, [1; 4]),
            entry(9, 0, [0; 4]),
        ]);
        let leaf = |f, i| *kept.iter().find(|e| (e.function, e.index) == (f, i)).unwrap();
        assert_eq!(leaf(7, 0).edx, 0);
        assert_eq!((leaf(0xd, 0).ebx, leaf(0xd, 1).ebx), (0x240, 0x240));
        assert_eq!((leaf(0x8000_001f, 0).eax, leaf(0x8000_001f, 0).ebx), (0x1a, 0xfff));
        assert!(kept.iter().all(|e| e.function != 0x1_0000 && e.function != 9));
    }
}
