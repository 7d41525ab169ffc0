//! Writing certificates and revocation lists of the MODEL hierarchy, in AMD's shapes.

use crate::cert::{Authority, Role, encode_name};
use crate::report::{Generation, Tcb};

/// RSASSA-PSS, SHA-384, MGF1-SHA-384, salt 48: the form of AMD's certificates since 2023.
const PSS: &[u8] = b"\x30\x41\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a\x30\x34\
    \xa0\x0f\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\
    \xa1\x1c\x30\x1a\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x08\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x02\x05\x00\
    \xa2\x03\x02\x01\x30";
const RSA: &[u8] = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";
const P384: &[u8] = b"\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22";
/// AMD's arc, 1.3.6.1.4.1.3704.1, as the contents of an OBJECT IDENTIFIER.
const ARC: &[u8] = b"\x2b\x06\x01\x04\x01\x9c\x78\x01";

/// One DER element: tag, length in its shortest form, contents.
#[must_use]
pub(super) fn tlv(tag: u8, contents: &[u8]) -> Vec<u8> {
    let length = contents.len();
    let [.., c, b, a] = length.to_be_bytes();
    let mut out = vec![tag];
    match (c, b) {
        (0, 0) if a < 0x80 => out.push(a),
        (0, 0) => out.extend([0x81, a]),
        (0, _) => out.extend([0x82, b, a]),
        _ => out.extend([0x83, c, b, a]),
    }
    out.extend(contents);
    out
}

/// The parts of a certificate before it is signed; tests alter them one by one.
#[derive(Debug, Clone)]
pub struct Template {
    /// Contents of the serial number's INTEGER, big-endian.
    pub serial: Vec<u8>,
    /// DER of the signature algorithm inside the signed part.
    pub algorithm: Vec<u8>,
    /// DER of the issuer's name.
    pub issuer: Vec<u8>,
    /// UTCTime text of the start of validity.
    pub not_before: String,
    /// UTCTime text of the end of validity.
    pub not_after: String,
    /// DER of the subject's name.
    pub subject: Vec<u8>,
    /// DER of the SubjectPublicKeyInfo, algorithm included.
    pub spki: Vec<u8>,
    /// Contents of the OBJECT IDENTIFIER, whether critical, contents of the OCTET STRING.
    pub extensions: Vec<(Vec<u8>, bool, Vec<u8>)>,
}

impl Template {
    /// A certificate of the MODEL hierarchy, valid from 2020 to 2049.
    pub(super) fn new(issuer: Role, subject: Role, serial: &[u8], spki: Vec<u8>) -> Self {
        Self {
            serial: serial.to_vec(),
            algorithm: PSS.to_vec(),
            issuer: encode_name(Authority::Model, issuer),
            not_before: "200101000000Z".to_owned(),
            not_after: "491231235959Z".to_owned(),
            subject: encode_name(Authority::Model, subject),
            spki,
            extensions: Vec::new(),
        }
    }

    /// Adds key usage and basic constraints of a CA.
    pub(super) fn ca(mut self, usage: u8, path: Option<u8>) -> Self {
        let constraints = match path {
            None => tlv(0x30, &[1, 1, 0xff]),
            Some(length) => tlv(0x30, &[1, 1, 0xff, 2, 1, length]),
        };
        // Key usage (2.5.29.15) and basic constraints (2.5.29.19), both critical, as AMD's
        // certificates have them. In the BIT STRING one bit is unused for certificates and lists
        // alike, as the lowest used bit is cRLSign.
        self.extensions.push((vec![0x55, 0x1d, 0x0f], true, vec![3, 2, 1, usage]));
        self.extensions.push((vec![0x55, 0x1d, 0x13], true, constraints));
        self
    }

    /// The signed part: a TBSCertificate of version 3.
    #[must_use]
    pub fn tbs(&self) -> Vec<u8> {
        let validity =
            [tlv(0x17, self.not_before.as_bytes()), tlv(0x17, self.not_after.as_bytes())].concat();
        let extensions: Vec<u8> = self
            .extensions
            .iter()
            .flat_map(|(oid, critical, value)| {
                // A default is left out in DER: the flag stands there only when it is true.
                let flag: &[u8] = if *critical { &[1, 1, 0xff] } else { &[] };
                tlv(0x30, &[&tlv(6, oid), flag, &tlv(4, value)].concat())
            })
            .collect();
        let parts = [
            tlv(0xa0, &[2, 1, 2]),
            tlv(2, &self.serial),
            self.algorithm.clone(),
            self.issuer.clone(),
            tlv(0x30, &validity),
            self.subject.clone(),
            self.spki.clone(),
            tlv(0xa3, &tlv(0x30, &extensions)),
        ];
        tlv(0x30, &parts.concat())
    }
}

/// A signed object around its signed part.
pub(super) fn signed(tbs: &[u8], signature: &[u8]) -> Vec<u8> {
    // A BIT STRING begins with the number of unused bits, none here.
    let bits = [&[0], signature].concat();
    tlv(0x30, &[tbs, PSS, &tlv(3, &bits)].concat())
}

/// The signed part of a revocation list.
pub(super) fn crl_tbs(
    issuer: Role,
    this: &str,
    next: Option<&str>,
    revoked: &[Vec<u8>],
) -> Vec<u8> {
    let date = tlv(0x17, this.as_bytes());
    let mut parts =
        vec![vec![2, 1, 1], PSS.to_vec(), encode_name(Authority::Model, issuer), date.clone()];
    // nextUpdate is optional, and so is the list of entries, which must be absent rather than empty
    // (RFC 5280, section 5.1.2.6).
    parts.extend(next.map(|next| tlv(0x17, next.as_bytes())));
    if !revoked.is_empty() {
        let entries: Vec<u8> = revoked
            .iter()
            .flat_map(|serial| tlv(0x30, &[tlv(2, serial), date.clone()].concat()))
            .collect();
        parts.push(tlv(0x30, &entries));
    }
    tlv(0x30, &parts.concat())
}

pub(super) fn rsa_spki(public: &[u8]) -> Vec<u8> {
    tlv(0x30, &[RSA, &tlv(3, &[&[0], public].concat())].concat())
}

pub(super) fn p384_spki(point: &[u8]) -> Vec<u8> {
    tlv(0x30, &[P384, &tlv(3, &[&[0], point].concat())].concat())
}

/// The extensions of a VEK certificate: `hwid` for a VCEK, else `csp_id` for a VLEK.
#[must_use]
pub fn vek_extensions(
    generation: Generation,
    tcb: Tcb,
    hwid: Option<&[u8]>,
    csp_id: &str,
) -> Vec<(Vec<u8>, bool, Vec<u8>)> {
    let oid = |tail: &[u8]| [ARC, tail].concat();
    // A value of 128 or more takes a zero before it, or it would be negative.
    let integer = |value: u8| if value < 0x80 { vec![2, 1, value] } else { vec![2, 2, 0, value] };
    let turin_layout = generation.hwid_length() == 8;
    // The last arc of each SPL in the byte order of the TCB.
    let order: [u8; 8] =
        if turin_layout { [9, 1, 2, 3, 5, 6, 7, 8] } else { [1, 2, 4, 5, 6, 7, 3, 8] };
    let mut out = vec![
        (oid(&[1]), false, integer(u8::from(turin_layout))),
        (oid(&[2]), false, tlv(0x16, generation.name().as_bytes())),
    ];
    out.extend(
        order.iter().zip(tcb.0).map(|(arc, value)| (oid(&[3, *arc]), false, integer(value))),
    );
    out.push(match hwid {
        Some(hwid) => (oid(&[4]), false, hwid.to_vec()),
        None => (oid(&[5]), false, tlv(0x16, csp_id.as_bytes())),
    });
    out
}
