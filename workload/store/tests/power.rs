//! A power failure at every operation of a script: whatever part of what was not waited for is
//! there, what anybody was told of is there, once, and nothing is there that nobody asked for.
//! The disk is a model: it says what a disk may do, by sectors, and cannot tell what a real one
//! does.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    reason = "tests"
)]

mod support;

use casemate_store::{LogStore, Store, StoreError};
use support::{Call, Power, Simple, call, create, kek, script};

/// A small source of bits, which depends on its seed only.
fn bits(seed: u64) -> impl FnMut() -> bool {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x & 1 == 1
    }
}

/// Runs the script until a call fails: the state of all calls that were answered, and the same with
/// the call that was not.
fn run(store: &LogStore) -> (Simple, Simple) {
    let mut told = Simple::default();
    for one in script() {
        let mut with = told.clone();
        with.call(&one);
        let answer = match &one {
            Call::Rekey => store.change_key(kek()).map(|()| "kept".to_owned()),
            one => call(store, one),
        };
        match answer {
            Ok(answer) => assert_eq!(Some(answer), told.call(&one), "{one:?}"),
            Err(StoreError::Failed(_)) => return (told, with),
            Err(error) => unreachable!("{one:?}: {error}"),
        }
    }
    (told.clone(), told)
}

#[test]
fn what_anybody_was_told_of_survives_a_power_failure_at_every_operation() {
    let disk = Power::default();
    run(&create(&disk));
    let first = Power::default();
    drop(create(&first));
    let (all, from) = (disk.operations(), first.operations());
    assert!(all - from > 60, "{all}");
    let (mut told_only, mut with_last) = (0, 0);
    for stop in from..=all {
        let disk = Power::default();
        let store = create(&disk);
        disk.fail_after(Some(stop - from));
        let (told, with) = run(&store);
        drop(store);
        // All of it, nothing of it, and some of it: what a disk does with what nobody waited for.
        for seed in 0..40u64 {
            let mut draw = bits(seed * 1000 + stop);
            let left = disk.after(|| match seed {
                0 => false,
                1 => true,
                _ => draw(),
            });
            let opened = LogStore::open(Box::new(left.clone()), kek());
            let (store, _) = opened.unwrap_or_else(|error| panic!("{stop} {seed}: {error}"));
            match (told.is(&store), with.is(&store)) {
                (Ok(()), _) => told_only += 1,
                (_, Ok(())) => with_last += 1,
                (a, b) => panic!("{stop} {seed}: {a:?}; with the call before it: {b:?}"),
            }
            // And it goes on from there, as if nothing had been.
            let more = Call::Put { name: "a/b/c".into(), secret: vec![1] };
            assert_eq!(call(&store, &more).unwrap(), "version 1");
            drop(store);
            let (store, _) = LogStore::open(Box::new(left), kek()).unwrap();
            assert_eq!(store.get("a/b/c", casemate_store::Which::Newest).unwrap().version, 1);
        }
    }
    assert!(told_only > 1000 && with_last > 100, "{told_only} {with_last}");
}

#[test]
fn a_store_whose_making_was_cut_off_can_be_made_and_is_never_half_a_store() {
    let whole = Power::default();
    drop(create(&whole));
    for stop in 0..whole.operations() {
        let disk = Power::default();
        disk.fail_after(Some(stop));
        let made = LogStore::create(Box::new(disk.clone()), kek());
        assert!(made.is_err() || stop + 2 >= whole.operations(), "{stop}");
        for seed in 0..40u64 {
            let mut draw = bits(seed * 100 + stop);
            let left = disk.after(&mut draw);
            match LogStore::open(Box::new(left.clone()), kek()) {
                Ok((store, _)) => assert!(store.list().unwrap().is_empty()),
                Err(StoreError::Missing) => drop(create(&left)),
                Err(error) => panic!("{stop} {seed}: {error}"),
            }
        }
    }
}

#[test]
fn a_store_that_could_not_write_answers_nothing_more() {
    let disk = Power::default();
    let store = create(&disk);
    disk.fail_after(Some(1));
    let take = Call::Take { grant: "g".into(), session: 1, most: 9, now: 1 };
    assert!(matches!(call(&store, &take), Err(StoreError::Failed(_))));
    disk.fail_after(None);
    assert!(matches!(store.list(), Err(StoreError::Failed(_))), "the count may not be there");
    assert!(matches!(call(&store, &take), Err(StoreError::Failed(_))));
}
