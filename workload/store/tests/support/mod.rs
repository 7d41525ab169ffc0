//! What the tests of the store share: a key, a folder, a simple store to compare with, a script of
//! calls, and a disk of which a power failure takes what was not waited for.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    missing_debug_implementations,
    reason = "tests: each uses a part"
)]

use casemate_store::{
    Counter, Disk, Kek, LogStore, Secret, Side, Store, StoreError, Take, Taken, Which,
};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use zeroize::Zeroizing;

pub fn kek() -> Kek {
    Kek::new(Zeroizing::new([7; 32]))
}

/// A folder of this test's own, gone when it is dropped.
pub struct Place(pub PathBuf);

impl Place {
    pub fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("casemate-store-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// One call of a store that changes something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    Put { name: String, secret: Vec<u8> },
    Revoke { name: String, version: u32 },
    Take { grant: String, session: u8, most: u64, now: u64 },
    Step { name: String, from: Option<u64>, to: u64 },
    Rekey,
}

pub const NAMES: [&str; 3] = ["acme/db/password", "acme/db/key", "green/tls/1.2"];
/// How long a session lasts in these tests.
pub const LIFE: u64 = 300;

pub fn digest(version: u64) -> [u8; 32] {
    [u8::try_from(version % 251).unwrap(); 32]
}

pub fn at(version: u64) -> Counter {
    Counter { version, digest: digest(version) }
}

/// What a call came to, in words that two stores can be compared by.
pub fn call(store: &dyn Store, call: &Call) -> Result<String, StoreError> {
    Ok(match call {
        Call::Put { name, secret } => {
            format!("version {}", store.put_version(name, &Secret::new(secret.clone()), 5)?)
        }
        Call::Revoke { name, version } => {
            store.revoke(name, *version)?;
            "revoked".into()
        }
        Call::Take { grant, session, most, now } => {
            let (session, until) = ([*session; 32], now + LIFE);
            let take = Take { grant, session, most: *most, now: *now, until };
            match store.take_use(&take)? {
                Taken::Counted(count) => format!("use {count}"),
                Taken::Again => "again".into(),
            }
        }
        Call::Step { name, from, to } => {
            store.advance_counter(name, from.map(at), at(*to))?;
            "stepped".into()
        }
        Call::Rekey => "kept".into(),
    })
}

/// The simplest store there is, to compare with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Simple {
    pub names: BTreeMap<String, Vec<Option<Vec<u8>>>>,
    pub counts: BTreeMap<String, u64>,
    pub sessions: BTreeMap<(String, u8), u64>,
    pub counters: BTreeMap<String, u64>,
    /// The clock of the last call that had one.
    pub now: u64,
}

impl Simple {
    pub fn call(&mut self, call: &Call) -> Option<String> {
        match call {
            Call::Put { name, secret } => {
                let versions = self.names.entry(name.clone()).or_default();
                versions.push(Some(secret.clone()));
                Some(format!("version {}", versions.len()))
            }
            Call::Revoke { name, version } => {
                let index = usize::try_from(*version).unwrap().checked_sub(1)?;
                *self.names.get_mut(name)?.get_mut(index)? = None;
                Some("revoked".into())
            }
            Call::Take { grant, session, most, now } => {
                self.now = *now;
                let pair = (grant.clone(), *session);
                if self.sessions.get(&pair).is_some_and(|until| until > now) {
                    return Some("again".into());
                }
                let count = self.counts.get(grant).copied().unwrap_or(0) + 1;
                if count > *most {
                    return None;
                }
                self.counts.insert(grant.clone(), count);
                self.sessions.insert(pair, now + LIFE);
                Some(format!("use {count}"))
            }
            Call::Step { name, from, to } => {
                let there = self.counters.get(name).copied();
                if there != Some(*to) && (there != *from || from.is_some_and(|from| from >= *to)) {
                    return None;
                }
                self.counters.insert(name.clone(), *to);
                Some("stepped".into())
            }
            Call::Rekey => Some("kept".into()),
        }
    }

    /// Whether a real store says of everything what this one says.
    pub fn is(&self, store: &dyn Store) -> Result<(), String> {
        let listed: BTreeMap<String, Vec<bool>> = store
            .list()
            .unwrap()
            .into_iter()
            .map(|one| (one.name, one.versions.iter().map(|version| !version.revoked).collect()))
            .collect();
        let own: BTreeMap<String, Vec<bool>> = self
            .names
            .iter()
            .map(|(name, all)| (name.clone(), all.iter().map(Option::is_some).collect()))
            .collect();
        if listed != own {
            return Err(format!("listed {listed:?}, not {own:?}"));
        }
        for (name, versions) in &self.names {
            for (number, version) in (1..).zip(versions) {
                let got = store.get(name, Which::Version(number)).ok();
                if got.as_ref().map(|got| got.secret.bytes()) != version.as_deref() {
                    return Err(format!("{name} {number}: {got:?}"));
                }
            }
            let newest = (1..).zip(versions).filter(|(_, version)| version.is_some()).last();
            let got = store.get(name, Which::Newest).ok().map(|got| got.version);
            if got != newest.map(|(number, _)| number) {
                return Err(format!("{name}: newest {got:?}"));
            }
        }
        let grants: BTreeSet<&String> =
            self.counts.keys().chain(self.sessions.keys().map(|(grant, _)| grant)).collect();
        for grant in grants {
            let (count, _) = store.uses(grant, &[0; 32], 0).unwrap();
            if count != self.counts[grant] {
                return Err(format!("{grant}: {count} uses, not {}", self.counts[grant]));
            }
        }
        // Of a session that is over nothing need be known.
        for ((grant, session), until) in
            self.sessions.iter().filter(|(_, until)| **until > self.now)
        {
            let has = |now| store.uses(grant, &[*session; 32], now).unwrap().1;
            if !has(until - 1) || has(*until) {
                return Err(format!("session {session} of {grant}: not until {until}"));
            }
        }
        for (name, version) in &self.counters {
            let found = store.counter(name).unwrap();
            if found != Some(at(*version)) {
                return Err(format!("counter {name}: {found:?}, not {version}"));
            }
        }
        Ok(())
    }
}

/// A script with every kind of call, longer secrets, and calls that shorten the file.
pub fn script() -> Vec<Call> {
    let put = |name: usize, len: usize, fill: u8| Call::Put {
        name: NAMES[name].into(),
        secret: vec![fill; len],
    };
    let take =
        |session: u8, most: u64| Call::Take { grant: "acme/db/*".into(), session, most, now: 1000 };
    let step = |from: Option<u64>, to: u64| Call::Step { name: "ledger".into(), from, to };
    vec![
        put(0, 16, 1),
        take(1, 9),
        take(1, 9),
        step(None, 1),
        put(0, 5000, 2),
        take(2, 9),
        put(1, 0, 3),
        step(Some(1), 4),
        Call::Revoke { name: NAMES[0].into(), version: 1 },
        take(3, 9),
        step(Some(4), 5),
        Call::Rekey,
        take(4, 9),
        put(2, 700, 4),
        take(4, 9),
        Call::Revoke { name: NAMES[1].into(), version: 1 },
        take(5, 9),
    ]
}

/// What happens to one of the two files.
#[derive(Debug, Clone)]
enum Event {
    Write(u64, Vec<u8>),
    Cut,
}

#[derive(Debug, Default)]
struct Files {
    /// What a reader sees.
    now: [Vec<u8>; 2],
    /// What a power failure leaves for sure.
    safe: [Vec<u8>; 2],
    /// What was done since.
    open: [Vec<Event>; 2],
    /// How many operations are left until the power fails.
    left: Option<u64>,
    /// How many bytes both files may have together; none is no bound.
    space: Option<u64>,
    /// To which offset room was taken, of each.
    taken: [u64; 2],
    done: u64,
}

/// A disk in memory that stops after a number of operations. Nothing is done after it.
#[derive(Debug, Clone, Default)]
pub struct Power(Arc<Mutex<Files>>);

fn apply(bytes: &mut Vec<u8>, event: &Event) {
    match event {
        Event::Cut => bytes.clear(),
        Event::Write(at, new) => {
            let at = usize::try_from(*at).unwrap();
            if bytes.len() < at + new.len() {
                bytes.resize(at + new.len(), 0);
            }
            bytes[at..at + new.len()].copy_from_slice(new);
        }
    }
}

fn index(side: Side) -> usize {
    usize::from(side == Side::B)
}

impl Power {
    pub fn fail_after(&self, operations: Option<u64>) {
        self.0.lock().unwrap().left = operations;
    }

    /// Lets both files have so many bytes together; what they have, they keep.
    pub fn space(&self, bytes: Option<u64>) {
        self.0.lock().unwrap().space = bytes;
    }

    /// How many bytes of the disk both files have.
    pub fn used(&self) -> u64 {
        self.0.lock().unwrap().used()
    }

    /// How many operations were done.
    pub fn operations(&self) -> u64 {
        self.0.lock().unwrap().done
    }

    pub fn bytes(&self, side: Side) -> Vec<u8> {
        self.0.lock().unwrap().now[index(side)].clone()
    }

    pub fn set(&self, side: Side, bytes: Vec<u8>) {
        let mut files = self.0.lock().unwrap();
        files.now[index(side)].clone_from(&bytes);
        files.safe[index(side)] = bytes;
        files.open[index(side)].clear();
    }

    /// The disk after the power came back: of what was not waited for, `draw` says of each sector
    /// of each write whether it is there.
    pub fn after(&self, mut draw: impl FnMut() -> bool) -> Self {
        let files = self.0.lock().unwrap();
        let mut out = Files::default();
        for side in 0..2 {
            let mut bytes = files.safe[side].clone();
            for event in &files.open[side] {
                match event {
                    Event::Cut if draw() => bytes.clear(),
                    Event::Cut => {}
                    Event::Write(at, new) => sectors(&mut bytes, *at, new, &mut draw),
                }
            }
            out.now[side].clone_from(&bytes);
            out.safe[side] = bytes;
        }
        Self(Arc::new(Mutex::new(out)))
    }

    fn step(&self) -> io::Result<std::sync::MutexGuard<'_, Files>> {
        let mut files = self.0.lock().unwrap();
        match &mut files.left {
            Some(0) => return Err(io::Error::other("the power is gone")),
            Some(left) => *left -= 1,
            None => {}
        }
        files.done += 1;
        Ok(files)
    }
}

/// Each 512 bytes at a multiple of 512 are there or not.
fn sectors(bytes: &mut Vec<u8>, at: u64, new: &[u8], draw: &mut impl FnMut() -> bool) {
    let mut at = at;
    let mut rest = new;
    while !rest.is_empty() {
        let until_end = usize::try_from(512 - at % 512).unwrap();
        let (sector, after) = rest.split_at(until_end.min(rest.len()));
        if draw() {
            apply(bytes, &Event::Write(at, sector.to_vec()));
        }
        at += sector.len() as u64;
        rest = after;
    }
}

impl Files {
    fn has(&self, side: usize) -> u64 {
        self.taken[side].max(self.now[side].len() as u64)
    }

    fn used(&self) -> u64 {
        self.has(0) + self.has(1)
    }

    /// Room in a file up to this offset, or an error and nothing.
    fn grow(&mut self, side: usize, to: u64) -> io::Result<()> {
        let more = to.saturating_sub(self.has(side));
        if more > 0 && self.space.is_some_and(|space| self.used() + more > space) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.taken[side] = self.has(side).max(to);
        Ok(())
    }
}

impl Disk for Power {
    fn read(&mut self, side: Side, _: u64) -> io::Result<Vec<u8>> {
        Ok(self.bytes(side))
    }

    fn write(&mut self, side: Side, at: u64, bytes: &[u8]) -> io::Result<()> {
        let side = index(side);
        let event = Event::Write(at, bytes.to_vec());
        let mut files = match self.step() {
            Ok(files) => files,
            Err(error) => {
                // The write during which the power fails: parts of it may be there.
                self.0.lock().unwrap().open[side].push(event);
                return Err(error);
            }
        };
        files.grow(side, at + bytes.len() as u64)?;
        apply(&mut files.now[side], &event);
        files.open[side].push(event);
        Ok(())
    }

    fn reserve(&mut self, side: Side, _: u64, to: u64) -> io::Result<()> {
        let mut files = self.0.lock().unwrap();
        // No operation of a power failure: nothing that a reader sees is changed.
        files.grow(index(side), to)
    }

    fn cut(&mut self, side: Side) -> io::Result<()> {
        let mut files = self.step()?;
        files.now[index(side)].clear();
        files.taken[index(side)] = 0;
        files.open[index(side)].push(Event::Cut);
        Ok(())
    }

    fn sync(&mut self, side: Side) -> io::Result<()> {
        let mut files = self.step()?;
        let side = index(side);
        let done = std::mem::take(&mut files.open[side]);
        done.iter().for_each(|event| apply(&mut files.safe[side], event));
        Ok(())
    }
}

/// A store on this disk.
pub fn create(disk: &Power) -> LogStore {
    LogStore::create(Box::new(disk.clone()), kek()).unwrap()
}
