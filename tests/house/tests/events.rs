//! Where events are made. Protects: that what a locked process runs has no log of its own, and that
//! nobody goes round the crate that lets nothing raw into an event. Cannot tell: what a message
//! says, nor whether an event is worth its line.
#![allow(clippy::unwrap_used, reason = "tests")]

use casemate_house::imports::{self, Named};
use casemate_house::source::{Crate, crates};
use std::path::Path;

const EVENTS: &str = "casemate_diagnostics";

fn house() -> Vec<Crate> {
    crates(Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap()).unwrap()
}

#[test]
fn what_a_locked_process_runs_tells_events_only_by_its_messages() {
    // `vm::handover` is both sides'.
    let locked = ["bus", "devices", "event", "exits", "kvm", "memory"].map(|module| vec![module]);
    let own = ["engine", "image", "profile", "protocol", "vmm"].map(|module| vec!["vm", module]);
    let recorder = ["message", "process", "tally"].map(|module| vec!["vm", "recorder", module]);
    let locked: Vec<_> = locked.into_iter().chain(own).chain(recorder).collect();
    let house = house();
    let hypervisor = house.iter().find(|c| c.folder == "hypervisor").unwrap();
    let (mut looked_at, mut elsewhere) = (0, 0);
    for file in &hypervisor.files {
        let tells = imports::of(file).iter().any(|named| named.other.as_deref() == Some(EVENTS));
        if locked.iter().any(|module| {
            file.module.iter().map(String::as_str).take(module.len()).eq(module.iter().copied())
        }) {
            looked_at += 1;
            assert!(!tells, "{} tells events, and runs in a locked process", file.path.display());
        } else {
            elsewhere += usize::from(tells);
        }
    }
    assert!(looked_at > 40 && elsewhere > 3, "{looked_at} files, {elsewhere} with events");
    // Whole crates: the lock, what runs in a guest, the programs of locked processes.
    let is_locked = |folder: &str| {
        ["sandbox", "guest/", "images/", "devices/"].iter().any(|begin| folder.starts_with(begin))
    };
    let rooms: Vec<_> = house.iter().filter(|room| is_locked(&room.folder)).collect();
    assert!(rooms.len() > 8, "{} crates", rooms.len());
    for room in rooms {
        let tells = room.dependencies.iter().any(|name| name == "casemate-diagnostics");
        assert!(!tells, "{} tells events", room.folder);
    }
}

#[test]
fn events_are_made_by_the_crate_that_lets_nothing_raw_into_them() {
    for room in house() {
        if room.folder == "diagnostics" {
            continue;
        }
        for file in &room.files {
            for Named { other, path } in imports::of(file) {
                let raw = other.as_deref() == Some("tracing")
                    || other.as_deref() == Some(EVENTS) && path.iter().any(|p| p == "__private");
                assert!(!raw, "{} makes events of its own", file.path.display());
            }
        }
    }
}
