//! Initdata of Confidential Containers: texts that a host hands to a guest, and whose hash it puts
//! into HOST_DATA when it launches the guest, so that every report of the guest proves them.
//!
//! A TOML document of three keys: `version`, `algorithm` and a table `data`, whose members are
//! named texts. HOST_DATA is the SHA-256 of **the document as it was sent**, not of what it says:
//! two spellings of the same members are two documents.
//!
//! Nothing in it is secret, and the host chooses it. What proves that it is the right one is the
//! measurement's owner, who compares HOST_DATA.
#![forbid(unsafe_code)]

use ring::digest::{SHA256, digest};
use serde::Deserialize;
use std::collections::BTreeMap;

mod disk;
mod member;
mod write;

pub use disk::{MAX_DISK, from_disk, to_disk};
pub use member::{BrokerKeys, Casemate};
pub use write::document;

/// The version of the document. Another one is refused.
pub const VERSION: &str = "0.1.0";
/// The only algorithm that is taken. HOST_DATA has 32 bytes; others of the document's algorithms
/// would be cut off or filled up to fit.
pub const ALGORITHM: &str = "sha256";
/// The member that holds the launch policy.
pub const POLICY: &str = "policy.toml";
/// The member that holds what Casemate's own PID 1 reads.
pub const CASEMATE: &str = "casemate.toml";
/// Longest document, in bytes. Of one that is to be sent to a key broker less fits: beside
/// evidence, and as a text of JSON, some 40 KiB.
pub const MAX_SIZE: usize = 64 * 1024;
/// Most members.
pub const MAX_MEMBERS: usize = 64;
/// Longest name of a member, in bytes: that of a file.
pub const MAX_NAME: usize = 255;

/// Why a document is no initdata, or not the one that was launched with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InitdataError {
    /// Another text than the one whose hash is in HOST_DATA.
    #[error("initdata is not what the guest was launched with: its SHA-256 is not HOST_DATA")]
    NotLaunched,
    /// Longer than [`MAX_SIZE`].
    #[error("initdata of {0} bytes, more than {MAX_SIZE}")]
    TooLong(usize),
    /// Not TOML, or with another key or type of value; by what the reader says.
    #[error("initdata: {0}")]
    Toml(String),
    /// Another version.
    #[error("initdata of version {0}, and only {VERSION} is read")]
    Version(String),
    /// Another algorithm.
    #[error("initdata of algorithm {0}, and only {ALGORITHM} fills HOST_DATA")]
    Algorithm(String),
    /// A member that cannot be one.
    #[error("initdata: {0}")]
    Member(&'static str),
}

/// A document, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Initdata {
    members: BTreeMap<String, String>,
    host_data: [u8; 32],
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    version: String,
    algorithm: String,
    data: BTreeMap<String, String>,
}

/// The HOST_DATA of a document: SHA-256 of its bytes.
#[must_use]
pub fn host_data(document: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, document).as_ref());
    out
}

impl Initdata {
    /// Reads the document that a guest was launched with: `launched` is HOST_DATA of its report.
    /// The hash is compared first, so that nothing of another document is even parsed.
    ///
    /// # Errors
    /// [`InitdataError`].
    pub fn proven(document: &str, launched: &[u8; 32]) -> Result<Self, InitdataError> {
        if document.len() > MAX_SIZE {
            return Err(InitdataError::TooLong(document.len()));
        }
        if host_data(document.as_bytes()) != *launched {
            return Err(InitdataError::NotLaunched);
        }
        Self::read(document)
    }

    /// Reads a document of which nothing is proven: for whoever is to launch with it.
    ///
    /// # Errors
    /// [`InitdataError`].
    pub fn read(document: &str) -> Result<Self, InitdataError> {
        if document.len() > MAX_SIZE {
            return Err(InitdataError::TooLong(document.len()));
        }
        let shown = |text: &str| casemate_foreign_text::value(text).to_string();
        let Wire { version, algorithm, data: members } = toml::from_str(document)
            .map_err(|error: toml::de::Error| InitdataError::Toml(shown(error.message())))?;
        if version != VERSION {
            return Err(InitdataError::Version(shown(&version)));
        }
        if algorithm != ALGORITHM {
            return Err(InitdataError::Algorithm(shown(&algorithm)));
        }
        if members.len() > MAX_MEMBERS {
            return Err(InitdataError::Member("more than 64 members"));
        }
        if members.keys().any(|name| name.is_empty() || name.len() > MAX_NAME) {
            return Err(InitdataError::Member("a name of a member has 1 to 255 bytes"));
        }
        Ok(Self { members, host_data: host_data(document.as_bytes()) })
    }

    /// A member's text.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<&str> {
        self.members.get(name).map(String::as_str)
    }

    /// Every member, by name.
    pub fn members(&self) -> impl Iterator<Item = (&str, &str)> {
        self.members.iter().map(|(name, text)| (name.as_str(), text.as_str()))
    }

    /// SHA-256 of the document as it was read.
    #[must_use]
    pub const fn host_data(&self) -> &[u8; 32] {
        &self.host_data
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GOOD: &str = "version = \"0.1.0\"\nalgorithm = \"sha256\"\n[data]\n\
                        \"policy.toml\" = '''\nmin = 1\n'''\n\"a\" = \"\"\n";

    #[test]
    fn what_the_guest_was_launched_with_is_read_and_nothing_else() {
        // `printf '…' | sha256sum` of the document above.
        let launched = "f3f5755185785226921262ecf3f042aef4cbcad66408dacf547864dabe414fcd";
        let hex: String = host_data(GOOD.as_bytes()).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, launched);
        let read = Initdata::proven(GOOD, &host_data(GOOD.as_bytes())).unwrap();
        assert_eq!(read.member(POLICY), Some("min = 1\n"));
        assert_eq!(read.member("a"), Some(""));
        assert_eq!(read.member(CASEMATE), None);
        assert_eq!(read.members().count(), 2);
        // Another spelling of the same members is another document.
        let spelt = GOOD.replace("\" = ", "\"=");
        assert_eq!(Initdata::read(&spelt).unwrap().members, read.members);
        let other = Initdata::proven(&spelt, &host_data(GOOD.as_bytes()));
        assert_eq!(other, Err(InitdataError::NotLaunched));
        // What is not TOML is not looked at, either.
        let other = Initdata::proven("[", &host_data(GOOD.as_bytes()));
        assert_eq!(other, Err(InitdataError::NotLaunched));
    }

    #[test]
    fn another_version_algorithm_key_or_value_is_refused_by_its_name() {
        let refused = |from: &str, to: &str| {
            assert!(GOOD.contains(from), "{from}");
            Initdata::read(&GOOD.replacen(from, to, 1)).unwrap_err().to_string()
        };
        assert!(refused("0.1.0", "0.2.0").contains("0.2.0"));
        // As the document of Confidential Containers spells it, which its own reader refuses.
        assert!(refused("sha256", "sha-256").contains("sha-256"));
        assert!(refused("sha256", "sha384").contains("sha384"));
        assert!(refused("[data]", "more = 1\n[data]").contains("more"));
        assert!(refused("\"a\" = \"\"", "\"a\" = 1").contains("string"));
        assert!(refused("\"a\" = \"\"", "\"policy.toml\" = \"\"").contains("duplicate"));
        assert!(refused("\"a\"", "\"\"").contains("255"));
        assert!(Initdata::read("").is_err());
        assert!(matches!(
            Initdata::read(&"#".repeat(MAX_SIZE + 1)),
            Err(InitdataError::TooLong(_))
        ));
        let many: String = (0..=MAX_MEMBERS).map(|n| format!("m{n} = \"\"\n")).collect();
        assert!(Initdata::read(&format!("{GOOD}{many}")).is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            members in proptest::collection::btree_map(
                ".{1,20}",
                "(.|\r|\n|'''|\"\"\"|\\\\){0,60}",
                0..6,
            ),
        ) {
            let all = members.iter().map(|(name, text)| (name.as_str(), text.as_str()));
            let text = document(all.clone()).unwrap();
            let read = Initdata::read(&text).unwrap();
            prop_assert_eq!(&read.members, &members);
            prop_assert_eq!(document(all).unwrap(), text);
        }

        #[test]
        fn no_text_makes_the_reader_do_more_than_refuse(text in "\\PC{0,200}") {
            let _ = Initdata::read(&text);
        }
    }
}
