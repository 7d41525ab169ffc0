//! One X.509 certificate, taken apart without trusting it.

use super::{CertError, MAX_CERTIFICATE, der_error, lengths};
use crate::cert::name::{Authority, Role, recognise};
use der::asn1::{BitStringRef, ObjectIdentifier};
use der::{Decode, Reader, SliceReader, Tag, TagNumber};
use ring::digest::{SHA256, digest};
use std::time::Duration;
use x509_cert::ext::pkix::CrlDistributionPoints;
use x509_cert::ext::pkix::name::{DistributionPointName, GeneralName};

/// AlgorithmIdentifier: RSASSA-PSS, SHA-384, MGF1-SHA-384, salt 48, trailer field omitted (default
/// 1).
const PSS_SHORT: &[u8] = b"\x30\x41\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a\x30\x34\
    \xa0\x0f\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\
    \xa1\x1c\x30\x1a\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x08\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\
    \xa2\x03\x02\x01\x30";
/// The same with trailer field 1 spelled out, as AMD's certificates up to 2023 have it.
const PSS_LONG: &[u8] = b"\x30\x46\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a\x30\x39\
    \xa0\x0f\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\
    \xa1\x1c\x30\x1a\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x08\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\
    \xa2\x03\x02\x01\x30\xa3\x03\x02\x01\x01";
/// AlgorithmIdentifier of an RSA key: rsaEncryption with NULL parameters (RFC 3279, section 2.3.1).
const RSA: &[u8] = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";
/// AlgorithmIdentifier of a key on P-384: id-ecPublicKey with the named curve secp384r1 (RFC 5480,
/// section 2.1.1).
const P384: &[u8] = b"\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22";
/// Identifier of the extension that says where the revocation list is: id-ce-cRLDistributionPoints
/// (RFC 5280, section 4.2.1.13).
const CRL_DISTRIBUTION_POINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.31");
/// More extensions than any certificate of this hierarchy has.
const MAX_EXTENSIONS: usize = 32;

/// A subject public key of one of the two kinds of this hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublicKey {
    /// DER of a PKCS #1 RSAPublicKey, modulus and exponent (RFC 8017, A.1.1); its size is left
    /// to the back end, which takes 2048 to 8192 bits.
    Rsa(Vec<u8>),
    /// Uncompressed SEC1 point, 97 bytes.
    P384(Vec<u8>),
}

/// Not before and not after, seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// First second of validity, since 1970 (RFC 5280, section 4.1.2.5: both ends are inclusive).
    pub not_before: u64,
    /// Last second of validity, since 1970.
    pub not_after: u64,
}

impl Validity {
    /// Whether `at`, seconds since 1970, lies within, both ends included.
    #[must_use]
    pub const fn contains(self, at: u64) -> bool {
        self.not_before <= at && at <= self.not_after
    }
}

/// One extension, its contents not interpreted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extension {
    /// Which extension it is, an object identifier.
    pub oid: ObjectIdentifier,
    /// Whether a verifier must understand it.
    pub critical: bool,
    /// Contents of the OCTET STRING.
    pub value: Vec<u8>,
}

/// A parsed certificate. Nothing about it is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>,
    tbs: Vec<u8>,
    /// Serial number, big-endian, without leading zeros (empty for 0).
    pub serial: Vec<u8>,
    /// DER of the issuer's name.
    pub issuer: Vec<u8>,
    /// DER of the subject's name.
    pub subject: Vec<u8>,
    /// When it is valid; who uses it says when that matters.
    pub validity: Validity,
    /// SHA-256 of the SubjectPublicKeyInfo.
    pub key_digest: [u8; 32],
    /// The subject's public key, of one of the two kinds that are accepted.
    pub key: PublicKey,
    /// Extensions in the order of the certificate.
    pub extensions: Vec<Extension>,
    /// The signature over [`Self::tbs`]: 512 bytes under an RSA-4096 key.
    pub signature: Vec<u8>,
}

impl Certificate {
    /// Parses one DER certificate that fills `bytes` exactly.
    ///
    /// # Errors
    /// [`CertError`] naming the field.
    // The bound comes first: everything below is linear in the bytes, and some of it keeps copies.
    pub fn from_der(bytes: &[u8]) -> Result<Self, CertError> {
        if bytes.len() > MAX_CERTIFICATE {
            return Err(CertError::TooLong {
                what: "certificate",
                length: bytes.len(),
                limit: MAX_CERTIFICATE,
            });
        }
        let (tbs, signature) = signed_parts(bytes, "certificate")?;
        let mut certificate = parse_tbs(tbs).map_err(der_error("certificate body"))??;
        certificate.der = bytes.to_vec();
        // The bytes that were received are kept, not written anew from what was parsed: the
        // signature is over them, and so are the digests by which records name a certificate.
        certificate.tbs = tbs.to_vec();
        certificate.signature = signature.to_vec();
        Ok(certificate)
    }

    /// The bytes as received, header and signature included.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The signed part as received (TBSCertificate, tag and length included): what the signature is
    /// over.
    #[must_use]
    pub fn tbs(&self) -> &[u8] {
        &self.tbs
    }

    /// Who this is, by the exact subject.
    #[must_use]
    pub fn role(&self) -> Option<(Authority, Role)> {
        recognise(&self.subject)
    }

    /// The address of the revocation list that this certificate names; none when it names none, or
    /// several. Source: RFC 5280, section 4.2.1.13.
    #[must_use]
    pub fn distribution_point(&self) -> Option<String> {
        let extension = self.extension(CRL_DISTRIBUTION_POINTS)?;
        // Several points, or several names of one, leave open which list counts; then the caller
        // uses the address that it knows.
        let CrlDistributionPoints(points) =
            CrlDistributionPoints::from_der(&extension.value).ok()?;
        let [point] = points.as_slice() else { return None };
        let DistributionPointName::FullName(names) = point.distribution_point.as_ref()? else {
            return None;
        };
        match names.as_slice() {
            [GeneralName::UniformResourceIdentifier(uri)] => Some(uri.to_string()),
            _ => None,
        }
    }

    /// The one extension with this identifier; none when absent or repeated.
    #[must_use]
    pub fn extension(&self, oid: ObjectIdentifier) -> Option<&Extension> {
        let mut found = self.extensions.iter().filter(|extension| extension.oid == oid);
        // RFC 5280, section 4.2: a certificate must not have two of one kind. Two readers that each
        // took one of them could see different certificates.
        let first = found.next()?;
        if found.next().is_some() { None } else { Some(first) }
    }
}

/// Splits a signed object (certificate or CRL) into its signed bytes and its signature; checks the
/// outer algorithm and that nothing follows.
pub(super) fn signed_parts<'a>(
    bytes: &'a [u8],
    what: &'static str,
) -> Result<(&'a [u8], &'a [u8]), CertError> {
    // Before the decoder sees a byte, see `lengths`.
    if !lengths::fit(bytes) {
        return Err(CertError::Lengths { what });
    }
    let parse = || -> der::Result<(&'a [u8], &'a [u8], &'a [u8])> {
        let mut reader = SliceReader::new(bytes)?;
        let parts = reader.sequence(|inner| {
            // `tlv_bytes` gives tag, length and value together, as they were received: the
            // signature is over exactly these bytes, and the algorithm is compared as bytes below.
            let tbs = inner.tlv_bytes()?;
            let algorithm = inner.tlv_bytes()?;
            let signature = inner.decode::<BitStringRef<'a>>()?;
            let signature = signature.as_bytes().ok_or_else(|| Tag::BitString.value_error())?;
            Ok((tbs, algorithm, signature))
        })?;
        reader.finish(parts)
    };
    // PSS parameters are compared as bytes. To parse them would mean to accept a shorter salt,
    // another hash, or another encoding of the same, none of which AMD writes; the verification
    // below assumes SHA-384 and a salt of 48 (RFC 4055, section 3.1).
    let (tbs, algorithm, signature) = parse().map_err(der_error(what))?;
    if is_pss(algorithm) { Ok((tbs, signature)) } else { Err(CertError::PssParameters { what }) }
}

/// Whether this AlgorithmIdentifier is one of the two accepted encodings.
pub(super) fn is_pss(algorithm: &[u8]) -> bool {
    algorithm == PSS_SHORT || algorithm == PSS_LONG
}

/// Parses the signed part. The outer result is DER trouble, the inner one a broken rule.
fn parse_tbs(tbs: &[u8]) -> der::Result<Result<Certificate, CertError>> {
    let mut reader = SliceReader::new(tbs)?;
    // The order is that of TBSCertificate (RFC 5280, section 4.1). The version comes first and must
    // be 3, since what follows has extensions; it is compared as bytes, with its explicit tag.
    let parsed = reader.sequence(|inner| {
        const VERSION_3: &[u8] = &[0xa0, 0x03, 0x02, 0x01, 0x02];
        if inner.tlv_bytes()? != VERSION_3 {
            return Err(Tag::Integer.value_error());
        }
        // An unsigned number: a serial must be positive (section 4.1.2.2), and the 0 of every VEK
        // is taken.
        let serial = inner.decode::<der::asn1::UintRef<'_>>()?;
        let algorithm = inner.tlv_bytes()?;
        let issuer = inner.tlv_bytes()?.to_vec();
        let validity = x509_cert::time::Validity::from_der(inner.tlv_bytes()?)?;
        let subject = inner.tlv_bytes()?.to_vec();
        let spki = inner.tlv_bytes()?;
        let extensions = parse_extensions(inner)?;
        // The key's identity is the hash of its SubjectPublicKeyInfo as received, algorithm
        // included, so that a pin fixes what kind of key it is as well.
        let mut key_digest = [0; 32];
        key_digest.copy_from_slice(digest(&SHA256, spki).as_ref());
        // The algorithm stands inside the signed part once more (section 4.1.1.2). The one outside
        // is not signed; only that both are of the accepted kind makes the outer one harmless.
        if !is_pss(algorithm) {
            return Ok(Err(CertError::PssParameters { what: "certificate body" }));
        }
        let Some(key) = parse_key(spki)? else { return Ok(Err(CertError::KeyType)) };
        Ok(Ok(Certificate {
            der: Vec::new(),
            tbs: Vec::new(),
            serial: trim(serial.as_bytes()),
            issuer,
            subject,
            validity: Validity {
                not_before: seconds(validity.not_before.to_unix_duration()),
                not_after: seconds(validity.not_after.to_unix_duration()),
            },
            key_digest,
            key,
            extensions,
            signature: Vec::new(),
        }))
    })?;
    reader.finish(parsed)
}

fn parse_key(spki: &[u8]) -> der::Result<Option<PublicKey>> {
    let mut reader = SliceReader::new(spki)?;
    let key = reader.sequence(|inner| {
        let algorithm = inner.tlv_bytes()?;
        let key = inner.decode::<BitStringRef<'_>>()?;
        let Some(key) = key.as_bytes() else { return Err(Tag::BitString.value_error()) };
        // Compared whole, parameters included: an RSA key with PSS parameters, or a point on
        // another curve, is no key of this hierarchy. A point is taken uncompressed only (tag 4),
        // the one form that both back ends read.
        Ok(match algorithm {
            RSA => Some(PublicKey::Rsa(key.to_vec())),
            P384 if key.len() == 97 && key.first() == Some(&4) => {
                Some(PublicKey::P384(key.to_vec()))
            }
            _ => None,
        })
    })?;
    reader.finish(key)
}

fn parse_extensions<'a>(reader: &mut impl Reader<'a>) -> der::Result<Vec<Extension>> {
    let wrapper = reader.decode::<der::asn1::ContextSpecific<x509_cert::ext::Extensions>>()?;
    let tag = Tag::ContextSpecific { constructed: true, number: TagNumber::N3 };
    // Extensions are optional in X.509; here a certificate without any is refused by the decoder,
    // as a VEK without them says nothing and a CA without them is no CA.
    if wrapper.tag_number != TagNumber::N3 || wrapper.value.len() > MAX_EXTENSIONS {
        return Err(tag.value_error());
    }
    Ok(wrapper
        .value
        .into_iter()
        .map(|extension| Extension {
            oid: extension.extn_id,
            critical: extension.critical,
            value: extension.extn_value.into_bytes(),
        })
        .collect())
}

pub(super) fn seconds(since_epoch: Duration) -> u64 {
    since_epoch.as_secs()
}

/// Removes leading zeros, so that equal numbers are equal bytes; the number 0 becomes no bytes.
pub(super) fn trim(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().skip_while(|byte| **byte == 0).copied().collect()
}
