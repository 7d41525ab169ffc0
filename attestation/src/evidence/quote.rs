//! A quote of a TPM 2.0: what the TPM signed over its platform configuration registers (PCRs), and
//! a nonce.
//!
//! A quote is a TPMS_ATTEST structure of type TPM_ST_ATTEST_QUOTE. It names the registers by a
//! selection and carries one digest over their values; the values travel beside it, unsigned, and
//! count only when their digest is the signed one. Source: TCG, "Trusted Platform Module Library,
//! Part 2: Structures" (1.59), sections 10.12.8 (TPMS_ATTEST), 10.12.1 (TPMS_QUOTE_INFO), 10.6.2
//! (TPMS_PCR_SELECTION).

use ring::digest::{SHA256, digest};

/// Registers of a bank.
pub const PCRS: usize = 24;
/// Longest signed structure in bytes: a quote over one bank has about 150.
const MAX_MESSAGE: usize = 1024;
/// Longest signature in bytes, that of an RSA key of 8192 bits.
const MAX_SIGNATURE: usize = 1024;
/// TPM_GENERATED_VALUE: the structure was made inside a TPM. A restricted signing key, which an
/// attestation key is, refuses to sign foreign data that begins like this (TCG Part 1, 25.1.4).
const GENERATED: u32 = 0xff54_4347;
/// TPM_ST_ATTEST_QUOTE: the structure is a quote and no other attestation (TCG Part 2, 6.9).
const QUOTE: u16 = 0x8018;
/// TPM_ALG_SHA256, the bank of registers that is quoted (TCG Part 2, 6.3).
const ALG_SHA256: u16 = 0x000b;
/// The largest TPM2B_NAME: an algorithm identifier and SHA-512.
const MAX_NAME: usize = 66;
/// The longest TPM2B_DATA: an algorithm identifier and SHA-512 (TCG Part 2, 10.4.3). No nonce is
/// longer.
pub const MAX_NONCE: usize = 66;

/// Why a quote cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct QuoteError(pub &'static str);

/// A quote as it travels. Nothing of it is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quote {
    /// TPMS_ATTEST as it was signed, byte for byte.
    pub message: Vec<u8>,
    /// RSASSA-PKCS1-v1_5 signature with SHA-256.
    pub signature: Vec<u8>,
    /// The values of PCR 0 to 23 of the SHA-256 bank.
    pub pcrs: Vec<[u8; 32]>,
}

/// What a TPMS_ATTEST says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attested {
    /// The verifier's nonce (extraData), at most 66 bytes.
    pub nonce: Vec<u8>,
    /// The selected registers, one bit for each.
    pub selected: u32,
    /// SHA-256 over their values in ascending order.
    pub pcr_digest: [u8; 32],
    /// Resets of the TPM, that is boots of the VM.
    pub resets: u32,
    /// Restarts since, of which a resume from sleep is one.
    pub restarts: u32,
}

impl Quote {
    /// Reads the signed structure.
    ///
    /// # Errors
    /// [`QuoteError`] with the rule that is broken: it is no quote of one SHA-256 bank, or it does
    /// not fill its bytes.
    pub fn attested(&self) -> Result<Attested, QuoteError> {
        // Bounds first. They are checked although the signature is not, because a broken length
        // deserves another message than a broken signature.
        if self.message.len() > MAX_MESSAGE {
            return Err(QuoteError("the signed structure is longer than 1 KiB"));
        }
        if self.signature.len() > MAX_SIGNATURE {
            return Err(QuoteError("the signature is longer than 1 KiB"));
        }
        if self.pcrs.len() != PCRS {
            return Err(QuoteError("not the values of 24 registers beside it"));
        }
        let mut reader = Reader(&self.message);
        let attested = reader.quote().ok_or(QuoteError("the signed structure is cut off"))??;
        // The signature would cover it, but nothing would have read it.
        if !reader.0.is_empty() {
            return Err(QuoteError("something behind the signed structure"));
        }
        Ok(attested)
    }

    /// The digest of the values of the selected registers.
    #[must_use]
    pub fn digest_of(&self, selected: u32) -> [u8; 32] {
        // Ascending order of the registers, each value once, whatever order the selection was
        // written in (TCG Part 1, on PCR digests).
        let values: Vec<u8> = self.selected(selected).flat_map(|(_, value)| value).collect();
        let mut out = [0; 32];
        out.copy_from_slice(digest(&SHA256, &values).as_ref());
        out
    }

    /// The selected registers with their values. These are the TPM's only once their digest was
    /// compared.
    pub fn selected(&self, selected: u32) -> impl Iterator<Item = (u32, [u8; 32])> {
        (0u32..).zip(self.pcrs.iter().copied()).filter(move |(index, _)| selected >> index & 1 == 1)
    }
}

/// A TPM's structures are big-endian, without padding; every read is bounded by what is left.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// A TPM2B of at most `limit` bytes.
    fn sized(&mut self, limit: usize) -> Option<&'a [u8]> {
        let length = usize::from(self.u16()?);
        if length > limit { None } else { self.take(length) }
    }

    /// None where the bytes end, or a length is beyond its bound.
    fn quote(&mut self) -> Option<Result<Attested, QuoteError>> {
        // The magic is the point of the whole structure: only with it does the signature say that a
        // TPM made it.
        if self.u32()? != GENERATED || self.u16()? != QUOTE {
            return Some(Err(QuoteError("not a quote that a TPM made")));
        }
        // The name of the signing key. It is not compared: the key that verifies the quote is the
        // one that the claims bind.
        self.sized(MAX_NAME)?;
        let nonce = self.sized(MAX_NONCE)?.to_vec();
        // The clock counts milliseconds of the TPM's uptime, the firmware version is the vendor's:
        // neither is held against anything.
        let _clock: [u8; 8] = self.array()?;
        let (resets, restarts) = (self.u32()?, self.u32()?);
        let [safe] = self.array()?;
        if safe > 1 {
            return Some(Err(QuoteError("the clock's flag is neither yes nor no")));
        }
        let _firmware: [u8; 8] = self.array()?;
        // One selection of one bank. With several, the digest would run over values that are not
        // beside the quote.
        if self.u32()? != 1 || self.u16()? != ALG_SHA256 {
            return Some(Err(QuoteError("not over one bank of SHA-256")));
        }
        let [size] = self.array()?;
        // Three bytes, one bit for each of 24 registers, the lowest first.
        let [a, b, c] = match size {
            3 => self.array()?,
            _ => return Some(Err(QuoteError("a selection of other than 24 registers"))),
        };
        let selected = u32::from_le_bytes([a, b, c, 0]);
        let pcr_digest = self.sized(32)?.try_into();
        let pcr_digest = pcr_digest.map_err(|_| QuoteError("a digest of other than 32 bytes"));
        Some(pcr_digest.map(|pcr_digest| Attested {
            nonce,
            selected,
            pcr_digest,
            resets,
            restarts,
        }))
    }
}
