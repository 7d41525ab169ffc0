//! What KVM can show of CPUID, which a VM's vCPUs get most of.
//!
//! The kernel asks the processor for each leaf, and where the host is a virtual machine itself each
//! question ends in its hypervisor: 0.3 ms here for 70 of them. So a plain VM's supervisor, which
//! waits at that time, asks for the process that sets the VM up.

use super::KvmError;
use kvm_bindings::{CpuId, KVM_MAX_CPUID_ENTRIES, kvm_cpuid_entry2};
use kvm_ioctls::Kvm;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};

/// `KVM_GET_SUPPORTED_CPUID` of this host.
#[derive(Debug, Clone, PartialEq)]
pub struct SupportedCpuid(CpuId);

/// Bytes of an entry: seven numbers.
const ENTRY: usize = 28;

impl SupportedCpuid {
    /// Asks KVM.
    ///
    /// # Errors
    /// [`KvmError`].
    pub fn of(dev_kvm: &OwnedFd) -> Result<Self, KvmError> {
        let failed = |source| KvmError { call: "dup", what: "/dev/kvm".into(), source };
        let copy = dev_kvm.try_clone().map_err(failed)?;
        // SAFETY: the descriptor is owned and handed over; if it is not /dev/kvm the ioctl fails.
        let kvm = unsafe { Kvm::from_raw_fd(copy.into_raw_fd()) };
        Self::asked(&kvm)
    }

    pub(super) fn asked(kvm: &Kvm) -> Result<Self, KvmError> {
        let table = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES);
        table.map(Self).map_err(|e| KvmError::new("KVM_GET_SUPPORTED_CPUID", "host", e))
    }

    pub(super) const fn table(&self) -> &CpuId {
        &self.0
    }

    /// As bytes for another process of this host.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let numbers = |e: &kvm_cpuid_entry2| {
            [e.function, e.index, e.flags, e.eax, e.ebx, e.ecx, e.edx].map(u32::to_le_bytes)
        };
        self.0.as_slice().iter().flat_map(numbers).flatten().collect()
    }

    /// From those; None when they are no table, or longer than any of KVM's.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (entries, rest) = bytes.as_chunks::<ENTRY>();
        if !rest.is_empty() || entries.len() > KVM_MAX_CPUID_ENTRIES {
            return None;
        }
        let entry = |bytes: &[u8; ENTRY]| {
            let (numbers, _) = bytes.as_chunks::<4>();
            let numbers: &[[u8; 4]; 7] = numbers.first_chunk()?;
            let [function, index, flags, eax, ebx, ecx, edx] = numbers.map(u32::from_le_bytes);
            let padding = Default::default();
            Some(kvm_cpuid_entry2 { function, index, flags, eax, ebx, ecx, edx, padding })
        };
        let entries: Option<Vec<_>> = entries.iter().map(entry).collect();
        CpuId::from_entries(&entries?).ok().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::{ENTRY, SupportedCpuid};
    use kvm_bindings::{CpuId, KVM_MAX_CPUID_ENTRIES, kvm_cpuid_entry2};

    /// Protects what a guest sees of its processor: it is the same whoever asked KVM.
    #[test]
    fn a_table_survives_the_trip_and_what_is_none_is_refused() {
        let entry = |function| kvm_cpuid_entry2 {
            function,
            index: 2,
            flags: 1,
            eax: 3,
            ebx: 4,
            ecx: 5,
            edx: u32::MAX,
            ..Default::default()
        };
        let entries: Vec<_> = (0..).map(entry).take(KVM_MAX_CPUID_ENTRIES).collect();
        let table = SupportedCpuid(CpuId::from_entries(&entries).unwrap());
        let bytes = table.to_bytes();
        assert_eq!(SupportedCpuid::from_bytes(&bytes), Some(table));
        assert!(SupportedCpuid::from_bytes(&bytes[1..]).is_none());
        assert!(SupportedCpuid::from_bytes(&[bytes, vec![0; ENTRY]].concat()).is_none());
    }
}
