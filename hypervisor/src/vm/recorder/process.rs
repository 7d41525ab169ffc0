//! The recorder from its first instruction to its last.

use super::handover::{Input, take};
use super::message::{FromRecorder, LONGEST, ToRecorder};
use super::tally::Told;
use crate::vm::profile;
use crate::vm::protocol::BadMessage;
use casemate_policy_log::{DecisionLog, LogError, LogFiles};
use casemate_sandbox::{Action, Born, FdTable, SandboxError, exit, reserve_heap};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::os::fd::{AsRawFd, OwnedFd};

/// Exit status of a recorder that has written all that it was told.
pub const WRITTEN: i32 = 0;
/// Exit status when it has not, after telling why.
pub const FAILED: i32 = 1;

/// Heap for reading a log that somebody else may have written: a line of the longest kind, of
/// nothing but small values, takes 100 bytes for each of its own, once as it grows. Not touched, so
/// that it costs nothing until it is needed.
const HEAP: usize = 24 * 1024 * 1024;

/// Why a recorder cannot go on.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    #[error("the supervisor's words make no sense: {0}")]
    Nonsense(#[from] BadMessage),
    #[error("a decision came when all was decided")]
    Late,
}

impl Fault {
    fn is_bad_input(&self) -> bool {
        matches!(self, Self::Log(error) if error.is_bad_input())
    }
}

/// The whole process: what the image's `main` does. Gives the exit status, where the process has
/// not exited before.
///
/// A process that no supervisor of this version started has nobody to tell, and ends.
#[must_use]
pub fn main() -> i32 {
    let Ok((born, given)) = Born::of_image() else { return FAILED };
    let Some(Input { control, files, key }) = take(given) else { return FAILED };
    let opened = files.and_then(|mut files| {
        // Before the lock, after which the key's descriptor is not there any more.
        if let Some(key) = key {
            files.sign_with(key.read()?);
        }
        Ok(files)
    });
    let run = || serve(&control, lock(born, &control, opened?)?);
    match run() {
        Ok(()) => exit(WRITTEN),
        Err(fault) => {
            let bad_input = fault.is_bad_input();
            tell(&control, &FromRecorder::Failed { bad_input, text: fault.to_string() });
            exit(FAILED)
        }
    }
}

/// Locks the process. Nothing of the log was looked at before.
fn lock(born: Born, control: &OwnedFd, files: LogFiles) -> Result<LogFiles, Fault> {
    let setup = born.confine()?;
    reserve_heap(HEAP)?;
    let fds = FdTable::new()
        .with(profile::SOCKETS, control)
        .with(profile::LOG, &files.log())
        .with(profile::LOG_LOCK, &files.lock())
        .with_raw(profile::LOG_HEAD, files.head().map(|head| head.as_raw_fd()));
    setup.close_unnamed(&fds, &[])?;
    setup.lock(&profile::RECORDER, &fds, Action::Kill)?;
    Ok(files)
}

/// A recorder with its log.
struct Recorder<'a> {
    control: &'a OwnedFd,
    log: DecisionLog,
    told: Told,
    /// The record with the last decision.
    decided: u64,
    /// Nothing is decided any more: others may have the log.
    released: bool,
}

/// Does what it is asked until the VM has ended or its supervisor is gone.
fn serve(control: &OwnedFd, files: LogFiles) -> Result<(), Fault> {
    let (log, found) = files.begin()?;
    let told = Told::default();
    let mut recorder = Recorder { control, log, told, decided: 0, released: false };
    tell(control, &FromRecorder::Opened { dropped: found.dropped });
    let mut packet = vec![0; LONGEST + 1];
    loop {
        let len = match recv(control, &mut packet[..], RecvFlags::empty()) {
            Err(Errno::INTR) => continue,
            Ok((len, _)) => len,
            Err(_) => 0,
        };
        let bytes = packet.get(..len).unwrap_or_default();
        // Whoever closes its end has ended.
        let message = if bytes.is_empty() { ToRecorder::End } else { ToRecorder::decode(bytes)? };
        if recorder.take(message)? {
            return Ok(());
        }
    }
}

impl Recorder<'_> {
    /// Whether that was the last.
    fn take(&mut self, message: ToRecorder) -> Result<bool, Fault> {
        match message {
            ToRecorder::Decision(_) if self.released => return Err(Fault::Late),
            ToRecorder::Decision(record) => self.decided = self.log.record(record)?,
            ToRecorder::MayBeDenied(record) => self.told.may_be_denied(record),
            ToRecorder::Release => self.release()?,
            ToRecorder::Denied(denied) => {
                if let Some(record) = self.told.take(denied).filter(|_| self.released) {
                    self.log.denials(vec![record])?;
                }
                return Ok(false);
            }
            ToRecorder::End => {
                let last = self.told.last();
                if self.released && !last.is_empty() {
                    self.log.denials(last)?;
                }
                return Ok(true);
            }
        }
        tell(self.control, &FromRecorder::Done);
        Ok(false)
    }

    fn release(&mut self) -> Result<(), LogError> {
        if !self.released {
            self.released = true;
            self.told.started_by(self.decided);
            self.log.release()?;
        }
        Ok(())
    }
}

fn tell(control: &OwnedFd, message: &FromRecorder) {
    while send(control, &message.encode(), SendFlags::NOSIGNAL) == Err(Errno::INTR) {}
}
