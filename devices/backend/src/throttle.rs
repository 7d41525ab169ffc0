//! A device's limits while it serves: the buckets of all its queues, and a clock.
//!
//! The clock is a timer whose descriptor tells, when it is read, how many milliseconds have passed
//! since it was read last (timerfd_create(2); the kernel counts them when it is asked, so a timer
//! that nobody reads costs nothing). A steady profile has `read` for its events and no
//! `clock_gettime`, which is a system call where the kernel's clock source needs one.

use crate::bucket::{Buckets, Limits};
use rustix::io::{Errno, read};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The longest wait at once. Nobody is left waiting longer for a change of the clock.
const LONGEST: Duration = Duration::from_secs(3600);

/// What all queues of a device have together.
#[derive(Debug)]
pub struct Throttle {
    /// Whether there is a limit: without one a request costs this look.
    limited: AtomicBool,
    buckets: Mutex<Buckets>,
    clock: OwnedFd,
}

impl Throttle {
    /// With full buckets. To be made before the lock.
    ///
    /// # Errors
    /// The kernel has no timer.
    pub fn new(limits: Limits) -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let clock = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        let millisecond = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
        let each = Itimerspec { it_interval: millisecond, it_value: millisecond };
        timerfd_settime(&clock, TimerfdTimerFlags::empty(), &each)?;
        let throttle = Self { limited: AtomicBool::new(false), buckets: Mutex::default(), clock };
        throttle.set(limits);
        Ok(throttle)
    }

    /// The clock's descriptor, for the filter.
    #[must_use]
    pub fn descriptor(&self) -> RawFd {
        self.clock.as_raw_fd()
    }

    /// Other limits from now on, with full buckets. Who waits is to be woken.
    pub fn set(&self, limits: Limits) {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = self.passed();
        *buckets = Buckets::full(limits);
        self.limited.store(limits != Limits::default(), Ordering::Relaxed);
    }

    /// Milliseconds since this was asked last.
    fn passed(&self) -> u64 {
        let mut count = [0; 8];
        loop {
            match read(&self.clock, &mut count) {
                Err(Errno::INTR) => {}
                // Not one yet.
                Err(_) => return 0,
                Ok(_) => return u64::from_ne_bytes(count),
            }
        }
    }

    /// How long the next request has to wait; None when it goes now.
    pub fn wait(&self) -> Option<Duration> {
        if !self.limited.load(Ordering::Relaxed) {
            return None;
        }
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.pass(self.passed());
        buckets.wait().map(|wait| wait.min(LONGEST))
    }

    /// A request of so many bytes was answered.
    pub fn spend(&self, bytes: u64) {
        if self.limited.load(Ordering::Relaxed) {
            self.buckets.lock().unwrap_or_else(PoisonError::into_inner).spend(bytes);
        }
    }
}
