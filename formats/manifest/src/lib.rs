//! What an image says of itself ([`Manifest`]), and what its kernel command line says of its root
//! file system ([`RootDisk`]): whoever builds an image writes them, the guest's PID 1 reads them.
//! Decoders without input and output, so that both sides and the fuzzer have the same ones.
//!
//! The manifest lies in the root file system, whose hash is on the measured command line: so it is
//! proven by the launch digest, and can therefore never hold it, nor anything that depends on it.
#![forbid(unsafe_code)]

mod hash;
mod manifest;
mod root;
mod secrets;

pub use manifest::{
    Boot, Built, Console, MAX_RECIPIENTS, MAX_SIZE, MAX_STRINGS, Manifest, ManifestError, Module,
    PATH, Process, Results, User, VERSION,
};
pub use root::{
    BLOCK, DEBUG_WORD, EXCHANGE_SERIAL, INITDATA_SERIAL, RootDisk, RootError, SALT, SERIAL,
};
pub use secrets::{Broker, Keys, MAX_BROKER_KEYS, MAX_SECRETS, Secret, Word, is_resource};
