//! The end of an existing log: the last whole record, and a torn line after it.

use super::LogError;
use casemate_policy::log::{Chain, MAX_LINE, Record};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Where a log ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tail {
    /// The chain after the last whole record.
    pub(super) chain: Chain,
    /// Length of the whole lines in bytes.
    pub(super) whole: u64,
    /// Bytes of a torn line after them.
    pub(super) torn: u64,
}

/// Finds the end of a log. Reads no more than two lines.
pub(super) fn tail(file: &File, path: &Path) -> Result<Tail, LogError> {
    let length = file.metadata().map_err(LogError::io(path))?.len();
    let window = u64::try_from(2 * (MAX_LINE + 1)).unwrap_or(u64::MAX).min(length);
    let start = length.saturating_sub(window);
    let mut bytes = vec![0; usize::try_from(window).unwrap_or(0)];
    file.read_exact_at(&mut bytes, start).map_err(LogError::io(path))?;
    let Some(end) = bytes.iter().rposition(|b| *b == b'\n') else {
        // No whole line: either the very first record is torn, or this is no log.
        return if start == 0 {
            Ok(Tail { chain: Chain::new(), whole: 0, torn: length })
        } else {
            let why = casemate_policy::log::ParseError::TooLong;
            Err(LogError::Damaged { path: path.to_owned(), why })
        };
    };
    let lines = bytes.get(..end).unwrap_or_default();
    let begin = lines.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    let last = lines.get(begin..).unwrap_or_default();
    let (record, hash) =
        Record::parse(last).map_err(|why| LogError::Damaged { path: path.to_owned(), why })?;
    let whole = start.saturating_add(u64::try_from(end + 1).unwrap_or(u64::MAX));
    Ok(Tail { chain: Chain::after(record.seq, hash), whole, torn: length.saturating_sub(whole) })
}
