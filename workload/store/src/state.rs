//! The state that all records come to, kept in memory. Secrets stay sealed in it.

use crate::record::Record;
use crate::seal::sha256;
use crate::{Counter, Listed, StoreError, VersionInfo, Which};
use std::collections::{BTreeMap, HashMap};

/// How much a store holds: versions with their names, counts and counters, each with 64 bytes for
/// itself.
pub const MAX_LIVE: usize = 32 << 20;
/// How many sessions that are not over are remembered to have taken their use.
pub const MAX_SESSIONS: usize = 1 << 18;
/// What an entry costs beside its bytes.
const EACH: usize = 64;

/// One version of a secret; without its bytes when it was revoked.
#[derive(Debug)]
struct Version {
    at: u64,
    sealed: Option<Box<[u8]>>,
}

/// All that a store knows.
#[derive(Debug, Default)]
pub(crate) struct State {
    names: BTreeMap<Box<str>, Vec<Version>>,
    counts: BTreeMap<Box<str>, u64>,
    counters: BTreeMap<Box<str>, Counter>,
    sessions: HashMap<[u8; 32], u64>,
    live: usize,
    /// A version was revoked, so that the file in use has its bytes still.
    revoked: bool,
}

/// A session of a grant, as it is remembered.
pub(crate) fn pair(grant: &str, session: &[u8; 32]) -> [u8; 32] {
    sha256(&[b"casemate store use", session, grant.as_bytes()])
}

impl State {
    /// Whether there is room for an entry of so many bytes.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        self.live.saturating_add(bytes).saturating_add(2 * EACH) <= MAX_LIVE
    }

    /// What stands in for the size of a file that has this state and nothing else.
    pub(crate) fn size(&self) -> usize {
        self.live.saturating_mul(2).saturating_add(self.sessions.len().saturating_mul(128))
    }

    /// Whether the file that this state was read from, or goes to, has bytes of what was revoked.
    pub(crate) const fn has_revoked(&self) -> bool {
        self.revoked
    }

    /// The state is in a file without them.
    pub(crate) const fn none_revoked(&mut self) {
        self.revoked = false;
    }

    fn grow(&mut self, bytes: usize) -> Result<(), &'static str> {
        self.live = self.live.saturating_add(bytes).saturating_add(EACH);
        if self.live > MAX_LIVE { Err("more than a store holds") } else { Ok(()) }
    }

    /// Adds a version; the next of its name.
    fn add(&mut self, name: Box<str>, number: u32, version: Version) -> Result<(), &'static str> {
        // The name with each: a file has it with each.
        let sealed = version.sealed.as_ref().map_or(0, |sealed| sealed.len());
        self.grow(name.len().saturating_add(sealed))?;
        let versions = self.names.entry(name).or_default();
        let next = versions.len().saturating_add(1);
        if u32::try_from(next).ok() != Some(number) {
            return Err("a version out of turn");
        }
        versions.push(version);
        Ok(())
    }

    /// Makes the change.
    ///
    /// # Errors
    /// Why the change does not follow from the state: the store's own records always do.
    pub(crate) fn apply(&mut self, record: Record) -> Result<(), &'static str> {
        match record {
            Record::Put { name, version, at, sealed } => {
                self.add(name, version, Version { at, sealed: Some(sealed) })
            }
            Record::Gone { name, version, at } => {
                self.add(name, version, Version { at, sealed: None })
            }
            Record::Revoke { name, version } => {
                let one = self.version_mut(&name, version).ok_or("a version that is not there")?;
                let sealed = one.sealed.take().ok_or("a version that was revoked before")?;
                self.live = self.live.saturating_sub(sealed.len());
                self.revoked = true;
                Ok(())
            }
            Record::Use { grant, count, pair, until } => {
                if self.count(&grant).checked_add(1) != Some(count) {
                    return Err("a use out of turn");
                }
                self.sessions.insert(pair, until);
                self.set_count(grant, count)
            }
            Record::Count { grant, count } => {
                if self.counts.contains_key(&grant) {
                    return Err("a count that is there already");
                }
                self.set_count(grant, count)
            }
            Record::Session { pair, until } => {
                self.sessions.insert(pair, until);
                Ok(())
            }
            Record::Step { name, to } => {
                let len = name.len();
                match self.counters.insert(name, to) {
                    Some(from) if from.version >= to.version => Err("a counter that went back"),
                    Some(_) => Ok(()),
                    None => self.grow(len),
                }
            }
        }
    }

    fn set_count(&mut self, grant: Box<str>, count: u64) -> Result<(), &'static str> {
        let len = grant.len();
        if self.counts.insert(grant, count).is_none() { self.grow(len) } else { Ok(()) }
    }

    fn version_mut(&mut self, name: &str, version: u32) -> Option<&mut Version> {
        let index = usize::try_from(version.checked_sub(1)?).ok()?;
        self.names.get_mut(name)?.get_mut(index)
    }

    /// The version that is asked for, with its sealed bytes.
    pub(crate) fn sealed(&self, name: &str, which: Which) -> Result<(u32, &[u8]), StoreError> {
        let versions = self.names.get(name).ok_or(StoreError::NoSecret)?;
        let mut numbered = (1..).zip(versions);
        let (number, version) = match which {
            Which::Version(wanted) => {
                numbered.find(|(number, _)| *number == wanted).ok_or(StoreError::NoVersion)?
            }
            Which::Newest => {
                let alive = numbered.filter(|(_, version)| version.sealed.is_some());
                alive.last().ok_or(StoreError::Revoked)?
            }
        };
        version.sealed.as_deref().map(|sealed| (number, sealed)).ok_or(StoreError::Revoked)
    }

    /// The number of the next version of this name.
    pub(crate) fn next_version(&self, name: &str) -> Result<u32, StoreError> {
        let there = self.names.get(name).map_or(0, Vec::len);
        u32::try_from(there.saturating_add(1)).map_err(|_| StoreError::Full)
    }

    /// Whether a version is there, and is not revoked.
    pub(crate) fn is_alive(&self, name: &str, version: u32) -> Result<bool, StoreError> {
        match self.sealed(name, Which::Version(version)) {
            Ok(_) => Ok(true),
            Err(StoreError::Revoked) => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn count(&self, grant: &str) -> u64 {
        self.counts.get(grant).copied().unwrap_or(0)
    }

    /// Whether this session has its use. Not by whether it is still remembered, which hangs on when
    /// the file was last shortened, but by whether it is over.
    pub(crate) fn has_use(&self, pair: &[u8; 32], now: u64) -> bool {
        self.sessions.get(pair).is_some_and(|until| *until > now)
    }

    /// Whether one more session can be remembered; those that are over make room.
    pub(crate) fn has_room_for_session(&mut self, now: u64) -> bool {
        if self.sessions.len() >= MAX_SESSIONS {
            self.sessions.retain(|_, until| *until > now);
        }
        self.sessions.len() < MAX_SESSIONS
    }

    pub(crate) fn counter(&self, name: &str) -> Option<Counter> {
        self.counters.get(name).copied()
    }

    pub(crate) fn list(&self, overhead: usize) -> Vec<Listed> {
        let info = |(version, one): (u32, &Version)| VersionInfo {
            version,
            at: one.at,
            bytes: one.sealed.as_ref().map_or(0, |sealed| sealed.len().saturating_sub(overhead)),
            revoked: one.sealed.is_none(),
        };
        let all = self.names.iter().map(|(name, versions)| Listed {
            name: name.to_string(),
            versions: (1..).zip(versions).map(info).collect(),
        });
        all.collect()
    }

    /// The records that come to this state, without sessions that are over.
    pub(crate) fn records(&self, now: u64) -> impl Iterator<Item = Record> + '_ {
        let versions = self.names.iter().flat_map(|(name, versions)| {
            (1..).zip(versions).map(move |(version, one)| match &one.sealed {
                Some(sealed) => {
                    Record::Put { name: name.clone(), version, at: one.at, sealed: sealed.clone() }
                }
                None => Record::Gone { name: name.clone(), version, at: one.at },
            })
        });
        let counts = self
            .counts
            .iter()
            .map(|(grant, count)| Record::Count { grant: grant.clone(), count: *count });
        let steps =
            self.counters.iter().map(|(name, to)| Record::Step { name: name.clone(), to: *to });
        let alive = self.sessions.iter().filter(move |(_, until)| **until > now);
        let sessions = alive.map(|(pair, until)| Record::Session { pair: *pair, until: *until });
        versions.chain(counts).chain(steps).chain(sessions)
    }
}
