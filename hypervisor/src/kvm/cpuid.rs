//! The CPUID table of a vCPU: what KVM supports, less what a confidential guest has no business
//! with, plus the topology this VM has (one socket, a core per vCPU, one thread per core).
//!
//! Leaves: AMD APM vol. 3 appendix E; Intel SDM vol. 2A CPUID; KVM
//! `Documentation/virt/kvm/x86/cpuid.rst`.

use kvm_bindings::{CpuId, kvm_cpuid_entry2};

const HYPERVISOR: u32 = 1 << 31;
const X2APIC: u32 = 1 << 21;
const TSC_DEADLINE: u32 = 1 << 24;
const MONITOR: u32 = 1 << 3;
const VMX: u32 = 1 << 5;
/// Leaf 1 EDX: more than one logical processor in the package.
const HTT: u32 = 1 << 28;
/// Leaf 0x8000_0001 ECX: nested SVM, performance counters (core, NB, LLC).
const SVM: u32 = 1 << 2;
const PERF_COUNTERS: u32 = 1 << 23 | 1 << 24 | 1 << 28;
/// Leaf 0xb subleaf types.
const LEVEL_SMT: u32 = 1 << 8;
const LEVEL_CORE: u32 = 2 << 8;

/// The table for vCPU `id` of `vcpus`. The x2APIC id of a vCPU is its index.
pub(super) fn for_vcpu(template: &CpuId, id: u32, vcpus: u32) -> Vec<kvm_cpuid_entry2> {
    let mut entries: Vec<kvm_cpuid_entry2> =
        template.as_slice().iter().filter(|e| !is_topology(e.function)).copied().collect();
    for entry in &mut entries {
        adjust(entry, id, vcpus);
    }
    entries.extend(topology(id, vcpus));
    entries
}

fn is_topology(function: u32) -> bool {
    matches!(function, 0xb | 0x1f | 0x8000_0026)
}

fn adjust(entry: &mut kvm_cpuid_entry2, id: u32, vcpus: u32) {
    match entry.function {
        0x1 => {
            let clflush = entry.ebx & 0xffff;
            entry.ebx = id << 24 | vcpus.min(0xff) << 16 | clflush;
            entry.ecx = (entry.ecx | HYPERVISOR | X2APIC | TSC_DEADLINE) & !(MONITOR | VMX);
            entry.edx = if vcpus > 1 { entry.edx | HTT } else { entry.edx & !HTT };
        }
        // Cache sharing: every core has its own caches up to L2; an L3 belongs to the socket.
        0x4 if entry.eax & 0x1f != 0 => {
            let shared = if (entry.eax >> 5) & 7 >= 3 { vcpus - 1 } else { 0 };
            entry.eax = entry.eax & 0x3fff | shared.min(0xfff) << 14 | (vcpus - 1).min(0x3f) << 26;
        }
        0x8000_001d if entry.eax & 0x1f != 0 => {
            let shared = if (entry.eax >> 5) & 7 >= 3 { vcpus - 1 } else { 0 };
            entry.eax = entry.eax & 0x3fff | shared.min(0xfff) << 14;
        }
        // Performance monitoring: a side channel and no part of what a guest needs.
        0xa => (entry.eax, entry.ebx, entry.ecx, entry.edx) = (0, 0, 0, 0),
        0x8000_0001 => entry.ecx &= !(SVM | PERF_COUNTERS),
        0x8000_0008 => entry.ecx = (id_bits(vcpus) << 12) | (vcpus - 1).min(0xff),
        // SVM features: none without SVM.
        0x8000_000a => (entry.eax, entry.ebx, entry.ecx, entry.edx) = (0, 0, 0, 0),
        0x8000_001e => (entry.eax, entry.ebx, entry.ecx) = (id, id & 0xff, 0),
        _ => {}
    }
}

/// Bits needed for the ids of `vcpus` processors.
fn id_bits(vcpus: u32) -> u32 {
    u32::BITS - (vcpus - 1).leading_zeros()
}

/// Leaf 0xb: level 0 is one thread per core, level 1 all cores of the socket.
fn topology(id: u32, vcpus: u32) -> [kvm_cpuid_entry2; 3] {
    let level = |index, shift, count, kind| kvm_cpuid_entry2 {
        function: 0xb,
        index,
        flags: kvm_bindings::KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
        eax: shift,
        ebx: count,
        ecx: kind | index,
        edx: id,
        ..Default::default()
    };
    [level(0, 0, 1, LEVEL_SMT), level(1, id_bits(vcpus), vcpus, LEVEL_CORE), level(2, 0, 0, 0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(table: &[kvm_cpuid_entry2], function: u32, index: u32) -> kvm_cpuid_entry2 {
        *table.iter().find(|e| e.function == function && e.index == index).unwrap()
    }

    #[test]
    fn topology_is_one_core_per_vcpu_of_one_socket() {
        let template = CpuId::from_entries(&[
            kvm_cpuid_entry2 { function: 1, ebx: 0x0800, ..Default::default() },
            kvm_cpuid_entry2 { function: 0xb, index: 7, ..Default::default() },
            kvm_cpuid_entry2 { function: 0x8000_0008, ecx: 0x7007, ..Default::default() },
        ])
        .unwrap();
        for (vcpus, bits) in [(1, 0), (2, 1), (3, 2), (32, 5)] {
            let table = for_vcpu(&template, vcpus - 1, vcpus);
            assert_eq!(leaf(&table, 1, 0).ebx, (vcpus - 1) << 24 | vcpus << 16 | 0x0800);
            assert_ne!(leaf(&table, 1, 0).ecx & HYPERVISOR, 0);
            let cores = leaf(&table, 0xb, 1);
            assert_eq!((cores.eax, cores.ebx & 0xffff, cores.edx), (bits, vcpus, vcpus - 1));
            assert_eq!(leaf(&table, 0x8000_0008, 0).ecx, bits << 12 | (vcpus - 1));
            assert!(!table.iter().any(|e| e.function == 0xb && e.index == 7));
        }
    }
}
