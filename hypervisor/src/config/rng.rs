//! The source of random numbers: `[rng]`, and its flag.

use super::{ConfigError, Protection};
use casemate_foreign_text::value;
use serde::Deserialize;

/// The `[rng]` table as written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawRng {
    /// Whether a confidential guest may make its keys of numbers that the host knows.
    #[serde(default)]
    pub trust_host: bool,
}

impl RawRng {
    /// The device of a flag: nothing behind its name, or `trust-host`.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`].
    pub fn from_flag(flag: &str) -> Result<Self, ConfigError> {
        match flag {
            "" => Ok(Self { trust_host: false }),
            "trust-host" => Ok(Self { trust_host: true }),
            other => {
                let written = format!("\"{}\"", value(other).at_most(64));
                Err(ConfigError::invalid("rng", written, "write --rng, or --rng=trust-host"))
            }
        }
    }

    /// Whether there is one. Linux credits what it reads there as numbers that nobody knows, and
    /// mixes them into its keys' first seed, so a confidential guest that has this device by
    /// accident has it for the worse: RDRAND alone was its processor's.
    pub(super) fn check(self, protection: Protection) -> Result<bool, ConfigError> {
        match protection {
            Protection::SevSnp if !self.trust_host => {
                let remedy = "the host would know the random numbers of a confidential guest, which \
                              has its processor's: leave [rng] out, or write `trust_host = true` \
                              there";
                Err(ConfigError::invalid("rng", "given with protection = \"sev-snp\"", remedy))
            }
            Protection::SevSnp | Protection::None => Ok(true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Protection, RawConfig};
    use super::RawRng;

    #[test]
    fn flag_says_what_the_table_says() {
        let table = |text| toml::from_str::<RawRng>(text).unwrap();
        assert_eq!(RawRng::from_flag("").unwrap(), table(""));
        assert_eq!(RawRng::from_flag("trust-host").unwrap(), table("trust_host = true"));
        for wrong in ["trust_host", "yes", "trust-host,x"] {
            let error = RawRng::from_flag(wrong).unwrap_err().to_string();
            assert!(error.starts_with("`rng` is"), "{wrong}: {error}");
        }
    }

    /// Protects a confidential guest's keys from a device that looks harmless.
    #[test]
    fn a_confidential_guest_has_the_hosts_random_numbers_only_where_it_is_written() {
        let checked = |protection: &str, rng: &str| {
            let text = format!("kernel = \"k\"\nprotection = \"{protection}\"\n{rng}");
            RawConfig::from_toml(&text, "vm.toml").unwrap().validate()
        };
        assert!(!checked("none", "").unwrap().rng);
        assert!(checked("none", "[rng]").unwrap().rng);
        assert!(checked("sev-snp", "[rng]\ntrust_host = true").unwrap().rng);
        for rng in ["[rng]", "[rng]\ntrust_host = false"] {
            let error = checked("sev-snp", rng).unwrap_err().to_string();
            assert!(error.contains("`rng` is given") && error.contains("trust_host"), "{error}");
        }
        let unknown = "kernel = \"k\"\n[rng]\nquality = 1";
        assert!(RawConfig::from_toml(unknown, "vm.toml").is_err());
        assert_eq!(RawRng::default().check(Protection::None), Ok(true));
    }
}
