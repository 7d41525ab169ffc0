//! What can be seen of a log and its head file by their descriptors.

use crate::LogError;
use crate::place::LogFile;
use crate::vouch::{Trust, Vouched, vouch};
use casemate_policy::log::{KnownHead, SigningKey};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Longest head file: a number, a hash and white space around them.
const MAX_HEAD: usize = 4096;

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

/// What the head file names; `None` when it is empty: it was just made, or somebody emptied it,
/// which is as good as removing it.
pub(crate) fn known(head: Option<&File>, place: &LogFile) -> Result<Option<KnownHead>, LogError> {
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
