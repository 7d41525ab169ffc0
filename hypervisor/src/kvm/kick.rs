//! Bringing a vCPU thread out of the guest.
//!
//! A signal alone is lost when it arrives between the look at the stop flag and KVM_RUN. So the handler sets
//! `immediate_exit` in the thread's own `kvm_run`, which makes the next KVM_RUN return at once
//! (Linux `Documentation/virt/kvm/api.rst`, 5 "The kvm_run structure").

use std::cell::Cell;
use std::ptr;

thread_local! {
    /// `immediate_exit` of the vCPU that this thread runs, or null.
    static IMMEDIATE_EXIT: Cell<*mut u8> = const { Cell::new(ptr::null_mut()) };
}

/// The signal: the first real-time signal glibc leaves to programs.
fn kick_signal() -> libc::c_int {
    libc::SIGRTMIN()
}

/// Offset of `immediate_exit` in `kvm_run`.
const IMMEDIATE_EXIT_OFFSET: usize = 1;

extern "C" fn on_kick(_: libc::c_int) {
    let flag = IMMEDIATE_EXIT.get();
    if !flag.is_null() {
        // SAFETY: the pointer is set only while the `Vcpu` that owns the mapping is alive on this very thread
        // (`Registration`), and handlers run on the thread that owns the pointer.
        unsafe { ptr::write_volatile(flag, 1) };
    }
}

/// Installs the handler, once per process, before the first vCPU thread starts.
///
/// # Errors
/// The errno of `sigaction`.
pub fn install_kick_handler() -> std::io::Result<()> {
    // SAFETY: an all-zero sigaction is a valid value of that C structure.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = on_kick as extern "C" fn(libc::c_int) as usize;
    // SAFETY: `action` lives across the call and its handler only writes through a pointer of its own thread.
    let result = unsafe { libc::sigaction(kick_signal(), &raw const action, ptr::null_mut()) };
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// While it lives, kicks reach the vCPU whose `kvm_run` it was made with.
#[derive(Debug)]
pub(super) struct Registration(());

impl Registration {
    /// `run` is the start of this thread's `kvm_run`; the caller keeps it mapped while the value lives.
    pub(super) fn new(run: *mut u8) -> Self {
        IMMEDIATE_EXIT.set(run.wrapping_add(IMMEDIATE_EXIT_OFFSET));
        Self(())
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        IMMEDIATE_EXIT.set(ptr::null_mut());
    }
}

/// Kicks one vCPU thread of this process.
#[derive(Debug, Clone, Copy)]
pub struct Kicker {
    process: libc::pid_t,
    thread: libc::pid_t,
}

impl Kicker {
    /// A kicker for the calling thread.
    #[must_use]
    pub fn for_this_thread() -> Self {
        // SAFETY: both calls take no arguments and cannot fail.
        let (process, thread) = unsafe { (libc::getpid(), libc::gettid()) };
        Self { process, thread }
    }

    /// Brings the thread out of the guest, now or at its next entry.
    pub fn kick(self) {
        // SAFETY: tgkill takes three integers. The signal has a handler (`install_kick_handler`), so it can do
        // nothing but run that; a thread that is gone gives ESRCH.
        let _ = unsafe {
            libc::syscall(libc::SYS_tgkill, self.process, self.thread, kick_signal())
        };
    }
}
