//! `casemate measure`, digests and ID blocks.

use super::{expect, path, scratch, vector};
use std::path::Path;

#[test]
fn measure_prints_the_digest_and_makes_id_blocks_that_check() {
    let ovmf = vector("measure/ovmf_AmdSev_suffix.bin");
    let base = ["measure", "--ovmf", path(&ovmf)];
    let (out, _) = expect(0, &[&base[..], &["--kernel", "/dev/null"]].concat());
    assert_eq!(
        out.trim(),
        "ddc5224521617a536ee7ce9dd6224d1b58a8d4fda1c741f3ac99fc4bfa04ba6e9fc98646d4a07a9079397fa3852819b5"
    );
    let key =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../attestation/tests/data/model_id_key.pem");
    let (block, auth) = (scratch("id-block"), scratch("id-auth"));
    let files = ["--id-block", path(&block), "--id-auth", path(&auth)];
    let keys = ["--id-key", path(&key), "--author-key", path(&key)];
    expect(0, &[&base[..], &files, &keys].concat());
    let (_, err) = expect(2, &[&base[..], &files, &keys, &["--guest-policy", "0x10000"]].concat());
    assert!(err.contains("bit 17 must be one"), "{err}");
    let check = ["measure", "--check-id-block", path(&block), "--check-id-auth", path(&auth)];
    let (out, _) = expect(0, &check);
    assert!(out.contains("the ID block is signed") && out.contains("author key digest"));
    let mut altered = std::fs::read(&block).unwrap();
    altered[84] ^= 1;
    std::fs::write(&block, altered).unwrap();
    expect(1, &check);
    expect(2, &["measure"]);
    expect(2, &[&base[..], &["--cpu", "Pentium"]].concat());
    std::fs::remove_file(block).unwrap();
    std::fs::remove_file(auth).unwrap();
}

#[test]
fn an_option_of_measure_that_would_have_no_effect_is_refused() {
    let digest = "ab".repeat(48);
    for option in [
        ["--vcpus", "2"],
        ["--vmm", "gce"],
        ["--cpu", "EPYC-v4"],
        ["--cpu-signature", "1"],
        ["--guest-features", "1"],
        ["--kernel", "/dev/null"],
        ["--save-plan", "/dev/null"],
        ["--family-id", "00000000000000000000000000000000"],
        ["--image-id", "00000000000000000000000000000000"],
        ["--guest-svn", "1"],
        ["--guest-policy", "0x30000"],
    ] {
        expect(2, &[&["measure", "--digest", &digest][..], &option].concat());
    }
    expect(0, &["measure", "--digest", &digest]);
    // Casemate's own guest has no model of a processor and one VMM.
    for option in [
        ["--vmm", "gce"],
        ["--cpu", "EPYC-v4"],
        ["--cpu-signature", "1"],
        ["--guest-features", "1"],
    ] {
        let own = ["measure", "--kernel", "/dev/null", "--cmdline", "x"];
        let (_, err) = expect(2, &[&own[..], &option].concat());
        assert!(err.contains("--ovmf"), "{option:?}: {err}");
    }
}

#[test]
fn an_id_block_has_the_guest_policy_of_its_launch() {
    let folder = scratch("id-policy");
    std::fs::create_dir_all(&folder).unwrap();
    let file = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    std::fs::write(file("kernel"), casemate_test_support::bzimage::bzimage(&[])).unwrap();
    let config = "kernel = \"kernel\"\nprotection = \"sev-snp\"\n[snp]\npolicy = 0x3001f\n";
    std::fs::write(file("vm.toml"), config).unwrap();
    let key =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../attestation/tests/data/model_id_key.pem");
    let (config, plan, block, auth) = (file("vm.toml"), file("plan"), file("block"), file("auth"));
    expect(0, &["measure", &config, "--save-plan", &plan]);
    let out = ["--id-block", &block, "--id-auth", &auth, "--id-key", path(&key)];
    for source in [&["measure", &config][..], &["measure", "--plan", &plan]] {
        expect(0, &[source, &out].concat());
        let written = std::fs::read(&block).unwrap();
        assert_eq!(written[88..], 0x3001f_u64.to_le_bytes());
        expect(0, &[source, &out, &["--guest-policy", "0x3001f"]].concat());
        let (_, err) = expect(2, &[source, &out, &["--guest-policy", "0x30000"]].concat());
        assert!(err.contains("the launch has 0x3001f"), "{err}");
        expect(2, &[source, &["--id-block", &block, "--id-auth", &block], &out[4..]].concat());
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
