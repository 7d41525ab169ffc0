//! Confidential guests that cannot be.

use super::{PROGRAM, Place, assert_refused};
use casemate_test_support::bzimage::bzimage;
use std::path::Path;
use std::process::Command;

#[test]
fn protection_that_the_host_lacks_is_refused_and_never_downgraded() {
    if Path::new("/dev/sev").exists() || !Path::new("/dev/kvm").exists() {
        println!("SKIPPED: this host may offer SEV-SNP, or has no /dev/kvm");
        return;
    }
    let place = Place::new("snp");
    let mut command = Command::new(PROGRAM);
    command.args(["run", "--protection", "sev-snp", "--kernel", &place.path("kernel")]);
    assert_refused(&mut command, 1, &["host.snp: found false", "casemate host"]);
    // A policy that does not ask for it changes the words only.
    let any = casemate_policy::Policy::permissive_text().replace("[\"none\"]", "\"any\"");
    let policy = place.write("policy.toml", any.as_bytes());
    command.args(["--policy", &policy]);
    assert_refused(&mut command, 1, &["`protection`", "sev-snp", "casemate host"]);
}

/// `casemate run` of a confidential guest with these lines in its configuration, `[snp]` last.
fn confidential(place: &Place, top: &str, snp: &str) -> Command {
    let text = format!("kernel = \"kernel\"\nprotection = \"sev-snp\"\n{top}\n[snp]\n{snp}\n");
    let config = place.write("vm.toml", text.as_bytes());
    let mut command = Command::new(PROGRAM);
    command.args(["run", &config]);
    command
}

#[test]
fn impossible_snp_values_name_their_key_and_the_bit() {
    let place = Place::new("snp-values");
    place.write("kernel", &bzimage(&[]));
    place.write("short", &[0; 95]);
    place.write("block", &[0; 96]);
    place.write("auth", &[0; 4096]);
    place.write("large", &vec![0; 0x4001]);
    place.write("endless", &[1; 4096]);
    place.write("empty", b"");
    let zeros = "0".repeat(62);
    for (snp, words) in [
        ("policy = 0x10000", ["`snp.policy`", "bit 17"]),
        ("policy = 0x70000", ["`snp.policy`", "bit 18"]),
        ("policy = 0x4030000", ["`snp.policy`", "bit 26 has no meaning"]),
        ("policy = -1", ["policy", "line 5"]),
        ("vmsa_features = 8", ["`snp.vmsa_features`", "bit 3"]),
        ("c_bit = 31", ["`snp.c_bit`", "EPYC has 51"]),
        ("c_bit = 300", ["c_bit", "line 5"]),
        (&format!("host_data = \"{zeros}\""), ["`snp.host_data`", "64 hexadecimal"]),
        ("host_data = \"zz\"", ["`snp.host_data`", "64 hexadecimal"]),
        ("initdata = \"gone\"", ["`snp.initdata`", "No such file"]),
        ("initdata = \"block\"", ["`snp.initdata`", "initdata"]),
        (
            "initdata = \"gone\"\nhost_data = \"00\"",
            ["`snp.initdata`", "leave `snp.host_data` out"],
        ),
        ("expect_digest = \"00\"", ["`snp.expect_digest`", "96 hexadecimal"]),
        ("id_block = \"block\"", ["`snp.id_auth`", "signatures"]),
        ("id_auth = \"auth\"", ["`snp.id_block`", "name its file"]),
        ("id_block = \"short\"\nid_auth = \"auth\"", ["`snp.id_block`", "must have 96"]),
        ("id_block = \"gone\"\nid_auth = \"auth\"", ["`snp.id_block`", "No such file"]),
        ("author_key_enabled = true", ["`snp.author_key_enabled`", "`snp.id_block`"]),
        ("certs = \"gone\"", ["`snp.certs`", "No such file"]),
        ("certs = \"empty\"", ["`snp.certs`", "empty"]),
        ("certs = \"large\"", ["`snp.certs`", "16 KiB"]),
        ("certs = \"endless\"", ["`snp.certs`", "no end"]),
        ("polcy = 1", ["line 5", "polcy"]),
    ] {
        assert_refused(&mut confidential(&place, "", snp), 2, &words);
    }
    let mut command = Command::new(PROGRAM);
    let text = "kernel = \"kernel\"\nprotection = \"none\"\n[snp]\npolicy = 0x30000\n";
    command.args(["run", &place.write("none.toml", text.as_bytes())]);
    assert_refused(&mut command, 2, &["`snp`", "sev-snp"]);
}

#[test]
fn launches_that_cannot_be_what_was_asked_for_are_refused_before_anything_is_started() {
    let place = Place::new("snp-launch");
    place.write("kernel", &bzimage(&[]));
    place.write("auth", &[0; 4096]);
    place.write("block", &[0xab; 96]);
    let wrong = format!("expect_digest = \"{}\"", "ab".repeat(48));
    assert_refused(
        &mut confidential(&place, "", &wrong),
        2,
        &["launch digest", "not the expected abab"],
    );
    let block = "id_block = \"block\"\nid_auth = \"auth\"";
    let words = ["`snp.id_block`", "abababab", "casemate measure"];
    assert_refused(&mut confidential(&place, "", block), 2, &words);
    for (memory, words) in [
        ("65537K", ["`memory`", "whole MiB"]),
        ("0x40000000", ["`memory`", "such as 256M"]),
        ("31M", ["`memory`", "at least 32M"]),
        ("95M", ["`memory`", "at least 96M"]),
    ] {
        let top = format!("memory = \"{memory}\"");
        assert_refused(&mut confidential(&place, &top, ""), 2, &words);
    }
    assert_refused(&mut confidential(&place, "vcpus = 65", ""), 2, &["`vcpus`", "use 1 to 64"]);
    let initrd =
        format!("initrd = \"{}\"\nmemory = \"128M\"", place.write("initrd", &vec![7; 80 << 20]));
    assert_refused(&mut confidential(&place, &initrd, ""), 2, &["`memory`", "initrd", "need"]);
}

#[test]
fn kernels_that_cannot_be_confidential_guests_say_what_they_lack() {
    let place = Place::new("snp-kernels");
    for (edit, words) in [
        ((0, &b"\0\0"[..]), ["`kernel`", "CONFIG_EFI_STUB"]),
        ((0x236, &[0]), ["`kernel`", "no 64-bit entry"]),
        ((0x206, &[11]), ["`kernel`", "2.11, older than 2.12"]),
        ((0x230, &[3]), ["`kernel`", "kernel_alignment"]),
        ((0x1f1, &[200]), ["`kernel`", "truncated"]),
        // init_size: more than there is RAM
        ((0x260, &[0, 0, 0, 0x70]), ["`memory`", "too little"]),
    ] {
        place.write("kernel", &bzimage(&[edit]));
        assert_refused(&mut confidential(&place, "", ""), 2, &words);
    }
}

#[test]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
fn a_kept_plan_has_the_digest_of_its_configuration_and_a_damaged_one_is_refused() {
    let place = Place::new("plan");
    place.write("kernel", &bzimage(&[]));
    let config = place.write("vm.toml", b"kernel = \"kernel\"\nprotection = \"sev-snp\"\n");
    let file = place.path("plan");
    let digest = |arguments: &[&str]| {
        let output = Command::new(PROGRAM).arg("measure").args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let saved = digest(&[&config, "--save-plan", &file]);
    assert_eq!(digest(&["--plan", &file]), saved);
    assert_eq!(saved, digest(&[&config]));
    let plan = std::fs::read(&file).unwrap();
    let short = plan.get(..plan.len() - 1).unwrap();
    for (bytes, words) in
        [(&b"x"[..], ["--plan", "no launch plan"]), (short, ["--plan", "cut off"])]
    {
        let bad = place.write("bad", bytes);
        assert_refused(Command::new(PROGRAM).args(["measure", "--plan", &bad]), 2, &words);
    }
}
