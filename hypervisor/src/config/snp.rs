//! The `[snp]` table: names as in QEMU and Kata.

use super::ConfigError;
use super::snp_launch::{self as snp, ID_AUTH_SIZE, ID_BLOCK_SIZE, IdBlock, SnpLaunch};
use casemate_attestation::evidence::{GuestCertTable, MAX_GUEST_TABLE};
use casemate_attestation::guest_policy;
use casemate_initdata::Initdata;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// The `[snp]` table as written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawSnp {
    /// Guest policy, the firmware's bits.
    pub policy: Option<u64>,
    /// 32 bytes for the report, hexadecimal.
    pub host_data: Option<String>,
    /// File with the guest's initdata, whose SHA-256 is HOST_DATA.
    pub initdata: Option<PathBuf>,
    /// File with an ID block.
    pub id_block: Option<PathBuf>,
    /// File with its authentication.
    pub id_auth: Option<PathBuf>,
    /// The same in hand, of whoever makes a configuration and not of a file of it; it goes before
    /// the files.
    #[serde(skip)]
    pub id: Option<IdBlock>,
    /// The ID block carries an author key.
    pub author_key_enabled: Option<bool>,
    /// Reports may not be signed by the VCEK.
    pub vcek_disabled: Option<bool>,
    /// VMSA features beyond SNP.
    pub vmsa_features: Option<u64>,
    /// Position of the C-bit.
    pub c_bit: Option<u8>,
    /// The launch digest that it must have, hexadecimal.
    pub expect_digest: Option<String>,
    /// File with the certificate table for extended guest requests.
    pub certs: Option<PathBuf>,
}

impl RawSnp {
    pub(super) fn resolve(&mut self, directory: &Path) {
        let files = [&mut self.initdata, &mut self.id_block, &mut self.id_auth, &mut self.certs];
        for path in files.into_iter().flatten() {
            *path = directory.join(&*path);
        }
    }

    /// Checks every value and reads the ID block.
    ///
    /// # Errors
    /// [`ConfigError`] naming the key, and the bit of a policy.
    pub(super) fn validate(self) -> Result<(SnpLaunch, LaunchPolicy), ConfigError> {
        let policy = check_policy(self.policy.unwrap_or(guest_policy::DEFAULT))?;
        let (host_data, launch_policy) = match (&self.host_data, &self.initdata) {
            (Some(text), None) => (hex("snp.host_data", text)?, None),
            (None, None) => ([0; 32], None),
            (None, Some(path)) => initdata(path)?,
            (Some(_), Some(path)) => {
                let remedy = "HOST_DATA is the SHA-256 of the initdata: leave `snp.host_data` out";
                let path = path.display().to_string();
                return Err(ConfigError::invalid("snp.initdata", path, remedy));
            }
        };
        let expect_digest =
            self.expect_digest.as_deref().map(|text| hex("snp.expect_digest", text)).transpose()?;
        let id = match (self.id_block, self.id_auth) {
            _ if self.id.is_some() => self.id,
            (None, None) => None,
            (Some(block), Some(auth)) => Some(IdBlock {
                block: sized("snp.id_block", &block, ID_BLOCK_SIZE)?,
                auth: sized("snp.id_auth", &auth, ID_AUTH_SIZE)?,
            }),
            (None, _) => {
                return Err(ConfigError::Missing {
                    field: "snp.id_block",
                    remedy: "`snp.id_auth` signs an ID block: name its file",
                });
            }
            (_, None) => {
                return Err(ConfigError::Missing {
                    field: "snp.id_auth",
                    remedy: "an ID block needs its signatures: name their file",
                });
            }
        };
        let author_key_enabled = self.author_key_enabled.unwrap_or(false);
        if author_key_enabled && id.is_none() {
            let remedy = "an author key belongs to an ID block: give `snp.id_block` too";
            return Err(ConfigError::invalid("snp.author_key_enabled", "true", remedy));
        }
        let c_bit = self.c_bit.unwrap_or(snp::C_BIT);
        if !(32..=51).contains(&c_bit) {
            return Err(ConfigError::invalid("snp.c_bit", c_bit, "use 32 to 51; EPYC has 51"));
        }
        let launch = SnpLaunch {
            policy,
            host_data,
            id,
            author_key_enabled,
            vcek_disabled: self.vcek_disabled.unwrap_or(false),
            vmsa_features: check_features(self.vmsa_features.unwrap_or(0))?,
            c_bit,
            expect_digest,
            certs: self.certs.as_deref().map(certs).transpose()?,
            // Until the policy of this run is known.
            page_limits: snp::strict_page_limits(),
        };
        Ok((launch, launch_policy))
    }
}

/// SHA-256 of the launch policy in a guest's initdata, where there is one.
pub type LaunchPolicy = Option<[u8; 32]>;

/// Reads the guest's initdata: HOST_DATA, and the hash of the launch policy in it.
fn initdata(path: &Path) -> Result<([u8; 32], LaunchPolicy), ConfigError> {
    let wrong =
        |remedy: String| ConfigError::invalid("snp.initdata", path.display().to_string(), remedy);
    // As it will be sent, byte for byte: another spelling of the same is another HOST_DATA.
    let bytes = casemate_files::read(path, casemate_initdata::MAX_SIZE as u64);
    let bytes = bytes.map_err(|e| wrong(e.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|_| wrong("it is no UTF-8 text".into()))?;
    let read = Initdata::read(&text).map_err(|e| wrong(e.to_string()))?;
    let policy = read.member(casemate_initdata::POLICY);
    Ok((*read.host_data(), policy.map(|text| casemate_initdata::host_data(text.as_bytes()))))
}

fn check_policy(bits: u64) -> Result<u64, ConfigError> {
    let wrong =
        |remedy: String| Err(ConfigError::invalid("snp.policy", format!("{bits:#x}"), remedy));
    if bits & guest_policy::RESERVED_ONE == 0 {
        return wrong("bit 17 must be set".into());
    }
    if bits & guest_policy::MIGRATE_MA != 0 {
        return wrong("bit 18 (migration agent) is allowed by no KVM".into());
    }
    let unknown = bits & !guest_policy::KNOWN;
    if unknown != 0 {
        return wrong(format!("bit {} has no meaning", unknown.trailing_zeros()));
    }
    Ok(bits)
}

/// VMSA features that KVM can offer: debug swap (5), secure TSC (9).
fn check_features(bits: u64) -> Result<u64, ConfigError> {
    const KNOWN: u64 = 1 << 5 | 1 << 9;
    // Bit 0 is SNP itself: harmless to write, and KVM sets it.
    let unknown = bits & !(KNOWN | 1);
    if unknown != 0 {
        let remedy =
            format!("bit {} is offered by no KVM: use bits 5 and 9", unknown.trailing_zeros());
        return Err(ConfigError::invalid("snp.vmsa_features", format!("{bits:#x}"), remedy));
    }
    Ok(bits & !1)
}

/// `N` bytes in hexadecimal.
///
/// # Errors
/// [`ConfigError::Invalid`] with the right length.
pub fn hex<const N: usize>(field: &'static str, text: &str) -> Result<[u8; N], ConfigError> {
    let wrong = || {
        let value = format!("{} characters long", text.chars().count());
        ConfigError::invalid(
            field,
            value,
            format!("write {N} bytes as {} hexadecimal digits", N * 2),
        )
    };
    let bytes = casemate_attestation::hex::from_people(text).ok_or_else(wrong)?;
    bytes.try_into().map_err(|_| wrong())
}

fn certs(path: &Path) -> Result<GuestCertTable, ConfigError> {
    let wrong =
        |remedy: String| ConfigError::invalid("snp.certs", path.display().to_string(), remedy);
    let bytes = casemate_files::read(path, MAX_GUEST_TABLE as u64);
    let bytes = bytes.map_err(|e| wrong(e.to_string()))?;
    GuestCertTable::new(bytes).map_err(|e| wrong(format!("this is no certificate table: {e}")))
}

/// A structure of the ID block's kind: its bytes, or these in base64 as QEMU takes them.
fn sized(field: &'static str, path: &Path, size: usize) -> Result<Vec<u8>, ConfigError> {
    /// More than the base64 of any of them, with line ends.
    const LIMIT: u64 = 16 * 1024;
    let name = path.display();
    let bytes = casemate_files::read(path, LIMIT)
        .map_err(|e| ConfigError::invalid(field, name.to_string(), e.to_string()))?;
    let bytes = casemate_attestation::idblock::from_file(bytes, size);
    if bytes.len() != size {
        let value = format!("{name} with {} bytes", bytes.len());
        let remedy = format!("the file must have {size}, or these in base64");
        return Err(ConfigError::invalid(field, value, remedy));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_policies_are_refused_with_the_bit_named() {
        assert_eq!(check_policy(guest_policy::DEFAULT), Ok(0x3_0000));
        for (bits, named) in
            [(0x1_0000, "bit 17"), (0x7_0000, "bit 18"), (1 << 40 | 0x3_0000, "bit 40")]
        {
            assert!(check_policy(bits).unwrap_err().to_string().contains(named));
        }
        assert!(check_features(1 << 3).unwrap_err().to_string().contains("bit 3"));
    }

    #[test]
    fn host_data_of_the_wrong_length_is_refused_with_the_right_one() {
        let raw = RawSnp { host_data: Some("abcd".into()), ..RawSnp::default() };
        let error = raw.validate().unwrap_err().to_string();
        assert!(error.contains("snp.host_data") && error.contains("64 hexadecimal"), "{error}");
    }

    /// HOST_DATA is the hash of the file as it is, and what is no initdata is not launched with.
    /// Cannot tell whether the guest gets the text.
    #[test]
    fn host_data_of_an_initdata_is_the_hash_of_its_bytes() {
        let path = std::env::temp_dir().join(format!("casemate-initdata-{}", std::process::id()));
        let with = |text: &str, host_data: Option<String>| {
            std::fs::write(&path, text).unwrap();
            RawSnp { initdata: Some(path.clone()), host_data, ..RawSnp::default() }.validate()
        };
        let good = "version = \"0.1.0\"\nalgorithm = \"sha256\"\n[data]\n";
        let policy = format!("{good}\"policy.toml\" = \"schema_version = 1\\n\"\n");
        let digest = |text: &str| casemate_initdata::host_data(text.as_bytes());
        let (launch, found) = with(good, None).unwrap();
        assert_eq!((launch.host_data, found), (digest(good), None));
        let (launch, found) = with(&policy, None).unwrap();
        let wanted = (digest(&policy), Some(digest("schema_version = 1\n")));
        assert_eq!((launch.host_data, found), wanted);
        for (text, host_data, why) in [
            (good, Some("00".repeat(32)), "leave `snp.host_data` out"),
            ("version = 1", None, "initdata"),
            (&good.replace("sha256", "sha384"), None, "sha384"),
            (&"#".repeat(70_000), None, "64 KiB"),
        ] {
            let error = with(text, host_data).unwrap_err().to_string();
            assert!(error.contains("snp.initdata") && error.contains(why), "{error}");
        }
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn an_id_block_needs_its_signatures_and_the_other_way_round() {
        let raw = RawSnp { id_block: Some("x".into()), ..RawSnp::default() };
        assert!(raw.validate().unwrap_err().to_string().contains("snp.id_auth"));
        let raw = RawSnp { author_key_enabled: Some(true), ..RawSnp::default() };
        assert!(raw.validate().unwrap_err().to_string().contains("author_key_enabled"));
    }
}
