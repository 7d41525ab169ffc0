//! A result as it lies on a disk or in a file: the cover, the sealed part, the evidence.

use crate::wire::{bytes, exactly, is_at_end};
use crate::{Hash, NONCE, ResultError};
use sha2::{Digest, Sha256};
use std::io::Read;

/// What the evidence is made for, beside [`Cover::binding`].
pub const LABEL: &str = "casemate-result-v1";
/// Longest evidence: a report, and a certificate table of 64 KiB.
pub const MAX_EVIDENCE: usize = 66 * 1024;

const MAGIC: &[u8; 16] = b"casemate-result\n";
const VERSION: u32 = 1;

/// The first bytes of a result. All of it is the guest's claim until the evidence proves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cover {
    /// Bytes of the sealed part, which is right behind.
    pub sealed: u64,
    /// Bytes of the evidence, which is behind that; zero where the guest has none.
    pub evidence: u32,
    /// The nonce of the run.
    pub nonce: [u8; NONCE],
    /// What the run was given, see [`crate::InputDigest`].
    pub inputs: Hash,
}

impl Cover {
    /// Bytes of a cover.
    pub const SIZE: usize = 96;

    /// As it is written.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend(VERSION.to_le_bytes());
        out.extend(self.evidence.to_le_bytes());
        out.extend(self.sealed.to_le_bytes());
        out.extend(self.nonce);
        out.extend(self.inputs);
        out
    }

    /// Reads one.
    ///
    /// # Errors
    /// [`ResultError`].
    pub fn read(from: &mut impl Read) -> Result<Self, ResultError> {
        const OF: &str = "its cover";
        if bytes::<16>(from, OF)? != *MAGIC {
            return Err(ResultError::Other("sealed result of a workload"));
        }
        let version = u32::from_le_bytes(bytes(from, OF)?);
        if version != VERSION {
            return Err(ResultError::Version(version));
        }
        let evidence = u32::from_le_bytes(bytes(from, OF)?);
        if usize::try_from(evidence).is_ok_and(|len| len > MAX_EVIDENCE) {
            return Err(ResultError::Value("its evidence would have more than 66 KiB"));
        }
        let sealed = u64::from_le_bytes(bytes(from, OF)?);
        Ok(Self { sealed, evidence, nonce: bytes(from, OF)?, inputs: bytes(from, OF)? })
    }

    /// Bytes of the whole result.
    ///
    /// # Errors
    /// [`ResultError::Value`] for more than there are numbers.
    pub fn whole(&self) -> Result<u64, ResultError> {
        let parts = self.sealed.checked_add(self.evidence.into());
        let whole = parts.and_then(|parts| parts.checked_add(Self::SIZE as u64));
        whole.ok_or(ResultError::Value("its lengths are none"))
    }

    /// What the evidence must have been made for, under [`LABEL`]: SHA-256 of the sealed part, of
    /// the inputs, the nonce of the run.
    #[must_use]
    pub fn binding(&self, sealed: &Hash) -> Vec<u8> {
        [&sealed[..], &self.inputs, &self.nonce].concat()
    }
}

/// A result that was read through once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// Its cover.
    pub cover: Cover,
    /// SHA-256 of its sealed part.
    pub sealed: Hash,
    /// Its evidence; no byte where there is none.
    pub evidence: Vec<u8>,
}

/// Reads a whole result through, and keeps nothing of the sealed part but its hash: whoever opens
/// it looks at the evidence first.
///
/// # Errors
/// [`ResultError`].
pub fn survey(from: &mut impl Read) -> Result<Survey, ResultError> {
    let cover = Cover::read(from)?;
    cover.whole()?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    let mut left = cover.sealed;
    while left > 0 {
        let want = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let part = buffer.get_mut(..want).unwrap_or_default();
        exactly(from, part, "its sealed part")?;
        hash.update(&*part);
        left = left.saturating_sub(u64::try_from(want).unwrap_or(u64::MAX));
    }
    let mut evidence = vec![0; usize::try_from(cover.evidence).unwrap_or(0)];
    exactly(from, &mut evidence, "its evidence")?;
    if !is_at_end(from)? {
        return Err(ResultError::Longer);
    }
    Ok(Survey { cover, sealed: hash.finalize().into(), evidence })
}

/// The REPORT_DATA of a binding under [`LABEL`]: the rule of `casemate attest report-data`, which
/// the guest has here without the verifier. SHA-512 over `casemate report data v1`, a zero byte,
/// the length of the label in one byte, the label and the binding.
#[must_use]
pub fn report_data(binding: &[u8]) -> [u8; 64] {
    let length = u8::try_from(LABEL.len()).unwrap_or(u8::MAX);
    let hash = sha2::Sha512::new_with_prefix(b"casemate report data v1\0");
    hash.chain_update([length]).chain_update(LABEL).chain_update(binding).finalize().into()
}
