//! A host that lacks something: a command under a seccomp filter that has one system call fail, as
//! an older kernel or a container's filter does. Every other call passes.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "numbers of the kernel fit where it has them"
)]

use crate::bpf::statement;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// The command, and all that it starts, where the system call of this number fails with `errno`.
pub fn refusing(command: &mut Command, call: libc::c_long, errno: i32) -> &mut Command {
    let load = statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0);
    let unless = statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, call as u32, 1);
    let answer = |action| statement(libc::BPF_RET | libc::BPF_K, action, 0);
    let refuse = libc::SECCOMP_RET_ERRNO | errno.cast_unsigned();
    let filter = [load, unless, answer(refuse), answer(libc::SECCOMP_RET_ALLOW)];
    let install = move || {
        let mut filter = filter;
        let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
        // SAFETY: sets a flag of this process, which who is not root needs for a filter.
        unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
        let set = libc::SECCOMP_SET_MODE_FILTER;
        // SAFETY: the kernel reads `program` and the filter that it points to, which outlive it.
        match unsafe { libc::syscall(libc::SYS_seccomp, set, 0, &raw const program) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    // SAFETY: between fork and exec, the closure makes system calls and nothing else.
    unsafe { command.pre_exec(install) }
}
