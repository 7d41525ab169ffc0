//! ptrace: stopping a process to read its filters, and watching the system calls it makes.

use seccompiler::sock_filter;
use std::io;

/// Numbers of `linux/ptrace.h` that the libc crate lacks or types otherwise.
pub(super) const PTRACE_O_TRACESYSGOOD: u64 = 1;
pub(super) const PTRACE_O_TRACECLONE: u64 = 1 << 3;
pub(super) const PTRACE_O_TRACEEXIT: u64 = 1 << 6;
pub(super) const PTRACE_EVENT_EXIT: i32 = 6;
pub(super) const PTRACE_EVENT_STOP: i32 = 128;
const PTRACE_GET_SYSCALL_INFO: Request = 0x420e;
const PTRACE_SECCOMP_GET_FILTER: Request = 0x420c;
/// `PTRACE_SYSCALL_INFO_ENTRY`.
pub(super) const SYSCALL_ENTRY: u8 = 1;

/// Largest program the kernel takes.
const BPF_MAXINSNS: usize = 4096;

/// `struct ptrace_syscall_info`, of which we read the entry variant.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub(super) struct SyscallInfo {
    pub(super) op: u8,
    pad: [u8; 3],
    arch: u32,
    instruction_pointer: u64,
    stack_pointer: u64,
    /// Entry: the call's number.
    pub(super) nr: u64,
    /// Entry: its arguments.
    pub(super) args: [u64; 6],
    reserved: [u64; 4],
}

/// A request of ptrace(2): crate libc has those of musl with a sign.
#[cfg(target_env = "musl")]
type Request = libc::c_int;
#[cfg(not(target_env = "musl"))]
type Request = libc::c_uint;

/// One ptrace request.
fn ptrace(request: Request, tid: i32, addr: usize, data: usize) -> io::Result<i64> {
    // SAFETY: the requests of this module write at `data` only what their callers have room for,
    // and read nothing of ours; the tracee's memory and registers are never written.
    let result = unsafe { libc::syscall(libc::SYS_ptrace, request, tid, addr, data) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Attaches to a thread without stopping it.
pub(super) fn seize(tid: i32, options: u64) -> io::Result<()> {
    let options = usize::try_from(options).unwrap_or(0);
    ptrace(libc::PTRACE_SEIZE, tid, 0, options).map(drop)
}

/// Stops a seized thread; the stop is seen by [`wait`].
pub(super) fn interrupt(tid: i32) -> io::Result<()> {
    ptrace(libc::PTRACE_INTERRUPT, tid, 0, 0).map(drop)
}

/// Lets a stopped thread run to its next system call's entry or exit, with a signal or 0.
pub(super) fn to_next_call(tid: i32, signal: i32) -> io::Result<()> {
    ptrace(libc::PTRACE_SYSCALL, tid, 0, usize::try_from(signal).unwrap_or(0)).map(drop)
}

/// Leaves a group-stopped thread stopped, and listens.
pub(super) fn listen(tid: i32) -> io::Result<()> {
    ptrace(libc::PTRACE_LISTEN, tid, 0, 0).map(drop)
}

/// Lets go of a stopped thread.
pub(super) fn detach(tid: i32) {
    // A thread that has died needs no detaching.
    let _ = ptrace(libc::PTRACE_DETACH, tid, 0, 0);
}

/// The system call at whose entry or exit a thread is stopped.
pub(super) fn syscall_info(tid: i32) -> io::Result<SyscallInfo> {
    let mut info = SyscallInfo::default();
    let size = size_of::<SyscallInfo>();
    ptrace(PTRACE_GET_SYSCALL_INFO, tid, size, (&raw mut info).addr())?;
    Ok(info)
}

/// Waits for an event of thread `tid`, or of any tracee of the calling thread (-1): its number and
/// wait status.
pub(super) fn wait(tid: i32, options: i32) -> io::Result<(i32, i32)> {
    let mut status = 0;
    let options = options | libc::__WALL;
    loop {
        // SAFETY: waitpid writes one int.
        let result = unsafe { libc::waitpid(tid, &raw mut status, options) };
        match result {
            -1 => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
            thread => return Ok((thread, status)),
        }
    }
}

/// A process that is stopped until this is dropped.
#[derive(Debug)]
pub(super) struct Tracee(i32);

impl Tracee {
    /// Stops the main thread of a process.
    pub(super) fn stop(pid: u32) -> io::Result<Self> {
        let tid = i32::try_from(pid).map_err(io::Error::other)?;
        seize(tid, 0)?;
        let tracee = Self(tid);
        interrupt(tid)?;
        let (_, status) = wait(tid, 0)?;
        if libc::WIFSTOPPED(status) { Ok(tracee) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    /// Filter `index`, 0 being the one that was added last.
    pub(super) fn filter(&self, index: u32) -> io::Result<Vec<sock_filter>> {
        let index = usize::try_from(index).map_err(io::Error::other)?;
        // Without a buffer the kernel tells the length.
        let len = ptrace(PTRACE_SECCOMP_GET_FILTER, self.0, index, 0)?;
        let len = usize::try_from(len).map_err(io::Error::other)?.min(BPF_MAXINSNS);
        // A filter never changes and is not removed, so the length stays.
        let empty = sock_filter { code: 0, jt: 0, jf: 0, k: 0 };
        let mut program = vec![empty; BPF_MAXINSNS];
        ptrace(PTRACE_SECCOMP_GET_FILTER, self.0, index, program.as_mut_ptr().addr())?;
        program.truncate(len);
        Ok(program)
    }
}

impl Drop for Tracee {
    fn drop(&mut self) {
        detach(self.0);
    }
}
