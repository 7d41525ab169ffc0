//! `casemate measure` of Casemate's own guests, as a process.
//!
//! Protects: the digest is the same whoever computes it and however the guest is described, depends
//! on no memory size, and comes as a table and as ID blocks for every number of vCPUs. Whether a
//! launch has that digest, it cannot tell: see the tests of the launch.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use casemate_test_support::bzimage::bzimage;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const PROGRAM: &str = env!("CARGO_BIN_EXE_casemate");

struct Place(PathBuf);
impl Place {
    fn new(test: &str) -> Self {
        let name = format!("casemate-measure-{test}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        // An EFI stub, which SNP needs, makes a kernel's file begin with MZ.
        std::fs::write(path.join("kernel"), bzimage(&[(0, b"MZ")])).unwrap();
        std::fs::write(path.join("initrd"), vec![7; 70_000]).unwrap();
        Self(path)
    }
    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
    fn config(&self, more: &str) -> String {
        let text = format!(
            "kernel = \"kernel\"\ninitrd = \"initrd\"\nprotection = \"sev-snp\"\n\
             cmdline = \"quiet\"\n{more}"
        );
        std::fs::write(self.0.join("vm.toml"), text).unwrap();
        self.path("vm.toml")
    }
}
impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn measure(args: &[&str]) -> Output {
    Command::new(PROGRAM).arg("measure").args(args).output().unwrap()
}

/// Standard output of a run that succeeded.
fn digest(args: &[&str]) -> String {
    let output = measure(args);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{args:?}: {errors}");
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

fn refused(status: i32, args: &[&str], words: &str) {
    let output = measure(args);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(status), "{args:?}: {errors}");
    assert!(errors.contains(words), "{args:?}: no {words:?} in {errors}");
    assert_eq!(output.stdout, b"", "{args:?}");
}

#[test]
fn flags_of_run_a_file_and_a_kept_plan_give_one_digest_whatever_the_memory() {
    let place = Place::new("flags");
    let config = place.config("");
    let expected = digest(&[&config]);
    assert_eq!(expected.len(), 96);
    let (kernel, initrd) = (place.path("kernel"), place.path("initrd"));
    let flags = ["--kernel", &kernel, "--initrd", &initrd, "--cmdline", "quiet"];
    assert_eq!(digest(&flags), expected, "flags alone");
    let others = ["--name", "x", "--console", "pty", "--timeout", "9s", "--protection", "sev-snp"];
    assert_eq!(digest(&[&flags[..], &others].concat()), expected, "flags of another run");
    for memory in ["96M", "1G", "3G", "3100M", "4096G"] {
        assert_eq!(digest(&[&config, "--memory", memory]), expected, "{memory}");
    }
    // An initrd that this memory has no room for is measured all the same.
    std::fs::write(place.0.join("initrd"), vec![7; 100 << 20]).unwrap();
    assert_ne!(digest(&[&config, "--memory", "96M"]), expected);
    std::fs::write(place.0.join("initrd"), vec![7; 70_000]).unwrap();
    let plan = place.path("plan");
    assert_eq!(digest(&[&config, "--save-plan", &plan]), expected);
    assert_eq!(digest(&["--plan", &plan]), expected);
    for (args, other) in [
        (["--cmdline", "quiet "], "command line"),
        (["--vcpus", "2"], "vCPUs"),
        (["--kernel", &initrd], "no kernel"),
    ] {
        let output = measure(&[&[&config[..]], &args[..]].concat());
        assert_ne!(String::from_utf8_lossy(&output.stdout).trim_end(), expected, "{other}");
    }
}

/// Protects README.md's table of what changes a digest and what does not: who rolls an image out
/// relies on both columns.
#[test]
fn keys_change_the_digest_or_do_not_as_the_readme_says() {
    let place = Place::new("keys");
    std::fs::write(place.0.join("disk.img"), [0; 4096]).unwrap();
    let expected = digest(&[&place.config("")]);
    let host_data = format!("[snp]\nhost_data = \"{}\"\n", "01".repeat(32));
    for key in [
        "memory = \"2G\"\n",
        "name = \"x\"\n",
        "grace = \"1s\"\n",
        "[[disk]]\npath = \"disk.img\"\n",
        "[snp]\npolicy = 0x30001\n",
        "[snp]\nvcek_disabled = true\n",
        &host_data,
    ] {
        assert_eq!(digest(&[&place.config(key)]), expected, "{key}");
    }
    for key in ["vcpus = 2\n", "[snp]\nvmsa_features = 0x20\n", "[snp]\nc_bit = 47\n"] {
        assert_ne!(digest(&[&place.config(key)]), expected, "{key}");
    }
}

#[test]
fn a_range_of_vcpus_gives_the_table_of_what_each_number_gives() {
    let place = Place::new("table");
    let config = place.config("vcpus = 3\n");
    let table = digest(&[&config, "--vcpus", "1-16"]);
    let rows: Vec<&str> = table.lines().collect();
    assert_eq!((rows.len(), rows[0]), (17, "vCPUs  launch digest"));
    for (count, row) in (1..).zip(&rows[1..]) {
        let one = digest(&[&config, "--vcpus", &format!("{count}")]);
        assert_eq!(*row, format!("{count:5}  {one}"));
    }
    assert!(rows[3].ends_with(&digest(&[&config])), "the configuration's own number");
    let json: serde_json::Value =
        serde_json::from_str(&digest(&[&config, "--vcpus", "2-3", "--json"])).unwrap();
    assert_eq!((json[0]["vcpus"].as_u64(), json[1]["vcpus"].as_u64()), (Some(2), Some(3)));
    assert!(rows[2].ends_with(json[0]["launch-digest"].as_str().unwrap()));
    refused(2, &[&config, "--vcpus", "60-65"], "`vcpus` is 65");
    refused(2, &[&config, "--vcpus", "3-1"], "1-16");
    refused(2, &[&config, "--vcpus", "1-2", "--explain"], "--explain");
}

#[test]
fn id_blocks_come_one_for_each_number_of_vcpus_in_files_of_their_own() {
    let place = Place::new("blocks");
    let config = place.config("");
    let key = place.path("key.pem");
    let made = Command::new("openssl")
        .args(["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384", "-out", &key])
        .output();
    if !made.is_ok_and(|made| made.status.success()) {
        println!("SKIPPED: no openssl to make a key");
        return;
    }
    let (block, auth) = (place.path("block-{vcpus}"), place.path("auth-{vcpus}"));
    let files = ["--id-block", &block, "--id-auth", &auth, "--id-key", &key];
    let _ = digest(&[&[&config[..], "--vcpus", "1-4"], &files[..]].concat());
    for count in 1..=4 {
        let name = |what| place.path(&format!("{what}-{count}"));
        let bytes = std::fs::read(name("block")).unwrap();
        let expected = digest(&[&config, "--vcpus", &format!("{count}")]);
        // ID_BLOCK (AMD 56860): the digest comes first.
        let in_block: String = bytes[..48].iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(in_block, expected);
        let _ = digest(&["--check-id-block", &name("block"), "--check-id-auth", &name("auth")]);
    }
    let one =
        ["--id-block", &place.path("one"), "--id-auth", &place.path("auth"), "--id-key", &key];
    refused(2, &[&[&config[..], "--vcpus", "1-4"], &one[..]].concat(), "{vcpus}");
    assert!(!Path::new(&place.path("one")).exists());
}

#[test]
fn another_digest_than_the_expected_one_is_a_failure() {
    let place = Place::new("expect");
    let config = place.config("");
    let good = digest(&[&config]);
    assert_eq!(digest(&[&config, "--expect-digest", &good]), good);
    refused(1, &[&config, "--expect-digest", &"0".repeat(96)], "not the expected one");
    refused(2, &[&config, "--expect-digest", "00"], "expect_digest");
}

#[test]
fn what_would_have_no_effect_or_says_nothing_to_measure_is_refused() {
    let place = Place::new("idle");
    let config = place.config("");
    refused(2, &[], "nothing to measure");
    refused(2, &["--memory", "1G"], "nothing to measure");
    refused(2, &["--digest", &"0".repeat(96), "--memory", "1G"], "--memory has no effect");
    refused(2, &["--ovmf", &config, "--timeout", "9s"], "--timeout has no effect");
    refused(2, &["--ovmf", &config, "--initrd", &config], "go with --kernel");
    refused(2, &[&config, "--protection", "none"], "only a \"sev-snp\" guest");
}

/// Protects: that a digest can be computed for another release's boot code, and that its hash is
/// named. Cannot tell: whether that release takes the same parameters.
#[test]
fn another_releases_boot_code_gives_another_digest_and_its_hash_is_named() {
    let place = std::env::temp_dir().join(format!("casemate-boot-code-{}", std::process::id()));
    std::fs::create_dir_all(&place).unwrap();
    let file = |name: &str| place.join(name).to_str().unwrap().to_owned();
    std::fs::write(file("kernel"), casemate_test_support::bzimage::bzimage(&[])).unwrap();
    let run = |arguments: &[&str]| {
        let program = env!("CARGO_BIN_EXE_casemate");
        let output = std::process::Command::new(program).args(arguments).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    let (kernel, code) = (file("kernel"), file("code"));
    assert_eq!(run(&["boot-code", "export", &code]).0, 0);
    let measure = |more: &[&str]| {
        let (status, text) = run(&[&["measure", "--kernel", &kernel, "--json"], more].concat());
        assert_eq!(status, 0, "{text}");
        text
    };
    let own = measure(&[]);
    assert_eq!(own, measure(&["--boot-code", &code]), "the exported bytes are this program's");
    let shown = run(&["boot-code", "show"]).1;
    let hash = shown.split_whitespace().nth(1).unwrap();
    assert!(own.contains(hash), "{own}");
    let mut bytes = std::fs::read(&code).unwrap();
    bytes[0] ^= 1;
    std::fs::write(&code, &bytes).unwrap();
    let other = measure(&["--boot-code", &code]);
    assert!(other != own && !other.contains(hash), "{other}");
    std::fs::write(&code, vec![0; 0x4001]).unwrap();
    assert_eq!(run(&["measure", "--kernel", &kernel, "--boot-code", &code]).0, 2);
    std::fs::remove_dir_all(&place).unwrap();
}
