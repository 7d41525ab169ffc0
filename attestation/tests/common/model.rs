//! A stored MODEL root (its private keys are public: it is for tests alone) and chips under it.
#![allow(dead_code, clippy::unwrap_used)]

use casemate_attestation::model::{Config, Finish, Guest, ModelRoot, Processor};
use casemate_attestation::report::Generation;
use std::sync::OnceLock;

pub fn root() -> &'static ModelRoot {
    static ROOT: OnceLock<ModelRoot> = OnceLock::new();
    ROOT.get_or_init(|| ModelRoot::from_bytes(include_bytes!("../data/model_root.json")).unwrap())
}

pub fn chip() -> Processor {
    chip_with(|_| ())
}

pub fn chip_with(change: impl FnOnce(&mut Config)) -> Processor {
    let mut config = Config::new(Generation::Turin).unwrap();
    change(&mut config);
    Processor::new(root(), config).unwrap()
}

pub fn guest(processor: &Processor) -> Guest {
    let mut guest = Guest::start(processor, 0x30000).unwrap();
    guest.finish(&Finish::default()).unwrap();
    guest
}

pub fn verifier() -> casemate_attestation::verify::Verifier {
    let mut verifier = casemate_attestation::verify::Verifier::new(super::common::at("2026-06-01"));
    let bundle =
        casemate_attestation::cert::certificates_in(root().bundle_pem().as_bytes()).unwrap();
    verifier.roots.accept_model(bundle).unwrap();
    verifier
}
