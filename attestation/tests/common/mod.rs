//! The vectors of `tests/vectors`, by the names of its INDEX.md.
#![allow(dead_code, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::path::PathBuf;

pub const AT: &str = "2026-06-01";

pub fn vectors() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors"))
}

pub fn read(name: &str) -> Vec<u8> {
    std::fs::read(vectors().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

pub fn at(text: &str) -> u64 {
    casemate_attestation::time::parse(text).unwrap()
}

pub struct Pair {
    pub name: &'static str,
    pub report: Vec<u8>,
    pub vek: Vec<u8>,
    /// A time at which the whole chain is valid.
    pub at: u64,
}

fn pair(name: &'static str, report: &str, vek: &str) -> Pair {
    Pair { name, report: read(report), vek: read(vek), at: at(AT) }
}

/// Every pair of the index whose chain and report signature are good.
pub fn pairs() -> Vec<Pair> {
    let mut all: Vec<Pair> = [
        "ms_milan",
        "ms_genoa",
        "ms_turin",
        "virtee_milan",
        "gsg_milan",
        "oak_genoa_oc",
        "oak_milan_oc_release",
        "oak_milan_oc_staging",
    ]
    .into_iter()
    .map(|name| pair(name, &format!("reports/{name}.bin"), &format!("reports/{name}.vcek.der")))
    .collect();
    all.push(pair(
        "trustee_vcek",
        "reports/trustee_test-report.bin",
        "reports/trustee_test-vcek.der",
    ));
    let mut vlek = pair(
        "trustee_vlek",
        "reports/trustee_test-vlek-report.bin",
        "reports/trustee_test-vlek.der",
    );
    vlek.at = at("2025-06-01");
    all.push(vlek);
    let mut azure = pair("openpcc_azure", "ext/openpcc_azure.bin", "ext/openpcc_vcek.der");
    azure.report = azure.report[0x20..0x4c0].to_vec();
    all.push(azure);
    let hcl = read("evidence/trustee_az_hcl_report.bin")[0x20..0x4c0].to_vec();
    let chain =
        casemate_attestation::cert::certificates_in(&read("evidence/trustee_az_vcek_chain.pem"))
            .unwrap();
    all.push(Pair {
        name: "trustee_az_hcl",
        report: hcl,
        vek: chain[0].der().to_vec(),
        at: at(AT),
    });
    let ext = read("ext/eternis_gcp_ext.bin");
    all.push(Pair {
        name: "eternis_gcp",
        report: ext[..1184].to_vec(),
        vek: ext[1184 + 0x60..1184 + 0x60 + 0x547].to_vec(),
        at: at(AT),
    });
    all
}

pub fn find(name: &str) -> Pair {
    pairs().into_iter().find(|pair| pair.name == name).unwrap()
}

pub fn golden() -> serde_json::Value {
    serde_json::from_slice(&read("golden.json")).unwrap()
}

/// A verifier of the built-in rules that takes Milan, whose root is broken.
pub fn verifier(at: u64) -> casemate_attestation::verify::Verifier {
    let mut verifier = casemate_attestation::verify::Verifier::new(at);
    verifier.appraisal.allow_broken_roots = vec![casemate_attestation::report::Generation::Milan];
    verifier
}
