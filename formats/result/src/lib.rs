//! Results of a workload: the guest's PID 1 seals them to their owners' keys, the host carries them
//! out, an owner opens them. Encoders and decoders over streams, in bounded memory, so that both
//! sides and the fuzzer have the same ones; no files, and no judgement of who sealed.
//!
//! - [`PublicKey`], [`SecretKey`]: of an owner, X25519.
//! - [`Request`]: what the host hands the guest before it starts: the owner's nonce and inputs.
//! - [`Cover`], [`survey`]: the file as it comes out: a cover, the sealed part, evidence of who
//!   made it. [`Cover::binding`] is what the evidence must have been made for.
//! - [`Sealer`], [`Opener`]: the sealed part.
//! - [`entries`], [`Ending`]: what is sealed: folders and files, and how the workload ended.
//!
//! # Why so
//!
//! A random key seals the results in pieces of 64 KiB, and HPKE (RFC 9180: base mode,
//! DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305) seals that key to each owner. The
//! pieces are the STREAM construction of Hoang, Reyhanitabar, Rogaway and Vizár ("Online
//! authenticated-encryption and its nonce-reuse misuse-resistance", 2015), as age has it: the nonce
//! counts and says which piece is the last, so none can be moved, left out or cut off.
//!
//! Sealing says nothing of who sealed: everybody has the public key. That is what the evidence is
//! for, a report whose REPORT_DATA comes of the hash of the sealed part, of the inputs and of the
//! run's nonce.
#![forbid(unsafe_code)]

mod cover;
mod ending;
pub mod entries;
mod error;
mod key;
mod open;
mod request;
mod seal;
mod wire;

pub use cover::{Cover, LABEL, MAX_EVIDENCE, Survey, report_data, survey};
pub use ending::{Cause, Ending};
pub use error::ResultError;
pub use key::{KeyError, PublicKey, SecretKey};
pub use open::Opener;
pub use request::{Input, InputDigest, MAX_INPUTS, Request};
pub use seal::{MAX_RECIPIENTS, Sealed, Sealer};

/// Bytes of a run's nonce.
pub const NONCE: usize = 32;
/// A SHA-256.
pub type Hash = [u8; 32];

/// What HPKE is told, so that its keys serve nothing else (`info` of RFC 9180, 5.1). The run and
/// its inputs are in it: a sealed part under another cover does not open.
fn info(nonce: &[u8; NONCE], inputs: &Hash) -> Vec<u8> {
    [LABEL.as_bytes(), nonce, inputs].concat()
}

type Kem = hpke::kem::X25519HkdfSha256;
type Kdf = hpke::kdf::HkdfSha256;
type Aead = hpke::aead::ChaCha20Poly1305;
