//! What a store is behind its lock, and how it becomes a shorter file.

use crate::file::{AROUND, Chain, FRAMES, Identity, MARKS, MAX_FILE};
use crate::seal::{Sealer, about_secret};
use crate::state::State;
use crate::{Disk, Got, Kek, Side, StoreError, Which, room};
use std::io;
use zeroize::Zeroizing;

/// How long a file may become beyond twice what it was when it was made.
const SLACK: u64 = 8 << 20;

pub(crate) struct Inner {
    pub(crate) kek: Kek,
    pub(crate) master: Zeroizing<[u8; 32]>,
    pub(crate) sealer: Sealer,
    pub(crate) state: State,
    pub(crate) side: Side,
    /// With all frames that are made, written or not.
    pub(crate) chain: Chain,
    /// Length of the file when it was made; of one that was opened the least that it can have been.
    pub(crate) base: u64,
    /// Which mark is written next.
    pub(crate) turn: usize,
    /// Frames that are made and not written.
    pub(crate) pending: Vec<u8>,
    /// How many changes were made, and how many of them are on the disk.
    pub(crate) made: u64,
    pub(crate) durable: u64,
    /// To this offset writes of the file find room.
    pub(crate) room: u64,
    /// Up to this offset a shorter file is not tried again: the disk had no room for one.
    pub(crate) patience: u64,
    /// The latest clock that was told.
    pub(crate) now: u64,
    /// None while a thread writes.
    pub(crate) disk: Option<Box<dyn Disk>>,
    pub(crate) failed: Option<String>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a store at {} bytes of {:?}", self.chain.end, self.side)
    }
}

impl Inner {
    /// Makes sure of room for a change with so many bytes of names and secrets. None while another
    /// thread has the disk.
    pub(crate) fn take_room(&mut self, bytes: usize) -> Option<Result<(), StoreError>> {
        let frame = u64::try_from(bytes.saturating_add(AROUND)).unwrap_or(u64::MAX);
        let end = self.chain.end.saturating_add(frame);
        if end <= self.room {
            return Some(Ok(()));
        }
        let disk = self.disk.as_mut()?;
        Some(
            room::take(&mut **disk, self.side, self.room.max(FRAMES), end)
                .map(|room| self.room = room),
        )
    }

    pub(crate) fn new(
        disk: Box<dyn Disk>,
        kek: Kek,
        master: Zeroizing<[u8; 32]>,
        chain: Chain,
    ) -> Self {
        Self {
            kek,
            sealer: Sealer::new(&master),
            master,
            state: State::default(),
            side: Side::B,
            base: chain.end,
            room: chain.end,
            patience: 0,
            chain,
            turn: 0,
            pending: Vec::new(),
            made: 0,
            durable: 0,
            now: 0,
            disk: Some(disk),
            failed: None,
        }
    }

    pub(crate) fn usable(&self) -> Result<(), StoreError> {
        self.failed.as_ref().map_or(Ok(()), |why| Err(StoreError::Failed(why.clone())))
    }

    /// Whether the file is to be made shorter, well before it may not become longer: a change that
    /// finds no room in it is refused, and then nothing would shorten it any more.
    pub(crate) fn is_long(&self) -> bool {
        let half_of_the_rest = MAX_FILE.saturating_sub(self.base) / 2;
        let more = self.base.saturating_add(SLACK).min(half_of_the_rest);
        let is_long = self.state.has_revoked() || self.chain.end > self.base.saturating_add(more);
        is_long && self.chain.end > self.patience
    }

    /// A secret, opened.
    pub(crate) fn got(&self, name: &str, which: Which) -> Result<Got, StoreError> {
        let (version, sealed) = self.state.sealed(name, which)?;
        // Authenticated when the file was read: what does not open now is memory that is not.
        let broken = || StoreError::Failed("a secret in memory does not open".into());
        let secret = self.sealer.open(&about_secret(name, version), sealed).ok_or_else(broken)?;
        Ok(Got { version, secret: secret.into() })
    }

    /// Writes the state into the other file, which is in use from then on, and empties this one.
    ///
    /// # Errors
    /// [`StoreError::NoRoom`]: then nothing was changed, and the file in use is in use; after any
    /// other the store is not to be used.
    pub(crate) fn rewrite(&mut self) -> Result<(), StoreError> {
        let Identity { id, generation } = self.chain.identity();
        let identity = Identity { id, generation: generation.saturating_add(1) };
        let mut chain = Chain::new(identity);
        let mut frames = Vec::with_capacity(self.state.size());
        for record in self.state.records(self.now) {
            chain.append(&mut frames, &self.sealer, &record)?;
        }
        let (side, old) = (self.side.other(), self.side);
        let header = identity.header(&self.kek, &self.master)?;
        let mark = chain.mark_block(&self.sealer)?;
        let disk = self.disk.as_mut().ok_or_else(|| StoreError::Failed("in use".into()))?;
        let failed = |source| StoreError::Io { side, what: "written", source };
        disk.cut(side).map_err(failed)?;
        let room = match room::take(&mut **disk, side, 0, chain.end) {
            Err(StoreError::NoRoom) => {
                disk.cut(side).map_err(failed)?;
                return Err(StoreError::NoRoom);
            }
            taken => taken?,
        };
        let mut steps = || -> io::Result<()> {
            disk.write(side, FRAMES, &frames)?;
            for at in MARKS {
                disk.write(side, at, &mark)?;
            }
            disk.sync(side)?;
            // Now it is all there. The header makes it the one in use.
            disk.write(side, 0, &header)?;
            disk.sync(side)
        };
        steps().map_err(failed)?;
        let mut empty = || disk.cut(old).and_then(|()| disk.sync(old));
        empty().map_err(|source| StoreError::Io { side: old, what: "written", source })?;
        (self.side, self.base, self.turn) = (side, chain.end, 0);
        (self.chain, self.room, self.patience) = (chain, room, 0);
        self.state.none_revoked();
        self.pending = Vec::new();
        self.durable = self.made;
        Ok(())
    }
}
