//! A hundred threads at once: no use is counted twice, none is lost, and none beyond what is
//! admitted. Cannot tell how fast.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    reason = "tests"
)]

mod support;

use casemate_store::{Folder, LogStore, Secret, Store, StoreError, Take, Taken, Which};
use std::collections::BTreeSet;
use std::sync::Mutex;
use support::{Place, at, kek};

#[test]
fn a_hundred_threads_take_each_use_once_and_each_session_one() {
    let place = Place::new("threads");
    let store = LogStore::create(Box::new(Folder::create(&place.0).unwrap()), kek()).unwrap();
    let counted = Mutex::new(Vec::new());
    let refused = Mutex::new(0);
    std::thread::scope(|scope| {
        for thread in 0..100u8 {
            let (store, counted, refused) = (&store, &counted, &refused);
            scope.spawn(move || {
                for turn in 0..4u8 {
                    // Two threads are one session, and each asks twice for it.
                    let session = [thread / 2 + 50 * (turn / 2); 32];
                    let take = Take { grant: "g", session, most: 70, now: 1, until: 99 };
                    match store.take_use(&take) {
                        Ok(Taken::Counted(count)) => counted.lock().unwrap().push(count),
                        Ok(Taken::Again) => {}
                        Err(StoreError::UsedUp { count: 70, most: 70 }) => {
                            *refused.lock().unwrap() += 1;
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
    });
    let mut counted = counted.into_inner().unwrap();
    counted.sort_unstable();
    assert_eq!(counted, (1..=70).collect::<Vec<u64>>(), "each number once");
    // 100 sessions, of which 70 have one: the four askings of each of the others are refused.
    assert_eq!(refused.into_inner().unwrap(), 30 * 4);
    drop(store);
    let (store, opened) = LogStore::open(Box::new(Folder::open(&place.0).unwrap()), kek()).unwrap();
    assert_eq!(opened, Default::default());
    assert_eq!(store.uses("g", &[0; 32], 1).unwrap().0, 70);
}

#[test]
fn versions_and_steps_of_many_threads_are_one_after_the_other() {
    let place = Place::new("versions");
    let store = LogStore::create(Box::new(Folder::create(&place.0).unwrap()), kek()).unwrap();
    let versions = Mutex::new(BTreeSet::new());
    let steps = Mutex::new(0);
    std::thread::scope(|scope| {
        for thread in 0..50u8 {
            let (store, versions, steps) = (&store, &versions, &steps);
            scope.spawn(move || {
                let version = store.put_version("a/b/c", &Secret::new(vec![thread]), 1).unwrap();
                assert!(versions.lock().unwrap().insert((version, thread)));
                let got = store.get("a/b/c", Which::Version(version)).unwrap();
                assert_eq!(got.secret.bytes(), [thread]);
                if store.advance_counter("c", None, at(u64::from(thread) + 1)).is_ok() {
                    *steps.lock().unwrap() += 1;
                }
            });
        }
    });
    let numbers: Vec<u32> = versions.into_inner().unwrap().iter().map(|(v, _)| *v).collect();
    assert_eq!(numbers, (1..=50).collect::<Vec<u32>>());
    assert_eq!(steps.into_inner().unwrap(), 1, "one step from where it began");
}
