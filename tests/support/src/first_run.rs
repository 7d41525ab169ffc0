//! How long a program takes from its start to its first KVM_RUN, seen from outside, whatever
//! program it is.
//!
//! A seccomp filter that the program inherits lets every call pass but that one, which waits for an
//! answer of the filter's listener (seccomp_unotify(2)) and never gets one. So the program runs at
//! its own speed, without a tracer, up to the guest's first instruction and no further.
#![allow(clippy::cast_possible_truncation, reason = "numbers of the kernel fit where it has them")]

use crate::bpf::statement;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Where the program has the listener, out of the way of what it opens.
const LISTENER: RawFd = 900;
/// `_IO(KVMIO, 0x80)`.
const KVM_RUN: u32 = 0xae80;
/// Offsets in `struct seccomp_data`: the call's number, the lower half of its second argument.
const NUMBER: u32 = 0;
const REQUEST: u32 = 24;

/// The time from the start of `command` to its first KVM_RUN; it and what it started are killed
/// then. None when it ended before, or `limit` was over.
pub fn time_to_first_run(command: &mut Command, limit: Duration) -> Option<Duration> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // SAFETY: between fork and exec, the closure makes system calls and nothing else.
    unsafe { command.pre_exec(watch) };
    let before = Instant::now();
    let mut child = command.spawn().unwrap();
    let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).unwrap();
    // A program that has ended by now has no descriptors any more, and had no KVM_RUN: one that has
    // waits for this process.
    let Some(listener) = listener_of(&pidfd) else {
        let _ = child.wait();
        return None;
    };
    let seen = loop {
        let left = limit.saturating_sub(before.elapsed());
        let left = Timespec::try_from(left).unwrap();
        let mut fds = [PollFd::new(&listener, PollFlags::IN), PollFd::new(&pidfd, PollFlags::IN)];
        match poll(&mut fds, Some(&left)) {
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => panic!("{e}"),
            Ok(_) => {
                let ran = fds[0].revents().contains(PollFlags::IN);
                break ran.then(|| before.elapsed());
            }
        }
    };
    let _ = child.kill();
    let _ = child.wait();
    seen
}

/// The listener of the program that `pidfd` is of; None when the program has ended: the kernel says
/// EBADF while the process is a zombie, and ESRCH when it is not even that (pidfd_getfd(2)).
fn listener_of(pidfd: &OwnedFd) -> Option<OwnedFd> {
    match pidfd_getfd(pidfd, LISTENER, PidfdGetfdFlags::empty()) {
        Ok(listener) => Some(listener),
        Err(rustix::io::Errno::BADF | rustix::io::Errno::SRCH) => None,
        Err(e) => panic!("pidfd_getfd: {e}"),
    }
}

/// In the program's process, before it is that program: installs the filter.
fn watch() -> io::Result<()> {
    let load = |at| statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, at, 0);
    let unless = |value, skip| statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, value, skip);
    let answer = |action| statement(libc::BPF_RET | libc::BPF_K, action, 0);
    let mut filter = [
        load(NUMBER),
        unless(libc::SYS_ioctl as u32, 3),
        load(REQUEST),
        unless(KVM_RUN, 1),
        answer(libc::SECCOMP_RET_USER_NOTIF),
        answer(libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    let (set, flags) = (libc::SECCOMP_SET_MODE_FILTER, libc::SECCOMP_FILTER_FLAG_NEW_LISTENER);
    let result = |value: libc::c_long| match value {
        -1 => Err(io::Error::last_os_error()),
        value => Ok(value as RawFd),
    };
    // SAFETY: the kernel reads `program` and the filter that it points to, which outlive the call.
    let install =
        || result(unsafe { libc::syscall(libc::SYS_seccomp, set, flags, &raw const program) });
    let listener = install().or_else(|_| {
        // Who is not root may not make a filter for programs that could gain rights by it.
        // SAFETY: sets a flag of this process.
        let set = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
        result(set.into()).and_then(|_| install())
    })?;
    // SAFETY: this process has nothing under that number, and does not use the other any more.
    result(unsafe { libc::dup2(listener, LISTENER) }.into())?;
    // SAFETY: as above.
    result(unsafe { libc::close(listener) }.into()).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    /// Protects the comparison with other programs: their first KVM_RUN is seen, other calls are
    /// let through, and a program that has none is not taken for a fast one.
    #[test]
    fn first_run_of_another_program_is_seen_and_one_that_never_runs_is_told() {
        let itself = std::env::current_exe().unwrap();
        let mut runs = Command::new(itself);
        runs.args(["--exact", "first_run::tests::a_program_that_runs_a_vcpu", "--ignored"]);
        assert!(time_to_first_run(&mut runs, LIMIT).is_some());
        // Some of these have ended before anybody can ask for their descriptors.
        for _ in 0..50 {
            assert_eq!(time_to_first_run(&mut Command::new("true"), LIMIT), None);
        }
        let mut sleeps = Command::new("sleep");
        assert_eq!(time_to_first_run(sleeps.arg("60"), Duration::from_millis(50)), None);
    }

    #[test]
    #[ignore = "is no test, but the program of the one above"]
    fn a_program_that_runs_a_vcpu() {
        // SAFETY: no descriptor has this number, so the call fails, were it ever made.
        unsafe { libc::ioctl(-1, KVM_RUN as libc::Ioctl, 0) };
        std::process::exit(0);
    }
}
