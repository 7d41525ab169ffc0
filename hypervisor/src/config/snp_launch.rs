//! What an SEV-SNP launch has beyond pages: policy, host data, ID block.

use casemate_attestation::evidence::GuestCertTable;
use casemate_policy::{PageStateLimits, Policy};
use std::sync::OnceLock;

/// Position of the C-bit on every EPYC that has SNP.
pub const C_BIT: u8 = 51;

/// An ID block with its signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdBlock {
    /// The `ID_BLOCK` structure, 96 bytes.
    pub block: Vec<u8>,
    /// The `ID_AUTH` structure, 4096 bytes.
    pub auth: Vec<u8>,
}

/// Bytes of an ID block.
pub const ID_BLOCK_SIZE: usize = 96;
/// Bytes of its authentication structure.
pub const ID_AUTH_SIZE: usize = 4096;

/// What the firmware is told of a launch, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnpLaunch {
    /// Guest policy, the firmware's bits.
    pub policy: u64,
    /// Goes into every report, unmeasured.
    pub host_data: [u8; 32],
    /// The ID block, where the image is signed.
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
    pub certs: Option<GuestCertTable>,
    /// How the guest may change its page states.
    pub page_limits: PageStateLimits,
}

/// The page-state limits of a launch whose policy is not known yet: the built-in strict ones.
#[must_use]
pub fn strict_page_limits() -> PageStateLimits {
    static LIMITS: OnceLock<PageStateLimits> = OnceLock::new();
    *LIMITS.get_or_init(|| Policy::builtin_strict().page_state_limits())
}
