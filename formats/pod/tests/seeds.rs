//! The fuzzer begins at manifests that are ones: otherwise it would search long for the first.
#![allow(clippy::unwrap_used, reason = "tests")]

#[test]
fn seeds_of_the_fuzzer_are_manifests() {
    let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/seeds/pod_manifest");
    for name in ["small", "whole"] {
        let text = std::fs::read_to_string(format!("{seeds}/{name}")).unwrap();
        assert_eq!(casemate_pod::Manifest::read(&text).map(|_| ()), Ok(()), "{name}");
    }
}
