//! The blob in which Azure's paravisor (HCL) wraps a report: 32 bytes of header, the report, 20
//! bytes that describe the runtime claims, the claims, zeros.
//!
//! The report's REPORT_DATA is the hash of the claims. Here the parts are taken apart and their
//! lengths held against each other; that the hash fits is a check of the verifier (`AZURE_CLAIMS`),
//! which needs the report. Source: Microsoft, "What is guest attestation for confidential VMs", and
//! openvmm's `igvm_attest` structures.

use super::{EvidenceError, Quote};
use crate::report::REPORT_SIZE;
use ring::digest::{Algorithm, SHA256, SHA384, SHA512, digest};

/// First bytes of a blob, its signature.
pub(super) const MAGIC: &[u8] = b"HCLA";
/// Bytes before the report: signature, version, sizes, none of which is used.
const HEADER: usize = 0x20;
/// Data size, version, report type, hash type, length of the claims: 32 bits each.
const RUNTIME_HEADER: usize = 20;
/// The report type of SNP, among the kinds of reports that such a blob can hold.
const TYPE_SNP: u32 = 2;
/// Claims of real blobs have about 1,200 bytes; a blob is an NV index of a TPM.
pub const MAX_CLAIMS: usize = 32 * 1024;

/// The hash that binds the claims to the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimsHash {
    /// SHA-256, what Azure uses.
    Sha256,
    /// SHA-384; the blob's number 2.
    Sha384,
    /// SHA-512; the blob's number 3.
    Sha512,
}

impl ClaimsHash {
    /// The hash of this number in a blob.
    #[must_use]
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::Sha256),
            2 => Some(Self::Sha384),
            3 => Some(Self::Sha512),
            _ => None,
        }
    }

    /// The number in a blob.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::Sha256 => 1,
            Self::Sha384 => 2,
            Self::Sha512 => 3,
        }
    }

    fn algorithm(self) -> &'static Algorithm {
        match self {
            Self::Sha256 => &SHA256,
            Self::Sha384 => &SHA384,
            Self::Sha512 => &SHA512,
        }
    }

    /// The REPORT_DATA of these claims: their hash, then zeros.
    #[must_use]
    pub fn report_data(self, claims: &[u8]) -> [u8; 64] {
        let mut data = [0; 64];
        for (to, from) in data.iter_mut().zip(digest(self.algorithm(), claims).as_ref()) {
            *to = *from;
        }
        data
    }
}

/// What came with an Azure report. Nothing of it is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Azure {
    /// The runtime claims, JSON as received.
    pub claims: Vec<u8>,
    /// The hash that the blob says binds them.
    pub hash: ClaimsHash,
    /// A quote of the vTPM, when the evidence has one.
    pub quote: Option<Quote>,
    /// Whether the claims' user data must repeat the nonce of the quote (evidence of Confidential
    /// Containers, version 2).
    pub user_data_is_nonce: bool,
}

/// The report and what is bound to it.
pub(super) fn read(bytes: &[u8]) -> Result<(Vec<u8>, Azure), EvidenceError> {
    let fault = EvidenceError::Hcl;
    // The parts are taken off the front one by one, and each has to be there: no offset of the blob
    // is followed.
    if !bytes.starts_with(MAGIC) {
        return Err(fault("does not begin with HCLA"));
    }
    let (_, rest) = bytes.split_at_checked(HEADER).ok_or(fault("shorter than its header"))?;
    let (report, rest) = rest.split_at_checked(REPORT_SIZE).ok_or(fault("no room for a report"))?;
    let (header, rest) = rest
        .split_first_chunk::<RUNTIME_HEADER>()
        .ok_or(fault("no runtime claims behind the report"))?;
    let [size, version, kind, hash, length] = words(header);
    if kind != TYPE_SNP {
        return Err(fault("the report inside is not an SNP report"));
    }
    if version != 1 {
        return Err(fault("the runtime claims are of an unknown version"));
    }
    let hash =
        ClaimsHash::from_number(hash).ok_or(fault("the claims' hash is of no known kind"))?;
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    // The first length counts its own header in (openvmm's `data_size`), the second only the
    // claims. A blob that is inconsistent is not the paravisor's, and to believe one of the two
    // would be a guess about which bytes were hashed.
    let total = length.checked_add(RUNTIME_HEADER).and_then(|total| u32::try_from(total).ok());
    if total != Some(size) {
        return Err(fault("the two lengths of the runtime claims do not fit each other"));
    }
    if length == 0 || length > MAX_CLAIMS {
        return Err(fault("the runtime claims are empty or longer than 32 KiB"));
    }
    let (claims, padding) =
        rest.split_at_checked(length).ok_or(fault("the runtime claims are cut off"))?;
    // The hash does not cover what follows, so nothing may.
    if padding.iter().any(|byte| *byte != 0) {
        return Err(fault("something other than zeros behind the runtime claims"));
    }
    let azure = Azure { claims: claims.to_vec(), hash, quote: None, user_data_is_nonce: false };
    Ok((report.to_vec(), azure))
}

fn words(header: &[u8; RUNTIME_HEADER]) -> [u32; 5] {
    let (words, _) = header.as_chunks::<4>();
    let mut out = [0; 5];
    for (to, from) in out.iter_mut().zip(words) {
        *to = u32::from_le_bytes(*from);
    }
    out
}
