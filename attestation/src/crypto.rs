//! The primitives a verifier needs, behind one trait, so that two back ends can be compared.
//!
//! Default: `ring`. Feature `aws-lc`: `aws-lc-rs` becomes the default; `ring` stays available.

use std::fmt::Debug;

/// A signature that does not verify, or a key that is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not verify")]
pub struct BadSignature;

/// A provider of SHA-384 and of the verification of ECDSA P-384, RSA-PSS and RSA PKCS#1 signatures.
pub trait Backend: Debug + Send + Sync {
    /// Name of the crate that provides it, for records and benchmarks.
    fn name(&self) -> &'static str;
    /// SHA-384 of the whole message at once (FIPS 180-4).
    fn sha384(&self, message: &[u8]) -> [u8; 48];
    /// ECDSA P-384 with SHA-384. `key`: uncompressed SEC1 point; `signature`: r and s, big-endian.
    ///
    /// # Errors
    /// [`BadSignature`] when it does not verify.
    fn p384(&self, key: &[u8], message: &[u8], signature: &[u8; 96]) -> Result<(), BadSignature>;
    /// RSASSA-PSS with SHA-384, MGF1-SHA-384 and a salt of 48 bytes. `key`: PKCS#1 RSAPublicKey.
    ///
    /// # Errors
    /// [`BadSignature`] when it does not verify.
    fn rsa_pss(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), BadSignature>;
    /// RSASSA-PKCS1-v1_5 with SHA-256, keys of 2048 to 8192 bits: how vTPMs sign quotes. `key`:
    /// modulus and exponent, big-endian without leading zeros.
    ///
    /// # Errors
    /// [`BadSignature`] when it does not verify, or the key is none.
    fn rsa_pkcs1_sha256(
        &self,
        key: (&[u8], &[u8]),
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), BadSignature>;
}

macro_rules! backend {
    ($(#[$doc:meta])* $name:ident, $krate:ident, $label:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub struct $name;

        impl Backend for $name {
            fn name(&self) -> &'static str {
                $label
            }

            fn sha384(&self, message: &[u8]) -> [u8; 48] {
                let mut out = [0; 48];
                out.copy_from_slice($krate::digest::digest(&$krate::digest::SHA384, message).as_ref());
                out
            }

            fn p384(&self, key: &[u8], message: &[u8], signature: &[u8; 96]) -> Result<(), BadSignature> {
                use $krate::signature::{ECDSA_P384_SHA384_FIXED, UnparsedPublicKey};
                UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, key)
                    .verify(message, signature)
                    .map_err(|_| BadSignature)
            }

            fn rsa_pss(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
                use $krate::signature::{RSA_PSS_2048_8192_SHA384, UnparsedPublicKey};
                UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA384, key)
                    .verify(message, signature)
                    .map_err(|_| BadSignature)
            }

            fn rsa_pkcs1_sha256(
                &self,
                (n, e): (&[u8], &[u8]),
                message: &[u8],
                signature: &[u8],
            ) -> Result<(), BadSignature> {
                use $krate::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
                RsaPublicKeyComponents { n, e }
                    .verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
                    .map_err(|_| BadSignature)
            }
        }
    };
}

backend!(
    /// The `ring` back end, always there.
    Ring,
    ring,
    "ring"
);
#[cfg(feature = "aws-lc")]
backend!(
    /// The `aws-lc-rs` back end (feature `aws-lc`).
    AwsLc,
    aws_lc_rs,
    "aws-lc-rs"
);

/// The back end that is used unless another is asked for.
#[must_use]
pub fn default_backend() -> &'static dyn Backend {
    #[cfg(feature = "aws-lc")]
    return &AwsLc;
    #[cfg(not(feature = "aws-lc"))]
    &Ring
}
