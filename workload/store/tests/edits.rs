//! A store's file in the hands of somebody without the key: each byte changed, each cut, frames and
//! whole files moved. Cannot tell an older copy of all from what it is: nobody without a memory of
//! his own can.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    reason = "tests"
)]

mod support;

use casemate_store::{LogStore, Side, Store, StoreError, Take};
use support::{Call, Power, Simple, call, create, kek};

fn filled() -> (Power, Simple) {
    let disk = Power::default();
    let store = create(&disk);
    let mut simple = Simple::default();
    let calls = [
        Call::Put { name: "a/b/c".into(), secret: b"one".to_vec() },
        Call::Take { grant: "a/*".into(), session: 1, most: 9, now: 1 },
        Call::Put { name: "a/b/c".into(), secret: b"two".to_vec() },
        Call::Take { grant: "a/*".into(), session: 2, most: 9, now: 1 },
        Call::Step { name: "d".into(), from: None, to: 3 },
        Call::Take { grant: "a/*".into(), session: 3, most: 9, now: 1 },
    ];
    for one in calls {
        assert_eq!(call(&store, &one).ok(), simple.call(&one));
    }
    (disk, simple)
}

fn reopened(bytes: Vec<u8>) -> Result<(LogStore, casemate_store::Opened), StoreError> {
    let disk = Power::default();
    disk.set(Side::A, bytes);
    LogStore::open(Box::new(disk), kek())
}

#[test]
fn every_changed_byte_is_refused() {
    let (disk, simple) = filled();
    let good = disk.bytes(Side::A);
    assert!(disk.bytes(Side::B).is_empty());
    // Of the blocks that are mostly empty every byte that is something, and some of the others.
    let places = (0..good.len()).filter(|at| {
        !(112..12288).contains(at) || at % 4096 < 88 || at % 61 == 0 || at % 4096 == 4095
    });
    for at in places {
        for change in [0x41, 0x80] {
            let mut bytes = good.clone();
            bytes[at] ^= change;
            let found = reopened(bytes);
            let refused = matches!(found, Err(StoreError::Damaged { .. } | StoreError::Key { .. }));
            assert!(refused, "byte {at}: {found:?}");
        }
    }
    simple.is(&reopened(good).unwrap().0).unwrap();
}

#[test]
fn every_cut_is_refused() {
    let empty = Power::default();
    drop(create(&empty));
    let (disk, _) = filled();
    for good in [empty.bytes(Side::A), disk.bytes(Side::A)] {
        for len in 1..good.len() {
            let found = reopened(good[..len].to_vec());
            let refused = matches!(found, Err(StoreError::Damaged { .. } | StoreError::Key { .. }));
            assert!(refused, "{len}: {found:?}");
        }
    }
    assert!(matches!(reopened(Vec::new()), Err(StoreError::Missing)));
}

/// What is behind the last mark nobody was told of: a part of a frame is dropped, and said.
#[test]
fn only_what_is_behind_the_last_whole_change_is_dropped() {
    let (disk, simple) = filled();
    let good = disk.bytes(Side::A);
    for more in [&b"x"[..], &[0; 5000], &[0xff; 40], &good[12288..12300], &good[12288..]] {
        let (store, opened) = reopened([&good, more].concat()).unwrap();
        assert_eq!((opened.dropped, opened.untold), (more.len() as u64, 0));
        simple.is(&store).unwrap();
    }
}

#[test]
fn frames_are_in_their_place_or_refused() {
    let (disk, _) = filled();
    let good = disk.bytes(Side::A);
    let mut places = vec![12288];
    while let Some(at) = places.last().copied().filter(|at| *at < good.len()) {
        let len = u32::from_le_bytes(good[at..at + 4].try_into().unwrap());
        places.push(at + 4 + len as usize);
    }
    let frames: Vec<&[u8]> = places.windows(2).map(|pair| &good[pair[0]..pair[1]]).collect();
    assert_eq!(frames.len(), 6);
    for left_out in 0..6 {
        let mut moved = frames.clone();
        moved.remove(left_out);
        let one = [&good[..12288], &moved.concat()].concat();
        assert!(matches!(reopened(one), Err(StoreError::Damaged { .. })), "{left_out}");
        for place in 0..5 {
            let mut moved = moved.clone();
            moved.insert(place, frames[left_out]);
            let bytes = [&good[..12288], &moved.concat()].concat();
            let same = bytes == good;
            assert_eq!(reopened(bytes).is_ok(), same, "{left_out} to {place}");
        }
    }
}

/// The file of another generation, or of another store under the same key, is not one of this.
#[test]
fn parts_of_other_files_do_not_fit() {
    let (disk, _) = filled();
    let first = disk.bytes(Side::A);
    let (store, _) = LogStore::open(Box::new(disk.clone()), kek()).unwrap();
    store.change_key(kek()).unwrap();
    let take = Take { grant: "a/*", session: [9; 32], most: 99, now: 1, until: 9 };
    store.take_use(&take).unwrap();
    drop(store);
    let second = disk.bytes(Side::B);
    let (other, _) = filled();
    let other = other.bytes(Side::A);
    for foreign in [&second, &other] {
        for part in [0..4096, 4096..12288, 12288..first.len().min(foreign.len())] {
            let mut bytes = first.clone();
            bytes[part.clone()].copy_from_slice(&foreign[part.clone()]);
            let found = reopened(bytes);
            let refused = matches!(found, Err(StoreError::Damaged { .. } | StoreError::Key { .. }));
            assert!(refused, "{part:?}: {found:?}");
        }
    }
    // Both generations there: the newer one counts, whichever file it is in, and a newer one that
    // does not open is not passed over.
    let both = Power::default();
    both.set(Side::A, first.clone());
    both.set(Side::B, second.clone());
    let (store, _) = LogStore::open(Box::new(both.clone()), kek()).unwrap();
    assert_eq!(store.uses("a/*", &[0; 32], 0).unwrap().0, 4);
    assert!(both.bytes(Side::A).is_empty() || both.bytes(Side::B).is_empty(), "one is left");
    drop(store);
    let mut broken = second;
    broken[60] ^= 1;
    let both = Power::default();
    both.set(Side::A, first);
    both.set(Side::B, broken);
    let found = LogStore::open(Box::new(both), kek());
    assert!(matches!(found, Err(StoreError::Key { side: Side::B })), "{found:?}");
}
