//! A child process, owned by its pidfd: it can be polled, killed, waited for, and does not outlive
//! its owner.

use super::layer::Report;
use super::wire::{Channel, NoReport};
use super::{Exit, SandboxError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// A spawned process. Dropping it kills the process and waits for its end.
#[derive(Debug)]
pub struct Child {
    pub(super) name: String,
    pub(super) pid: u32,
    pub(super) pidfd: OwnedFd,
    pub(super) channel: Option<Channel>,
    pub(super) report: Report,
    pub(super) exit: Option<Exit>,
    pub(super) abandoned: bool,
}

impl Child {
    /// Its number, for messages and /proc only: signals go through the pidfd.
    #[must_use]
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits until the child is confined, or cannot be; what became of each layer.
    ///
    /// # Errors
    /// The child's own error, [`SandboxError::Died`], [`SandboxError::BadReport`].
    pub fn confined(&mut self) -> Result<&Report, SandboxError> {
        self.report_until(None)
    }

    /// The same, but waits no longer than `limit`: for a child that may be somebody else's by now.
    ///
    /// # Errors
    /// As [`Child::confined`]; [`SandboxError::BadReport`] when nothing came in time.
    pub fn confined_within(&mut self, limit: Duration) -> Result<&Report, SandboxError> {
        self.report_until(Instant::now().checked_add(limit))
    }

    fn report_until(&mut self, until: Option<Instant>) -> Result<&Report, SandboxError> {
        if let Some(channel) = self.channel.take() {
            match channel.receive(until) {
                Ok(Some(report)) => {
                    for (layer, state) in report.iter() {
                        self.report.record(*layer, state.clone());
                    }
                }
                Ok(None) => {
                    let exit = match until {
                        None => Some(self.wait()?),
                        // One that has closed its end and lives is not waited for either.
                        Some(until) => {
                            let left = until.saturating_duration_since(Instant::now()).as_millis();
                            self.wait_at_most(u32::try_from(left).unwrap_or(u32::MAX))?
                        }
                    };
                    let Some(exit) = exit else {
                        return Err(NoReport::Nonsense.about(&self.name));
                    };
                    return Err(SandboxError::Died { name: self.name.clone(), exit });
                }
                Err(error) => return Err(error.about(&self.name)),
            }
        }
        Ok(&self.report)
    }

    /// Kills it. The end is seen by [`Child::wait`].
    ///
    /// # Errors
    /// The errno of `pidfd_send_signal`; none when it has already ended.
    pub fn kill(&self) -> Result<(), SandboxError> {
        match pidfd_send_signal(&self.pidfd, Signal::KILL) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(e) => Err(SandboxError::system("pidfd_send_signal", e)),
        }
    }

    /// Gives up waiting for a process that was killed and does not end: the kernel works for it,
    /// and nobody can end that. Dropping it does not wait any more.
    pub const fn abandon(&mut self) {
        self.abandoned = true;
    }

    /// Waits for its end. Later calls give the same answer.
    ///
    /// # Errors
    /// The errno of `waitid`.
    pub fn wait(&mut self) -> Result<Exit, SandboxError> {
        if let Some(exit) = self.exit {
            return Ok(exit);
        }
        loop {
            match waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED) {
                Ok(Some(status)) => {
                    let exit = match (status.exit_status(), status.terminating_signal()) {
                        (Some(code), _) => Exit::Code(code),
                        (None, Some(libc::SIGSYS)) => Exit::Filter,
                        (None, signal) => Exit::Signal(signal.unwrap_or(0)),
                    };
                    self.exit = Some(exit);
                    return Ok(exit);
                }
                Ok(None) | Err(Errno::INTR) => {}
                Err(e) => return Err(SandboxError::system("waitid", e)),
            }
        }
    }

    /// Waits for its end for some milliseconds at most; None when it still lives.
    ///
    /// # Errors
    /// As [`Child::wait`].
    pub fn wait_at_most(&mut self, milliseconds: u32) -> Result<Option<Exit>, SandboxError> {
        if self.exit.is_none() {
            let timeout = Timespec {
                tv_sec: (milliseconds / 1000).into(),
                tv_nsec: (milliseconds % 1000 * 1_000_000).into(),
            };
            let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
            match poll(&mut fds, Some(&timeout)) {
                Ok(0) | Err(Errno::INTR) => return Ok(None),
                Ok(_) => {}
                Err(e) => return Err(SandboxError::system("poll", e)),
            }
        }
        self.wait().map(Some)
    }
}

/// The pidfd: readable when the process has ended.
impl AsFd for Child {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.exit.is_none() && self.kill().is_ok() && !self.abandoned {
            let _ = self.wait();
        }
    }
}
