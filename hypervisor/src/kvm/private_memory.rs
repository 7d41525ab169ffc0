//! The private side of guest memory: a guest_memfd behind each slot, and the attribute that says
//! which side counts.
//!
//! Interface: Linux `Documentation/virt/kvm/api.rst` 4.140 to 4.142.

use super::{KvmError, Vm};
use crate::memory::{GpaRange, GuestRam};
use kvm_bindings::{
    KVM_MEM_GUEST_MEMFD, KVM_MEMORY_ATTRIBUTE_PRIVATE, kvm_create_guest_memfd,
    kvm_memory_attributes, kvm_userspace_memory_region2,
};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;

/// Tries of an interrupted or busy call.
const TRIES: u32 = 100;

fn attribute_error(range: GpaRange, errno: i32) -> KvmError {
    KvmError::new("KVM_SET_MEMORY_ATTRIBUTES", format!("{range:?}"), kvm_ioctls::Error::new(errno))
}

/// The private side of guest memory.
#[derive(Debug, Clone)]
pub struct PrivateMemory {
    vm: Arc<Vm>,
    slots: Arc<Vec<(GpaRange, OwnedFd)>>,
}

impl PrivateMemory {
    /// Gives the VM `ram`: the shared side is its mapping, the private side a guest_memfd per
    /// range, and all of it is private.
    ///
    /// # Errors
    /// [`KvmError`].
    pub fn add(vm: &Arc<Vm>, ram: &GuestRam) -> Result<Self, KvmError> {
        let mut slots = Vec::new();
        for (slot, (range, host)) in (0..).zip(ram.host_ranges()) {
            let gmem = guest_memfd(vm, range.size())?;
            let region = kvm_userspace_memory_region2 {
                slot,
                flags: KVM_MEM_GUEST_MEMFD,
                guest_phys_addr: range.start(),
                memory_size: range.size(),
                userspace_addr: host,
                guest_memfd: gmem.as_raw_fd().cast_unsigned(),
                ..Default::default()
            };
            // SAFETY: `host..host + size` is a mapping that `ram` owns, and `ram` lives as long as
            // the process's VM.
            unsafe { vm.fd.set_user_memory_region2(region) }.map_err(|e| {
                KvmError::new("KVM_SET_USER_MEMORY_REGION2", format!("{range:?}"), e)
            })?;
            slots.push((range, gmem));
        }
        let memory = Self { vm: vm.clone(), slots: Arc::new(slots) };
        for (range, _) in memory.slots.iter() {
            memory.set_private(*range, true).map_err(|e| attribute_error(*range, e))?;
        }
        Ok(memory)
    }

    /// Makes these ranges shared, which nobody has used yet: what they hold as private memory is
    /// nothing.
    ///
    /// # Errors
    /// [`KvmError`].
    pub fn share(&self, ranges: &[GpaRange]) -> Result<(), KvmError> {
        for range in ranges {
            self.set_private(*range, false).map_err(|e| attribute_error(*range, e))?;
        }
        Ok(())
    }

    /// Sets what KVM believes of every page of `range`.
    ///
    /// # Errors
    /// The errno.
    pub fn set_private(&self, range: GpaRange, private: bool) -> Result<(), i32> {
        let attributes = if private { u64::from(KVM_MEMORY_ATTRIBUTE_PRIVATE) } else { 0 };
        let attributes = kvm_memory_attributes {
            address: range.start(),
            size: range.size(),
            attributes,
            flags: 0,
        };
        for _ in 0..TRIES {
            match self.vm.fd.set_memory_attributes(attributes) {
                Ok(()) => return Ok(()),
                Err(e) if matches!(e.errno(), libc::EINTR | libc::EAGAIN) => {}
                Err(e) => return Err(e.errno()),
            }
        }
        Err(libc::EAGAIN)
    }

    /// Each slot's range with the guest_memfd behind it, whose offset 0 is the range's start.
    #[must_use]
    pub fn slots(&self) -> &[(GpaRange, OwnedFd)] {
        &self.slots
    }

    /// The guest_memfds' descriptors, for a sandbox profile.
    #[must_use]
    pub fn files(&self) -> Vec<RawFd> {
        self.slots.iter().map(|(_, gmem)| gmem.as_raw_fd()).collect()
    }
}

fn guest_memfd(vm: &Vm, size: u64) -> Result<OwnedFd, KvmError> {
    let fd = vm
        .fd
        .create_guest_memfd(kvm_create_guest_memfd { size, ..Default::default() })
        .map_err(|e| KvmError::new("KVM_CREATE_GUEST_MEMFD", format!("{size} bytes"), e))?;
    // SAFETY: the ioctl has just made the descriptor, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
