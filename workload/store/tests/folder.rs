//! The folder of a store is the broker's own, and one process has it. Cannot tell what root does.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    reason = "tests"
)]

mod support;

use casemate_store::{Folder, LogStore, Store, StoreError};
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use support::{Place, kek};

fn create(place: &Place) -> LogStore {
    LogStore::create(Box::new(Folder::create(&place.0).unwrap()), kek()).unwrap()
}

#[test]
fn a_store_is_its_owners_alone_whatever_the_umask_lets_through() {
    let place = Place::new("modes");
    drop(create(&place));
    assert_eq!(fs::metadata(&place.0).unwrap().mode() & 0o777, 0o700);
    for name in ["a", "b", "lock"] {
        let mode = fs::metadata(place.0.join(name)).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    for name in ["", "a", "b", "lock"] {
        let path = place.0.join(name);
        let before = fs::metadata(&path).unwrap().permissions();
        for bit in [0o040, 0o004, 0o020, 0o002] {
            fs::set_permissions(&path, Permissions::from_mode(before.mode() | bit)).unwrap();
            let found = Folder::open(&place.0);
            assert!(matches!(found, Err(StoreError::Place { .. })), "{name} {bit:o}: {found:?}");
        }
        fs::set_permissions(&path, before).unwrap();
    }
    Folder::open(&place.0).unwrap();
}

#[test]
fn one_process_has_a_store_until_it_lets_go() {
    let place = Place::new("lock");
    let store = create(&place);
    assert!(matches!(Folder::open(&place.0), Err(StoreError::Busy { .. })));
    assert!(matches!(Folder::create(&place.0), Err(StoreError::Busy { .. })));
    drop(store);
    let (store, _) = LogStore::open(Box::new(Folder::open(&place.0).unwrap()), kek()).unwrap();
    assert!(store.list().unwrap().is_empty());
}

#[test]
fn links_pipes_and_second_names_are_no_files_of_a_store() {
    for bad in ["link", "second name", "pipe", "folder"] {
        let place = Place::new("links");
        drop(create(&place));
        let (file, elsewhere) = (place.0.join("b"), place.0.join("elsewhere"));
        fs::rename(&file, &elsewhere).unwrap();
        match bad {
            "link" => symlink(&elsewhere, &file).unwrap(),
            "second name" => fs::hard_link(&elsewhere, &file).unwrap(),
            "folder" => {
                fs::create_dir(&file).unwrap();
                fs::set_permissions(&file, Permissions::from_mode(0o700)).unwrap();
            }
            _ => {
                use rustix::fs::{CWD, FileType, Mode, mknodat};
                mknodat(CWD, &file, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
            }
        }
        let found = Folder::open(&place.0);
        assert!(found.is_err(), "{bad}");
    }
    let place = Place::new("nowhere");
    assert!(matches!(Folder::open(&place.0), Err(StoreError::Missing)));
    fs::create_dir(&place.0).unwrap();
    fs::set_permissions(&place.0, Permissions::from_mode(0o700)).unwrap();
    assert!(matches!(Folder::open(&place.0), Err(StoreError::Missing)));
}

#[test]
fn a_file_beyond_the_bound_is_not_read() {
    let place = Place::new("bound");
    drop(create(&place));
    let file = fs::File::options().write(true).open(place.0.join("b")).unwrap();
    file.set_len(1 << 40).unwrap();
    let found = LogStore::open(Box::new(Folder::open(&place.0).unwrap()), kek());
    let error = found.unwrap_err().to_string();
    assert!(error.contains("file b cannot be read"), "{error}");
}
