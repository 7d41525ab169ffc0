//! The file of a key broker's store: whatever is in it, and whatever was done to a good one.

use arbitrary::{Arbitrary, Unstructured};
use casemate_store::{Counter, Disk, Kek, LogStore, Secret, Side, Store, StoreError, Take, Which};
use std::io;
use std::sync::{Arc, Mutex};

/// Two files in memory.
#[derive(Debug, Clone, Default)]
struct Memory(Arc<Mutex<[Vec<u8>; 2]>>);

impl Memory {
    fn with<T>(&self, side: Side, what: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        what(&mut self.0.lock().unwrap()[usize::from(side == Side::B)])
    }

    fn copy(&self) -> Self {
        Self(Arc::new(Mutex::new(self.0.lock().unwrap().clone())))
    }
}

impl Disk for Memory {
    fn read(&mut self, side: Side, _: u64) -> io::Result<Vec<u8>> {
        Ok(self.with(side, |bytes| bytes.clone()))
    }

    fn write(&mut self, side: Side, at: u64, new: &[u8]) -> io::Result<()> {
        let at = at as usize;
        self.with(side, |bytes| {
            bytes.resize(bytes.len().max(at + new.len()), 0);
            bytes[at..at + new.len()].copy_from_slice(new);
        });
        Ok(())
    }

    fn reserve(&mut self, _: Side, _: u64, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn cut(&mut self, side: Side) -> io::Result<()> {
        self.with(side, Vec::clear);
        Ok(())
    }

    fn sync(&mut self, _: Side) -> io::Result<()> {
        Ok(())
    }
}

fn kek() -> Kek {
    Kek::new([7; 32].into())
}

fn open(disk: &Memory) -> Result<(LogStore, casemate_store::Opened), StoreError> {
    LogStore::open(Box::new(disk.clone()), kek())
}

/// Everything that a store says, as one text.
fn says(store: &LogStore) -> String {
    let listed = store.list().unwrap();
    let mut out = format!("{listed:?}");
    for one in &listed {
        for version in &one.versions {
            let got = store.get(&one.name, Which::Version(version.version));
            assert_eq!(got.is_err(), version.revoked);
            out.push_str(&format!("{:?}", got.map(|got| got.secret.bytes().to_vec()).ok()));
        }
    }
    for grant in GRANTS {
        out.push_str(&format!("{:?}", store.uses(grant, &[1; 32], 0).unwrap()));
    }
    out + &format!("{:?}", store.counter("c").unwrap())
}

const GRANTS: [&str; 2] = ["a/*", "b/*"];

#[derive(Debug, Arbitrary)]
enum Call {
    Put(bool, u8),
    Revoke(bool, u8),
    Take(bool, u8, u8),
    Step(u8, u8),
    Key,
    Reopen,
}

fn call(store: &LogStore, call: &Call) {
    let name = |first: bool| if first { "a/b/c" } else { "a/b/d" };
    let at = |version: u8| Counter { version: version.into(), digest: [version; 32] };
    // Which calls a store refuses its own tests say; here it has only to go on.
    match call {
        Call::Put(first, len) => {
            drop(store.put_version(name(*first), &Secret::new(vec![*len; (*len).into()]), 1));
        }
        Call::Revoke(first, version) => drop(store.revoke(name(*first), (*version).into())),
        Call::Take(first, session, most) => {
            let (grant, session) = (GRANTS[usize::from(*first)], [*session; 32]);
            let take = Take { grant, session, most: (*most).into(), now: 1, until: 9 };
            drop(store.take_use(&take));
        }
        Call::Step(from, to) => drop(store.advance_counter("c", Some(at(*from)), at(*to))),
        Call::Key => store.change_key(kek()).unwrap(),
        Call::Reopen => {}
    }
}

/// What was done to a file: bytes changed, cut off or put behind.
#[derive(Debug, Arbitrary)]
enum Edit {
    Change(u16, u8),
    Cut(u16),
    Append(Vec<u8>),
}

/// Without the first byte's lowest bit: any bytes as the two files. With it: calls, then edits.
pub fn file(data: &[u8]) {
    let Some((choice, data)) = data.split_first() else { return };
    if choice & 1 == 0 {
        let disk = Memory::default();
        let (a, b) = data.split_at(if choice & 2 == 0 { data.len() } else { data.len() / 2 });
        disk.with(Side::A, |bytes| bytes.extend_from_slice(a));
        disk.with(Side::B, |bytes| bytes.extend_from_slice(b));
        let before = disk.0.lock().unwrap().clone();
        match open(&disk) {
            Err(_) => assert!(*disk.0.lock().unwrap() == before, "a refused file is not touched"),
            Ok((store, _)) => {
                let said = says(&store);
                drop(store);
                let (again, opened) = open(&disk).expect("what was opened once");
                assert_eq!((says(&again), opened), (said, Default::default()));
            }
        }
        return;
    }
    let _ = edited(&mut Unstructured::new(data));
}

fn edited(u: &mut Unstructured<'_>) -> arbitrary::Result<()> {
    let disk = Memory::default();
    let mut store = LogStore::create(Box::new(disk.clone()), kek()).unwrap();
    for _ in 0..u.int_in_range(0..=12)? {
        let next = Call::arbitrary(u)?;
        call(&store, &next);
        if matches!(next, Call::Reopen) {
            drop(store);
            store = open(&disk).expect("its own file").0;
        }
    }
    let said = says(&store);
    drop(store);
    let side = if disk.with(Side::A, |bytes| bytes.is_empty()) { Side::B } else { Side::A };
    let whole = disk.with(side, |bytes| bytes.clone());
    let other = disk.copy();
    for _ in 0..u.int_in_range(1..=3)? {
        let edit = Edit::arbitrary(u)?;
        other.with(side, |bytes| match edit {
            Edit::Change(at, by) => {
                let at = usize::from(at) % bytes.len().max(1);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= by;
                }
            }
            Edit::Cut(len) => bytes.truncate(usize::from(len)),
            Edit::Append(more) => bytes.extend_from_slice(&more[..more.len().min(200)]),
        });
    }
    let bytes = other.with(side, |bytes| bytes.clone());
    match open(&other) {
        // Only what is behind the last change may be anything.
        Ok((store, opened)) => {
            assert!(bytes.starts_with(&whole), "an edit was not found");
            assert_eq!(opened.dropped as usize, bytes.len() - whole.len());
            assert_eq!(says(&store), said);
        }
        Err(StoreError::Missing) => assert!(bytes.iter().take(112).all(|byte| *byte == 0)),
        Err(StoreError::Damaged { .. } | StoreError::Key { .. }) => {
            assert!(!bytes.starts_with(&whole));
        }
        Err(other) => panic!("{other}"),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Memory, Side, call, file, open, says};

    /// The oracles are no use if no input comes to them. Cannot tell which inputs a fuzzer finds.
    #[test]
    fn the_seed_of_a_whole_file_is_one_that_opens() {
        let seed = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds/kbs_store/whole");
        if std::env::var_os("CASEMATE_BLESS").is_some() {
            let disk = Memory::default();
            let store = super::LogStore::create(Box::new(disk.clone()), super::kek()).unwrap();
            call(&store, &super::Call::Put(true, 9));
            call(&store, &super::Call::Take(true, 1, 3));
            let bytes = disk.with(Side::A, |bytes| bytes.clone());
            std::fs::write(&seed, [&[0], &bytes[..]].concat()).unwrap();
        }
        let data = std::fs::read(&seed).unwrap();
        let disk = Memory::default();
        disk.with(Side::A, |bytes| bytes.extend_from_slice(&data[1..]));
        let (store, _) = open(&disk).unwrap();
        assert!(says(&store).contains("a/b/c"));
        file(&data);
    }
}
