//! Where decisions are logged: the flags of every command that asks a policy.

use crate::Failure;
use crate::log_read::failure;
use crate::out::errln;
use casemate_files::{Apart, SameFile};
use casemate_foreign_text::value;
use casemate_policy_log::{DecisionLog, LogFile, lock_path, read_key};
#[cfg(feature = "vm")]
use casemate_policy_log::{KeyFile, open_key};
use clap::Args;
use std::path::PathBuf;

/// What `--help` calls these options, so that nobody takes them for those of the operator's log.
const HEADING: &str = "Decision log, of what the policy decides";

/// Options about the log of a policy's decisions.
#[derive(Debug, Args)]
pub struct LogOptions {
    /// Log what the policy decides to this file, see `casemate log`. What cannot be logged is not
    /// done: a VM is not started, or ends. Not the log of --log, which is for operators and proves
    /// nothing
    #[arg(long, value_name = "FILE", help_heading = HEADING)]
    pub decision_log: Option<PathBuf>,
    /// Sign each record of the decision log with this key, see `casemate log key`
    #[arg(long, value_name = "FILE", requires = "decision_log", help_heading = HEADING)]
    log_key: Option<PathBuf>,
    /// Keep the newest head of the decision log in this file, too, and refuse a log that does not
    /// have the head that is in it: best where nobody who can write the log can write
    #[arg(long, value_name = "FILE", requires = "decision_log", help_heading = HEADING)]
    log_head: Option<PathBuf>,
    /// Take over a decision log whose end no head of the key vouches for, or whose head file is
    /// missing; the log says so for ever
    #[arg(long, requires = "decision_log", help_heading = HEADING)]
    adopt: bool,
}

impl LogOptions {
    /// The log as it was asked for, and the file of its key, which is not read: for a recorder.
    ///
    /// # Errors
    /// When the key cannot be used.
    #[cfg(feature = "vm")]
    pub fn place_and_key(&self) -> Result<Option<(LogFile, Option<KeyFile>)>, Failure> {
        let key = self.log_key.as_deref().map(open_key).transpose();
        let key = key.map_err(|error| failure(&error))?;
        Ok(self.place().map(|place| (place, key)))
    }

    /// Tells which of a command's files these are.
    ///
    /// # Errors
    /// [`SameFile`] when one of them is another one.
    pub fn apart(&self, apart: &mut Apart) -> Result<(), SameFile> {
        if let Some(path) = &self.log_key {
            apart.read("--log-key", path)?;
        }
        let written = [("--decision-log", &self.decision_log), ("--log-head", &self.log_head)];
        for (key, path) in written {
            path.as_ref().map_or(Ok(()), |path| apart.written(key, path))?;
        }
        if let Some(log) = &self.decision_log {
            apart.written(
                "the file beside --decision-log whose name ends in .lock",
                &lock_path(log),
            )?;
        }
        Ok(())
    }

    fn place(&self) -> Option<LogFile> {
        let path = self.decision_log.as_deref()?;
        Some(LogFile { head: self.log_head.clone(), adopt: self.adopt, ..LogFile::new(path) })
    }

    /// The log as it was asked for, not opened: others wait for it while it is open. Reads the key.
    ///
    /// # Errors
    /// When the key cannot be used.
    pub fn file(&self) -> Result<Option<LogFile>, Failure> {
        let Some(place) = self.place() else { return Ok(None) };
        let key = self.log_key.as_deref().map(read_key).transpose();
        Ok(Some(LogFile { key: key.map_err(|error| failure(&error))?, ..place }))
    }
}

/// Opens a log, and says on standard error what was found wrong with its end.
///
/// # Errors
/// When nobody vouches for it, or it cannot be written.
pub fn open(file: LogFile) -> Result<DecisionLog, Failure> {
    let path = file.path.clone();
    let (log, found) = file.open().map_err(|error| failure(&error))?;
    if found.dropped > 0 {
        let path = value(path.display());
        errln!("casemate: {path}: a torn last line of {} bytes was removed", found.dropped);
    }
    Ok(log)
}
