//! One chip: its TCB, its endorsement keys with their certificates, and the reports it signs.

use super::message::put;
use super::random::random;
use super::root::{ModelRoot, Signer};
use super::x509::{Template, p384_spki, vek_extensions};
use super::{GuestState, ModelError, Status};
use crate::cert::Role;
use crate::evidence::{VCEK_GUID, VLEK_GUID, encode_table};
use crate::hex::{Hex, decode, encode};
use crate::report::{FirmwareVersion, Generation, REPORT_SIZE, SIGNED_SIZE, Tcb};
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde::{Deserialize, Serialize};

/// What the make-believe platform reports about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "named as the fields of a report")]
pub struct Config {
    pub generation: Generation,
    /// Version of the reports, 2 to 5.
    pub report_version: u32,
    pub cpuid: [u8; 3],
    pub chip_id: Hex<64>,
    pub mask_chip_id: bool,
    pub platform_info: u64,
    pub current_tcb: Tcb,
    pub committed_tcb: Tcb,
    pub reported_tcb: Tcb,
    pub current_version: FirmwareVersion,
    pub committed_version: FirmwareVersion,
    /// Mitigations in force, one bit for each (CURRENT_MIT_VECTOR).
    pub mitigations: u64,
    /// Provider of the VLEK; none means no VLEK is loaded.
    pub csp_id: Option<String>,
}

impl Config {
    /// A sane platform of this generation with a random chip identifier.
    ///
    /// # Errors
    /// [`ModelError::Random`].
    pub fn new(generation: Generation) -> Result<Self, ModelError> {
        // Values that processors of these generations show; the boot loader's, TEE's and so on are
        // in the generation's order.
        let (cpuid, tcb) = match generation {
            Generation::Milan => ([0x19, 0x01, 0x01], [4, 0, 0, 0, 0, 0, 0x1c, 0xde]),
            Generation::Genoa => ([0x19, 0x11, 0x01], [0x0a, 0, 0, 0, 0, 0, 0x19, 0x54]),
            Generation::Turin => ([0x1a, 0x02, 0x01], [1, 1, 1, 4, 0, 0, 0, 0x51]),
            Generation::Venice => ([0x1a, 0x50, 0x00], [1, 0, 1, 4, 0, 0, 0, 0]),
        };
        let mut chip_id: [u8; 64] = random()?;
        // What is behind the identifier is zero in a report of Turin.
        for byte in chip_id.iter_mut().skip(generation.hwid_length()) {
            *byte = 0;
        }
        Ok(Self {
            generation,
            report_version: 5,
            cpuid,
            chip_id: Hex(chip_id),
            mask_chip_id: false,
            // SMT, ECC, and no aliased memory since the last reset.
            platform_info: 0x25,
            current_tcb: Tcb(tcb),
            committed_tcb: Tcb(tcb),
            reported_tcb: Tcb(tcb),
            current_version: FirmwareVersion { major: 1, minor: 58, build: 1 },
            committed_version: FirmwareVersion { major: 1, minor: 58, build: 1 },
            mitigations: 0xf,
            csp_id: None,
        })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    model_processor: u32,
    config: Config,
    vcek: StoredKey,
    vlek: Option<StoredKey>,
    derivation: Hex<32>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredKey {
    pkcs8: String,
    certificate: String,
}

struct Vek {
    pair: EcdsaKeyPair,
    certificate: Vec<u8>,
    stored: StoredKey,
}

impl Vek {
    /// Writes this key's signature into a report: R, then S, each little-endian in 72 bytes (AMD
    /// 56860, ECDSA P-384 signature). `None` without randomness.
    fn sign(&self, report: &mut [u8; REPORT_SIZE]) -> Option<()> {
        let message = report.get(..SIGNED_SIZE)?.to_vec();
        let signature = self.pair.sign(&SystemRandom::new(), &message).ok()?;
        // ring's fixed encoding is big-endian, 48 bytes a number.
        let (r, s) = signature.as_ref().split_at_checked(48)?;
        for (offset, number) in [(0x2A0, r), (0x2E8, s)] {
            let mut little: Vec<u8> = number.iter().rev().copied().collect();
            // What an earlier signature left in the upper 24 bytes goes too.
            little.resize(72, 0);
            put(report, offset, &little);
        }
        Some(())
    }
}

/// A chip of the MODEL.
pub struct Processor {
    config: Config,
    vcek: Vek,
    vlek: Option<Vek>,
    derivation_bytes: [u8; 32],
    derivation: hmac::Key,
}

impl std::fmt::Debug for Processor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Processor").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Processor {
    /// Makes a chip with new keys, certified by `root` for the reported TCB.
    ///
    /// # Errors
    /// [`ModelError`] when the system gives no random numbers, or root and chip are of two
    /// generations.
    pub fn new(root: &ModelRoot, config: Config) -> Result<Self, ModelError> {
        // The issuer's generation decides the shape of the extensions, so a chip of another could
        // have no certificate that verifies.
        if root.generation() != config.generation {
            return Err(ModelError::State("root and chip are of two generations".to_owned()));
        }
        let vcek = new_key(root, &config, None)?;
        let vlek =
            config.csp_id.clone().map(|csp| new_key(root, &config, Some(&csp))).transpose()?;
        Self::assemble(config, vcek, vlek, random()?)
    }

    fn assemble(
        config: Config,
        vcek: StoredKey,
        vlek: Option<StoredKey>,
        derivation: [u8; 32],
    ) -> Result<Self, ModelError> {
        Ok(Self {
            config,
            vcek: load(vcek)?,
            vlek: vlek.map(load).transpose()?,
            derivation_bytes: derivation,
            derivation: hmac::Key::new(hmac::HMAC_SHA256, &derivation),
        })
    }

    /// The stored form: configuration, private keys, certificates.
    ///
    /// # Errors
    /// [`ModelError::State`] when it cannot be written as JSON.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ModelError> {
        let stored = Stored {
            model_processor: 1,
            config: self.config.clone(),
            vcek: self.vcek.stored.clone(),
            vlek: self.vlek.as_ref().map(|vlek| vlek.stored.clone()),
            derivation: Hex(self.derivation_bytes),
        };
        serde_json::to_vec_pretty(&stored).map_err(|error| ModelError::State(error.to_string()))
    }

    /// Reads the stored form, as [`Processor::to_bytes`] writes it.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ModelError> {
        let stored: Stored =
            serde_json::from_slice(bytes).map_err(|error| ModelError::State(error.to_string()))?;
        Self::assemble(stored.config, stored.vcek, stored.vlek, stored.derivation.0)
    }

    /// What the platform reports about itself.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// DER of the VCEK certificate.
    #[must_use]
    pub fn vcek(&self) -> &[u8] {
        &self.vcek.certificate
    }

    /// DER of the VLEK certificate, when one is loaded.
    #[must_use]
    pub fn vlek(&self) -> Option<&[u8]> {
        self.vlek.as_ref().map(|vlek| vlek.certificate.as_slice())
    }

    /// The certificate table that a host hands to guests: VCEK and, where one is loaded, VLEK.
    #[must_use]
    pub fn cert_table(&self) -> Vec<u8> {
        let mut entries = vec![(VCEK_GUID, self.vcek())];
        entries.extend(self.vlek().map(|vlek| (VLEK_GUID, vlek)));
        // Two certificates of a few kilobytes break no rule.
        encode_table(&entries).unwrap_or_default()
    }

    pub(super) fn derivation_key(&self) -> &hmac::Key {
        &self.derivation
    }

    /// A report for this guest. `vmpl` is `u32::MAX` when the host asks.
    ///
    /// # Errors
    /// [`Status::InvalidKey`] when the key is not loaded or disabled, [`Status::InvalidParam`] for
    /// an undefined `key_select` (0: VLEK if loaded, else VCEK; 1: VCEK; 2: VLEK).
    pub fn report(
        &self,
        guest: &GuestState,
        report_data: [u8; 64],
        vmpl: u32,
        key_select: u32,
    ) -> Result<[u8; REPORT_SIZE], Status> {
        // KEY_SEL of the request: 0 prefers the VLEK, 1 and 2 name one. A guest launched without
        // the VCEK gets a report under a VLEK or none.
        let (vek, is_vlek) = match (key_select, &self.vlek) {
            (0 | 2, Some(vlek)) => (vlek, true),
            (0 | 1, _) if guest.vcek_disabled => return Err(Status::InvalidKey),
            (0 | 1, _) => (&self.vcek, false),
            (2, None) => return Err(Status::InvalidKey),
            _ => return Err(Status::InvalidParam),
        };
        // AUTHOR_KEY_EN in bit 0, SIGNING_KEY in bits 4:2 (0 VCEK, 1 VLEK).
        let flags = u32::from(guest.author_key_digest.is_some()) | if is_vlek { 1 << 2 } else { 0 };
        let mut report = self.unsigned(guest, report_data, vmpl, flags);
        vek.sign(&mut report).ok_or(Status::ResourceLimit)?;
        Ok(report)
    }

    fn unsigned(
        &self,
        guest: &GuestState,
        report_data: [u8; 64],
        vmpl: u32,
        flags: u32,
    ) -> [u8; REPORT_SIZE] {
        let c = &self.config;
        let firmware = |v: FirmwareVersion| [v.build, v.minor, v.major];
        let chip_id = if c.mask_chip_id { [0; 64] } else { c.chip_id.0 };
        let author = guest.author_key_digest.unwrap_or([0; 48]);
        // Versions tell from which one on a field has a meaning; before that its bytes are
        // reserved, and zero.
        let cpuid: &[u8] = if c.report_version >= 3 { &c.cpuid } else { &[] };
        let since_5 = |value: u64| if c.report_version >= 5 { value } else { 0 };
        let parts: [(usize, &[u8]); 26] = [
            (0x00, &c.report_version.to_le_bytes()),
            (0x04, &guest.guest_svn.to_le_bytes()),
            (0x08, &guest.policy.to_le_bytes()),
            (0x10, &guest.family_id),
            (0x20, &guest.image_id),
            (0x30, &vmpl.to_le_bytes()),
            (0x34, &1u32.to_le_bytes()),
            (0x38, &c.current_tcb.0),
            (0x40, &c.platform_info.to_le_bytes()),
            (0x48, &flags.to_le_bytes()),
            (0x50, &report_data),
            (0x90, &guest.measurement),
            (0xC0, &guest.host_data),
            (0xE0, &guest.id_key_digest),
            (0x110, &author),
            (0x140, &guest.report_id),
            // REPORT_ID_MA without a migration agent is all ones.
            (0x160, &[0xff; 32]),
            (0x180, &c.reported_tcb.0),
            (0x188, cpuid),
            (0x1A0, &chip_id),
            (0x1E0, &c.committed_tcb.0),
            (0x1E8, &firmware(c.current_version)),
            (0x1EC, &firmware(c.committed_version)),
            (0x1F0, &guest.launch_tcb.0),
            (0x1F8, &since_5(guest.launch_mitigations).to_le_bytes()),
            (0x200, &since_5(c.mitigations).to_le_bytes()),
        ];
        let mut report = [0; REPORT_SIZE];
        for (offset, bytes) in parts {
            put(&mut report, offset, bytes);
        }
        report
    }

    /// Signs any 672 bytes as a report with the VCEK: what a forger with the key could do. For
    /// tests.
    ///
    /// # Errors
    /// [`ModelError::Random`].
    pub fn sign_forged(&self, report: &mut [u8; REPORT_SIZE]) -> Result<(), ModelError> {
        self.vcek.sign(report).ok_or(ModelError::Random)
    }

    /// The VCEK certificate before it is signed; tests alter and sign it with the root.
    #[must_use]
    pub fn vcek_template(&self) -> Template {
        vek_template(&self.config, self.vcek.pair.public_key().as_ref(), None)
    }
}

fn vek_template(config: &Config, point: &[u8], csp_id: Option<&str>) -> Template {
    let generation = config.generation;
    let (issuer, subject) = match csp_id {
        None => (Role::Ask(generation), Role::Vcek),
        Some(_) => (Role::Asvk(generation), Role::Vlek),
    };
    // A VCEK is bound to the chip, a VLEK to the provider: each certificate has the one identity
    // and not the other.
    let hwid = config.chip_id.0.get(..generation.hwid_length()).filter(|_| csp_id.is_none());
    let mut template = Template::new(issuer, subject, &[0], p384_spki(point));
    template.extensions =
        vek_extensions(generation, config.reported_tcb, hwid, csp_id.unwrap_or_default());
    template
}

fn new_key(root: &ModelRoot, config: &Config, csp: Option<&str>) -> Result<StoredKey, ModelError> {
    let rng = SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &rng)
        .map_err(|_| ModelError::Random)?;
    let pair = key_pair(pkcs8.as_ref())?;
    let template = vek_template(config, pair.public_key().as_ref(), csp);
    // ASK and ASVK of a model share their key, so one signer serves both.
    let certificate = root.certificate(Signer::Ask, &template)?;
    Ok(StoredKey { pkcs8: encode(pkcs8.as_ref()), certificate: encode(&certificate) })
}

fn load(stored: StoredKey) -> Result<Vek, ModelError> {
    let bytes = |hex: &str| decode(hex).ok_or(ModelError::State("not hexadecimal".to_owned()));
    let pair = key_pair(&bytes(&stored.pkcs8)?)?;
    Ok(Vek { pair, certificate: bytes(&stored.certificate)?, stored })
}

fn key_pair(pkcs8: &[u8]) -> Result<EcdsaKeyPair, ModelError> {
    EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, pkcs8, &SystemRandom::new())
        .map_err(|error| ModelError::Key(error.to_string()))
}
