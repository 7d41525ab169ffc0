//! What a writer has to know before it adds to a log that is there: what it is, where it ends, and
//! that somebody vouches for that.
//!
//! The order matters. The head file is a promise that was made at the last write: it is compared
//! before anything is written, so that no start makes a new promise about a log that breaks the old
//! one. The signature is looked for in the last record only: a writer with the key writes record
//! and head together, so whatever else is last came from somebody else, or from a program killed in
//! mid-write.

use crate::LogError;
use crate::error::other_log;
use crate::tail::Backwards;
use casemate_policy::log::{Chain, Entry, KnownHead, LogId, MAX_LINE, PublicKey, Record};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// What is relied on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Trust<'a> {
    /// The key that the last head must have.
    pub(crate) key: Option<PublicKey>,
    /// The head file, and what it names.
    pub(crate) known: Option<(&'a Path, KnownHead)>,
    /// The last record that this writer wrote itself.
    pub(crate) written: Option<KnownHead>,
    /// Whether records that nobody vouches for are taken over.
    pub(crate) adopt: bool,
}

/// A log that may be extended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Vouched {
    /// The chain after the last whole record.
    pub(crate) chain: Chain,
    /// Length of the whole lines in bytes.
    pub(crate) whole: u64,
    /// Bytes of a torn line behind them.
    pub(crate) torn: u64,
    /// Records that are taken over without a head.
    pub(crate) adopted: Option<u64>,
}

/// Looks at the log in `file`, which has `length` bytes, more than none, and is locked.
///
/// Reads its first two records, its last, and those behind the one that the head file names; when
/// records are taken over also these, to count them.
///
/// # Errors
/// [`LogError`] that says why the log must not be extended.
pub(crate) fn vouch(
    file: &File,
    path: &Path,
    length: u64,
    trust: &Trust<'_>,
) -> Result<Vouched, LogError> {
    let (log, signed) = beginning(file, path, length)?;
    let mut end = Walk::new(file, path, length)?;
    let torn = std::mem::take(&mut end.torn);
    let Some(last) = end.step()? else {
        return Err(LogError::no_log(path, "it has no whole line"));
    };
    // A log that was taken over begins otherwise, and ends with a head like any signed one.
    let signed = signed || matches!(last.record.entry, Entry::Head { .. });
    if trust.key.is_none() && signed {
        return Err(LogError::KeyNeeded { path: path.to_owned() });
    }
    check_torn(path, &torn, last.seq())?;
    let begin_again = || Walk::new(file, path, length);
    if let Some((head, known)) = trust.known
        && !contains(begin_again()?, known)?
    {
        let (path, head) = (path.to_owned(), head.to_owned());
        return Err(LogError::Cut { path, head, known });
    }
    if let Some(written) = trust.written
        && !contains(begin_again()?, written)?
    {
        return Err(LogError::Lost { path: path.to_owned(), seq: written.seq });
    }
    let adopted = match trust.key {
        None => None,
        Some(key) => signature(file, path, length, &last, log, &key, trust.adopt)?,
    };
    let torn = u64::try_from(torn.len()).unwrap_or(u64::MAX);
    let chain = Chain::after(log, last.seq(), last.hash);
    Ok(Vouched { chain, whole: length.saturating_sub(torn), torn, adopted })
}

/// The log's identity, and whether a head is its second record: how a log with a key begins.
fn beginning(file: &File, path: &Path, length: u64) -> Result<(LogId, bool), LogError> {
    let window = u64::try_from(2 * (MAX_LINE + 1)).unwrap_or(u64::MAX).min(length);
    let mut bytes = vec![0; usize::try_from(window).unwrap_or(0)];
    file.read_exact_at(&mut bytes, 0).map_err(LogError::io(path))?;
    let mut lines = bytes.split_inclusive(|b| *b == b'\n');
    let mut next = || lines.next().and_then(|line| line.strip_suffix(b"\n"));
    let first = next().ok_or_else(|| LogError::no_log(path, "its first line is not whole"))?;
    let (first, _) = Record::parse(first).map_err(|e| LogError::no_log(path, e.to_string()))?;
    let Entry::Begin { log } = first.entry else {
        return Err(LogError::no_log(path, "it does not begin with the identity of a log"));
    };
    let second = next().and_then(|line| Record::parse(line).ok());
    Ok((log, second.is_some_and(|(record, _)| matches!(record.entry, Entry::Head { .. }))))
}

/// A torn line is removed only if it is the beginning of the next record, as far as that can be
/// told.
fn check_torn(path: &Path, torn: &[u8], last: u64) -> Result<(), LogError> {
    let wanted = format!("{{\"seq\":{},\"time\":\"", last.saturating_add(1)).into_bytes();
    if torn.iter().zip(&wanted).all(|(a, b)| a == b) {
        return Ok(());
    }
    Err(LogError::no_log(path, "what follows its last record is not the beginning of the next"))
}

/// A record with its hash.
struct Found {
    record: Record,
    hash: [u8; 32],
}

impl Found {
    fn seq(&self) -> u64 {
        self.record.seq
    }
}

/// The records from the last on, each of which must be what the later one follows from.
struct Walk<'a> {
    lines: Backwards<'a>,
    path: &'a Path,
    torn: Vec<u8>,
    /// Number and hash that the record before must have.
    wanted: Option<(u64, [u8; 32])>,
}

impl<'a> Walk<'a> {
    fn new(file: &'a File, path: &'a Path, length: u64) -> Result<Self, LogError> {
        let (lines, torn) = Backwards::new(file, path, length)?;
        Ok(Self { lines, path, torn, wanted: None })
    }

    /// The record before; none before the first.
    fn step(&mut self) -> Result<Option<Found>, LogError> {
        let number = self.wanted.map_or(0, |(seq, _)| seq);
        let Some(line) = self.lines.line()? else { return Ok(None) };
        let (record, hash) =
            Record::parse(line).map_err(|why| LogError::damaged(self.path, number, &why))?;
        if let Some((seq, wanted)) = self.wanted
            && (record.seq != seq || hash != wanted)
        {
            let what = "is not the one that the next follows from".to_owned();
            return Err(LogError::Damaged { path: self.path.to_owned(), seq, what });
        }
        self.wanted = record.seq.checked_sub(1).map(|before| (before, record.prev));
        Ok(Some(Found { record, hash }))
    }
}

/// Whether a record that is known is in the log, and all behind it follows from it.
fn contains(mut walk: Walk<'_>, known: KnownHead) -> Result<bool, LogError> {
    while let Some(found) = walk.step()? {
        if found.seq() == known.seq && found.hash == known.hash {
            return Ok(true);
        }
        if found.seq() <= known.seq {
            break;
        }
    }
    Ok(false)
}

/// Whether the last record is a head of this key for this log; if not, how many are taken over.
fn signature(
    file: &File,
    path: &Path,
    length: u64,
    last: &Found,
    log: LogId,
    key: &PublicKey,
    adopt: bool,
) -> Result<Option<u64>, LogError> {
    match &last.record.entry {
        Entry::Head { log: found, .. } if *found != log => {
            let (path, seq) = (path.to_owned(), last.seq());
            return Err(LogError::Damaged { path, seq, what: other_log(*found) });
        }
        Entry::Head { key: found, .. } if *found != key.0 => {
            return Err(LogError::OtherKey { path: path.to_owned() });
        }
        Entry::Head { .. } if last.record.is_head_by(key, log) => return Ok(None),
        Entry::Head { .. } => {
            let what = "is a head whose signature is not valid".to_owned();
            return Err(LogError::Damaged { path: path.to_owned(), seq: last.seq(), what });
        }
        _ if !adopt => {
            return Err(LogError::Unvouched { path: path.to_owned(), seq: last.seq() });
        }
        _ => {}
    }
    let mut walk = Walk::new(file, path, length)?;
    let mut unsigned = 0u64;
    while let Some(found) = walk.step()? {
        if found.record.is_head_by(key, log) {
            break;
        }
        unsigned = unsigned.saturating_add(1);
    }
    Ok(Some(unsigned))
}
