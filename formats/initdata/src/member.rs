//! The member `casemate.toml`: what Casemate's own PID 1 takes from whoever launches the guest,
//! where its image leaves that open.

use crate::InitdataError;
use serde::Deserialize;
use std::collections::BTreeMap;

/// What the member says.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Casemate {
    /// The key broker.
    pub broker: Option<BrokerKeys>,
    /// Of a pod: what the names of its secrets are at the broker. An image names its own.
    #[serde(default)]
    pub secrets: BTreeMap<String, String>,
}

/// A key broker, by the hashes of its public keys.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BrokerKeys {
    /// SHA-256 of each, in hexadecimal. That they are is found by who uses them.
    pub keys: Vec<String>,
}

impl Casemate {
    /// Reads the member.
    ///
    /// # Errors
    /// [`InitdataError::Toml`].
    pub fn read(text: &str) -> Result<Self, InitdataError> {
        let shown = |error: toml::de::Error| {
            let why = casemate_foreign_text::value(error.message());
            InitdataError::Toml(format!("casemate.toml: {why}"))
        };
        toml::from_str(text).map_err(shown)
    }

    /// The member that names these keys. They are hexadecimal digits: nothing is escaped.
    #[must_use]
    pub fn of_broker(keys: &[String]) -> String {
        let keys: Vec<String> = keys.iter().map(|key| format!("\"{key}\"")).collect();
        format!("[broker]\nkeys = [{}]\n", keys.join(", "))
    }

    /// The member of a pod: these keys, and what the names of secrets are there. Empty without
    /// keys. Names have letters, digits, `-`, `_`, `.` and `/`: nothing is escaped.
    #[must_use]
    pub fn of_pod(keys: &[String], secrets: &BTreeMap<String, String>) -> String {
        if keys.is_empty() {
            return String::new();
        }
        let line = |(name, resource)| format!("\"{name}\" = \"{resource}\"\n");
        let lines: String = secrets.iter().map(line).collect();
        format!("{}\n[secrets]\n{lines}", Self::of_broker(keys))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_is_read_back_and_what_is_not_known_is_refused() {
        let keys = vec!["ab".repeat(32), "cd".repeat(32)];
        let read = Casemate::read(&Casemate::of_broker(&keys)).unwrap();
        assert_eq!(read.broker.unwrap().keys, keys);
        let secrets = BTreeMap::from([("db.key".to_owned(), "acme/db/key".to_owned())]);
        let read = Casemate::read(&Casemate::of_pod(&keys, &secrets)).unwrap();
        assert_eq!((read.broker.unwrap().keys, read.secrets), (keys, secrets));
        assert_eq!(Casemate::of_pod(&[], &BTreeMap::new()), "");
        assert_eq!(Casemate::read("").unwrap(), Casemate::default());
        for bad in ["[broker]", "[broker]\nkeys = 1", "[broker]\nkeys = []\nname = \"a\"", "x = 1"]
        {
            let error = Casemate::read(bad).unwrap_err().to_string();
            assert!(error.contains("casemate.toml"), "{bad}: {error}");
        }
    }
}
