//! Makes another process do what it would never do: load from nowhere, or make a system call that
//! its filter forbids. For tests of what is made of such a death. A signal that is sent would not
//! do: the processes of a VM are the first of their PID namespaces, and the kernel passes them none
//! but SIGKILL and SIGSTOP (pid_namespaces(7)).
#![allow(
    unsafe_code,
    clippy::cast_possible_wrap,
    clippy::missing_panics_doc,
    reason = "ptrace has no safe wrapper; a test that cannot do this has failed"
)]

use std::io;

/// What the process is made to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// Goes on at address 0: SIGSEGV.
    Jump,
    /// Makes the system call getpid, which no profile has.
    Call,
}

fn ptrace(request: libc::c_uint, pid: i32, address: usize, data: usize) {
    // SAFETY: `data` is a number, or the address of a live `user_regs_struct`, as the request says.
    let done = unsafe { libc::ptrace(request, pid, address, data) };
    assert!(done >= 0, "ptrace({request}): {}", io::Error::last_os_error());
}

/// Makes the first thread of a process, which waits in a system call, go on wrongly.
pub fn go_wrong(pid: u32, wrong: Wrong) {
    let pid = pid.cast_signed();
    ptrace(libc::PTRACE_SEIZE, pid, 0, 0);
    ptrace(libc::PTRACE_INTERRUPT, pid, 0, 0);
    let mut status = 0;
    // SAFETY: the call writes one int.
    let stopped = unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL) };
    assert_eq!(stopped, pid, "{}", io::Error::last_os_error());
    // SAFETY: all zeros are registers.
    let mut registers: libc::user_regs_struct = unsafe { std::mem::zeroed() };
    ptrace(libc::PTRACE_GETREGS, pid, 0, (&raw mut registers).addr());
    // Not the call that it was in once more.
    registers.orig_rax = u64::MAX;
    match wrong {
        Wrong::Jump => registers.rip = 0,
        Wrong::Call => {
            // The instruction before is `syscall`, two bytes.
            registers.rip -= 2;
            registers.rax = libc::SYS_getpid as u64;
        }
    }
    ptrace(libc::PTRACE_SETREGS, pid, 0, (&raw mut registers).addr());
    // The fault must find it untraced: the kernel protects a first process that is traced from it
    // (`force_sig_info_to_task`).
    ptrace(libc::PTRACE_DETACH, pid, 0, 0);
}
