//! The store of one broker: every change a frame of the file in use, its state in memory.
//!
//! Threads that change something put their frames one behind the other and wait; one of them
//! writes all that are there and waits for the disk, for all. So a hundred clients at once cost a
//! few waits and not a hundred.

use crate::file::{self, Chain, FRAMES, Header, MARKS, MAX_FILE};
use crate::inner::Inner;
use crate::newest::{newest, read};
use crate::record::Record;
use crate::state::pair;
use crate::{Disk, Kek, Side, StoreError, Take, Taken};
use std::io;
use std::sync::{Condvar, Mutex, MutexGuard};

/// From so many bytes on that wait to be written, others wait before they add to them.
const PENDING: usize = 4 << 20;
/// So many bytes later a shorter file is tried again for which there was no room.
const PATIENCE: u64 = 64 << 10;

/// What was found when a store was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Opened {
    /// Whole changes behind the last mark that is there. After a kill nobody was told of them;
    /// after a power failure, which can take the mark of the last group of changes, somebody may
    /// have been.
    pub untold: u64,
    /// Bytes behind them that are no whole change: what a crash left of one.
    pub dropped: u64,
}

/// A store in two files. See the crate's documentation.
#[derive(Debug)]
pub struct LogStore {
    inner: Mutex<Inner>,
    /// Somebody has finished writing.
    done: Condvar,
}

impl LogStore {
    /// Makes a new store in two files that have none.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when one of them is in use; else what the system says.
    pub fn create(mut disk: Box<dyn Disk>, kek: Kek) -> Result<Self, StoreError> {
        for side in Side::BOTH {
            let bytes = read(&mut *disk, side)?;
            // Whoever's it is: it is not written over.
            if !matches!(file::header(&kek, side, &bytes), Ok(Header::Blank)) {
                return Err(StoreError::Exists);
            }
        }
        let (identity, master) = file::new_store()?;
        let mut inner = Inner::new(disk, kek, master, Chain::new(identity));
        inner.rewrite()?;
        Ok(Self { inner: Mutex::new(inner), done: Condvar::new() })
    }

    /// Opens a store, and drops what a crash has left of a change that nobody was told of.
    ///
    /// # Errors
    /// [`StoreError::Missing`], [`StoreError::Key`], [`StoreError::Damaged`]; then nothing was
    /// changed.
    pub fn open(mut disk: Box<dyn Disk>, kek: Kek) -> Result<(Self, Opened), StoreError> {
        let (side, loaded, master, rest) = newest(&mut *disk, &kek)?;
        let opened = Opened { untold: loaded.behind, dropped: loaded.dropped };
        let mut inner = Inner::new(disk, kek, master, loaded.chain);
        (inner.side, inner.state) = (side, loaded.state);
        // How long it was when it was made is not in it: the first change beyond the slack tells.
        inner.base = FRAMES;
        // What no mark vouches for may be in the system's memory only, after a write to the disk
        // that failed: it is written again before anybody is told of it. A second file is what a
        // crash has left of the one before.
        if rest {
            // So may the header be by which this file is the newer: the other one is emptied below,
            // and must not have been the only one on the disk.
            let header = inner.chain.identity().header(&inner.kek, &inner.master)?;
            let disk = inner.disk.as_mut().ok_or_else(|| StoreError::Failed("in use".into()))?;
            let mut again = || disk.write(side, 0, &header).and_then(|()| disk.sync(side));
            again().map_err(|source| StoreError::Io { side, what: "written", source })?;
        }
        if opened != Opened::default() || rest {
            inner.rewrite()?;
        }
        Ok((Self { inner: Mutex::new(inner), done: Condvar::new() }, opened))
    }

    /// Seals the store under another key-encryption key. No secret is opened for that.
    ///
    /// # Errors
    /// [`StoreError::NoRoom`]: then the key is what it was. [`StoreError::Failed`]: then either key
    /// may be the one that opens it.
    pub fn change_key(&self, kek: Kek) -> Result<(), StoreError> {
        let mut inner = self.settled()?;
        while inner.disk.is_none() {
            inner = self.wait(inner);
            inner.usable()?;
        }
        let before = std::mem::replace(&mut inner.kek, kek);
        let written = inner.rewrite();
        if let Err(StoreError::NoRoom) = written {
            inner.kek = before;
            return Err(StoreError::NoRoom);
        }
        self.told(inner, written).usable()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|poisoned| {
            // A thread ended in the middle of a change: nobody knows of which.
            let mut inner = poisoned.into_inner();
            inner.failed.get_or_insert_with(|| "a thread of the broker ended in it".into());
            inner
        })
    }

    /// The state, when all of it is on the disk: what is read now cannot be lost.
    pub(crate) fn settled(&self) -> Result<MutexGuard<'_, Inner>, StoreError> {
        let inner = self.lock();
        let made = inner.made;
        self.settle(inner, made)
    }

    /// Waits until so many changes are on the disk, and writes them if nobody else does.
    pub(crate) fn settle<'s>(
        &'s self,
        mut inner: MutexGuard<'s, Inner>,
        made: u64,
    ) -> Result<MutexGuard<'s, Inner>, StoreError> {
        loop {
            inner.usable()?;
            if inner.durable >= made {
                return Ok(inner);
            }
            inner = match inner.disk.take() {
                Some(disk) if inner.is_long() => {
                    inner.disk = Some(disk);
                    self.shorten(inner)
                }
                Some(disk) => self.write(inner, disk),
                None => self.wait(inner),
            };
        }
    }

    /// Waits until somebody has written.
    fn wait<'s>(&'s self, inner: MutexGuard<'s, Inner>) -> MutexGuard<'s, Inner> {
        self.done.wait(inner).unwrap_or_else(|poisoned| {
            let mut inner = poisoned.into_inner();
            inner.failed.get_or_insert_with(|| "a thread of the broker ended".into());
            inner
        })
    }

    /// Writes what is there as a shorter file, if the disk has room for one; else it is to be
    /// written into the file in use, where its room was taken.
    fn shorten<'s>(&'s self, mut inner: MutexGuard<'s, Inner>) -> MutexGuard<'s, Inner> {
        match inner.rewrite() {
            Err(StoreError::NoRoom) => {
                inner.patience = inner.chain.end.saturating_add(PATIENCE);
                inner
            }
            written => self.told(inner, written),
        }
    }

    /// Writes what is there, without holding up who adds to it meanwhile.
    fn write<'s>(
        &'s self,
        mut inner: MutexGuard<'s, Inner>,
        mut disk: Box<dyn Disk>,
    ) -> MutexGuard<'s, Inner> {
        let mark = match inner.chain.mark(&inner.sealer) {
            Ok(mark) => mark,
            Err(error) => {
                inner.disk = Some(disk);
                return self.told(inner, Err(error));
            }
        };
        let batch = std::mem::take(&mut inner.pending);
        let length = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        let (side, at) = (inner.side, inner.chain.end.saturating_sub(length));
        let (made, place) = (inner.made, MARKS.get(inner.turn).copied().unwrap_or(4096));
        drop(inner);
        let mut steps = || -> io::Result<()> {
            disk.write(side, at, &batch)?;
            disk.sync(side)?;
            // Not waited for: it goes to the disk with the next frames, and until then the frames
            // are found without it. After a kill it is there.
            disk.write(side, place, &mark)
        };
        let written = steps().map_err(|source| StoreError::Io { side, what: "written", source });
        let mut inner = self.lock();
        inner.disk = Some(disk);
        if written.is_ok() {
            inner.durable = made;
            inner.turn = 1 - inner.turn.min(1);
        }
        self.told(inner, written)
    }

    fn told<'s>(
        &'s self,
        mut inner: MutexGuard<'s, Inner>,
        written: Result<(), StoreError>,
    ) -> MutexGuard<'s, Inner> {
        if let Err(error) = written {
            // What is in memory is not on the disk, and a second try would not tell what is: the
            // system forgets a write that failed.
            inner.failed.get_or_insert_with(|| error.to_string());
        }
        self.done.notify_all();
        inner
    }

    /// Makes a change, and waits until it is on the disk.
    pub(crate) fn commit<'s>(
        &'s self,
        mut inner: MutexGuard<'s, Inner>,
        record: Record,
    ) -> Result<(), StoreError> {
        let Inner { chain, pending, sealer, state, .. } = &mut *inner;
        let (before, length) = (chain.clone(), pending.len());
        chain.append(pending, sealer, &record)?;
        if chain.end > MAX_FILE {
            (*chain, _) = (before, pending.truncate(length));
            return Err(StoreError::Full);
        }
        if let Err(what) = state.apply(record) {
            // Each call asks first: this is a fault of this crate, and what is half done is not
            // gone on with.
            inner.failed.get_or_insert_with(|| what.into());
        }
        inner.made = inner.made.saturating_add(1);
        let ticket = inner.made;
        self.settle(inner, ticket).map(drop)
    }

    /// Counts a use, once for each session.
    pub(crate) fn take<'s>(
        &'s self,
        mut inner: MutexGuard<'s, Inner>,
        take: &Take<'_>,
    ) -> Result<Taken, StoreError> {
        inner.now = take.now;
        let pair = pair(take.grant, &take.session);
        if inner.state.has_use(&pair, take.now) {
            // Of another thread of the same session, perhaps: when that one is on the disk.
            let made = inner.made;
            return self.settle(inner, made).map(|_| Taken::Again);
        }
        let count = inner.state.count(take.grant);
        let next = count.checked_add(1).filter(|next| *next <= take.most);
        let Some(next) = next else {
            // No answer, not even this one, on what a crash could still take back.
            let made = inner.made;
            self.settle(inner, made).map(drop)?;
            return Err(StoreError::UsedUp { count, most: take.most });
        };
        if !inner.state.has_room_for_session(take.now) {
            return Err(StoreError::TooManySessions);
        }
        // A grant that was used before has its place.
        if inner.state.count(take.grant) == 0 && !inner.state.has_room(take.grant.len()) {
            return Err(StoreError::Full);
        }
        let (grant, until) = (take.grant.into(), take.until);
        self.commit(inner, Record::Use { grant, count: next, pair, until })?;
        Ok(Taken::Counted(next))
    }

    /// The state for a change with at most so many bytes of names and secrets: when there is not
    /// too much waiting to be written, and the disk has room for it.
    pub(crate) fn for_change(&self, bytes: usize) -> Result<MutexGuard<'_, Inner>, StoreError> {
        let inner = self.lock();
        let made = if inner.pending.len() > PENDING { inner.made } else { 0 };
        let mut inner = self.settle(inner, made)?;
        loop {
            inner.usable()?;
            inner = match inner.take_room(bytes) {
                Some(taken) => return taken.map(|()| inner),
                None => self.wait(inner),
            };
        }
    }
}
