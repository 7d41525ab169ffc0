//! Beginning to write: a log that is there is looked at and gone on with, a new one is begun.

use crate::LogError;
use crate::files::LogFiles;
use crate::look::{known, length};
use crate::place::LogFile;
use crate::vouch::{Trust, vouch};
use crate::writer::DecisionLog;
use casemate_policy::log::{Chain, KnownHead, LogId, SigningKey};

/// What was found when a log was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Recovery {
    /// Number of the next record after those that were there: zero for a new log.
    pub next: u64,
    /// Bytes of a torn last line that were removed.
    pub dropped: u64,
    /// Records that were taken over without a head that vouches for them.
    pub adopted: u64,
}

impl LogFile {
    /// Opens the log, which is made if it is not there, and waits until nobody else has it.
    ///
    /// # Errors
    /// [`LogError`] when it cannot be used, is in use for too long, or nobody vouches for it. Then
    /// nothing was changed.
    pub fn open(self) -> Result<(DecisionLog, Recovery), LogError> {
        let mut files = self.files()?;
        let made = files.take_made();
        // Others wait for the lock until this, too, is closed: what is removed is nobody's.
        let _held = files.lock.try_clone().map_err(LogError::io(&files.place.path))?;
        let place = files.place.without_key();
        files.begin().inspect_err(|_| made.remove(&place))
    }
}

impl LogFiles {
    /// Vouches for the log and goes on with it, or begins it. Opens nothing.
    ///
    /// # Errors
    /// [`LogError`] when nobody vouches for it. Then nothing was changed.
    pub fn begin(self) -> Result<(DecisionLog, Recovery), LogError> {
        let Self { place, log, lock, head, id, .. } = self;
        let length = length(&log, &place.path)?;
        let known = known(head.as_ref(), &place)?;
        if length == 0 {
            // A file that was made for the log, or what is left of one that was cut to nothing.
            if let Some(known) = known {
                return Err(cut(&place, known));
            }
            let (lines, chain) = first_lines(LogId(id), &place);
            let log = DecisionLog::fill(place, (log, lock), head, &lines, chain)?;
            return Ok((log, Recovery::default()));
        }
        let trust = Trust {
            key: place.key.as_ref().map(SigningKey::public),
            known: place.head.as_deref().zip(known),
            written: None,
            adopt: place.adopt,
        };
        let vouched = vouch(&log, &place.path, length, &trust)?;
        // A log that has nothing but its beginning has no head file yet if the program that made it
        // was killed then; and nothing in it that could have been cut off.
        let fresh = vouched.chain.seq() <= if place.key.is_some() { 2 } else { 1 };
        if let Some(head) = place.head.as_deref().filter(|_| known.is_none())
            && !(fresh || place.adopt)
        {
            let (path, head) = (place.path.clone(), head.to_owned());
            return Err(LogError::HeadMissing { path, head });
        }
        let recovery = Recovery {
            next: vouched.chain.seq(),
            dropped: vouched.torn,
            adopted: vouched.adopted.unwrap_or(0),
        };
        let log = DecisionLog::extend(place, (log, lock), head, &vouched)?;
        Ok((log, recovery))
    }
}

/// The beginning of a new log: its identity and, with a key, the head over it.
fn first_lines(id: LogId, place: &LogFile) -> (String, Chain) {
    let time = (place.clock)();
    let (mut lines, mut chain) = Chain::new(id).begin(time);
    if let Some(key) = &place.key {
        chain = chain.append_head_to(&mut lines, time, false, key);
    }
    (lines, chain)
}

fn cut(place: &LogFile, known: KnownHead) -> LogError {
    let head = place.head.clone().unwrap_or_default();
    LogError::Cut { path: place.path.clone(), head, known }
}
