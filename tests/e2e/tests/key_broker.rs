//! Protects the whole way of a secret: `casemate kbs serve`, three locked processes, gives an
//! image's secrets to its guest of `casemate run --kbs` that proves itself, over the socket device
//! and TLS, and to no other: not to another image, not when the owner has revoked one, not under
//! another policy, nor once its uses are over, which outlive the broker's process. Its log tells
//! each decision and verifies. The processor is the virtual SNP host's, a MODEL: cannot tell what
//! SNP hardware does. What a hostile broker does to a guest is in `secrets.rs`.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "test code")]

mod secret_image;

use casemate_e2e::{place, static_programs};
use casemate_test_host::{Host, Kind};
use secret_image::{WANTED, build, digest, grant, has, launch_policy, said, source};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// What a part of the script said.
fn part<'a>(all: &'a str, name: &str) -> &'a str {
    let from = format!("== {name}");
    let (_, rest) = all.split_once(&from).unwrap_or_else(|| panic!("no part {name}:\n{all}"));
    rest.split("\n== ").next().unwrap_or(rest)
}

/// No workload of this image was started: what it says begins so.
#[track_caller]
fn starts_nothing(part: &str) {
    assert!(!part.lines().any(|line| line.starts_with("guest: ")), "{part}");
    has(part, &["status=3"]);
}

#[test]
fn a_guest_gets_its_secrets_from_the_broker_that_serves_and_no_other_guest_does() {
    let work = place("key-broker").expect("a folder");
    source(&work);
    let options = [&WANTED[..], &["--c-bit", "39", "--broker-from-initdata"]].concat();
    let image = build(&work, "app", &options);
    // It asks for the same, and is another by one word.
    let other = build(&work, "other", &[&options[..], &["--env", "OTHER=1"]].concat());
    let digest = digest(&image);
    // The script fills HOST_DATA in, as `image initdata` tells it.
    let release = grant("acme/db/*", &digest, "HOST_DATA", 9);
    // Two sessions have had it by then, and the count is the grant's, whatever it says now.
    let once = grant("acme/db/*", &digest, "HOST_DATA", 2);
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("l1");
    let mut host = Host::new(Kind::Snp)
        .expect("the virtual SNP host can be built")
        .file(static_programs().unwrap().join("casemate"), "/bin/casemate")
        .file(here.join("key-broker.sh"), "/e2e/key-broker.sh")
        .directory(&image, "/img/app")
        .directory(&other, "/img/other")
        .memory_mib(2048)
        .timeout(Duration::from_secs(2400));
    // Disks are this image's and the one of initdata, which is no file of the host's; a policy
    // that admits the image's alone denies the same run.
    let launch = |roots: &str| {
        let open = launch_policy();
        let strict = open.replacen("roots = \"any\"", &format!("roots = [{roots}]"), 1);
        assert_ne!(open, strict);
        strict
    };
    let files = [
        ("launch.toml", launch("\"/img\", \"initdata\"")),
        ("narrow.toml", launch("\"/img\"")),
        ("release.toml", release),
        ("once.toml", once),
    ];
    for (name, text) in files {
        fs::write(work.join(name), text).unwrap();
        host = host.file(work.join(name), &format!("/{name}"));
    }
    let output = host.run("sh /e2e/key-broker.sh").expect("the virtual SNP host runs");
    let _ = fs::remove_dir_all(&work);
    let all = said(&output);
    // Guests of any user's connector come to it.
    has(part(&all, "ready"), &["ready unix:/v/kbs key ", "srw-rw-rw-"]);
    has(
        part(&all, "first"),
        &[
            "clock by broker\n",
            // `printf 'the key of the disk' | sha256sum`, and of `trust`.
            "guest: /run/casemate/secrets/db.key 400 100:101 19 fabdd9e63186c06c\n",
            "guest: /run/casemate/secrets/motto 400 100:101 5 f796e2f28ae58117\n",
            "guest: ends\n",
            "status=0",
        ],
    );
    for (name, sentence) in [
        ("other", "its PID 1 refused: its key broker refuses a secret"),
        ("revoked", "its PID 1 refused: its key broker has no secret of a name"),
        ("uses", "its PID 1 refused: its key broker refuses a secret"),
    ] {
        has(part(&all, name), &[sentence]);
        starts_nothing(part(&all, name));
    }
    has(part(&all, "narrow"), &["the policy denies this VM: ", "devices.block.roots", "initdata"]);
    has(part(&all, "away"), &["--kbs: no broker listens at /v/kbs", "status=2"]);
    assert_eq!(all.matches("broker ended 0, left: \n").count(), 2, "{all}");
    let log = part(&all, "log");
    // Two secrets each for the first guest and for the one that found one of them gone: that it is
    // not there is no word of the policy's.
    assert_eq!(log.matches("secrets allow ").count(), 4, "{log}");
    assert_eq!(log.matches("secrets deny ").count(), 2, "{log}");
    has(log, &["measurement", "uses"]);
    assert!(!all.contains("the key of the disk"), "{all}");
    assert_eq!(part(&all, "words").trim(), "", "{all}");
    has(&all, &["== left 0"]);
}
