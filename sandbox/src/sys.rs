//! The system calls that have no safe wrapper.

use super::refusal::Refusal;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// prctl with plain numbers.
pub(super) fn prctl(
    what: &'static str,
    op: libc::c_int,
    arg: u64,
    arg2: u64,
) -> Result<i32, Refusal> {
    // SAFETY: every operation used in this module takes numbers only; no memory is passed.
    let result = unsafe { libc::prctl(op, arg, arg2, 0_u64, 0_u64) };
    if result < 0 { Err(Refusal::last(what)) } else { Ok(result) }
}

/// Closes descriptors `first..=last`.
pub(super) fn close_range(first: u32, last: u32) -> Result<(), Refusal> {
    // SAFETY: takes numbers only. Owners of these descriptors in this process must not use them
    // again: the child of `spawn` calls it first and holds nothing outside its keep list.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    if result == 0 { Ok(()) } else { Err(Refusal::last("close_range")) }
}

/// The kind of namespace that a file of the namespace file system is, as a flag of clone(2).
pub(super) fn namespace_kind(file: &OwnedFd) -> io::Result<libc::c_int> {
    /// `NS_GET_NSTYPE`: `_IO(NSIO, 0x3)`, `linux/nsfs.h`.
    const NS_GET_NSTYPE: libc::Ioctl = 0xb703;
    // SAFETY: the request takes no argument; on a file that is no namespace it fails.
    let kind = unsafe { libc::ioctl(file.as_raw_fd(), NS_GET_NSTYPE) };
    if kind < 0 { Err(io::Error::last_os_error()) } else { Ok(kind) }
}

/// Moves the calling thread into a new network namespace.
pub(super) fn unshare_network() -> io::Result<()> {
    // SAFETY: takes a number only. The flag separates neither memory nor descriptors from those of
    // other threads.
    let result = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A copy of a descriptor under a number from `least` on, closed by exec.
pub(super) fn dup_above(fd: RawFd, least: RawFd) -> Result<RawFd, Refusal> {
    // SAFETY: takes numbers only; the new descriptor is nobody's yet.
    let copy = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, least) };
    if copy < 0 { Err(Refusal::last("fcntl(F_DUPFD_CLOEXEC)")) } else { Ok(copy) }
}

/// A copy of a descriptor under this number, which exec leaves open.
pub(super) fn dup_to(fd: RawFd, number: RawFd) -> Result<(), Refusal> {
    // SAFETY: takes numbers only. What had the number is closed behind its owner's back: the caller
    // is the copy of a process that ends or is replaced without touching it again.
    let result = unsafe { libc::dup2(fd, number) };
    if result < 0 { Err(Refusal::last("dup2")) } else { Ok(()) }
}

/// Takes hold of an open descriptor that this program was started with; None when it is not open.
pub(super) fn take(fd: RawFd) -> Option<OwnedFd> {
    // SAFETY: takes numbers only.
    let open = unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) } == 0;
    // SAFETY: it is open, and nothing owns it: an image takes its descriptors once, before it opens
    // any.
    open.then(|| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Replaces the process by the program in `file`, with its name as the only argument and no
/// environment. Returns only when that fails.
pub(super) fn exec(file: RawFd, name: &std::ffi::CStr) -> Refusal {
    let arguments = [name.as_ptr(), std::ptr::null()];
    let environment = [std::ptr::null::<libc::c_char>()];
    // SAFETY: the path is an empty string and both lists end with a null pointer; all outlive the
    // call.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            file,
            c"".as_ptr(),
            arguments.as_ptr(),
            environment.as_ptr(),
            libc::AT_EMPTY_PATH,
        );
    }
    Refusal::last("execveat(image)")
}

/// Which side of a clone this is.
pub(super) enum Side {
    Parent { pid: u32, pidfd: OwnedFd },
    Child,
}

/// Copies the calling process, which must have one thread, into the namespaces of `flags`.
pub(super) fn clone(flags: libc::c_int) -> io::Result<Side> {
    let flags = flags | libc::CLONE_PIDFD | libc::SIGCHLD;
    // glibc keeps the thread's number where set_tid_address pointed; as its fork does, let the
    // kernel write the child's number there. Where the kernel cannot tell the place, the cached
    // number stays the parent's, which matters to recursive pthread mutexes only.
    let mut tid: *mut libc::c_int = std::ptr::null_mut();
    // SAFETY: PR_GET_TID_ADDRESS writes one pointer to `tid`.
    let known = unsafe { libc::prctl(libc::PR_GET_TID_ADDRESS, &raw mut tid, 0, 0, 0) } == 0;
    let tid_flags = libc::CLONE_CHILD_SETTID | libc::CLONE_CHILD_CLEARTID;
    let flags = if known && !tid.is_null() { flags | tid_flags } else { flags };
    let mut pidfd: RawFd = -1;
    // SAFETY: without CLONE_VM and with a null stack this is fork: the child runs on a copy of this
    // memory. The caller has one thread, so no lock is held by a thread that does not exist in the
    // copy. `pidfd` and `tid` are valid for the kernel's writes of one int each.
    let pid = unsafe {
        libc::syscall(libc::SYS_clone, i64::from(flags), 0_usize, &raw mut pidfd, tid, 0_usize)
    };
    match u32::try_from(pid) {
        Ok(0) => Ok(Side::Child),
        Ok(pid) => {
            // SAFETY: CLONE_PIDFD stored a new descriptor that nothing else owns.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Side::Parent { pid, pidfd })
        }
        Err(_) => Err(io::Error::last_os_error()),
    }
}

/// Gives every signal its default effect, but SIGPIPE, which stays ignored: a copy of the parent's
/// handlers would act on descriptors that are no longer what they were.
pub(super) fn reset_signals() {
    const LAST: libc::c_int = 64;
    for signal in (1..=LAST).filter(|signal| *signal != libc::SIGPIPE) {
        // SAFETY: SIG_DFL is no handler. For signals that cannot be set (KILL, STOP, glibc's own)
        // nothing happens.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // SAFETY: an all-zero sigset_t is what sigemptyset makes on Linux, and both calls get valid
    // pointers.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// Ends the process at once: no destructor runs, which would close descriptors or unmap memory
/// against the filter, and no exit handler, which are the parent's. A locked process ends so.
pub fn exit(code: i32) -> ! {
    // SAFETY: takes a number, does not return.
    unsafe { libc::_exit(code) }
}

/// A userfaultfd that sees faults of user mode only, which needs no privilege.
pub(super) fn userfaultfd() -> Result<OwnedFd, Refusal> {
    /// `UFFD_USER_MODE_ONLY`, `linux/userfaultfd.h`.
    const USER_MODE_ONLY: libc::c_int = 1;
    let flags = libc::O_CLOEXEC | libc::O_NONBLOCK | USER_MODE_ONLY;
    // SAFETY: takes a number only.
    let fd = unsafe { libc::syscall(libc::SYS_userfaultfd, flags) };
    match RawFd::try_from(fd) {
        // SAFETY: the call has just made it, and nothing else owns it.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(Refusal::last("userfaultfd(UFFD_USER_MODE_ONLY)")),
    }
}

/// Has a new userfaultfd answer faults by SIGBUS, of memory files, too.
pub(super) fn userfaultfd_features(fd: &OwnedFd) -> Result<(), Refusal> {
    /// `struct uffdio_api`.
    #[repr(C)]
    struct Api {
        api: u64,
        features: u64,
        ioctls: u64,
    }
    /// `UFFDIO_API`: `_IOWR(0xaa, 0x3f, struct uffdio_api)`.
    const UFFDIO_API: libc::Ioctl = 0xc018_aa3f;
    /// `UFFD_API`.
    const VERSION: u64 = 0xaa;
    /// `UFFD_FEATURE_MISSING_SHMEM`, `UFFD_FEATURE_SIGBUS`. A kernel that lacks one refuses both.
    const FEATURES: u64 = 1 << 5 | 1 << 7;
    let mut api = Api { api: VERSION, features: FEATURES, ioctls: 0 };
    // SAFETY: the kernel reads and writes the 24 bytes of `api`.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), UFFDIO_API, &raw mut api) };
    match result {
        0 => Ok(()),
        _ => Err(Refusal::last("ioctl(UFFDIO_API, UFFD_FEATURE_SIGBUS)")),
    }
}

/// `UFFDIO_REGISTER`, for the profile of a process that covers memory under a filter:
/// `_IOWR(0xaa, 0x00, struct uffdio_register)`.
pub const UFFDIO_REGISTER: u32 = 0xc020_aa00;

/// Registers memory of this process with a userfaultfd, for missing pages.
pub(super) fn userfaultfd_register(fd: RawFd, start: usize, len: usize) -> Result<(), Refusal> {
    /// `struct uffdio_register`.
    #[repr(C)]
    struct Register {
        start: u64,
        len: u64,
        mode: u64,
        ioctls: u64,
    }
    /// `UFFDIO_REGISTER_MODE_MISSING`.
    const MISSING: u64 = 1;
    let number = |value: usize| {
        let wrong = |e| Refusal::new("address of memory", io::Error::other(e));
        u64::try_from(value).map_err(wrong)
    };
    let mut register =
        Register { start: number(start)?, len: number(len)?, mode: MISSING, ioctls: 0 };
    let request = libc::Ioctl::from(UFFDIO_REGISTER);
    // SAFETY: the kernel reads and writes the 32 bytes of `register`. What it does to the memory
    // that they name is to deliver SIGBUS where it would have made a page: no byte changes.
    let result = unsafe { libc::ioctl(fd, request, &raw mut register) };
    match result {
        0 => Ok(()),
        _ => Err(Refusal::last("ioctl(UFFDIO_REGISTER, missing pages)")),
    }
}

/// Whether the kernel has filters, and in them the action that ends a process.
pub(super) fn seccomp_kills() -> Result<(), Refusal> {
    let action = libc::SECCOMP_RET_KILL_PROCESS;
    // SAFETY: the kernel reads the four bytes of `action`.
    let result = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0, &raw const action)
    };
    match result {
        0 => Ok(()),
        _ => Err(Refusal::last("seccomp(GET_ACTION_AVAIL, KILL_PROCESS)")),
    }
}

/// Installs a filter on all threads.
pub(super) fn seccomp(program: &[seccompiler::sock_filter]) -> Result<(), Refusal> {
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).unwrap_or(u16::MAX),
        filter: program.as_ptr().cast::<libc::sock_filter>().cast_mut(),
    };
    // SAFETY: the kernel copies `len` instructions, which `program` holds (the compiler limits it
    // to 4096, and both sock_filter types are the kernel's C layout).
    let result = unsafe {
        let flags = libc::SECCOMP_FILTER_FLAG_TSYNC;
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program)
    };
    match result {
        0 => Ok(()),
        // With TSYNC a positive result is the thread that could not take the filter.
        thread if thread > 0 => {
            let text = format!("thread {thread} has a filter of its own");
            Err(Refusal::new("seccomp(SET_MODE_FILTER, TSYNC)", io::Error::other(text)))
        }
        _ => Err(Refusal::last("seccomp(SET_MODE_FILTER, TSYNC)")),
    }
}
