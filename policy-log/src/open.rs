//! Beginning to write: a log that is there is looked at and gone on with, a new one is begun.

use crate::LogError;
use crate::files::LogFiles;
use crate::place::LogFile;
use crate::vouch::{Trust, Vouched, vouch};
use crate::writer::DecisionLog;
use casemate_policy::log::{Chain, KnownHead, LogId, SigningKey};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Longest head file: a number, a hash and white space around them.
const MAX_HEAD: usize = 4096;

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

/// Goes on with the log in these files, or begins it.
pub(crate) fn begin(files: LogFiles) -> Result<(DecisionLog, Recovery), LogError> {
    let LogFiles { place, log, head, id, .. } = files;
    let length = length(&log, &place.path)?;
    let known = known(head.as_ref(), &place)?;
    if length == 0 {
        // A file that was made for the log, or what is left of one that was cut to nothing.
        if let Some(known) = known {
            return Err(cut(&place, known));
        }
        let (lines, chain) = first_lines(LogId(id), &place);
        let log = DecisionLog::fill(place, log, head, &lines, chain)?;
        return Ok((log, Recovery::default()));
    }
    let trust = Trust {
        key: place.key.as_ref().map(SigningKey::public),
        known: place.head.as_deref().zip(known),
        written: None,
        adopt: place.adopt,
    };
    let vouched = vouch(&log, &place.path, length, &trust)?;
    // A log that has nothing but its beginning has no head file yet if the program that made it was
    // killed then; and nothing in it that could have been cut off.
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
    let log = DecisionLog::extend(place, log, head, &vouched)?;
    Ok((log, recovery))
}

/// Looks again at a log that was in use by others meanwhile; `written` was its last record.
pub(crate) fn look_again(
    log: &File,
    head: Option<&File>,
    place: &LogFile,
    written: KnownHead,
) -> Result<Vouched, LogError> {
    let length = length(log, &place.path)?;
    let known = known(head, place)?;
    if length == 0 {
        return Err(LogError::Lost { path: place.path.clone(), seq: written.seq });
    }
    if let Some(head) = place.head.as_deref().filter(|_| known.is_none()) {
        let (path, head) = (place.path.clone(), head.to_owned());
        return Err(LogError::HeadMissing { path, head });
    }
    let trust = Trust {
        key: place.key.as_ref().map(SigningKey::public),
        known: place.head.as_deref().zip(known),
        written: Some(written),
        adopt: false,
    };
    vouch(log, &place.path, length, &trust)
}

/// Bytes in the file.
pub(crate) fn length(file: &File, path: &Path) -> Result<u64, LogError> {
    // Not File::metadata: that is another system call, of which no filter can tell what it asks.
    let there = rustix::fs::fstat(file).map_err(LogError::errno(path))?;
    Ok(u64::try_from(there.st_size).unwrap_or(0))
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

/// What the head file names; `None` when it is empty: it was just made, or somebody emptied it,
/// which is as good as removing it.
fn known(head: Option<&File>, place: &LogFile) -> Result<Option<KnownHead>, LogError> {
    let (Some(file), Some(path)) = (head, place.head.as_deref()) else { return Ok(None) };
    let length = usize::try_from(length(file, path)?).unwrap_or(usize::MAX);
    let mut bytes = vec![0; length.min(MAX_HEAD + 1)];
    file.read_exact_at(&mut bytes, 0).map_err(LogError::io(path))?;
    if bytes.is_empty() { Ok(None) } else { parse_head(&bytes, path).map(Some) }
}

fn parse_head(bytes: &[u8], path: &Path) -> Result<KnownHead, LogError> {
    let bad = || LogError::BadFile { path: path.to_owned(), wanted: "a head as NUMBER:HASH" };
    let text = std::str::from_utf8(bytes).map_err(|_| bad())?;
    if bytes.len() > MAX_HEAD { Err(bad()) } else { text.trim().parse().map_err(|_| bad()) }
}

/// What a head file names, as [`LogFile::head`] is kept.
///
/// # Errors
/// When it cannot be read or is none.
pub fn read_head(path: &Path) -> Result<KnownHead, LogError> {
    parse_head(&casemate_files::read(path, MAX_HEAD as u64)?, path)
}
