//! A kept chain is never better than one verified from the start.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;
#[path = "common/model.rs"]
mod fixture;

use casemate_attestation::cert::{Certificate, certificates_in};
use casemate_attestation::model::Signer;
use casemate_attestation::verify::{Code, Verifier};

const DAY: u64 = 86_400;

fn verifier(at: u64, lists: &[&[u8]]) -> Verifier {
    let mut verifier = fixture::verifier();
    verifier.at = at;
    verifier.appraisal.require_crl = true;
    for list in lists {
        verifier.add_crl(list);
    }
    verifier
}

/// Protects against a cache that outlives what it rests on: at every time, with every list, under
/// every set of roots, what a verdict under the kept chain admits, the verdict from the start
/// admits. The other way round need not hold: a kept chain may be refused where a new one would do.
#[test]
fn what_a_kept_chain_admits_a_chain_from_the_start_admits() {
    let chip = fixture::chip();
    let report = chip.report(fixture::guest(&chip).state(), [9; 64], 0, 0).unwrap();
    let root = fixture::root();
    let ask = Certificate::from_der(root.ask()).unwrap();
    let start = common::at("2026-06-01");
    let list = |from: &str, to: &str, revoked: &[Vec<u8>]| {
        root.crl(Signer::Ark, from, Some(to), revoked).unwrap()
    };
    let clean = list("260531000000Z", "260701000000Z", &[]);
    let newer = list("260610000000Z", "260801000000Z", &[]);
    let revoking = list("260615000000Z", "280501000000Z", std::slice::from_ref(&ask.serial));
    let first = verifier(start, &[&clean]);
    let kept = first.verify_chain(chip.vcek()).unwrap();
    assert!(first.verify_under(&report, &kept).authentic());

    let mut admitted = 0;
    let lists: [&[&[u8]]; 7] = [
        &[],
        &[&clean],
        &[&newer],
        &[&clean, &newer],
        &[&revoking],
        &[&clean, &revoking],
        &[b"no list"],
    ];
    for days in [0, 1, 12, 29, 30, 31, 60, 310, 4000] {
        for lists in lists {
            for model in [true, false] {
                let mut later = verifier(start + days * DAY, lists);
                if !model {
                    later.roots = casemate_attestation::cert::builtin();
                }
                let cold = later.verify(&report, Some(chip.vcek())).authentic();
                let warm = later.verify_under(&report, &kept);
                if warm.authentic() {
                    admitted += 1;
                    // Without a list at hand the kept one, still current, is what there is.
                    let mut told = verifier(later.at, &[&clean]);
                    told.roots = later.roots.clone();
                    let cold = cold || told.verify(&report, Some(chip.vcek())).authentic();
                    assert!(cold, "{days} days, {} lists, model {model}", lists.len());
                }
            }
        }
    }
    assert!(admitted > 3, "a kept chain is of use while all it rests on holds");
}

/// Protects against the reasons being mixed up: each part that ends says so.
#[test]
fn a_kept_chain_ends_with_its_list_with_a_newer_list_and_with_its_root() {
    let chip = fixture::chip();
    let report = chip.report(fixture::guest(&chip).state(), [9; 64], 0, 0).unwrap();
    let root = fixture::root();
    let start = common::at("2026-06-01");
    let clean = root.crl(Signer::Ark, "260531000000Z", Some("260701000000Z"), &[]).unwrap();
    let newer = root.crl(Signer::Ark, "260610000000Z", Some("270801000000Z"), &[]).unwrap();
    let kept = verifier(start, &[&clean]).verify_chain(chip.vcek()).unwrap();
    let code = |verifier: &Verifier| {
        verifier.verify_under(&report, &kept).first_failure().map(|check| check.code)
    };
    assert_eq!(code(&verifier(start + 29 * DAY, &[&clean])), None);
    assert_eq!(code(&verifier(start + 31 * DAY, &[&clean])), Some(Code::VekValidity));
    assert_eq!(code(&verifier(start - 2 * DAY, &[&clean])), Some(Code::VekValidity));
    assert_eq!(code(&verifier(start + DAY, &[&clean, &newer])), Some(Code::CrlFreshness));
    assert_eq!(code(&verifier(start, &[b"damaged"])), Some(Code::CrlParse));
    let mut other_roots = verifier(start, &[&clean]);
    other_roots.roots = casemate_attestation::cert::builtin();
    assert_eq!(code(&other_roots), Some(Code::ArkPinned));
    // A chain that was kept without any list does not survive the first one.
    let mut without = verifier(start, &[]);
    without.appraisal.require_crl = false;
    let bare = without.verify_chain(chip.vcek()).unwrap();
    let verdict = verifier(start, &[&clean]).verify_under(&report, &bare);
    assert!(verdict.failures().any(|check| check.code == Code::CrlFreshness));
    assert!(certificates_in(root.bundle_pem().as_bytes()).is_ok());
}
