//! Revocation lists of the AMD root keys.
//!
//! AMD's list is issued and signed by the ARK and names ASK and ASVK serials; VCEKs and VLEKs all
//! have serial 0 and are never on it.

use super::certificate::{is_pss, seconds, signed_parts, trim};
use super::{CertError, MAX_CRL, der_error};
use der::{Decode, Reader, SliceReader, Tag};
use x509_cert::crl::TbsCertList;
use x509_cert::ext::Extensions;

/// CRL number and authority key identifier: what AMD's lists carry, none of it restricts the list.
const HARMLESS: [&str; 2] = ["2.5.29.20", "2.5.29.35"];

/// A parsed revocation list. Nothing about it is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crl {
    der: Vec<u8>,
    tbs: Vec<u8>,
    /// DER of the issuer's name.
    pub issuer: Vec<u8>,
    /// thisUpdate, seconds since 1970.
    pub this_update: u64,
    /// nextUpdate, seconds since 1970, when there is one.
    pub next_update: Option<u64>,
    /// Revoked serials, big-endian, without leading zeros.
    pub revoked: Vec<Vec<u8>>,
    /// The bytes of signatureValue; who signed is not asked here.
    pub signature: Vec<u8>,
}

impl Crl {
    /// Parses one DER revocation list that fills `bytes` exactly.
    ///
    /// # Errors
    /// [`CertError`] naming the field; a critical or restricting extension is an error too.
    pub fn from_der(bytes: &[u8]) -> Result<Self, CertError> {
        if bytes.len() > MAX_CRL {
            return Err(CertError::TooLong { what: "CRL", length: bytes.len(), limit: MAX_CRL });
        }
        // The same envelope as a certificate's, read by the same code: length bound, outer
        // algorithm, nothing behind it.
        let (tbs, signature) = signed_parts(bytes, "CRL")?;
        let list = TbsCertList::from_der(tbs).map_err(der_error("CRL body"))?;
        let (algorithm, issuer) = algorithm_and_issuer(tbs).map_err(der_error("CRL body"))?;
        // The library's decoder gives the algorithm and the issuer as values; here they are wanted
        // as bytes, one to be compared, one to be held against the name of the root.
        if !is_pss(algorithm) {
            return Err(CertError::PssParameters { what: "CRL body" });
        }
        refuse_restrictions(list.crl_extensions.as_ref())?;
        let entries = list.revoked_certificates.unwrap_or_default();
        for entry in &entries {
            // RFC 5280, section 5.3: an entry with a critical extension that is not understood
            // makes the whole list unusable, not only the entry.
            if entry.crl_entry_extensions.iter().flatten().any(|extension| extension.critical) {
                return Err(CertError::Extension {
                    oid: "CRL entry".to_owned(),
                    rule: "a critical extension that is not understood",
                });
            }
        }
        Ok(Self {
            der: bytes.to_vec(),
            tbs: tbs.to_vec(),
            issuer: issuer.to_vec(),
            this_update: seconds(list.this_update.to_unix_duration()),
            next_update: list.next_update.map(|time| seconds(time.to_unix_duration())),
            revoked: entries.iter().map(|entry| trim(entry.serial_number.as_bytes())).collect(),
            signature: signature.to_vec(),
        })
    }

    /// The bytes as received, header and signature included.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The signed part as received (TBSCertList, tag and length included): what the signature is
    /// over.
    #[must_use]
    pub fn tbs(&self) -> &[u8] {
        &self.tbs
    }

    /// Whether this serial (without leading zeros) is revoked.
    #[must_use]
    pub fn revokes(&self, serial: &[u8]) -> bool {
        // A list of AMD has a handful of entries, and one of the size allowed some ten thousand: a
        // linear search, asked once for a chain, is enough.
        self.revoked.iter().any(|entry| entry == serial)
    }
}

/// A list with a distribution-point or delta indicator covers only a part; such a list proves
/// nothing.
fn refuse_restrictions(extensions: Option<&Extensions>) -> Result<(), CertError> {
    for extension in extensions.into_iter().flatten() {
        let oid = extension.extn_id.to_string();
        // Listed is what may be there, not what may not: an extension that is unknown here could
        // narrow what the list covers (RFC 5280, section 5.2.5, issuing distribution point).
        if extension.critical || !HARMLESS.contains(&oid.as_str()) {
            return Err(CertError::Extension {
                oid,
                rule: "restricts the CRL or is not understood",
            });
        }
    }
    Ok(())
}

fn algorithm_and_issuer(tbs: &[u8]) -> der::Result<(&[u8], &[u8])> {
    let mut reader = SliceReader::new(tbs)?;
    reader.sequence(|inner| {
        // The version is optional, and an INTEGER only when it is there; the algorithm is a
        // SEQUENCE.
        if inner.peek_tag()? == Tag::Integer {
            inner.tlv_bytes()?;
        }
        let algorithm = inner.tlv_bytes()?;
        let issuer = inner.tlv_bytes()?;
        // What follows was checked by the full decoder; it must be consumed to leave the sequence.
        while !inner.is_finished() {
            inner.tlv_bytes()?;
        }
        Ok((algorithm, issuer))
    })
}
