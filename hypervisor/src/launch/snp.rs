//! What an SEV-SNP launch has beyond pages: policy, host data, ID block.

use casemate_policy::{PageStateLimits, Policy};
use std::sync::OnceLock;

/// Guest policy bits (SEV-SNP ABI, "Guest Policy").
pub mod guest_policy {
    /// The default: SMT allowed, bit 17 as it must be, nothing else.
    pub const DEFAULT: u64 = 0x3_0000;
    /// Must be one.
    pub const RESERVED_ONE: u64 = 1 << 17;
    /// A migration agent may be associated: KVM never allows it.
    pub const MIGRATE_MA: u64 = 1 << 18;
    /// The host may read and write guest memory for debugging.
    pub const DEBUG: u64 = 1 << 19;
    /// Bits that have a meaning.
    pub const KNOWN: u64 = 0x03ff_ffff;
}

/// Position of the C-bit on every EPYC that has SNP.
pub const C_BIT: u8 = 51;

/// An ID block with its signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdBlock {
    /// `ID_BLOCK`.
    pub block: Vec<u8>,
    /// `ID_AUTH`.
    pub auth: Vec<u8>,
}

/// Bytes of an ID block.
pub const ID_BLOCK_SIZE: usize = 96;
/// Bytes of its authentication structure.
pub const ID_AUTH_SIZE: usize = 4096;

/// The launch parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnpLaunch {
    /// Guest policy.
    pub policy: u64,
    /// Goes into every report, unmeasured.
    pub host_data: [u8; 32],
    /// ID block.
    pub id: Option<IdBlock>,
    /// Whether the ID block carries an author key.
    pub author_key_enabled: bool,
    /// Reports may not be signed by the VCEK.
    pub vcek_disabled: bool,
    /// VMSA features beyond SNP itself.
    pub vmsa_features: u64,
    /// Position of the C-bit.
    pub c_bit: u8,
    /// The launch digest that it must have.
    pub expect_digest: Option<[u8; 48]>,
    /// Certificates for the guest's extended requests.
    pub certs: Option<CertTable>,
    /// How the guest may change its page states.
    pub page_limits: PageStateLimits,
}

/// The page-state limits of a launch whose policy is not known yet: the built-in strict ones.
#[must_use]
pub fn strict_page_limits() -> PageStateLimits {
    static LIMITS: OnceLock<PageStateLimits> = OnceLock::new();
    *LIMITS.get_or_init(|| Policy::builtin_strict().page_state_limits())
}

/// Largest certificate table: what Linux guests have room for (`SEV_FW_BLOB_MAX_SIZE`).
pub const MAX_CERTS: usize = 0x4000;

/// A certificate table as guests expect it: entries in bounds, none over another, with an end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertTable(Vec<u8>);

/// Why bytes are no certificate table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertTableError {
    /// Nothing in it.
    #[error("the file is empty")]
    Empty,
    /// More than guests have room for.
    #[error("{0} bytes are more than the {MAX_CERTS} that guests have room for")]
    TooLarge(usize),
    /// An entry is wrong.
    #[error("{0}")]
    Entry(String),
}

impl CertTable {
    /// Checks a table: GUID, offset and length of each entry, a zero GUID, contents (AMD 56421, extended guest request).
    ///
    /// # Errors
    /// [`CertTableError`].
    pub fn new(bytes: Vec<u8>) -> Result<Self, CertTableError> {
        match bytes.len() {
            0 => Err(CertTableError::Empty),
            size if size > MAX_CERTS => Err(CertTableError::TooLarge(size)),
            _ => match casemate_attestation::evidence::CertTable::parse(&bytes) {
                Ok(_) => Ok(Self(bytes)),
                Err(e) => Err(CertTableError::Entry(e.to_string())),
            },
        }
    }

    /// The table.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}
