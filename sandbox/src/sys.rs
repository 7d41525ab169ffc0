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

/// Where glibc keeps the thread's number: where set_tid_address pointed. As its fork does, a clone
/// lets the kernel write the child's number there: the flags for that. Where the kernel cannot tell
/// the place, the cached number stays the parent's, which matters to recursive pthread mutexes
/// only.
fn thread_number() -> (*mut libc::c_int, libc::c_int) {
    let mut tid: *mut libc::c_int = std::ptr::null_mut();
    // SAFETY: PR_GET_TID_ADDRESS writes one pointer to `tid`.
    let known = unsafe { libc::prctl(libc::PR_GET_TID_ADDRESS, &raw mut tid, 0, 0, 0) } == 0;
    let flags = libc::CLONE_CHILD_SETTID | libc::CLONE_CHILD_CLEARTID;
    if known && !tid.is_null() { (tid, flags) } else { (std::ptr::null_mut(), 0) }
}

/// Copies the calling process, which must have one thread, into the namespaces of `flags`.
pub(super) fn clone(flags: libc::c_int) -> io::Result<Side> {
    let (tid, tid_flags) = thread_number();
    let flags = flags | libc::CLONE_PIDFD | libc::SIGCHLD | tid_flags;
    let mut pidfd: RawFd = -1;
    // SAFETY: without CLONE_VM and with a null stack this is fork: the child runs on a copy of this
    // memory. The caller has one thread, so no lock is held by a thread that does not exist in the
    // copy. `pidfd` and `tid` are valid for the kernel's writes of one int each.
    let pid = unsafe {
        libc::syscall(libc::SYS_clone, i64::from(flags), 0_usize, &raw mut pidfd, tid, 0_usize)
    };
    // SAFETY: a clone with CLONE_PIDFD has given `pid`.
    unsafe { side(pid, pidfd) }
}

/// The same into the control group whose directory is open as `group`.
pub(super) fn clone_into(flags: libc::c_int, group: RawFd) -> io::Result<Side> {
    /// `struct clone_args` as far as Linux 5.7 has it (`CLONE_ARGS_SIZE_VER2`).
    #[repr(C)]
    #[derive(Default)]
    struct Args {
        flags: u64,
        pidfd: u64,
        child_tid: u64,
        parent_tid: u64,
        exit_signal: u64,
        stack: u64,
        stack_size: u64,
        tls: u64,
        set_tid: u64,
        set_tid_size: u64,
        cgroup: u64,
    }
    /// `CLONE_INTO_CGROUP`: beyond the 32 bits of clone(2).
    const INTO_CGROUP: u64 = 1 << 33;
    let number = |value: libc::c_int| {
        u64::try_from(value).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
    };
    let (tid, tid_flags) = thread_number();
    let mut pidfd: RawFd = -1;
    let args = Args {
        // As clone(2) sees them: CLONE_IO is the sign of a C integer.
        flags: u64::from((flags | libc::CLONE_PIDFD | tid_flags).cast_unsigned()) | INTO_CGROUP,
        pidfd: (&raw mut pidfd).expose_provenance() as u64,
        child_tid: tid.expose_provenance() as u64,
        exit_signal: number(libc::SIGCHLD)?,
        cgroup: number(group)?,
        ..Args::default()
    };
    // SAFETY: as in `clone`: no CLONE_VM and no stack, so it is fork, of a process with one thread.
    // The kernel reads the bytes of `args`, and writes one int each to `pidfd` and `tid`, which
    // outlive the call.
    let pid =
        unsafe { libc::syscall(libc::SYS_clone3, &raw const args, std::mem::size_of::<Args>()) };
    // SAFETY: a clone with CLONE_PIDFD has given `pid`.
    unsafe { side(pid, pidfd) }
}

/// Which side this is, by what a clone with CLONE_PIDFD gave.
///
/// # Safety
/// Where `pid` is positive, `pidfd` is the descriptor that it has just stored.
unsafe fn side(pid: libc::c_long, pidfd: RawFd) -> io::Result<Side> {
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

/// Bytes of stack for what a child does before execve: a few calls, and the text of an error.
const STACK: usize = 256 * 1024;

/// Makes a child in the namespaces of `flags` that runs `child` on the memory of the calling
/// process, which must have one thread and waits until the child has replaced itself by another
/// program or ended: as vfork(2). The pid and pidfd of the child.
///
/// A copy of the memory is what costs most: its page tables, then a fault for each page that either
/// side touches, then to take it down at execve. It was 0.15 ms of 0.44 for a program of 300 pages.
pub(super) fn clone_to_exec(
    flags: libc::c_int,
    child: &mut dyn FnMut() -> i32,
) -> io::Result<(u32, OwnedFd)> {
    extern "C" fn run(child: *mut libc::c_void) -> libc::c_int {
        // SAFETY: it is what `clone_to_exec` gave, which waits meanwhile.
        let child = unsafe { &mut *child.cast::<&mut dyn FnMut() -> i32>() };
        exit(child());
    }
    let flags = flags | libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
    let mut child = child;
    let mut pidfd: RawFd = -1;
    // Written by the child alone, from its end downwards; 16 bytes are what the ABI aligns it to.
    let mut stack: Vec<u128> = Vec::with_capacity(STACK / size_of::<u128>());
    let top = stack.spare_capacity_mut().as_mut_ptr_range().end;
    // A handler of this program must not run in the child, on memory that it shares. The image has
    // the mask reset first (`reset_signals`).
    let blocked = Blocked::all();
    // SAFETY: the child has a stack of its own, and this thread, the only one, does not run before
    // it has left the memory (CLONE_VFORK), so nothing is used by two at once. What the child owns
    // for itself it frees or leaves behind; what it borrows outlives the call. `run` does not
    // return, and a panic in it ends the child. `pidfd` is valid for the kernel's write of an int.
    let pid =
        unsafe { libc::clone(run, top.cast(), flags, (&raw mut child).cast(), &raw mut pidfd) };
    let error = io::Error::last_os_error();
    drop(blocked);
    match u32::try_from(pid) {
        // SAFETY: CLONE_PIDFD stored a new descriptor that nothing else owns.
        Ok(pid) => Ok((pid, unsafe { OwnedFd::from_raw_fd(pidfd) })),
        Err(_) => Err(error),
    }
}

/// Every signal blocked in the calling thread, until it is dropped.
pub(super) struct Blocked(libc::sigset_t);

impl Blocked {
    pub(super) fn all() -> Self {
        // SAFETY: a sigset_t of zeros is a valid one, and all pointers are to sets that live here.
        unsafe {
            let (mut all, mut before): (libc::sigset_t, libc::sigset_t) = std::mem::zeroed();
            libc::sigfillset(&raw mut all);
            libc::sigprocmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
            Self(before)
        }
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // SAFETY: the set is the one that sigprocmask wrote.
        unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const self.0, std::ptr::null_mut()) };
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
    const UFFDIO_API: u32 = 0xc018_aa3f;
    /// `UFFD_API`.
    const VERSION: u64 = 0xaa;
    /// `UFFD_FEATURE_MISSING_SHMEM`, `UFFD_FEATURE_SIGBUS`. A kernel that lacks one refuses both.
    const FEATURES: u64 = 1 << 5 | 1 << 7;
    let mut api = Api { api: VERSION, features: FEATURES, ioctls: 0 };
    // SAFETY: the kernel reads and writes the 24 bytes of `api`.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), UFFDIO_API as libc::Ioctl, &raw mut api) };
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
    let request = UFFDIO_REGISTER as libc::Ioctl;
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
