//! The keys of a guest owner, in the forms in which people hold them.

use super::{CURVE_P384, IdError, PUBLIC_KEY_SIZE, put, reversed};
use crate::digest::{Digest384, sha384};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair};

/// What DER that is no such key is, by the object identifiers in its first bytes: what a key is of
/// stands before the key itself.
fn of_another_kind(der: &[u8]) -> Option<&'static str> {
    const KINDS: [(&[u8], &str); 6] = [
        // PBES2, and a PKCS #12 container: data in signed or encrypted form.
        (
            b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0d",
            "encrypted; decrypt it with `openssl pkey -out FILE`",
        ),
        (
            b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01",
            "in a PKCS #12 container; take it out with `openssl pkcs12 -nocerts -nodes`",
        ),
        (b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01", "an RSA key; a key of P-384 is needed"),
        (b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07", "of the curve P-256; P-384 is needed"),
        (b"\x06\x05\x2b\x81\x04\x00\x23", "of the curve P-521; P-384 is needed"),
        (b"\x06\x03\x2b\x65\x70", "an Ed25519 key; a key of P-384 is needed"),
    ];
    // SEC1 has the curve behind the private number, of 66 bytes at most; PKCS #1 has no identifier:
    // its first number is the version 0, its second is long (RFC 8017, A.1.2).
    let start = der.get(..128).unwrap_or(der);
    let has = |identifier: &[u8]| start.windows(identifier.len()).any(|part| part == identifier);
    let found = KINDS.into_iter().find(|(identifier, _)| has(identifier)).map(|(_, what)| what);
    let is_rsa = matches!(der, [0x30, 0x82, _, _, 2, 1, 0, 2, 0x82, ..]);
    found.or(is_rsa.then_some("an RSA key; a key of P-384 is needed"))
}

/// A P-384 key that signs ID blocks or ID keys.
pub struct OwnerKey {
    pair: EcdsaKeyPair,
}

impl std::fmt::Debug for OwnerKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OwnerKey(P-384)")
    }
}

impl OwnerKey {
    /// Reads a key as people hold it: PKCS#8 or SEC1, PEM or DER.
    ///
    /// # Errors
    /// [`IdError::PrivateKey`], or [`IdError::KeyForm`] with the command that converts it.
    pub fn from_file(bytes: &[u8]) -> Result<Self, IdError> {
        // PKCS #8 and SEC1 both begin with a SEQUENCE; the outer shapes differ, so at most one of
        // the two readers takes it.
        if bytes.first() == Some(&0x30) {
            return Self::from_der(bytes);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| IdError::PrivateKey)?;
        // DER in base64 without PEM's lines.
        if let Some(der) = crate::base64::decode(text).filter(|der| der.first() == Some(&0x30)) {
            return Self::from_der(&der);
        }
        let mut rest = text;
        while let Some((_, after)) = rest.split_once("-----BEGIN ") {
            let (label, after) = after.split_once("-----").ok_or(IdError::PrivateKey)?;
            let (body, after) = after.split_once("-----END ").ok_or(IdError::PrivateKey)?;
            rest = after;
            // Two ways of saying that it is encrypted: PKCS #8 has a label, the older PEM a header
            // line inside (RFC 1421, Proc-Type).
            if label == "ENCRYPTED PRIVATE KEY" || body.contains("ENCRYPTED") {
                return Err(IdError::KeyForm(
                    "encrypted; decrypt it with `openssl pkey -out FILE`",
                ));
            }
            let der = || crate::base64::decode(body).ok_or(IdError::PrivateKey);
            match label {
                "PRIVATE KEY" | "EC PRIVATE KEY" | "RSA PRIVATE KEY" => {
                    return Self::from_der(&der()?);
                }
                "PUBLIC KEY" => {
                    return Err(IdError::KeyForm("a public key; signing needs the private one"));
                }
                "OPENSSH PRIVATE KEY" => {
                    let how = "a key of OpenSSH; convert it with `ssh-keygen -p -m PKCS8`";
                    return Err(IdError::KeyForm(how));
                }
                // `openssl ecparam -genkey` puts the curve before the key, and a certificate may
                // stand beside it.
                _ => {}
            }
        }
        if text.contains("-----BEGIN CERTIFICATE-----") {
            return Err(IdError::KeyForm("not in it, but a certificate; signing needs the key"));
        }
        Err(IdError::PrivateKey)
    }

    fn from_der(der: &[u8]) -> Result<Self, IdError> {
        let read = Self::from_pkcs8(der).or_else(|_| Self::from_sec1(der));
        read.map_err(|error| of_another_kind(der).map_or(error, IdError::KeyForm))
    }

    /// Reads a key from SEC1 DER. Source: RFC 5915.
    fn from_sec1(der: &[u8]) -> Result<Self, IdError> {
        use der::asn1::{BitStringRef, OctetStringRef};
        use der::{Decode, Reader, SliceReader};
        const VERSION: &[u8] = &[2, 1, 1];
        /// Without the curve it can only be guessed by the length, which other curves have as well.
        const P384: &[u8] = b"\xa0\x07\x06\x05\x2b\x81\x04\x00\x22";
        let parse = || -> der::Result<Option<(&[u8], &[u8])>> {
            let mut reader = SliceReader::new(der)?;
            let parts = reader.sequence(|inner| {
                let version = inner.tlv_bytes()?;
                let private = inner.decode::<OctetStringRef<'_>>()?.as_bytes();
                let curve = inner.tlv_bytes()?;
                // The public key is optional in RFC 5915. It is demanded here because `ring`
                // compares the two halves, and does not compute one from the other.
                if inner.is_finished() {
                    return Ok(None);
                }
                // [1] EXPLICIT: the public key, in a header of two bytes.
                let tagged = inner.tlv_bytes()?;
                // 0xa1 is [1], constructed; 100 bytes are a BIT STRING of 98, that is one byte of
                // unused bits and an uncompressed point of 97.
                let public = tagged.strip_prefix(&[0xa1, 100]).unwrap_or_default();
                let public = BitStringRef::from_der(public)?.as_bytes().unwrap_or_default();
                let fits = version == VERSION && curve == P384;
                Ok(fits.then_some((private, public)))
            })?;
            reader.finish(parts)
        };
        let (private, public) = parse().ok().flatten().ok_or(IdError::PrivateKey)?;
        let algorithm = &ECDSA_P384_SHA384_FIXED_SIGNING;
        EcdsaKeyPair::from_private_key_and_public_key(
            algorithm,
            private,
            public,
            &SystemRandom::new(),
        )
        .map(|pair| Self { pair })
        .map_err(|_| IdError::PrivateKey)
    }

    /// Makes a new key, which is forgotten with this value: for tests and models. Real keys come
    /// from PEM.
    ///
    /// # Errors [`IdError::PrivateKey`] when the system gives no random numbers.
    pub fn generate() -> Result<Self, IdError> {
        EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &SystemRandom::new())
            .map_err(|_| IdError::PrivateKey)
            .and_then(|der| Self::from_pkcs8(der.as_ref()))
    }

    /// Reads a key from PKCS#8 DER.
    ///
    /// # Errors
    /// [`IdError::PrivateKey`].
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, IdError> {
        EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, der, &SystemRandom::new())
            .map(|pair| Self { pair })
            .map_err(|_| IdError::PrivateKey)
    }

    /// The public key as the firmware takes it: curve, x and y little-endian in 72 bytes each.
    #[must_use]
    pub fn public_key(&self) -> [u8; PUBLIC_KEY_SIZE] {
        let mut out = [0; PUBLIC_KEY_SIZE];
        put(&mut out, 0, &CURVE_P384.to_le_bytes());
        // `ring` gives the point in SEC1's uncompressed form: one byte of tag, x, y.
        let point = self.pair.public_key().as_ref();
        let coordinates = point.get(1..).unwrap_or_default();
        let (x, y) = coordinates.split_at_checked(48).unwrap_or_default();
        put(&mut out, 4, &reversed(x));
        put(&mut out, 76, &reversed(y));
        out
    }

    /// The digest of the public key, as reports carry it.
    #[must_use]
    pub fn digest(&self) -> Digest384 {
        sha384(&self.public_key())
    }

    /// A signature as ring and JOSE have it: r and s big-endian, 48 bytes each.
    pub(crate) fn sign_fixed(&self, message: &[u8]) -> Result<Vec<u8>, IdError> {
        let signature = self.pair.sign(&SystemRandom::new(), message);
        signature.map(|made| made.as_ref().to_vec()).map_err(|_| IdError::PrivateKey)
    }

    /// A signature structure of 512 bytes: r and s little-endian in 72 bytes each.
    pub(super) fn sign(&self, message: &[u8]) -> Result<[u8; 512], IdError> {
        let signature = self.sign_fixed(message)?;
        let (r, s) = signature.split_at_checked(48).unwrap_or_default();
        let mut out = [0; 512];
        put(&mut out, 0, &reversed(r));
        put(&mut out, 72, &reversed(s));
        Ok(out)
    }
}
