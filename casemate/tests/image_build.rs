//! Protects `casemate image build`, `show` and `verify`, and `casemate run` of an image, as their
//! users meet them: the same bytes whoever builds, digests that the other commands compute too, a
//! changed file that is found by name before a guest starts, and one line and nothing left for what
//! cannot be an image. The kernel is a header without code, so nothing boots here: `tests/e2e` does
//! that.

#![cfg(all(feature = "image", feature = "vm"))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod built_image;

use built_image::{FILES, PROGRAM, Place, fill, json};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

#[test]
fn the_same_source_is_the_same_image_whoever_builds_it_and_where() {
    let place = Place::new("same");
    fill(&place.0.join("copy"), &["etc/group", "bin/ls", "etc/passwd", "bin/app"]);
    place.built("root", "one.img/", &PROGRAM);
    // Another folder with its files in another order and of another time, another user mask, time
    // zone, locale and home, and another folder to build in.
    let script = "umask 077; mkdir elsewhere; cd elsewhere; touch -d 2001-01-01 ../copy/bin/app; \
                  TZ=Asia/Tokyo LC_ALL=C HOME=/nowhere TMPDIR=/dev/shm exec \"$0\" image build \
                  ../copy/ -o two.img --kernel ../vmlinuz --user app -- app -x 'a b'";
    let mut shell = Command::new("sh");
    shell.current_dir(&place.0).args(["-c", script, env!("CARGO_BIN_EXE_casemate")]);
    let output = shell.env_remove("SOURCE_DATE_EPOCH").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    for file in FILES {
        let one = place.read(&format!("one.img/{file}"));
        assert_eq!(one, place.read(&format!("elsewhere/two.img/{file}")), "{file}");
    }
    place.built("root", "three.img", &["--console", "none", "--", "app"]);
    assert_ne!(place.read("one.img/root.img"), place.read("three.img/root.img"));
    assert_eq!(place.read("one.img/initrd"), place.read("three.img/initrd"));
}

#[test]
fn the_manifest_says_what_is_run_and_the_command_line_what_proves_it() {
    let place = Place::new("says");
    place.built("root", "app.img", &PROGRAM);
    let manifest = json(&place.read("app.img/manifest.json"));
    let process = &manifest["process"];
    assert_eq!(process["program"], "/bin/app");
    assert_eq!(process["args"], serde_json::json!(["app", "-x", "a b"]));
    assert_eq!(process["user"], serde_json::json!({"uid": 100, "gid": 101, "groups": [7]}));
    assert!(process["env"].as_array().unwrap().contains(&"HOME=/srv".into()));
    assert_eq!((&manifest["console"], &manifest["debug"]), (&"status".into(), &false.into()));
    let launch = json(&place.read("app.img/launch.json"));
    let cmdline = launch["cmdline"].as_str().unwrap();
    assert!(cmdline.contains("console=null") && !cmdline.contains("casemate.debug"), "{cmdline}");
    // The disk holds the manifest's bytes, and the same disk comes of the same tree.
    let (disk, bytes) = (place.read("app.img/root.img"), place.read("app.img/manifest.json"));
    assert!(disk.windows(bytes.len()).any(|part| part == bytes));
    // No digest of a launch is in what a launch digest covers.
    let digest = launch["digests"][0]["digest"].as_str().unwrap();
    assert!(!String::from_utf8(bytes).unwrap().contains(digest));
    place.built("root", "debug.img", &["--debug", "--", "app"]);
    let debug = json(&place.read("debug.img/launch.json"));
    assert!(debug["cmdline"].as_str().unwrap().contains("console=ttyS0 casemate.debug"));
    let shown = place.casemate(&["image", "show", "debug.img"]);
    assert!(String::from_utf8(shown.stdout).unwrap().starts_with("DEBUG"));
}

#[test]
fn digests_are_those_that_measure_computes_from_the_parts() {
    let place = Place::new("digests");
    place.built("root", "app.img", &PROGRAM);
    let launch = json(&place.read("app.img/launch.json"));
    let digests = launch["digests"].as_array().unwrap();
    assert_eq!(digests.len(), 64);
    let cmdline = launch["cmdline"].as_str().unwrap();
    let parts = ["--kernel", "app.img/kernel", "--initrd", "app.img/initrd", "--cmdline", cmdline];
    for vcpus in ["1", "7", "64"] {
        let measured = place.casemate(&[&["measure", "--vcpus", vcpus][..], &parts].concat());
        let digest = String::from_utf8(measured.stdout).unwrap();
        let of_folder = place.casemate(&["measure", "app.img/", "--vcpus", vcpus]);
        assert_eq!(String::from_utf8(of_folder.stdout).unwrap(), digest);
        let shown = place.casemate(&["image", "show", "app.img/", "--vcpus", vcpus]);
        assert!(String::from_utf8(shown.stdout).unwrap().contains(digest.trim()), "{digest}");
        let listed = &digests[vcpus.parse::<usize>().unwrap() - 1];
        assert_eq!(listed["digest"], digest.trim());
    }
    place.built("root", "other.img", &["--c-bit", "39", "--", "app"]);
    let other = json(&place.read("other.img/launch.json"));
    assert_ne!(other["digests"][0], launch["digests"][0]);
}

#[test]
fn the_policy_of_an_image_is_one_that_the_engine_takes() {
    let place = Place::new("policy");
    place.built("root", "app.img", &PROGRAM);
    let policy = place.casemate(&["image", "show", "app.img", "--policy"]);
    assert!(policy.status.success(), "{policy:?}");
    std::fs::write(place.0.join("release.toml"), &policy.stdout).unwrap();
    let checked = place.casemate(&["policy", "check", "release.toml"]);
    assert!(checked.status.success(), "{checked:?}");
    let launch = json(&place.read("app.img/launch.json"));
    let text = String::from_utf8(policy.stdout).unwrap();
    for one in launch["digests"].as_array().unwrap() {
        assert!(text.contains(one["digest"].as_str().unwrap()), "{one}");
    }
}

#[test]
fn an_image_that_was_built_again_is_every_byte_of_it_or_it_is_said_what_is_not() {
    let place = Place::new("verify");
    place.built("root", "app.img", &PROGRAM);
    let verify = |more: &[&str]| {
        let output = place.casemate(&[&["image", "verify", "root", "app.img"][..], more].concat());
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(verify(&[]), (Some(0), String::new()));
    assert_eq!(verify(&["--kernel", "vmlinuz"]), (Some(0), String::new()));
    // Whose options they are is not proven by a comparison, so they are said.
    let output = place.casemate(&["image", "verify", "root", "app.img"]);
    let said = String::from_utf8(output.stdout).unwrap();
    let options =
        said.lines().find_map(|l| l.strip_prefix("with these options of its launch.json: "));
    let options = json(options.expect("a line of options").as_bytes());
    assert_eq!(options, json(&place.read("app.img/launch.json"))["settings"]);
    assert_eq!(options["changes"]["args"], serde_json::json!(["app", "-x", "a b"]));
    // Another source, another kernel.
    std::fs::write(place.0.join("root/etc/motd"), "new").unwrap();
    let (status, said) = verify(&[]);
    assert!(status == Some(1) && said.contains("root.img is not what the source makes"), "{said}");
    std::fs::remove_file(place.0.join("root/etc/motd")).unwrap();
    let other = casemate_test_support::bzimage::bzimage(&[(0x1000, b"other")]);
    std::fs::write(place.0.join("other"), other).unwrap();
    let (status, said) = verify(&["--kernel", "other"]);
    assert!(status == Some(1) && said.contains("kernel is not what the source makes"), "{said}");
    // A digest that somebody wrote in.
    let launch = String::from_utf8(place.read("app.img/launch.json")).unwrap();
    let digest = json(launch.as_bytes())["digests"][3]["digest"].as_str().unwrap().to_owned();
    let forged = launch.replace(&digest, &"00".repeat(48));
    std::fs::write(place.0.join("app.img/launch.json"), forged).unwrap();
    let (status, said) = verify(&[]);
    assert!(status == Some(1) && said.contains("its digests are others"), "{said}");
    // Nothing that an option does is hidden behind a long one.
    let key = place.casemate(&["result-key", "k"]);
    let key = String::from_utf8(key.stdout).unwrap();
    let key = key.split_whitespace().find(|word| word.len() == 64).unwrap().to_owned();
    let long = format!("A={}", "x".repeat(4000));
    let options = ["--env", &long, "--recipient", &key];
    place.built("root", "long.img", &[&options[..], &PROGRAM].concat());
    let output = place.casemate(&["image", "verify", "root", "long.img"]);
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(told.contains(&key), "{} bytes of {}", told.len(), output.status);
}

/// The guest refuses each of these, too; here its user learns of it at once, and which file it is.
#[test]
fn a_changed_file_of_an_image_is_named_before_a_guest_starts() {
    let place = Place::new("changed");
    for file in FILES {
        place.built("root", "app.img", &PROGRAM);
        let mut bytes = place.read(&format!("app.img/{file}"));
        // In launch.json, the first letter of a key.
        let at = if file == "launch.json" { 5 } else { bytes.len() / 2 };
        bytes[at] ^= 1;
        std::fs::write(place.0.join("app.img").join(file), bytes).unwrap();
        for command in [
            &["run", "app.img/", "--shape", "1x256M", "--protection", "none"][..],
            &["image", "show", "app.img/"],
            &["measure", "app.img/"],
        ] {
            // The root disk is what the guest proves.
            if file == "root.img" {
                continue;
            }
            let output = place.casemate(command);
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{file}: {said}");
            assert!(said.contains(file) && said.lines().count() == 1, "{file}: {said}");
        }
        std::fs::remove_dir_all(place.0.join("app.img")).unwrap();
    }
}

/// Who can write an image's folder can make its files agree with each other. `show` prints no
/// digest and no manifest then that another kernel, initrd or command line has.
#[test]
fn show_refuses_a_digest_and_a_manifest_that_were_replaced() {
    let place = Place::new("replaced");
    place.built("root", "app.img", &PROGRAM);
    let kernel = casemate_test_support::bzimage::bzimage(&[(0x1000, b"other")]);
    std::fs::write(place.0.join("vmlinuz"), kernel).unwrap();
    place.built("root", "other.img", &PROGRAM);
    let launch = String::from_utf8(place.read("app.img/launch.json")).unwrap();
    let with = |launch: &str| std::fs::write(place.0.join("app.img/launch.json"), launch).unwrap();
    let refused = |status: i32, why: &str| {
        for more in [&[][..], &["--policy"], &["--json"]] {
            let output = place.casemate(&[&["image", "show", "app.img"][..], more].concat());
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(status), "{said}");
            assert!(said.contains(why) && output.stdout.is_empty(), "{said}");
        }
    };
    let digest = json(launch.as_bytes())["digests"][0]["digest"].as_str().unwrap().to_owned();
    with(&launch.replace(&digest, &"5a".repeat(48)));
    refused(1, "its digests are not those of its kernel, initrd and command line");
    // The manifest of another image, by itself and with its hash.
    std::fs::copy(place.0.join("other.img/manifest.json"), place.0.join("app.img/manifest.json"))
        .unwrap();
    with(&launch);
    refused(2, "its bytes are not those that launch.json names");
    let other = json(&place.read("other.img/launch.json"));
    let hash =
        |launch: &serde_json::Value| launch["files"]["manifest"].as_str().unwrap().to_owned();
    with(&launch.replace(&hash(&json(launch.as_bytes())), &hash(&other)));
    refused(2, "it is the manifest of another kernel or initrd");
}

/// Protects results from being lost by leaving a word out, and files from runs that never were.
#[test]
fn an_image_that_seals_its_results_is_run_with_somewhere_for_them_to_go() {
    let place = Place::new("sealed");
    let key = place.casemate(&["result-key", "owner.key"]);
    let key = String::from_utf8(key.stdout).unwrap().trim_end().to_owned();
    place.built("root", "plain.img", &PROGRAM);
    place.built("root", "app.img", &[&["--recipient", &key][..], &PROGRAM].concat());
    let shown = place.casemate(&["image", "show", "app.img"]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains(&format!("results    sealed to {key}")), "{shown}");
    let verified = place.casemate(&["image", "verify", "root", "app.img", "--kernel", "vmlinuz"]);
    assert!(verified.status.success(), "{verified:?}");
    // Whom results go to is measured.
    let digest =
        |image: &str| json(&place.read(&format!("{image}/launch.json")))["digests"][0].clone();
    assert_ne!(digest("app.img"), digest("plain.img"));
    std::fs::write(place.0.join("there"), "mine").unwrap();
    let before = place.names();
    let refused = |image: &str, more: &[&str], why: &str| {
        let start = ["run", image, "--shape", "1x1M", "--protection", "none"];
        let output = place.casemate(&[&start[..], more].concat());
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{more:?}: {said}");
        assert!(said.contains(why), "{more:?}: {said}");
        assert_eq!(place.names(), before, "{more:?}");
    };
    let nonce = "5a".repeat(32);
    let to = |output: &'static str| ["--output", output, "--nonce", &nonce];
    refused("app.img", &[], "the image seals its results: say where to");
    refused("app.img", &["--output", "x"], "--nonce");
    refused("app.img", &["--output", "x", "--nonce", "5a"], "64 hexadecimal digits");
    refused("app.img", &to("there"), "there: there is such a file already");
    refused("app.img", &to("no/such/x"), "no/such/x");
    refused("app.img", &[&to("x")[..], &["--input", "missing"]].concat(), "missing");
    let twice = ["--input", "vmlinuz", "--input", "plain.img/../vmlinuz"];
    refused("app.img", &[&to("x")[..], &twice].concat(), "two inputs have one name");
    refused("plain.img", &to("x"), "only an image with recipients");
    // All is as it must be, but the memory: no guest was started, and no file is left.
    refused("app.img", &to("x"), "memory");
    assert_eq!(place.read("there"), b"mine");
    let weak = place.build("root", "x.img", &["--recipient", &"00".repeat(32), "--", "app"]);
    let said = String::from_utf8(weak.stderr).unwrap();
    assert!(weak.status.code() == Some(2) && said.contains("everybody could open"), "{said}");
}

/// Starts on a file system that has no room for the inputs, in a mount namespace of its own.
const FULL_DISK: &str = r#"
mkdir disk && mount -t tmpfs -o size=64k,mode=700 none disk || exit 77
"$0" "$@" 2>said
echo "$? $(ls disk) $(wc -l <said) $(cat said)"
"#;

/// Protects a host whose disk is full from a guest that cannot get its inputs, and from what such
/// a start would leave. Cannot tell of a disk that is full later: the guest's results are lost
/// then, and it says so.
#[test]
fn a_run_whose_inputs_have_no_room_is_a_line_and_leaves_nothing() {
    let place = Place::new("no-room");
    let key = place.casemate(&["result-key", "owner.key"]);
    let key = String::from_utf8(key.stdout).unwrap().trim_end().to_owned();
    place.built("root", "app.img", &[&["--recipient", &key][..], &PROGRAM].concat());
    std::fs::write(place.0.join("input"), vec![7; 200_000]).unwrap();
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", FULL_DISK]);
    command.args([env!("CARGO_BIN_EXE_casemate"), "run", "app.img", "--shape", "1x64M"]);
    command.args(["--protection", "none", "--output", "disk/out", "--input", "input"]);
    let output = command.args(["--nonce", &"5a".repeat(32)]).current_dir(&place.0).output();
    let output = output.unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    if output.status.code() == Some(77) || text.contains("unshare failed") {
        println!("SKIPPED: only root can mount a small file system");
        return;
    }
    assert!(text.starts_with("1  1 casemate: ") && text.contains("No space left"), "{text}");
}

#[test]
fn an_image_is_confidential_unless_asked_otherwise_and_has_its_own_parts() {
    let place = Place::new("run");
    place.built("root", "app.img", &PROGRAM);
    let run = |more: &[&str]| {
        let output = place.casemate(&[&["run", "app.img/"][..], more].concat());
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    // Whatever this host lacks: no unprotected guest is started in its place.
    let (status, said) = run(&[]);
    assert!(status != Some(0) && !said.contains("warning: protection"), "{said}");
    for (more, why) in [
        (&["--shape", "two"][..], "--shape"),
        (&["--shape", "1x2T"], "memory"),
        (&["--shape", "1x1M"], "memory"),
        (&["--shape", "65x256M"], "65 vCPUs"),
        (&["--shape", "1x256M", "--vcpus", "2"], "--vcpus"),
        (&["--cmdline", "quiet"], "--cmdline: an image has its own"),
        (&["--kernel", "vmlinuz"], "--kernel: an image has its own"),
    ] {
        let (status, said) = run(more);
        assert!(status == Some(2) && said.contains(why), "{more:?}: {said}");
    }
    let output = place.casemate(&["run", "root"]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("root/launch.json") && said.lines().count() == 1, "{said}");
    let output = place.casemate(&["image", "show", "vmlinuz"]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("vmlinuz is no image") && !said.contains("directory, but"), "{said}");
}

#[test]
fn what_cannot_be_an_image_ends_with_one_line_and_leaves_nothing() {
    let place = Place::new("bad");
    let root = |name: &str| {
        let folder = place.0.join(name);
        fill(&folder, &["bin/app", "etc/passwd"]);
        folder
    };
    std::fs::create_dir(root("theirs").join(".casemate")).unwrap();
    std::fs::write(root("file").join("proc"), "").unwrap();
    symlink("etc/passwd", root("link").join("tmp")).unwrap();
    let elf = [&b"\x7fELF\x02\x01\x01"[..], &[0; 9], &[2, 0, 183, 0], &[0; 40]].concat();
    std::fs::write(root("arm").join("bin/app"), elf).unwrap();
    std::fs::set_permissions(root("mode").join("bin/app"), PermissionsExt::from_mode(0o644))
        .unwrap();
    let socket = std::os::unix::net::UnixListener::bind(root("socket").join("s")).unwrap();
    std::fs::create_dir(place.0.join("there.img")).unwrap();
    std::fs::write(place.0.join("text"), "x".repeat(5000)).unwrap();
    let before = place.names();
    let refused = |source: &str, image: &str, more: &[&str], why: &str| {
        let output = place.build(source, image, more);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{more:?}: {said}");
        assert!(said.starts_with("casemate: ") && said.lines().count() == 1, "{more:?}: {said}");
        assert!(said.contains(why), "{more:?}: {said}");
        assert_eq!(place.names(), before, "{more:?}");
    };
    let app = ["--", "app"];
    refused("root", "x.img", &[], "nothing says what to run");
    refused("root", "x.img", &["--", "missing"], "there is no program missing");
    refused("root", "x.img", &["--", "/etc"], "there is no program /etc");
    refused("mode", "x.img", &app, "there is no program app");
    refused("arm", "x.img", &app, "another processor than x86-64");
    refused("root", "x.img", &["--user", "nobody", "--", "app"], "its user nobody is not in");
    refused("root", "x.img", &["--user", "app:x", "--", "app"], "its group x is not in");
    refused("root", "x.img", &["--env", "novalue", "--", "app"], "not NAME=VALUE");
    refused("root", "x.img", &["--workdir", "here", "--", "app"], "no path from the root");
    refused("root", "x.img", &["--workdir", "/etc/passwd", "--", "app"], "needs a folder here");
    refused("theirs", "x.img", &app, "/.casemate: this name is Casemate's");
    refused("file", "x.img", &app, "/proc: a guest needs a folder here");
    refused("link", "x.img", &app, "/tmp: a guest needs");
    refused("socket", "x.img", &app, "a socket cannot be part of an image");
    refused("root", "there.img/", &app, "there is such a file already");
    refused("missing", "x.img", &app, "missing");
    refused("text", "x.img", &app, "tar stream");
    refused("root", "no/such/x.img", &app, "no/such");
    refused("root", "x.img", &["--c-bit", "60", "--", "app"], "c_bit");
    let other = |arguments: &[&str], why: &str| {
        let start = ["image", "build", "root", "-o", "x.img"];
        let output = place.casemate(&[&start[..], arguments].concat());
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(why), "{said}");
        assert_eq!(place.names(), before);
    };
    other(&["--", "app"], "an image needs a kernel");
    other(&["--kernel", "text", "--", "app"], "kernel");
    other(&["--kernel-package", "text", "--", "app"], "it is no Debian package");
    other(&["--kernel", "vmlinuz", "--modules", "root", "--", "app"], "virtio_pci");
    drop(socket);
}

/// A full disk, as the kernel tells it of a file that may not grow.
#[test]
fn a_build_that_runs_out_of_room_fails_and_leaves_nothing() {
    let place = Place::new("full");
    let before = place.names();
    let script = "ulimit -f 100; exec \"$0\" image build root -o x.img --kernel vmlinuz -- app";
    let mut shell = Command::new("sh");
    shell.current_dir(&place.0).args(["-c", script, env!("CARGO_BIN_EXE_casemate")]);
    let output = shell.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.starts_with("casemate: ") && said.lines().count() == 1, "{said}");
    assert_eq!(place.names(), before);
}
