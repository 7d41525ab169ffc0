//! The store as the key broker asks it. What the broker makes of the answers its own tests say.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    reason = "tests"
)]

mod support;

use casemate_broker::stores::{Decided, Secrets, SessionId, Taken, Unavailable};
use casemate_kbs::Resource;
use casemate_store::{LogStore, Secret, Store};
use std::sync::Mutex;
use support::{Power, create};

const GRANT: &str = "acme/db/*";

fn decided<'a>(resource: &'a Resource, session: u8, uses: u64) -> Decided<'a> {
    let session = SessionId([session; 32]);
    Decided { resource, grant: GRANT, session, uses, now: 10, until: 300 }
}

fn uses(store: &LogStore, session: u8) -> u64 {
    Secrets::uses(store, GRANT, SessionId([session; 32]), 10).unwrap()
}

#[test]
fn a_release_is_counted_by_the_number_that_was_decided_on_and_no_other() {
    let store = create(&Power::default());
    let resource = Resource::read("acme/db/password").unwrap();
    assert_eq!(store.take(&decided(&resource, 1, 1)).unwrap(), Taken::NotThere);
    assert_eq!(uses(&store, 1), 1, "what is not there costs no use");
    store.put_version(resource.name(), &Secret::new(b"one".to_vec()), 1).unwrap();
    let secret = |bytes: &[u8], version| Taken::Secret { secret: bytes.to_vec().into(), version };
    assert_eq!(store.take(&decided(&resource, 1, 1)).unwrap(), secret(b"one", 1));
    assert_eq!((uses(&store, 1), uses(&store, 2)), (1, 2));
    // Another session came between question and count.
    assert_eq!(store.take(&decided(&resource, 2, 1)).unwrap(), Taken::Moved);
    assert_eq!(uses(&store, 2), 2, "nothing was counted");
    assert_eq!(store.take(&decided(&resource, 2, 2)).unwrap(), secret(b"one", 1));
    // The same session again, with the number that it is told now.
    assert_eq!(store.take(&decided(&resource, 1, uses(&store, 1))).unwrap(), secret(b"one", 1));
    assert_eq!(uses(&store, 3), 3);
    store.put_version(resource.name(), &Secret::new(b"two".to_vec()), 2).unwrap();
    assert_eq!(store.take(&decided(&resource, 3, 3)).unwrap(), secret(b"two", 2));
    store.revoke(resource.name(), 2).unwrap();
    assert_eq!(store.take(&decided(&resource, 3, 3)).unwrap(), secret(b"one", 1));
    store.revoke(resource.name(), 1).unwrap();
    assert_eq!(store.take(&decided(&resource, 3, 3)).unwrap(), Taken::NotThere);
}

/// Decided at once by many, as the broker does it: asked anew while the number moves.
#[test]
fn many_that_decide_at_once_each_count_one_number() {
    let store = create(&Power::default());
    let resource = Resource::read("acme/db/password").unwrap();
    store.put_version(resource.name(), &Secret::new(vec![1]), 1).unwrap();
    let numbers = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for session in 0..100u8 {
            let (store, resource, numbers) = (&store, &resource, &numbers);
            scope.spawn(move || {
                loop {
                    let number = uses(store, session);
                    match store.take(&decided(resource, session, number)).unwrap() {
                        Taken::Secret { .. } => return numbers.lock().unwrap().push(number),
                        Taken::Moved => {}
                        Taken::NotThere => panic!("it is there"),
                    }
                }
            });
        }
    });
    let mut numbers = numbers.into_inner().unwrap();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=100).collect::<Vec<u64>>());
}

#[test]
fn a_store_that_failed_gives_the_broker_no_answer() {
    let disk = Power::default();
    let store = create(&disk);
    let resource = Resource::read("acme/db/password").unwrap();
    store.put_version(resource.name(), &Secret::new(vec![1]), 1).unwrap();
    disk.fail_after(Some(0));
    let refused = store.take(&decided(&resource, 1, 1));
    assert!(matches!(refused, Err(Unavailable::Failed(_))), "{refused:?}");
    let refused = Secrets::uses(&store, GRANT, SessionId([1; 32]), 10);
    assert!(matches!(refused, Err(Unavailable::Failed(_))), "{refused:?}");
}
