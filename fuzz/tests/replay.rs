//! Replays every committed seed and regression, and a fixed stream of random inputs, through every
//! fuzz target on stable.

use casemate_fuzz::TARGETS;
use std::path::Path;

/// Inputs of growing length from a fixed xorshift stream: the same in every run.
fn stream(seed: u64) -> impl Iterator<Item = Vec<u8>> {
    let mut state = seed | 1;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..400).map(move |i| (0..=i).flat_map(|_| next()).collect())
}

#[test]
fn every_target_passes_its_corpus_and_a_fixed_random_stream() {
    let mut files = 0;
    for (seed, (name, body)) in (1..).zip(TARGETS) {
        stream(seed).for_each(|input| body(&input));
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(name);
        for entry in std::fs::read_dir(&seeds).into_iter().flatten() {
            body(&std::fs::read(entry.unwrap().path()).unwrap());
            files += 1;
        }
    }
    println!("replayed {files} committed inputs through {} targets", TARGETS.len());
}

#[test]
fn every_target_has_a_file_and_a_body_and_the_other_way_round() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz_targets");
    let mut files: Vec<String> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    files.sort();
    let mut bodies: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    bodies.sort_unstable();
    assert_eq!(files, bodies);
}

#[test]
fn the_genuine_revocation_list_of_the_crl_target_is_accepted() {
    // Otherwise its oracle would hold for every input.
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors");
    let read = |name: &str| std::fs::read(vectors.join(name)).unwrap();
    let mut verifier = casemate_attestation::verify::Verifier::new(1_772_323_200);
    verifier.appraisal.allow_broken_roots = vec![casemate_attestation::report::Generation::Milan];
    verifier.add_crl(&read("crls/milan_crl_6.der"));
    let verdict =
        verifier.verify(&read("reports/ms_milan.bin"), Some(&read("reports/ms_milan.vcek.der")));
    assert!(verdict.authentic(), "{:?}", verdict.first_failure());
}
