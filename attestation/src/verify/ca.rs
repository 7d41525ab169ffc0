//! Whether a certificate is that of an authority: key usage, basic constraints, and nothing beside
//! them that could restrict it.

use crate::cert::Certificate;
use der::Decode;
use der::asn1::ObjectIdentifier;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage, KeyUsages};

/// Identifiers of the two extensions that a CA certificate has to have (RFC 5280, sections 4.2.1.3
/// and 4.2.1.9).
const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");
const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
/// Subject and authority key identifier, CRL distribution points: read by nobody here, harmless.
const INFORMATIVE: [ObjectIdentifier; 3] = [
    ObjectIdentifier::new_unwrap("2.5.29.14"),
    ObjectIdentifier::new_unwrap("2.5.29.35"),
    ObjectIdentifier::new_unwrap("2.5.29.31"),
];

/// Key usage and basic constraints of both CA certificates.
pub(super) fn usage(ark: &Certificate, intermediate: &Certificate) -> Result<(), &'static str> {
    // One certificate below the root's intermediate: path lengths of at least 1 and 0. Only the
    // root signs lists.
    may_sign(ark, 1)?;
    may_sign(intermediate, 0)?;
    let crl = key_usage(ark).is_some_and(|usage| usage.0.contains(KeyUsages::CRLSign));
    if crl { Ok(()) } else { Err("the root may not sign revocation lists") }
}

fn key_usage(certificate: &Certificate) -> Option<KeyUsage> {
    KeyUsage::from_der(&certificate.extension(KEY_USAGE)?.value).ok()
}

/// Whether a certificate is of an authority that may sign certificates, `below` levels of
/// authorities under it.
pub(super) fn may_sign(certificate: &Certificate, below: u8) -> Result<(), &'static str> {
    let usage = key_usage(certificate).ok_or("no readable key usage")?;
    if !usage.0.contains(KeyUsages::KeyCertSign) {
        return Err("may not sign certificates");
    }
    let constraints = certificate.extension(BASIC_CONSTRAINTS).ok_or("no basic constraints")?;
    let constraints =
        BasicConstraints::from_der(&constraints.value).map_err(|_| "basic constraints damaged")?;
    if !constraints.ca {
        return Err("not a CA");
    }
    // An absent path length does not limit (RFC 5280, section 4.2.1.9).
    if constraints.path_len_constraint.is_some_and(|length| length < below) {
        return Err("path length too short");
    }
    // RFC 5280, section 4.2: a critical extension that is not understood refuses the certificate.
    // Others may be there when they are known to restrict nothing, name constraints for one are
    // not.
    for extension in &certificate.extensions {
        let known = [KEY_USAGE, BASIC_CONSTRAINTS].contains(&extension.oid);
        let informative = INFORMATIVE.contains(&extension.oid);
        if !known && (extension.critical || !informative) {
            return Err("an extension that is not understood");
        }
    }
    Ok(())
}
