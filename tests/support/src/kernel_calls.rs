//! System calls that tests make of the kernel and that no library has a safe form of.

use std::io::{Error, Result};
use std::os::fd::RawFd;

/// `_IO(KVMIO, 0x9a)`, and `_IOW(KVMIO, 0x99, struct kvm_mp_state)`.
const KVM_NMI: libc::Ioctl = 0xae9a;
const KVM_SET_MP_STATE: libc::Ioctl = 0x4004_ae99;
/// `KVM_MP_STATE_RUNNABLE`.
const RUNNABLE: u32 = 0;
/// `__NR_cachestat`, Linux 6.5.
const CACHESTAT: i64 = 451;

/// Makes a vCPU run that waits to be started, as only its host can.
pub fn make_runnable(vcpu: RawFd) -> Result<()> {
    let state = RUNNABLE;
    // SAFETY: KVM reads one `struct kvm_mp_state`, a number of 32 bits, which `state` is.
    done(unsafe { libc::ioctl(vcpu, KVM_SET_MP_STATE, &raw const state) }.into())
}

/// Injects an NMI into a vCPU.
pub fn inject_nmi(vcpu: RawFd) -> Result<()> {
    // SAFETY: the request has no argument.
    done(unsafe { libc::ioctl(vcpu, KVM_NMI, 0) }.into())
}

/// Pages of a part of a file, in bytes, that the kernel holds: cachestat(2).
pub fn pages_held(file: RawFd, offset: u64, size: u64) -> Result<u64> {
    let range = [offset, size];
    let mut counts = [0_u64; 5];
    // SAFETY: the kernel reads a `struct cachestat_range` and writes a `struct cachestat`, which
    // are two and five numbers of 64 bits (include/uapi/linux/mman.h).
    done(unsafe { libc::syscall(CACHESTAT, file, range.as_ptr(), counts.as_mut_ptr(), 0) })?;
    Ok(counts[0])
}

fn done(result: i64) -> Result<()> {
    if result == 0 { Ok(()) } else { Err(Error::last_os_error()) }
}
