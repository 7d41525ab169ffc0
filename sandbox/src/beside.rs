//! A child on the memory of its parent, which does not wait for it.

use super::sys::{Blocked, exit};
use std::io;

/// A child that runs on the memory of the calling process, which goes on beside it.
///
/// It has its own stack and its own copy of the descriptors. The rest, the C library's data for
/// the calling thread included, is that of its parent.
#[derive(Debug)]
pub(super) struct Beside<T> {
    pid: libc::pid_t,
    /// Read by the child, as the stack is written by it, until it has ended.
    _work: Box<Work<T>>,
    _stack: Vec<u128>,
}

/// What such a child does.
#[derive(Debug)]
struct Work<T> {
    task: T,
    body: fn(&T) -> i32,
}

impl<T: Sync + 'static> Beside<T> {
    /// Starts a child that runs `body` on `task`, and exits with its result.
    ///
    /// # Safety
    /// `body` uses nothing that belongs to a thread, such as `errno`, no lock and no heap: the
    /// parent may be using the same at this moment.
    ///
    /// # Errors
    /// Of clone(2).
    pub(super) unsafe fn run(task: T, body: fn(&T) -> i32) -> io::Result<Self> {
        extern "C" fn run<T>(work: *mut libc::c_void) -> libc::c_int {
            // SAFETY: it is what `Beside::run` gave, which is there until this child has ended, and
            // which the parent only reads.
            let work = unsafe { &*work.cast::<Work<T>>() };
            exit((work.body)(&work.task))
        }
        const STACK: usize = 64 * 1024;
        let work = Box::new(Work { task, body });
        let mut stack: Vec<u128> = Vec::with_capacity(STACK / size_of::<u128>());
        let top = stack.spare_capacity_mut().as_mut_ptr_range().end;
        let given = std::ptr::from_ref(&*work).cast_mut().cast();
        // A handler of this program must not run in the child, on memory that it shares.
        let blocked = Blocked::all();
        // SAFETY: the child has a stack of its own, and what it reads and writes outlives it: the
        // value that is returned waits for its end before it lets go of them, and `T` borrows
        // nothing that could end before. `body` keeps to what the caller promised; `run` does not
        // return.
        let pid = unsafe { libc::clone(run::<T>, top.cast(), libc::CLONE_VM, given) };
        let error = io::Error::last_os_error();
        drop(blocked);
        if pid < 0 { Err(error) } else { Ok(Self { pid, _work: work, _stack: stack }) }
    }
}

impl<T> Beside<T> {
    /// Waits for its end. Whether its status was 0.
    pub(super) fn succeeded(mut self) -> bool {
        self.wait() == Some(0)
    }

    fn wait(&mut self) -> Option<libc::c_int> {
        if self.pid == 0 {
            return None;
        }
        let mut status = 0;
        // It sends no signal when it ends, so only who asks for such children is told (__WALL).
        // SAFETY: waitpid writes an int that lives here.
        while unsafe { libc::waitpid(self.pid, &raw mut status, libc::__WALL) } < 0 {
            if io::Error::last_os_error().raw_os_error() != Some(libc::EINTR) {
                // No such child: nobody else waits for it, but what cannot be known is not well.
                status = -1;
                break;
            }
        }
        self.pid = 0;
        Some(status)
    }
}

impl<T> Drop for Beside<T> {
    fn drop(&mut self) {
        self.wait();
    }
}
