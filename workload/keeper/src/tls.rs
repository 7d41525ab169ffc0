//! The broker's identity: a key for TLS, and the certificate that carries its public half.
//!
//! Guests know a broker by the SHA-256 of its public key (`SubjectPublicKeyInfo`, RFC 5280), never
//! by a name, an authority or a date: they have no trusted time, and names are their host's. So the
//! certificate that is made here is signed by its own key, and does not end.

use crate::der::{self, BIT_STRING, INTEGER, OCTET_STRING, OID, SEQUENCE, SET, TIME, UTF8};
use casemate_relay::Transcript;
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, KeyPair,
};
use std::net::IpAddr;
use zeroize::Zeroizing;

/// Why a key or certificate is of no use.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TlsError {
    /// The key is of a kind that is not signed with here.
    #[error(
        "it is no key of P-256 or P-384 (PKCS #8 with its public half, as `kbs init` makes it)"
    )]
    Key,
    /// The file has no certificate.
    #[error("it holds no certificate in PEM")]
    Certificate,
    /// The certificate's public key is neither P-256 nor P-384.
    #[error("its public key is none of P-256 or P-384, which are signed with here")]
    Kind,
    /// The key is not that of the certificate.
    #[error("the TLS key is not that of the certificate: give the two that belong together")]
    Apart,
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    Random,
    /// A name that cannot stand in a certificate.
    #[error("{0:?} is no name of a host and no IP address")]
    Name(String),
}

/// Which key it is, and so how it signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Curve {
    /// `ecdsa_secp256r1_sha256` (0x0403).
    P256,
    /// `ecdsa_secp384r1_sha384` (0x0503).
    P384,
}

/// `AlgorithmIdentifier` of a P-256 key (RFC 5480), as it stands in a certificate.
const P256_KEY: [u8; 21] = [
    0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
    0xce, 0x3d, 0x03, 0x01, 0x07,
];
/// The same of P-384.
const P384_KEY: [u8; 18] = [
    0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81, 0x04,
    0x00, 0x22,
];
/// ecdsa-with-SHA256 (RFC 5758).
const ECDSA_SHA256: [u8; 8] = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
/// id-at-commonName, id-ce-subjectAltName, id-ce-basicConstraints (RFC 5280).
const COMMON_NAME: [u8; 3] = [0x55, 0x04, 0x03];
const ALT_NAME: [u8; 3] = [0x55, 0x1d, 0x11];
const BASIC: [u8; 3] = [0x55, 0x1d, 0x13];

impl Curve {
    const ALL: [Self; 2] = [Self::P256, Self::P384];

    const fn algorithm(self) -> &'static [u8] {
        match self {
            Self::P256 => &P256_KEY,
            Self::P384 => &P384_KEY,
        }
    }

    /// The public key as certificates have it.
    fn spki(self, point: &[u8]) -> Vec<u8> {
        let point = der::element(BIT_STRING, &[&[0], point]);
        der::element(SEQUENCE, &[self.algorithm(), &point])
    }
}

/// A broker's private key for TLS. It signs one thing: a server's part of a TLS 1.3 handshake.
#[derive(Debug)]
pub struct TlsKey {
    pair: EcdsaKeyPair,
    curve: Curve,
}

impl TlsKey {
    /// The key in these bytes (PKCS #8).
    ///
    /// # Errors
    /// [`TlsError::Key`].
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, TlsError> {
        let random = SystemRandom::new();
        let kinds = [
            (Curve::P256, &ECDSA_P256_SHA256_ASN1_SIGNING),
            (Curve::P384, &ECDSA_P384_SHA384_ASN1_SIGNING),
        ];
        let mut pairs = kinds.into_iter().filter_map(|(curve, algorithm)| {
            let pair = EcdsaKeyPair::from_pkcs8(algorithm, der, &random).ok()?;
            Some(Self { pair, curve })
        });
        pairs.next().ok_or(TlsError::Key)
    }

    /// A new key of P-256, with its bytes.
    ///
    /// # Errors
    /// [`TlsError::Random`].
    pub fn generate() -> Result<(Self, Zeroizing<Vec<u8>>), TlsError> {
        let random = SystemRandom::new();
        let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random);
        let made = made.map_err(|_| TlsError::Random)?;
        let der = Zeroizing::new(made.as_ref().to_vec());
        Ok((Self::from_pkcs8(&der)?, der))
    }

    /// Its public half, as certificates have it.
    #[must_use]
    pub fn spki(&self) -> Vec<u8> {
        self.curve.spki(self.pair.public_key().as_ref())
    }

    /// Signs a handshake as a TLS 1.3 server; none when the system gives no random numbers. Who
    /// asks is the process that faces the network, and gives the handshake's hash: what is signed
    /// is made here, so one that was taken over has nothing else signed.
    #[must_use]
    pub fn sign(&self, handshake: &Transcript) -> Option<Vec<u8>> {
        let signed = self.pair.sign(&SystemRandom::new(), &handshake.content()).ok()?;
        Some(signed.as_ref().to_vec())
    }

    /// A certificate for these names, signed by the key itself, of P-256 only.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn certificate(&self, names: &[String]) -> Result<Vec<u8>, TlsError> {
        if self.curve != Curve::P256 {
            return Err(TlsError::Kind);
        }
        let mut serial = [0; 16];
        ring::rand::SecureRandom::fill(&SystemRandom::new(), &mut serial)
            .map_err(|_| TlsError::Random)?;
        // Positive, and as long as it says: the first bits are 01.
        serial[0] = serial[0] & 0x3f | 0x40;
        let algorithm = der::element(SEQUENCE, &[&der::element(OID, &[&ECDSA_SHA256])]);
        let common = der::element(UTF8, &[b"casemate key broker"]);
        let common = der::element(SEQUENCE, &[&der::element(OID, &[&COMMON_NAME]), &common]);
        let name = der::element(SEQUENCE, &[&der::element(SET, &[&common])]);
        let times = [b"20250101000000Z", b"99991231235959Z"].map(|at| der::element(TIME, &[at]));
        let validity = der::element(SEQUENCE, &[&times[0], &times[1]]);
        let version = der::element(0xa0, &[&der::element(INTEGER, &[&[2]])]);
        let extensions = der::element(SEQUENCE, &[&alternative_names(names)?, &no_authority()]);
        let signed = der::element(
            SEQUENCE,
            &[
                &version,
                &der::element(INTEGER, &[&serial]),
                &algorithm,
                &name,
                &validity,
                &name,
                &self.spki(),
                &der::element(0xa3, &[&extensions]),
            ],
        );
        let signature =
            self.pair.sign(&SystemRandom::new(), &signed).map_err(|_| TlsError::Random)?;
        let signature = der::element(BIT_STRING, &[&[0], signature.as_ref()]);
        Ok(der::element(SEQUENCE, &[&signed, &algorithm, &signature]))
    }
}

fn extension(oid: &[u8], body: &[u8]) -> Vec<u8> {
    der::element(SEQUENCE, &[&der::element(OID, &[oid]), &der::element(OCTET_STRING, &[body])])
}

/// Basic constraints without a word: no authority.
fn no_authority() -> Vec<u8> {
    extension(&BASIC, &der::element(SEQUENCE, &[]))
}

fn alternative_names(names: &[String]) -> Result<Vec<u8>, TlsError> {
    let mut all = Vec::new();
    for name in names {
        let one = match name.parse::<IpAddr>() {
            Ok(IpAddr::V4(address)) => der::element(0x87, &[&address.octets()]),
            Ok(IpAddr::V6(address)) => der::element(0x87, &[&address.octets()]),
            Err(_) if is_host(name) => der::element(0x82, &[name.as_bytes()]),
            Err(_) => return Err(TlsError::Name(name.clone())),
        };
        all.extend(one);
    }
    Ok(extension(&ALT_NAME, &der::element(SEQUENCE, &[&all])))
}

/// A name of a host (RFC 1123), as a certificate can have it.
fn is_host(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

/// A certificate, as far as a broker looks into its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Every certificate of the file, in its order, in DER: the broker's own is the first.
    pub chain: Vec<Vec<u8>>,
    /// Its public key (`SubjectPublicKeyInfo`).
    pub spki: Vec<u8>,
    /// How that key signs.
    pub curve: Curve,
}

/// More certificates than any chain has.
const MAX_CHAIN: usize = 8;

impl Identity {
    /// Reads the certificates of a PEM text.
    ///
    /// # Errors
    /// [`TlsError::Certificate`], [`TlsError::Kind`].
    pub fn from_pem(text: &[u8]) -> Result<Self, TlsError> {
        const END: &str = "-----END CERTIFICATE-----";
        let text = std::str::from_utf8(text).map_err(|_| TlsError::Certificate)?;
        let pieces = text.split_inclusive(END).filter(|piece| piece.ends_with(END));
        let chain = pieces
            .map(|piece| crate::key_file::pem(piece.as_bytes(), "CERTIFICATE"))
            .take(MAX_CHAIN)
            .collect::<Option<Vec<_>>>()
            .ok_or(TlsError::Certificate)?;
        let own = chain.first().ok_or(TlsError::Certificate)?;
        let spki = spki(own).ok_or(TlsError::Certificate)?.to_vec();
        let curve = curve(&spki).ok_or(TlsError::Kind)?;
        Ok(Self { chain, spki, curve })
    }

    /// What guests know the broker by: the SHA-256 of its public key.
    #[must_use]
    pub fn pin(&self) -> [u8; 32] {
        pin(&self.spki)
    }
}

/// The SHA-256 of a public key.
#[must_use]
pub fn pin(spki: &[u8]) -> [u8; 32] {
    digest(&SHA256, spki).as_ref().try_into().unwrap_or([0; 32])
}

fn curve(spki: &[u8]) -> Option<Curve> {
    let (_, inner) = der::take(&mut &*spki, SEQUENCE)?;
    Curve::ALL.into_iter().find(|curve| inner.starts_with(curve.algorithm()))
}

/// The public key of a certificate.
fn spki(certificate: &[u8]) -> Option<&[u8]> {
    let mut rest = certificate;
    let (_, inner) = der::take(&mut rest, SEQUENCE)?;
    let (_, mut signed) = der::take(&mut &*inner, SEQUENCE)?;
    der::take(&mut signed, 0xa0)?;
    der::take(&mut signed, INTEGER)?;
    // Algorithm, issuer, validity, subject.
    for _ in 0..4 {
        der::take(&mut signed, SEQUENCE)?;
    }
    let (key, _) = der::take(&mut signed, SEQUENCE)?;
    rest.is_empty().then_some(key)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::{Identity, TlsError, TlsKey, Transcript, pin};
    use base64ct::Encoding;
    use proptest::prelude::*;

    /// What the process on the network has signed is a server's part of a handshake, under the key
    /// that guests pin. Cannot tell whether a client takes it: the test of the whole broker does.
    #[test]
    fn what_is_signed_is_a_servers_part_of_a_handshake() {
        use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
        let (key, _) = TlsKey::generate().unwrap();
        for length in [32, 48] {
            let hash = vec![7; length];
            let signature = key.sign(&Transcript::of_hash(&hash).unwrap()).unwrap();
            let context = b"TLS 1.3, server CertificateVerify\0";
            let content = [&[b' '; 64], &context[..], &hash].concat();
            let spki = key.spki();
            let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &spki[26..]);
            public.verify(&content, &signature).unwrap();
            assert!(public.verify(&hash, &signature).is_err());
        }
    }

    /// Guests pin what `init` prints, and a broker that is started later has to have that.
    #[test]
    fn a_certificate_that_was_made_has_the_key_that_made_it() {
        let (key, der) = TlsKey::generate().unwrap();
        let names = ["localhost", "127.0.0.1", "::1", "kbs.example.org"].map(str::to_owned);
        let made = key.certificate(&names).unwrap();
        let text = base64ct::Base64::encode_string(&made);
        let pem =
            format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n").repeat(2);
        let identity = Identity::from_pem(pem.as_bytes()).unwrap();
        assert_eq!(identity.spki, key.spki());
        assert_eq!(identity.chain, [made.clone(), made]);
        assert_eq!(TlsKey::from_pkcs8(&der).unwrap().spki(), identity.spki);
        assert_eq!(identity.pin(), pin(&key.spki()));
    }

    #[test]
    fn a_name_that_is_none_is_refused() {
        let (key, _) = TlsKey::generate().unwrap();
        for name in ["", "a b", "-a", "a-", "a..b", &"a".repeat(64), "a\nb", "ä"] {
            let made = key.certificate(&[name.to_owned()]);
            assert_eq!(made, Err(TlsError::Name(name.to_owned())));
        }
    }

    proptest! {
        /// Certificates come from a file that anybody may have written.
        #[test]
        fn any_bytes_are_an_identity_or_none(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = super::spki(&bytes);
            let _ = super::curve(&bytes);
            let _ = Identity::from_pem(&bytes);
            let _ = TlsKey::from_pkcs8(&bytes);
        }

        #[test]
        fn a_damaged_certificate_is_an_identity_or_none(at in 0_usize..400, byte in any::<u8>()) {
            let (key, _) = TlsKey::generate().unwrap();
            let mut made = key.certificate(&["a".to_owned()]).unwrap();
            let at = at % made.len();
            made[at] = byte;
            let _ = super::spki(&made);
        }
    }
}
