//! System calls of x86-64 Linux by name and number.

use std::fmt;

/// Names of calls 0 and up, from the kernel's `arch/x86/entry/syscalls/syscall_64.tbl`.
const FROM_0: &str = "\
    read write open close stat fstat lstat poll lseek mmap mprotect munmap brk rt_sigaction rt_sigprocmask \
    rt_sigreturn ioctl pread64 pwrite64 readv writev access pipe select sched_yield mremap msync mincore \
    madvise shmget shmat shmctl dup dup2 pause nanosleep getitimer alarm setitimer getpid sendfile socket \
    connect accept sendto recvfrom sendmsg recvmsg shutdown bind listen getsockname getpeername socketpair \
    setsockopt getsockopt clone fork vfork execve exit wait4 kill uname semget semop semctl shmdt msgget \
    msgsnd msgrcv msgctl fcntl flock fsync fdatasync truncate ftruncate getdents getcwd chdir fchdir rename \
    mkdir rmdir creat link unlink symlink readlink chmod fchmod chown fchown lchown umask gettimeofday \
    getrlimit getrusage sysinfo times ptrace getuid syslog getgid setuid setgid geteuid getegid setpgid \
    getppid getpgrp setsid setreuid setregid getgroups setgroups setresuid getresuid setresgid getresgid \
    getpgid setfsuid setfsgid getsid capget capset rt_sigpending rt_sigtimedwait rt_sigqueueinfo \
    rt_sigsuspend sigaltstack utime mknod uselib personality ustat statfs fstatfs sysfs getpriority \
    setpriority sched_setparam sched_getparam sched_setscheduler sched_getscheduler sched_get_priority_max \
    sched_get_priority_min sched_rr_get_interval mlock munlock mlockall munlockall vhangup modify_ldt \
    pivot_root _sysctl prctl arch_prctl adjtimex setrlimit chroot sync acct settimeofday mount umount2 \
    swapon swapoff reboot sethostname setdomainname iopl ioperm create_module init_module delete_module \
    get_kernel_syms query_module quotactl nfsservctl getpmsg putpmsg afs_syscall tuxcall security gettid \
    readahead setxattr lsetxattr fsetxattr getxattr lgetxattr fgetxattr listxattr llistxattr flistxattr \
    removexattr lremovexattr fremovexattr tkill time futex sched_setaffinity sched_getaffinity \
    set_thread_area io_setup io_destroy io_getevents io_submit io_cancel get_thread_area lookup_dcookie \
    epoll_create epoll_ctl_old epoll_wait_old remap_file_pages getdents64 set_tid_address restart_syscall \
    semtimedop fadvise64 timer_create timer_settime timer_gettime timer_getoverrun timer_delete \
    clock_settime clock_gettime clock_getres clock_nanosleep exit_group epoll_wait epoll_ctl tgkill utimes \
    vserver mbind set_mempolicy get_mempolicy mq_open mq_unlink mq_timedsend mq_timedreceive mq_notify \
    mq_getsetattr kexec_load waitid add_key request_key keyctl ioprio_set ioprio_get inotify_init \
    inotify_add_watch inotify_rm_watch migrate_pages openat mkdirat mknodat fchownat futimesat newfstatat \
    unlinkat renameat linkat symlinkat readlinkat fchmodat faccessat pselect6 ppoll unshare set_robust_list \
    get_robust_list splice tee sync_file_range vmsplice move_pages utimensat epoll_pwait signalfd \
    timerfd_create eventfd fallocate timerfd_settime timerfd_gettime accept4 signalfd4 eventfd2 \
    epoll_create1 dup3 pipe2 inotify_init1 preadv pwritev rt_tgsigqueueinfo perf_event_open recvmmsg \
    fanotify_init fanotify_mark prlimit64 name_to_handle_at open_by_handle_at clock_adjtime syncfs sendmmsg \
    setns getcpu process_vm_readv process_vm_writev kcmp finit_module sched_setattr sched_getattr renameat2 \
    seccomp getrandom memfd_create kexec_file_load bpf execveat userfaultfd membarrier mlock2 \
    copy_file_range preadv2 pwritev2 pkey_mprotect pkey_alloc pkey_free statx io_pgetevents rseq";

/// Names of calls 424 and up: the numbers that all architectures share.
const FROM_424: &str = "\
    pidfd_send_signal io_uring_setup io_uring_enter io_uring_register open_tree move_mount fsopen fsconfig \
    fsmount fspick pidfd_open clone3 close_range openat2 pidfd_getfd faccessat2 process_madvise epoll_pwait2 \
    mount_setattr quotactl_fd landlock_create_ruleset landlock_add_rule landlock_restrict_self memfd_secret \
    process_mrelease futex_waitv set_mempolicy_home_node cachestat fchmodat2 map_shadow_stack futex_wake \
    futex_wait futex_requeue statmount listmount lsm_get_self_attr lsm_set_self_attr lsm_list_modules mseal \
    setxattrat getxattrat listxattrat removexattrat open_tree_attr";

/// A system call of x86-64 Linux, by number and name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Syscall {
    number: u16,
    name: &'static str,
}

impl Syscall {
    /// The number by which the kernel knows it.
    #[must_use]
    pub fn number(self) -> i64 {
        self.number.into()
    }

    /// The name in the kernel's table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.name
    }
}

/// The call of that name, for profiles: an unknown name does not compile there.
#[must_use]
#[allow(clippy::panic, reason = "profiles are constants: this is a compile error")]
pub const fn sys(name: &'static str) -> Syscall {
    if let Some(index) = position(FROM_0.as_bytes(), name.as_bytes()) {
        return Syscall { number: index, name };
    }
    match position(FROM_424.as_bytes(), name.as_bytes()) {
        Some(index) => Syscall { number: 424 + index, name },
        None => panic!("no such system call"),
    }
}

/// The position of a word in a list of words that single spaces separate.
#[allow(
    clippy::indexing_slicing,
    reason = "`at` and `at + i` are below the lengths; const code has no iterators"
)]
const fn position(words: &[u8], word: &[u8]) -> Option<u16> {
    let (mut at, mut index) = (0, 0);
    while at < words.len() {
        let mut i = 0;
        while i < word.len() && at + i < words.len() && words[at + i] == word[i] {
            i += 1;
        }
        if i == word.len() && (at + i == words.len() || words[at + i] == b' ') {
            return Some(index);
        }
        while at < words.len() && words[at] != b' ' {
            at += 1;
        }
        at += 1;
        index += 1;
    }
    None
}

/// The name of the call with that number, for messages.
#[must_use]
pub fn name_of(number: i64) -> Option<&'static str> {
    let (names, index) = if number < 424 { (FROM_0, number) } else { (FROM_424, number - 424) };
    names.split(' ').nth(usize::try_from(index).ok()?)
}

impl fmt::Display for Syscall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_the_numbers_of_the_kernel() {
        for (name, number) in [
            ("read", libc::SYS_read),
            ("ioctl", libc::SYS_ioctl),
            ("futex", libc::SYS_futex),
            ("rseq", libc::SYS_rseq),
            ("io_pgetevents", 333),
            ("pidfd_send_signal", libc::SYS_pidfd_send_signal),
            ("clone3", libc::SYS_clone3),
            ("landlock_restrict_self", libc::SYS_landlock_restrict_self),
            ("mseal", libc::SYS_mseal),
        ] {
            assert_eq!((sys(name).number(), name_of(number)), (number, Some(name)));
        }
        assert_eq!(name_of(334 + 1), None);
        assert_eq!(name_of(9999), None);
    }
}
