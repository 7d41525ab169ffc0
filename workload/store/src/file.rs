//! The bytes of one of the two files: a header, two marks, frames.
//!
//! | offset | what |
//! |---|---|
//! | 0 | magic (16 bytes), the store's id (16), generation (8, little-endian), and the master key sealed under the key-encryption key (72), with all before it authenticated |
//! | 4096, 8192 | a mark: number of frames, offset behind the last, hash of the chain, sealed |
//! | 12288 | frames: length (4, little-endian), a sealed record, the chain before it authenticated |
//!
//! The header of a file is written last of all, when the rest is on the disk: a file whose header
//! is blank never was in use. Header and marks are in blocks of their own, so no write of one can
//! tear another.

use crate::codec::{Reader, Writer};
use crate::random::random;
use crate::record::Record;
use crate::seal::{SEALED, Sealer, sha256};
use crate::state::State;
use crate::{Kek, MAX_SECRET, MAX_TEXT, Side, StoreError};
use zeroize::Zeroizing;

/// Longest file that is read or written, in bytes.
pub const MAX_FILE: u64 = 128 << 20;
const MAGIC: [u8; 16] = *b"casemate store 1";
const HEADER: usize = 16 + 16 + 8 + 32 + SEALED;
/// Where the marks are.
pub(crate) const MARKS: [u64; 2] = [FIRST_MARK, 8192];
const FIRST_MARK: u64 = 4096;
/// Where frames begin.
pub(crate) const FRAMES: u64 = 12288;
const BLOCK: usize = 4096;
const MARK: usize = 8 + 8 + 32 + SEALED;
/// What a frame has at most beside a secret and a name.
pub(crate) const AROUND: usize = 2 * SEALED + 64;
/// A frame with the longest secret under the longest name.
const MAX_FRAME: usize = MAX_SECRET + MAX_TEXT + AROUND;

/// Which store, and which of the files that it has had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) id: [u8; 16],
    pub(crate) generation: u64,
}

impl Identity {
    fn prefix(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.raw(&MAGIC).raw(&self.id).u64(self.generation);
        out.0
    }

    /// The header: the master key under this key-encryption key.
    pub(crate) fn header(&self, kek: &Kek, master: &[u8; 32]) -> Result<Vec<u8>, StoreError> {
        let mut out = self.prefix();
        let sealed = Sealer::of(kek).seal(&out, master)?;
        out.extend_from_slice(&sealed);
        Ok(out)
    }
}

/// A new store's id and master key.
pub(crate) fn new_store() -> Result<(Identity, Zeroizing<[u8; 32]>), StoreError> {
    let (mut id, mut master) = ([0; 16], Zeroizing::new([0; 32]));
    random(&mut id)?;
    random(&mut master[..])?;
    Ok((Identity { id, generation: 0 }, master))
}

/// What the beginning of a file says.
#[derive(Debug)]
pub(crate) enum Header {
    /// Nothing: the file is not in use.
    Blank,
    /// A header that this key opens.
    Whole(Identity, Zeroizing<[u8; 32]>),
    /// One that it does not, and the generation that it claims.
    Foreign(u64),
}

/// Reads the header.
pub(crate) fn header(kek: &Kek, side: Side, bytes: &[u8]) -> Result<Header, StoreError> {
    let start = bytes.get(..HEADER).unwrap_or(bytes);
    if start.iter().all(|byte| *byte == 0) {
        return Ok(Header::Blank);
    }
    let damaged = StoreError::Damaged { side, at: 0, what: "this is no header of a store" };
    let mut from = Reader(start);
    let (Some(MAGIC), Some(id), Some(generation)) = (from.array(), from.array(), from.u64()) else {
        return Err(damaged);
    };
    let identity = Identity { id, generation };
    let opened = Sealer::of(kek).open(&identity.prefix(), from.0);
    let Some(opened) = opened else { return Ok(Header::Foreign(generation)) };
    let mut master = Zeroizing::new([0; 32]);
    if opened.len() != master.len() {
        return Err(damaged);
    }
    master.copy_from_slice(&opened);
    Ok(Header::Whole(identity, master))
}

/// The end of a file's frames: how many there are, and the hash of all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chain {
    identity: Identity,
    frames: u64,
    /// Offset behind the last frame.
    pub(crate) end: u64,
    hash: [u8; 32],
}

impl Chain {
    pub(crate) fn new(identity: Identity) -> Self {
        let hash = sha256(&[b"casemate store chain", &identity.prefix()]);
        Self { identity, frames: 0, end: FRAMES, hash }
    }

    pub(crate) const fn identity(&self) -> Identity {
        self.identity
    }

    fn about(&self) -> [u8; 37] {
        let mut about = [0; 37];
        let (label, hash) = about.split_at_mut(5);
        label.copy_from_slice(b"frame");
        hash.copy_from_slice(&self.hash);
        about
    }

    fn grow(&mut self, frame: &[u8]) {
        self.hash = sha256(&[&self.hash, frame]);
        self.frames = self.frames.saturating_add(1);
        self.end = self.end.saturating_add(u64::try_from(frame.len()).unwrap_or(u64::MAX));
    }

    /// Appends the record as the next frame.
    pub(crate) fn append(
        &mut self,
        out: &mut Vec<u8>,
        sealer: &Sealer,
        record: &Record,
    ) -> Result<(), StoreError> {
        let mut frame = Writer::default();
        frame.bytes(&sealer.seal(&self.about(), &record.encode())?);
        out.extend_from_slice(&frame.0);
        self.grow(&frame.0);
        Ok(())
    }

    /// The next frame at the front of these bytes; `None` when there is no whole one.
    fn next(&mut self, sealer: &Sealer, bytes: &[u8]) -> Option<Option<Record>> {
        let mut from = Reader(bytes);
        let sealed = from.bytes(MAX_FRAME)?;
        let record = sealer.open(&self.about(), sealed)?;
        self.grow(bytes.get(..4 + sealed.len())?);
        Some(Record::decode(&record))
    }

    /// The mark that says that the file is good up to here.
    pub(crate) fn mark(&self, sealer: &Sealer) -> Result<Vec<u8>, StoreError> {
        let mut mark = Writer::default();
        mark.u64(self.frames).u64(self.end).raw(&self.hash);
        sealer.seal(&self.about_mark(), &mark.0)
    }

    /// A block with the mark in it, for a file that is made.
    pub(crate) fn mark_block(&self, sealer: &Sealer) -> Result<Vec<u8>, StoreError> {
        let mut block = self.mark(sealer)?;
        block.resize(BLOCK, 0);
        Ok(block)
    }

    fn about_mark(&self) -> Vec<u8> {
        [b"mark".as_slice(), &self.identity.prefix()].concat()
    }

    fn read_mark(&self, sealer: &Sealer, at: u64, bytes: &[u8]) -> Option<Self> {
        let sealed = Reader(from(bytes, at)?).raw(MARK)?;
        let mark = sealer.open(&self.about_mark(), sealed)?;
        let mut mark = Reader(&mark);
        let (frames, end, hash) = (mark.u64()?, mark.u64()?, mark.array()?);
        Some(Self { identity: self.identity, frames, end, hash })
    }
}

fn from(bytes: &[u8], at: u64) -> Option<&[u8]> {
    bytes.get(usize::try_from(at).ok()?..)
}

/// The first byte that is not zero between header, marks and frames.
fn first_stray(bytes: &[u8]) -> Option<u64> {
    let behind = MARKS.map(|at| (at.saturating_add(MARK as u64), at.saturating_add(BLOCK as u64)));
    let gaps = [(HEADER as u64, FIRST_MARK), behind[0], behind[1]];
    gaps.into_iter().find_map(|(start, end)| {
        let (from, to) = (usize::try_from(start).ok()?, usize::try_from(end).ok()?);
        let stray = bytes.get(from..to)?.iter().position(|byte| *byte != 0)?;
        start.checked_add(u64::try_from(stray).ok()?)
    })
}

/// What a file comes to.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) state: State,
    pub(crate) chain: Chain,
    /// Whole frames behind the last mark: written, and nobody was told, but where a power failure
    /// took the mark of the last group.
    pub(crate) behind: u64,
    /// Bytes behind the last whole frame.
    pub(crate) dropped: u64,
}

/// Reads all of a file.
///
/// # Errors
/// [`StoreError::Damaged`] when what is before the last mark is not what was written.
pub(crate) fn load(
    identity: Identity,
    sealer: &Sealer,
    side: Side,
    bytes: &[u8],
) -> Result<Loaded, StoreError> {
    let damaged = |at, what| StoreError::Damaged { side, at, what };
    let mut chain = Chain::new(identity);
    let mut mark = chain.clone();
    for at in MARKS {
        // Both of them: a mark lies in one sector, which a failing write leaves as it was, so one
        // that does not open was changed. With the other alone a change that somebody was told of
        // could be dropped as what a crash has left.
        let read = chain.read_mark(sealer, at, bytes).ok_or(damaged(at, "a mark is not whole"))?;
        mark = if read.frames > mark.frames { read } else { mark };
    }
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    if length < FRAMES {
        return Err(damaged(length, "it ends before its first frame"));
    }
    if let Some(at) = first_stray(bytes) {
        return Err(damaged(at, "bytes where nothing is written"));
    }
    let mut state = State::default();
    let mut reached = false;
    loop {
        if chain.end == mark.end {
            if chain != mark {
                return Err(damaged(chain.end, "the mark is of other frames"));
            }
            reached = true;
        }
        let at = chain.end;
        let rest = from(bytes, at).unwrap_or_default();
        match chain.next(sealer, rest) {
            Some(Some(record)) => state.apply(record).map_err(|what| damaged(at, what))?,
            Some(None) => return Err(damaged(at, "a record of a kind that is not known")),
            // Up to the mark somebody was told of everything. What is behind it nobody was, but
            // where a power failure took the next mark, which is not waited for.
            None if !reached => return Err(damaged(at, "a frame is not whole")),
            None => {
                let dropped = u64::try_from(rest.len()).unwrap_or(u64::MAX);
                let behind = chain.frames.saturating_sub(mark.frames);
                return Ok(Loaded { state, chain, behind, dropped });
            }
        }
    }
}
