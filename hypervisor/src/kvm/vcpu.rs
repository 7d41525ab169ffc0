//! One vCPU: its registers before it runs, and running it.

use super::{KvmError, regs};
use crate::exits::{Exit, RUN_HEAD, RunArea};
use crate::launch::{BootState, parked};
use casemate_attestation::digest::VcpuState;
use kvm_bindings::{KVM_MP_STATE_HALTED, kvm_mp_state};
use kvm_ioctls::VcpuFd;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr::NonNull;

/// KVM_RUN, `_IO(KVMIO, 0x80)`: the one ioctl of a locked vCPU thread.
pub const KVM_RUN: u64 = 0xae80;

/// A virtual processor and its `kvm_run` page.
#[derive(Debug)]
pub struct Vcpu {
    fd: VcpuFd,
    /// `kvm_run` and the pages behind it; mapped as long as `fd` lives.
    run: NonNull<u8>,
    run_size: usize,
}

// SAFETY: `run` is the mapping that `fd` owns; nothing in it is tied to a thread, and `&mut self`
// is needed to touch it.
unsafe impl Send for Vcpu {}

impl Vcpu {
    pub(super) fn new(mut fd: VcpuFd, run_size: usize) -> Self {
        let run = NonNull::from(fd.get_kvm_run()).cast();
        Self { fd, run, run_size }
    }

    /// Gives the vCPU its CPUID, which must come before its registers: control-register checks
    /// depend on it.
    ///
    /// # Errors
    /// [`KvmError`].
    pub fn set_cpuid(&self, id: u32, cpuid: &kvm_bindings::CpuId) -> Result<(), KvmError> {
        self.fd
            .set_cpuid2(cpuid)
            .map_err(|e| KvmError::new("KVM_SET_CPUID2", format!("vCPU {id}"), e))
    }

    /// Sets the registers of the boot processor.
    ///
    /// # Errors
    /// [`KvmError`].
    pub fn set_boot_state(&self, state: &BootState) -> Result<(), KvmError> {
        self.set_registers("boot vCPU", &state.registers())
    }

    fn set_registers(&self, whose: &'static str, state: &VcpuState) -> Result<(), KvmError> {
        let wrong = |call| move |e| KvmError::new(call, whose, e);
        let sregs = self.fd.get_sregs().map_err(wrong("KVM_GET_SREGS"))?;
        self.fd.set_sregs(&regs::sregs(sregs, state)).map_err(wrong("KVM_SET_SREGS"))?;
        self.fd.set_regs(&regs::regs(state)).map_err(wrong("KVM_SET_REGS"))
    }

    /// Sets the MSRs that firmware would have set.
    ///
    /// # Errors
    /// [`KvmError`].
    pub fn set_msrs(&self) -> Result<(), KvmError> {
        let wrong = |e| KvmError::new("KVM_SET_MSRS", "boot MSRs", e);
        let msrs = regs::msrs().map_err(|_| wrong(kvm_ioctls::Error::new(libc::EINVAL)))?;
        let set = self.fd.set_msrs(&msrs).map_err(wrong)?;
        if set == regs::MSR_COUNT {
            Ok(())
        } else {
            Err(wrong(kvm_ioctls::Error::new(libc::EINVAL)))
        }
    }

    /// Makes an application processor wait in the kernel for its start-up, in the state that is
    /// measured of it ([`parked`]): one that leads nowhere, should the host run it.
    ///
    /// An SNP guest starts its APs by GHCB AP creation, which wakes a halted vCPU only: an
    /// uninitialised one makes KVM_RUN of Linux 6.12 return EAGAIN for ever.
    ///
    /// # Errors
    /// [`KvmError`].
    pub fn park_for_ap_creation(&self) -> Result<(), KvmError> {
        self.set_registers("application vCPU", &parked())?;
        self.fd
            .set_mp_state(kvm_mp_state { mp_state: KVM_MP_STATE_HALTED })
            .map_err(|e| KvmError::new("KVM_SET_MP_STATE", "application vCPU", e))
    }

    /// Its file descriptor, for a sandbox profile.
    #[must_use]
    pub fn raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Enters the guest and tells why it left.
    pub fn run(&mut self) -> Exit<'_> {
        // SAFETY: KVM_RUN takes no argument; it changes guest memory and this vCPU's `kvm_run`, to
        // which no reference exists now (`&mut self`, and the previous `Exit` borrowed `self`).
        let result = unsafe { libc::ioctl(self.fd.as_raw_fd(), KVM_RUN as libc::Ioctl, 0) };
        let result = if result < 0 {
            Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO))
        } else {
            Ok(())
        };
        // SAFETY: the mapping is `run_size` bytes and lives as long as `fd`. The kernel writes to
        // it only inside KVM_RUN. The first RUN_HEAD bytes are left out of the slice.
        let area = unsafe {
            std::slice::from_raw_parts_mut(
                self.run.as_ptr().add(RUN_HEAD),
                self.run_size.saturating_sub(RUN_HEAD),
            )
        };
        Exit::decode(result, RunArea::new(area))
    }
}
