//! Certificates and revocation lists in whatever a file holds.
//!
//! Read are DER objects, one behind the other, with zeros behind the last as a host's table or a
//! page has them; PEM blocks with text around them; DER in base64 or hexadecimal without PEM's
//! lines; and the JSON in which Azure's metadata service (THIM) gives a VCEK and its chain. Other
//! forms are named with the way to convert them.

use super::{CertError, Certificate, Crl};
use crate::{base64, hex};

/// Most objects of one bundle. Of this hierarchy one has for each generation an ARK, an ASK, an
/// ASVK, a list and a few VEKs.
const MAX_OBJECTS: usize = 64;
/// More text than 64 certificates have.
const MAX_BUNDLE: usize = 1024 * 1024;
/// What a PKCS #7 bundle has within its first bytes: the identifier of signed data.
const PKCS7: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02";

/// What a bundle can hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Object {
    /// An X.509 certificate, parsed and not verified.
    Certificate(Certificate),
    /// An X.509 revocation list, parsed and not verified.
    Crl(Crl),
}

/// All certificates and revocation lists in `bytes`, in their order.
///
/// # Errors
/// When it is none of the forms read here, a part is damaged, or there are more than 64.
pub fn objects_in(bytes: &[u8]) -> Result<Vec<Object>, CertError> {
    if bytes.len() > MAX_BUNDLE {
        let (what, length, limit) = ("bundle of certificates", bytes.len(), MAX_BUNDLE);
        return Err(CertError::TooLong { what, length, limit });
    }
    // 0x30 is the tag of a SEQUENCE, with which both kinds of object begin. It is the digit 0 as
    // well; of the text forms only PEM with words before it could begin so, and is then refused as
    // damaged.
    if bytes.first() == Some(&0x30) {
        return all_der(bytes);
    }
    if let Some(how) = crate::packed::how_to_unpack(bytes) {
        return Err(CertError::Pem(how));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| CertError::Pem("not text"))?;
    if text.trim_start().starts_with('{') {
        return from_pem(&thim(text)?);
    }
    if text.contains("-----BEGIN") {
        return from_pem(text);
    }
    // Hexadecimal first: most of it is base64 as well.
    match hex::from_people(text).or_else(|| base64::decode(text)) {
        Some(der) if der.first() == Some(&0x30) => all_der(&der),
        _ => Err(CertError::Pem("no certificate or revocation list in it")),
    }
}

/// All certificates in `bytes`, see [`objects_in`].
///
/// # Errors
/// As [`objects_in`], and when there is none.
pub fn certificates_in(bytes: &[u8]) -> Result<Vec<Certificate>, CertError> {
    let certificates: Vec<_> = objects_in(bytes)?
        .into_iter()
        .filter_map(|object| match object {
            Object::Certificate(certificate) => Some(certificate),
            Object::Crl(_) => None,
        })
        .collect();
    if certificates.is_empty() {
        Err(CertError::Pem("no certificate in it"))
    } else {
        Ok(certificates)
    }
}

/// All revocation lists in `bytes`, see [`objects_in`].
///
/// # Errors
/// As [`objects_in`], and when there is none.
pub fn crls_in(bytes: &[u8]) -> Result<Vec<Crl>, CertError> {
    let crls: Vec<_> = objects_in(bytes)?
        .into_iter()
        .filter_map(|object| match object {
            Object::Crl(crl) => Some(crl),
            Object::Certificate(_) => None,
        })
        .collect();
    if crls.is_empty() { Err(CertError::Pem("no revocation list in it")) } else { Ok(crls) }
}

/// Every object of a file that has one behind the other, with zeros behind the last.
fn all_der(bytes: &[u8]) -> Result<Vec<Object>, CertError> {
    let mut found = Vec::new();
    let mut rest = bytes;
    loop {
        // Where no length fits, the rest is one object, and what is wrong with it is told.
        let end = super::lengths::first_object(rest).filter(|end| *end < rest.len());
        let (object, after) =
            rest.split_at_checked(end.unwrap_or(rest.len())).unwrap_or((rest, &[]));
        let is_next = after.first() == Some(&0x30);
        found.push(from_der(if is_next { object } else { rest })?);
        if !is_next {
            return Ok(found);
        }
        if found.len() == MAX_OBJECTS {
            return Err(CertError::Pem("more than 64 certificates and lists"));
        }
        rest = after;
    }
}

/// One object; the certificate's fault is told when it is neither.
fn from_der(bytes: &[u8]) -> Result<Object, CertError> {
    let der = without_zeros(bytes);
    // Asked before the parse, for a better message: within signed data the identifier stands behind
    // one tag and at most five bytes of length, so the first few offsets are enough.
    if der.windows(PKCS7.len()).take(8).any(|window| window == PKCS7) {
        return Err(CertError::Pem(
            "a PKCS #7 bundle; convert it with `openssl pkcs7 -inform der -print_certs`",
        ));
    }
    // No bytes are both: a certificate's body begins with the tag [0] of its version, a list's with
    // an INTEGER or a SEQUENCE. When neither fits, the certificate's error is told, since a
    // certificate is what people mostly have.
    if let Ok(crl) = Crl::from_der(der) {
        return Ok(Object::Crl(crl));
    }
    Certificate::from_der(der).map(Object::Certificate)
}

/// A DER object without the zeros behind it. Anything else behind it stays, to be refused.
fn without_zeros(bytes: &[u8]) -> &[u8] {
    let whole = super::lengths::first_object(bytes);
    match whole.and_then(|length| bytes.split_at_checked(length)) {
        Some((object, rest)) if rest.iter().all(|byte| *byte == 0) => object,
        _ => bytes,
    }
}

fn from_pem(text: &str) -> Result<Vec<Object>, CertError> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("-----BEGIN ") {
        let (label, after) = after.split_once("-----").ok_or(CertError::Pem("no BEGIN line"))?;
        let (body, after) = after.split_once("-----END ").ok_or(CertError::Pem("no END line"))?;
        rest = after;
        let der = || base64::decode(body).ok_or(CertError::Pem("not base64"));
        let object = match label {
            "CERTIFICATE" | "X509 CERTIFICATE" => {
                // Counted before it is kept, so that a bundle of a million small blocks costs one
                // parse each and no memory.
                Object::Certificate(Certificate::from_der(&der()?)?)
            }
            "X509 CRL" => Object::Crl(Crl::from_der(&der()?)?),
            "PKCS7" | "CMS" => {
                return Err(CertError::Pem(
                    "a PKCS #7 bundle; convert it with `openssl pkcs7 -print_certs`",
                ));
            }
            "TRUSTED CERTIFICATE" => {
                return Err(CertError::Pem(
                    "OpenSSL's form of a trusted certificate; convert it with `openssl x509`",
                ));
            }
            // Keys and parameters may stand beside a certificate.
            _ => continue,
        };
        if found.len() == MAX_OBJECTS {
            return Err(CertError::Pem("more than 64 certificates and lists"));
        }
        found.push(object);
    }
    if found.is_empty() {
        return Err(CertError::Pem("no certificate or revocation list in it"));
    }
    Ok(found)
}

/// The PEM texts of Azure's answer: `{"vcekCert": …, "certificateChain": …, "tcbm": …}`.
fn thim(text: &str) -> Result<String, CertError> {
    #[derive(serde::Deserialize)]
    struct Thim {
        #[serde(rename = "vcekCert")]
        vcek: String,
        #[serde(default, rename = "certificateChain")]
        chain: String,
    }
    let thim: Thim = serde_json::from_str(text).map_err(|_| {
        CertError::Pem("JSON without `vcekCert`, which Azure's metadata service has")
    })?;
    // PEM again, so that the objects pass through the same reader, and the same bounds, as a
    // file's.
    Ok(format!("{}\n{}", thim.vcek, thim.chain))
}
