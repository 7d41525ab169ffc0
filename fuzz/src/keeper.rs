//! Bodies for what a key broker's keeper and its owner's commands read beside requests: the
//! configuration, what an owner asks and is answered, the plan of a start, certificates in PEM.
//!
//! Oracles: no panic; memory within a multiple of what came; what is read is written as it came,
//! where there is one way to write it; a refusal is one plain line.

use casemate_keeper::owner::{Ask, Said};
use casemate_keeper::{Config, Identity, Plan, Word};
use std::path::Path;

/// What reading may take beside a multiple of what came.
const ROOM: u64 = 64 * 1024;

/// A configuration: wholly checked, or refused with a line that begins with its file's name.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    crate::bounded(ROOM + 256 * data.len() as u64, || {
        match Config::load(text, "a.toml", Path::new("/srv")) {
            Ok(config) => {
                assert!(!config.listen.is_empty());
                assert!(config.limits.connections_per_address <= config.limits.connections);
                assert!(config.kek.starts_with("/"), "{:?}", config.kek);
            }
            Err(error) => {
                let line = error.to_string();
                assert!(line.starts_with("a.toml: "), "{line}");
                assert!(line.chars().all(casemate_foreign_text::is_plain), "{line:?}");
            }
        }
    });
}

/// The first byte says who speaks.
pub fn owner(data: &[u8]) {
    let Some((&which, bytes)) = data.split_first() else { return };
    crate::bounded(ROOM + 8 * data.len() as u64, || match which % 3 {
        0 => {
            if let Some(ask) = Ask::decode(bytes) {
                // No name is every name, and no version the newest: said in one way each.
                assert_eq!(&ask.encode()[4..], bytes);
            }
        }
        1 => {
            if let Some(said) = Said::decode(bytes) {
                // A reason is cut where it is too long.
                assert!(said.encode().len() <= bytes.len() + 4);
                assert!(Said::decode(&said.encode()[4..]).is_some());
            }
        }
        _ => {
            if let Some(word) = Word::decode(bytes) {
                assert!(word.encode().len() <= bytes.len());
            }
        }
    });
}

/// The plan of a start: written as it was read.
pub fn plan(data: &[u8]) {
    if let Some(plan) = Plan::decode(data) {
        assert_eq!(Plan::decode(&plan.encode()), Some(plan));
    }
}

/// Key and certificates in PEM: the key is that of the first certificate.
pub fn identity(data: &[u8]) {
    crate::bounded(ROOM + 8 * data.len() as u64, || {
        if let Ok(identity) = Identity::from_pem(data) {
            let own = &identity.chain[0];
            assert!(own.windows(identity.spki.len()).any(|part| *part == *identity.spki));
            assert_eq!(identity.pin(), casemate_keeper::pin(&identity.spki));
        }
    });
}
