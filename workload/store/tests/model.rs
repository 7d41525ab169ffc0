//! The store against the simplest one there is: random calls, with reopening between them, come to
//! the same answers and the same state. Cannot tell what happens when a process ends in the middle:
//! `crash` and `power` do.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    reason = "tests"
)]

mod support;

use casemate_store::{Counter, Kek, LogStore, Secret, Side, Store, StoreError, Take, Taken, Which};
use proptest::prelude::*;
use support::{Call, NAMES, Power, Simple, at, call, create, kek};
use zeroize::Zeroizing;

fn any_call() -> impl Strategy<Value = Call> {
    let name = (0..NAMES.len()).prop_map(|i| NAMES[i].to_owned());
    let grant = prop_oneof![Just("acme/db/*".to_owned()), Just("green/*".to_owned())];
    prop_oneof![
        (name.clone(), proptest::collection::vec(any::<u8>(), 0..40))
            .prop_map(|(name, secret)| Call::Put { name, secret }),
        (name, 0..4u32).prop_map(|(name, version)| Call::Revoke { name, version }),
        (grant, 0..4u8, 0..6u64, 0..900u64).prop_map(|(grant, session, most, now)| Call::Take {
            grant,
            session,
            most,
            now
        }),
        (proptest::option::of(0..4u64), 0..5u64).prop_map(|(from, to)| Call::Step {
            name: "ledger".into(),
            from,
            to
        }),
        Just(Call::Rekey),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_calls_come_to_what_the_simplest_store_says(
        calls in proptest::collection::vec((any_call(), 0..5u8), 1..40)
    ) {
        let disk = Power::default();
        let mut store = create(&disk);
        let mut simple = Simple::default();
        let mut clock = 0;
        for (mut one, then) in calls {
            // A clock that goes on: of one that is set back a store only says too much was used.
            if let Call::Take { now, .. } = &mut one {
                clock += *now / 4;
                *now = clock;
            }
            let found = call(&store, &one).ok();
            prop_assert_eq!(found, simple.call(&one), "{:?}", one);
            if then == 0 {
                drop(store);
                let opened = LogStore::open(Box::new(disk.clone()), kek()).unwrap();
                prop_assert_eq!(opened.1, Default::default(), "closed between two calls");
                store = opened.0;
            }
            let same = simple.is(&store);
            prop_assert!(same.is_ok(), "{:?}", same);
        }
    }
}

#[test]
fn a_store_is_not_made_over_one_and_not_opened_where_none_is() {
    let disk = Power::default();
    let none = LogStore::open(Box::new(disk.clone()), kek());
    assert!(matches!(none, Err(StoreError::Missing)), "{none:?}");
    drop(create(&disk));
    let again = LogStore::create(Box::new(disk.clone()), kek());
    assert!(matches!(again, Err(StoreError::Exists)), "{again:?}");
    disk.set(Side::B, b"somebody's notes".to_vec());
    let other = LogStore::open(Box::new(disk), kek());
    assert!(matches!(other, Err(StoreError::Damaged { side: Side::B, at: 0, .. })), "{other:?}");
}

#[test]
fn another_key_opens_nothing_and_a_changed_key_is_the_only_one_after_it() {
    let disk = Power::default();
    let store = create(&disk);
    store.put_version(NAMES[0], &Secret::new(b"hunter2".to_vec()), 1).unwrap();
    let before = [Side::A, Side::B].map(|side| disk.bytes(side));
    let new = || Kek::new(Zeroizing::new([8; 32]));
    store.change_key(new()).unwrap();
    drop(store);
    let old = LogStore::open(Box::new(disk.clone()), kek());
    assert!(matches!(old, Err(StoreError::Key { .. })), "{old:?}");
    let (store, _) = LogStore::open(Box::new(disk.clone()), new()).unwrap();
    let got = store.get(NAMES[0], Which::Newest).unwrap();
    assert_eq!((got.version, got.secret.bytes()), (1, b"hunter2".as_slice()));
    // No byte of a secret, or of its name, is on the disk as it is.
    for bytes in before.iter().chain(&[disk.bytes(Side::A), disk.bytes(Side::B)]) {
        for plain in [b"hunter2".as_slice(), b"password", &[7; 32], &[8; 32]] {
            assert!(!bytes.windows(plain.len()).any(|window| window == plain));
        }
    }
}

#[test]
fn what_was_revoked_leaves_the_file() {
    let disk = Power::default();
    let store = create(&disk);
    let large = Secret::new(vec![9; 100_000]);
    for _ in 0..3 {
        store.put_version(NAMES[0], &large, 1).unwrap();
    }
    let length = || Side::BOTH.map(|side| disk.bytes(side).len()).iter().sum::<usize>();
    assert!(length() > 300_000);
    for version in [1, 2, 3, 3] {
        store.revoke(NAMES[0], version).unwrap();
    }
    assert!(length() < 20_000, "{}", length());
    assert!(matches!(store.get(NAMES[0], Which::Newest), Err(StoreError::Revoked)));
    assert_eq!(store.put_version(NAMES[0], &large, 1).unwrap(), 4, "numbers are not used again");
}

#[test]
fn names_lengths_and_steps_that_cannot_be_are_refused_and_change_nothing() {
    let disk = Power::default();
    let store = create(&disk);
    let secret = Secret::new(vec![1]);
    for name in ["", "a/b", "acme/db/../../z", "a/b/c/d", "a/b/c\n", "/a/b"] {
        let refused = store.put_version(name, &secret, 1);
        assert!(matches!(refused, Err(StoreError::Name { .. })), "{name:?}: {refused:?}");
    }
    let long = Secret::new(vec![0; (1 << 20) + 1]);
    assert!(matches!(store.put_version("a/b/c", &long, 1), Err(StoreError::TooLong)));
    let take = |grant| store.take_use(&Take { grant, session: [1; 32], most: 1, now: 1, until: 2 });
    assert!(matches!(take(""), Err(StoreError::Text)));
    assert!(matches!(take(&"g".repeat(1025)), Err(StoreError::Text)));
    let none = store.advance_counter("c", Some(at(1)), at(2));
    assert!(matches!(none, Err(StoreError::CounterMoved(None))));
    store.advance_counter("c", None, at(5)).unwrap();
    let back = store.advance_counter("c", Some(at(5)), at(4));
    assert!(matches!(back, Err(StoreError::CounterBack)));
    // The same version with another digest is another state, and not a step that was made before.
    let other = Counter { version: 5, digest: [0xee; 32] };
    assert!(store.advance_counter("c", Some(at(5)), other).is_err());
    let moved = store.advance_counter("c", None, other);
    assert!(matches!(moved, Err(StoreError::CounterMoved(Some(there))) if there == at(5)));
    store.advance_counter("c", None, at(5)).unwrap();
    assert_eq!(store.counter("c").unwrap(), Some(at(5)));
    assert!(store.list().unwrap().is_empty());
}

#[test]
fn a_full_store_says_so_and_keeps_what_it_has() {
    let disk = Power::default();
    let store = create(&disk);
    let large = Secret::new(vec![3; 1 << 20]);
    let mut put = 0;
    let error = loop {
        match store.put_version("a/b/c", &large, 1) {
            Ok(version) => put = version,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, StoreError::Full), "{error}");
    assert!(put >= 30, "{put}");
    store.revoke("a/b/c", 1).unwrap();
    assert_eq!(store.put_version("a/b/c", &large, 1).unwrap(), put + 1);
    drop(store);
    let (store, _) = LogStore::open(Box::new(disk), kek()).unwrap();
    assert_eq!(store.get("a/b/c", Which::Newest).unwrap().version, put + 1);
}

/// Uses without end do not make the file so.
#[test]
fn a_file_of_many_uses_is_made_shorter_and_keeps_the_count() {
    let disk = Power::default();
    let store = create(&disk);
    let mut largest = 0;
    for n in 0..60_000u64 {
        let mut session = [0; 32];
        session[..8].copy_from_slice(&n.to_le_bytes());
        let take = Take { grant: "g", session, most: u64::MAX, now: n, until: n + 10 };
        assert_eq!(store.take_use(&take).unwrap(), Taken::Counted(n + 1));
        if n % 1000 == 0 {
            largest =
                Side::BOTH.map(|side| disk.bytes(side).len()).into_iter().fold(largest, Ord::max);
        }
    }
    assert!(largest < 9 << 20, "{largest}");
    drop(store);
    let (store, _) = LogStore::open(Box::new(disk), kek()).unwrap();
    assert_eq!(store.uses("g", &[0; 32], 0).unwrap().0, 60_000);
}

/// Nor do they when the broker begins anew before its file is as long as it may become: how long a
/// file was when it was made is not known then.
#[test]
fn a_store_that_is_opened_again_and_again_does_not_fill_up() {
    let disk = Power::default();
    let mut store = create(&disk);
    // The longest name, so that fewer uses fill as much: 130,000 of them are 150 MiB of frames.
    let grant = "g".repeat(1024);
    for n in 0..130_000u64 {
        let mut session = [0; 32];
        session[..8].copy_from_slice(&n.to_le_bytes());
        let take = Take { grant: &grant, session, most: u64::MAX, now: n, until: n + 1 };
        assert_eq!(store.take_use(&take).unwrap(), Taken::Counted(n + 1));
        if n % 6_000 == 5_999 {
            drop(store);
            (store, _) = LogStore::open(Box::new(disk.clone()), kek()).unwrap();
        }
    }
}

/// Protects clients of a broker whose store is full of secrets: what needs no room is done.
#[test]
fn a_full_store_goes_on_counting_and_stepping_what_it_knows() {
    let disk = Power::default();
    let store = create(&disk);
    let take = |n: u8| Take { grant: "g", session: [n; 32], most: 9, now: 1, until: 9 };
    let at = |version| Counter { version, digest: [7; 32] };
    store.take_use(&take(1)).unwrap();
    store.advance_counter("c", None, at(1)).unwrap();
    let mut size = 1 << 20;
    while size > 0 {
        match store.put_version("a/b/c", &Secret::new(vec![3; size]), 1) {
            Ok(_) => {}
            Err(StoreError::Full) => size /= 2,
            Err(error) => panic!("{error}"),
        }
    }
    // Whether the last bytes are taken hangs on sizes: nothing new fits, or the least does not.
    assert_eq!(store.take_use(&take(2)).unwrap(), Taken::Counted(2));
    store.advance_counter("c", Some(at(1)), at(2)).unwrap();
    let new = Take { grant: &"h".repeat(1000), ..take(3) };
    assert!(matches!(store.take_use(&new), Err(StoreError::Full)));
}

/// A use and its secret go together: none without the other. Cannot tell what leaves the broker.
#[test]
fn a_secret_that_is_not_there_costs_no_use_and_one_that_is_used_up_is_not_given() {
    let disk = Power::default();
    let store = create(&disk);
    let take =
        |session: u8, most| Take { grant: "g", session: [session; 32], most, now: 1, until: 9 };
    let uses = || store.uses("g", &[0; 32], 1).unwrap().0;
    let none = store.release("a/b/c", Which::Newest, &take(1, 9));
    assert!(matches!(none, Err(StoreError::NoSecret)) && uses() == 0);
    store.put_version("a/b/c", &Secret::new(b"one".to_vec()), 1).unwrap();
    let none = store.release("a/b/c", Which::Version(2), &take(1, 9));
    assert!(matches!(none, Err(StoreError::NoVersion)) && uses() == 0);
    let (got, taken) = store.release("a/b/c", Which::Newest, &take(1, 1)).unwrap();
    assert_eq!((got.secret.bytes(), taken, uses()), (b"one".as_slice(), Taken::Counted(1), 1));
    let (got, taken) = store.release("a/b/c", Which::Newest, &take(1, 1)).unwrap();
    assert_eq!((got.version, taken, uses()), (1, Taken::Again, 1));
    let refused = store.release("a/b/c", Which::Newest, &take(2, 1));
    assert!(matches!(refused, Err(StoreError::UsedUp { count: 1, most: 1 })), "{refused:?}");
    store.revoke("a/b/c", 1).unwrap();
    let gone = store.release("a/b/c", Which::Newest, &take(3, 9));
    assert!(matches!(gone, Err(StoreError::Revoked)) && uses() == 1);
}
