//! Protects who admits images by their signer: `image build --id-key`, and what `show` and `verify`
//! make of the ID blocks. That a launch with one is reported so, the tests of the processor's MODEL
//! and of the hypervisor show.

#![cfg(all(feature = "image", feature = "vm"))]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod built_image;

use built_image::{FILES, PROGRAM, Place, json};

/// The key of tests; it is public.
const ID_KEY: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../attestation/tests/data/model_id_key.pem");

/// Protects who admits images by their signer: each launch of an image has its ID block, the image
/// itself is the same as without, and a block that was replaced is told.
#[test]
fn an_image_is_signed_for_each_of_its_launches_and_is_the_same_image() {
    let place = Place::new("signed");
    place.built("root", "plain.img", &PROGRAM);
    let image_id = "5a".repeat(16);
    let key = ["--id-key", ID_KEY, "--guest-svn", "3", "--image-id", &image_id];
    place.built("root", "app.img", &[&key[..], &PROGRAM].concat());
    for file in FILES.into_iter().filter(|file| *file != "launch.json") {
        let plain = place.read(&format!("plain.img/{file}"));
        assert!(plain == place.read(&format!("app.img/{file}")), "{file}");
    }
    let launch = json(&place.read("app.img/launch.json"));
    // Another reader of the blocks: the command that checks those of any launch.
    let bytes = |text: &serde_json::Value| {
        let text = text.as_str().unwrap();
        let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
        (0..text.len()).step_by(2).map(byte).collect::<Vec<u8>>()
    };
    for (vcpus, one) in (1..).zip(launch["digests"].as_array().unwrap()) {
        let mut auth = bytes(&one["id"]["auth"]);
        auth.resize(4096, 0);
        std::fs::write(place.0.join("block"), bytes(&one["id"]["block"])).unwrap();
        std::fs::write(place.0.join("auth"), auth).unwrap();
        let check = ["measure", "--check-id-block", "block", "--check-id-auth", "auth", "--json"];
        let checked = place.casemate(&check);
        assert!(checked.status.success(), "{vcpus}: {checked:?}");
        let checked = json(&checked.stdout);
        assert_eq!(checked["launch-digest"], one["digest"]);
        assert_eq!((&checked["guest-svn"], &checked["policy"]), (&3.into(), &"0x30000".into()));
    }
    let show = |more: &[&str]| place.casemate(&[&["image", "show", "app.img"][..], more].concat());
    let shown = String::from_utf8(show(&[]).stdout).unwrap();
    assert!(shown.contains("guest SVN  3\n") && shown.contains(&image_id), "{shown}");
    let verified = place.casemate(&["image", "verify", "root", "app.img", "--kernel", "vmlinuz"]);
    let said = String::from_utf8(verified.stdout).unwrap();
    assert!(verified.status.success() && said.contains("signed by the ID key "), "{said}");
    // Who admits by the signer.
    let policy = show(&["--policy", "--by-key"]);
    std::fs::write(place.0.join("release.toml"), &policy.stdout).unwrap();
    let checked = place.casemate(&["policy", "check", "release.toml"]);
    assert!(checked.status.success(), "{checked:?}");
    let text = String::from_utf8(policy.stdout).unwrap();
    let digest = |line: &str| shown.lines().find_map(|l| l.strip_prefix(line)).unwrap().to_owned();
    let rule = format!("id_key = [\"{}\"]", digest("ID key     "));
    assert!(text.contains(&rule) && text.contains("\nguest_svn = 3\n"), "{text}");
    assert!(text.contains("\nfamily_id = [\"unset\"]\n"), "{text}");
    // Blocks of launch.json that somebody exchanged, changed or took out.
    let refused = |change: &dyn Fn(&mut serde_json::Value), why: &str| {
        let mut changed = launch.clone();
        change(&mut changed["digests"]);
        std::fs::write(place.0.join("app.img/launch.json"), changed.to_string()).unwrap();
        for command in [&["image", "show", "app.img"][..], &["image", "verify", "root", "app.img"]]
        {
            let output = place.casemate(command);
            let said = String::from_utf8(output.stderr).unwrap();
            assert!(matches!(output.status.code(), Some(1 | 2)) && said.contains(why), "{said}");
        }
    };
    refused(&|all| all[0]["id"] = all[1]["id"].clone(), "it is for another launch digest");
    refused(&|all| all[4]["id"]["block"] = "00".into(), "an ID block has 96 bytes");
    refused(&|all| all[4]["id"]["auth"] = "0g".into(), "an ID block in it is none");
    refused(&|all| all[4]["id"]["auth"] = all[5]["id"]["auth"].clone(), "does not verify");
    refused(&|all| drop(all[4].as_object_mut().unwrap().remove("id")), "says something else");
}

#[test]
fn an_image_that_cannot_be_signed_is_not_built() {
    let place = Place::new("unsigned");
    place.built("root", "plain.img", &PROGRAM);
    let before = place.names();
    let refused = |more: &[&str], why: &str| {
        let output = place.build("root", "x.img", &[more, &PROGRAM].concat());
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && said.contains(why), "{more:?}: {said}");
        assert_eq!(place.names(), before, "{more:?}");
    };
    refused(&["--id-key", "vmlinuz"], "vmlinuz");
    refused(&["--id-key", "missing"], "missing");
    refused(&["--id-key", ID_KEY, "--image-id", "5a"], "--image-id: not 16 bytes");
    refused(&["--guest-svn", "1"], "--id-key");
    let output = place.casemate(&["image", "show", "plain.img", "--policy", "--by-key"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && said.contains("the image is not signed"), "{said}");
}
