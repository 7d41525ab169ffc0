//! Protects `casemate open` as an owner meets it: each thing that can be wrong with a result is one
//! line, its exit status, and nothing written; without a policy it is said that nobody has proven
//! who made it. Results are sealed here by the code of the guest. Reports are real ones of others,
//! so none is right for a result of ours; `open_proven.rs` has right ones, of a MODEL.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod sealed_result;

use casemate_result::PublicKey;
use sealed_result::{NONCE, Place, RUN};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

const REPORT: &[u8] = include_bytes!("../../tests/vectors/reports/ms_genoa.bin");
const VCEK: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors/reports/ms_genoa.vcek.der");

/// A whole result of the run, as a guest writes it.
fn result(to: PublicKey, evidence: &[u8]) -> Vec<u8> {
    RUN.seal(to, *b"six\n").with(evidence)
}

#[test]
fn without_a_policy_results_are_written_and_it_is_said_that_nothing_is_proven() {
    let place = Place::new("unproven");
    place.write("sealed", &result(place.key("owner.key"), REPORT));
    place.write("readings", b"1 2 3");
    let open = ["open", "sealed", "-o", "out/", "--key", "owner.key", "--nonce", NONCE];
    let (status, _, said) = place.casemate(&[&open[..], &["--input", "readings"]].concat());
    assert_eq!(status, 3, "{said}");
    assert_eq!(said, "casemate: not proven who made this: no --policy was given\n");
    assert_eq!(std::fs::read(place.0.join("out/sums/all")).unwrap(), b"six\n");
    let mode = |path: &str| place.0.join(path).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("out/sums/all"), mode("out")), (0o640, 0o700));
    std::fs::remove_dir_all(place.0.join("out")).unwrap();
    let (status, _, said) = place.casemate(&open[..6]);
    assert_eq!(status, 3, "{said}");
    assert!(said.contains("it may be of any run") && said.contains(NONCE), "{said}");
    assert!(said.contains("its inputs were not compared"), "{said}");
}

/// Opens on a file system that has no room for the results, in a mount namespace of its own.
const FULL_DISK: &str = r#"
mkdir disk && mount -t tmpfs -o size=16k,mode=700 none disk || exit 77
head -c 1m /dev/zero >disk/rest 2>/dev/null
"$0" "$@" 2>said
echo "$? $(ls -A disk) $(tail -1 said)"
"#;

/// Protects an owner from a part of the results that looks as all of them.
#[test]
fn results_for_which_there_is_no_room_are_a_line_and_nothing_is_left() {
    let place = Place::new("no-room");
    place.write("sealed", &result(place.key("owner.key"), REPORT));
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", FULL_DISK]);
    command.args([env!("CARGO_BIN_EXE_casemate"), "open", "sealed", "-o", "disk/out"]);
    command.args(["--key", "owner.key", "--nonce", NONCE]).current_dir(&place.0);
    let output = command.output().unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    if output.status.code() == Some(77) || text.contains("unshare failed") {
        println!("SKIPPED: only root can mount a small file system");
        return;
    }
    assert!(text.starts_with("1 rest casemate: ") && text.contains("No space left"), "{text}");
}

#[test]
fn a_result_of_another_run_other_inputs_or_another_owner_is_refused() {
    let place = Place::new("other");
    place.write("sealed", &result(place.key("owner.key"), REPORT));
    place.write("readings", b"1 2 3");
    place.write("other", b"1 2 4");
    let nonce = "2b".repeat(32);
    place.refused("sealed", &["--nonce", &nonce], 1, "it is of another run: its nonce is 2a2a");
    place.refused("sealed", &["--input", "other"], 1, "it was made of other inputs");
    place.refused("sealed", &["--no-input"], 1, "it was made of other inputs");
    place.refused("sealed", &["--input", "readings", "--input", "other"], 1, "of other inputs");
    let theirs = place.key("their.key");
    place.write("theirs", &result(theirs, REPORT));
    place.refused("theirs", &[], 1, "sealed to other keys");
    let short = ["open", "sealed", "-o", "out", "--key", "owner.key", "--nonce", "2a"];
    let (status, _, said) = place.casemate(&short);
    assert!(status == 2 && said.contains("64 hexadecimal digits"), "{said}");
}

/// A host that plays the guest: it has the public key, and reports that were made for something
/// else.
#[test]
fn a_result_that_the_host_forged_is_refused_before_anything_is_written() {
    let place = Place::new("forged");
    let owner = place.key("owner.key");
    place.write("appraisal.toml", b"vmpl = [0, 1, 2, 3]\n");
    let policy = ["--policy", "appraisal.toml", "--cert", VCEK, "--at", "2026-06-01"];
    place.write("none", &result(owner, b""));
    place.refused("none", &policy, 1, "it has no report, so nothing proves who made it");
    place.write("theirs", &result(owner, REPORT));
    place.refused("theirs", &policy, 1, "refused: ");
    // That it is authentic does not help: it was made for something else.
    let lax = [&policy[..], &["--authenticity-only"]].concat();
    place.refused("theirs", &lax, 1, "refused: ");
    place.write("text", &result(owner, b"a report"));
    place.refused("text", &policy, 1, "refused: ");
    place.refused("theirs", &["--policy", "missing.toml"], 2, "missing.toml");
}

#[test]
fn what_is_no_result_or_not_a_whole_one_is_refused() {
    let place = Place::new("whole");
    let whole = result(place.key("owner.key"), REPORT);
    for len in [0, 10, 95, 96, 150, whole.len() - REPORT.len() - 1, whole.len() - 1] {
        place.write("cut", &whole[..len]);
        place.refused("cut", &[], 2, "it was cut off");
    }
    place.write("long", &[&whole[..], b"x"].concat());
    place.refused("long", &[], 2, "something follows its end");
    place.write("text", &[b'x'; 4096]);
    place.refused("text", &[], 2, "it is no sealed result");
    let mut changed = whole.clone();
    changed[96 + 120] ^= 1;
    place.write("changed", &changed);
    place.refused("changed", &[], 1, "its sealed part was changed");
    let mut run = whole.clone();
    run[40] ^= 1;
    place.write("run", &run);
    place.refused("run", &[], 1, "sealed for another run or other inputs");
    place.refused("missing", &[], 2, "missing");
    place.write("key.txt", b"no key\n");
    let open = ["open", "text", "-o", "out", "--key", "key.txt"];
    for (mode, why) in [(0o644, "others than its owner"), (0o600, "64 hexadecimal digits")] {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(place.0.join("key.txt"), mode).unwrap();
        let (status, _, said) = place.casemate(&open);
        assert!(status == 2 && said.contains(why), "{said}");
    }
}

#[test]
fn what_is_there_already_is_left_alone() {
    let place = Place::new("there");
    place.write("sealed", &result(place.key("owner.key"), REPORT));
    let key = std::fs::read(place.0.join("owner.key")).unwrap();
    let (status, _, said) = place.casemate(&["result-key", "owner.key"]);
    assert!(status == 2 && said.contains("owner.key"), "{said}");
    assert_eq!(std::fs::read(place.0.join("owner.key")).unwrap(), key);
    symlink("nowhere", place.0.join("out")).unwrap();
    place.refused("sealed", &[], 2, "there is such a file already");
    std::fs::remove_file(place.0.join("out")).unwrap();
    place.write("out", b"mine");
    place.refused("sealed", &[], 2, "there is such a file already");
    assert_eq!(std::fs::read(place.0.join("out")).unwrap(), b"mine");
}
