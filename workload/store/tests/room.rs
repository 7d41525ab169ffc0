//! A disk without room, at every size: what is refused changes nothing, all else is answered, and
//! with room the store goes on as it is, without being opened again. The disk is a model; what a
//! real file system does, `casemate/tests/kbs_serve/full.rs` tries.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    reason = "tests"
)]

mod support;

use casemate_store::{LogStore, Secret, Store, StoreError, Take, Taken, Which};
use support::{Call, NAMES, Power, Simple, call, create, kek, script};

fn run(store: &LogStore, one: &Call) -> Result<String, StoreError> {
    match one {
        Call::Rekey => store.change_key(kek()).map(|()| "kept".to_owned()),
        one => call(store, one),
    }
}

/// Protects owners and guests of a broker whose disk fills up, wherever that is: a change is made
/// and stays, or is refused by name and is not made; nothing else comes, above all no end of all
/// answers. Cannot tell of a file system that promises room and does not have it.
#[test]
fn a_disk_of_every_size_takes_a_change_or_refuses_it_and_loses_none() {
    let whole = Power::default();
    let store = create(&whole);
    let least =
        whole.bytes(casemate_store::Side::B).len() + whole.bytes(casemate_store::Side::A).len();
    for one in script() {
        run(&store, &one).unwrap();
    }
    let (least, most) = (least as u64, whole.used());
    let (mut refused, mut done) = (0, 0);
    for space in (least..most + 200).step_by(211) {
        let disk = Power::default();
        disk.space(Some(space));
        let store = create(&disk);
        let mut told = Simple::default();
        let mut late = Vec::new();
        for one in script() {
            match run(&store, &one) {
                // What hangs on a call that was refused is another story than the script's.
                Ok(answer) if late.is_empty() => assert_eq!(Some(answer), told.call(&one)),
                Ok(_) => drop(told.call(&one)),
                Err(StoreError::NoRoom) => {
                    late.push(one);
                    refused += 1;
                }
                Err(StoreError::CounterMoved(_) | StoreError::NoVersion | StoreError::NoSecret) => {
                    assert!(!late.is_empty());
                }
                Err(error) => panic!("{space}: {one:?}: {error}"),
            }
            told.is(&store).unwrap_or_else(|why| panic!("{space}: {why}"));
        }
        done += usize::from(late.is_empty());
        drop(store);
        // Whether one that is opened on a full disk, or the one that was there, goes on.
        let store = LogStore::open(Box::new(disk.clone()), kek()).unwrap().0;
        told.is(&store).unwrap_or_else(|why| panic!("{space}, opened again: {why}"));
        disk.space(None);
        for one in late {
            let answer = run(&store, &one);
            if answer.is_ok() {
                told.call(&one);
            }
            assert!(!matches!(answer, Err(StoreError::NoRoom | StoreError::Failed(_))), "{space}");
        }
        drop(store);
        let store = LogStore::open(Box::new(disk), kek()).unwrap().0;
        told.is(&store).unwrap_or_else(|why| panic!("{space}, with room: {why}"));
    }
    assert!(refused > 20 && done > 0, "{refused} {done}");
}

/// Protects an owner who revokes when the disk is full: the version is given to nobody, at once,
/// and its bytes leave the file when there is room for one without them.
#[test]
fn a_version_is_revoked_on_a_full_disk_and_leaves_it_when_there_is_room() {
    let disk = Power::default();
    let store = create(&disk);
    let secret = Secret::new(vec![1; 100_000]);
    store.put_version(NAMES[0], &secret, 1).unwrap();
    store.put_version(NAMES[1], &secret, 1).unwrap();
    disk.space(Some(disk.used()));
    let length =
        || casemate_store::Side::BOTH.map(|side| disk.bytes(side).len()).iter().sum::<usize>();
    let before = length();
    store.revoke(NAMES[0], 1).unwrap();
    assert!(matches!(store.get(NAMES[0], Which::Newest), Err(StoreError::Revoked)));
    assert!(length() > before, "there is no room for another file");
    drop(store);
    let (store, _) = LogStore::open(Box::new(disk.clone()), kek()).unwrap();
    assert!(matches!(store.get(NAMES[0], Which::Newest), Err(StoreError::Revoked)));
    disk.space(None);
    let take = Take { grant: "g", session: [1; 32], most: 9, now: 1, until: 2 };
    assert_eq!(store.take_use(&take).unwrap(), Taken::Counted(1));
    assert!(length() < before - 90_000, "{}", length());
    assert_eq!(store.get(NAMES[1], Which::Newest).unwrap().secret.bytes(), secret.bytes());
}

/// Protects uses from threads that find no room at once: each is told, none is counted, and none
/// waits for ever.
#[test]
fn threads_on_a_full_disk_are_each_refused_and_go_on_with_room() {
    let disk = Power::default();
    let store = create(&disk);
    disk.space(Some(0));
    let uses = |most: u64| -> Vec<Result<Taken, StoreError>> {
        std::thread::scope(|scope| {
            let all: Vec<_> = (0..20u8)
                .map(|n| {
                    let store = &store;
                    scope.spawn(move || {
                        let take = Take { grant: "g", session: [n; 32], most, now: 1, until: 9 };
                        store.take_use(&take)
                    })
                })
                .collect();
            all.into_iter().map(|one| one.join().unwrap()).collect()
        })
    };
    // What was taken ahead when the store was made is used up first.
    let mut put = 0;
    while store.put_version(NAMES[0], &Secret::new(vec![0; 40_000]), 1).is_ok() {
        put += 1;
    }
    assert!(put > 20, "{put}");
    let mut length = 40_000;
    while length > 0 {
        while store.put_version(NAMES[1], &Secret::new(vec![0; length]), 1).is_ok() {}
        length /= 2;
    }
    let refused = uses(99);
    assert!(refused.iter().all(|one| matches!(one, Err(StoreError::NoRoom))), "{refused:?}");
    assert_eq!(store.uses("g", &[0; 32], 0).unwrap().0, 0);
    disk.space(None);
    let counted = uses(12).iter().filter(|one| matches!(one, Ok(Taken::Counted(_)))).count();
    assert_eq!(counted, 12);
}
