//! Protects tenants of pods as they meet `casemate pod`: manifest, explanation, comparison, digests
//! and release policy of a pod with images in files; the example that the documents show; one line
//! and status 2 for what cannot be bound, and nothing left. What a kubelet runs of a pod is the
//! library's tests' business, and no test here starts one.
#![cfg(feature = "pod")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod oci;

use std::path::PathBuf;
use std::process::{Command, Output};

struct Place(PathBuf);

const PASSWD: (&str, &str) = ("etc/passwd", "app:x:100:101::/srv:/bin/sh\n");

impl Place {
    /// A folder with the example, an image for it, and a kernel without code.
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("casemate-pod-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        let place = Self(path);
        let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/pod");
        for file in ["pod.yaml", "choices.toml"] {
            std::fs::copy(format!("{example}/{file}"), place.0.join(file)).unwrap();
        }
        let programs = [("bin/app", "#!"), ("bin/sh", "#!"), ("bin/true", "#!"), PASSWD];
        oci::image(&place.0, "table", &[&programs, &[("bin/.wh.true", ""), ("new", "1")]]);
        std::fs::write(place.0.join("vmlinuz"), casemate_test_support::bzimage::bzimage(&[]))
            .unwrap();
        std::fs::write(place.0.join("initrd"), "an initrd").unwrap();
        place
    }

    fn casemate(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_casemate"));
        command.current_dir(&self.0).args(arguments).output().unwrap()
    }

    /// A subcommand with the pod, its image and choices.
    fn pod(&self, start: &[&str], image: &str, more: &[&str]) -> Output {
        let image = format!("table:1={image}");
        let common = ["pod.yaml", "--image", &image, "--choices", "choices.toml"];
        self.casemate(&[&["pod"], start, &common[..], more].concat())
    }

    fn text(&self, start: &[&str], more: &[&str]) -> String {
        let output = self.pod(start, "table.tar", more);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn change(&self, file: &str, from: &str, to: &str) {
        let path = self.0.join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{from}");
        std::fs::write(path, text.replacen(from, to, 1)).unwrap();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_manifest_is_the_same_for_everybody_and_names_the_disks_that_a_node_makes() {
    let place = Place::new("same");
    let text = place.text(&["manifest"], &[]);
    let folder = place.pod(&["manifest"], "table", &[]);
    assert_eq!(String::from_utf8(folder.stdout).unwrap(), text, "archive and folder are one image");
    let manifest = casemate_pod::Manifest::read(&text).unwrap();
    assert_eq!(manifest.layers.len(), 2);
    // A node has the compressed blob and the digest, and comes to the same root.
    let layer = &manifest.layers[1];
    let digest = format!("sha256:{}", layer.diff_id);
    let disk = ["layer", "build", "table-1.tar.gz", "-o", "1.img", "--diff-id", &digest, "--json"];
    let disk = json(&place.casemate(&disk));
    assert_eq!(disk["root_hash"], layer.root.to_string());
    assert_eq!(disk["data_blocks"], layer.blocks);
    // The pod with its annotation is the pod, and unpacks to the initdata that is hashed.
    let bound = place.text(&["manifest"], &["--annotate"]);
    assert!(bound.contains("# Kubernetes would add variables"), "{bound}");
    let initdata = place.text(&["manifest"], &["--initdata"]);
    let line = bound.lines().find(|line| line.contains("casemate.dev/initdata")).unwrap();
    std::fs::write(place.0.join("annotation"), line.split_once(": ").unwrap().1).unwrap();
    let mut unpack = Command::new("sh");
    unpack.current_dir(&place.0).args(["-c", "base64 -d annotation | gzip -d"]);
    let unpacked = unpack.output().unwrap();
    assert_eq!(String::from_utf8(unpacked.stdout).unwrap(), initdata);
    let document = casemate_initdata::Initdata::read(&initdata).unwrap();
    assert_eq!(document.member("pod.toml"), Some(text.as_str()));
    assert_eq!(document.members().count(), 2);
    // What was bound stays bound when the annotation is there, and can be read from it.
    std::fs::write(place.0.join("pod.yaml"), bound).unwrap();
    assert_eq!(place.text(&["manifest"], &[]), text);
    assert_eq!(place.text(&["check", "pod.yaml"], &[]), "the pod has this manifest\n");
    place.change("pod.yaml", "casemate.dev/initdata: H", "casemate.dev/initdata: %");
    assert_eq!(place.pod(&["check", "pod.yaml"], "table.tar", &[]).status.code(), Some(2));
}

#[test]
fn every_line_is_explained_and_the_memory_summed() {
    let place = Place::new("explain");
    let text = place.text(&["explain"], &[]);
    for expected in [
        "bound    containers[table].image",
        "open     containers[table].env[POD_IP]",
        "outside  containers[table].resources.limits.memory",
        "bound    initContainers[prepare].command",
        "What the host can still do",
        "   64  programs of container table",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let output = place.pod(&["explain"], "table.tar", &["--format", "json"]);
    let json = json(&output);
    // Kernel and PID 1, the limit, 64 MiB that `prepare` may write, and the emptyDir.
    assert_eq!(json["memory_sum_mebibytes"], 96 + 64 + 64 + 16);
    place.change("pod.yaml", "restartPolicy: Never", "restartPolicy: Never\n  hostPID: true");
    let output = place.pod(&["explain"], "table.tar", &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("refused  spec.hostPID"));
}

#[test]
fn a_changed_pod_is_told_from_the_one_that_was_bound_by_what_changed() {
    let place = Place::new("check");
    let manifest = place.text(&["manifest"], &[]);
    std::fs::write(place.0.join("pod.toml"), manifest).unwrap();
    let initdata = place.text(&["manifest"], &["--initdata"]);
    std::fs::write(place.0.join("initdata.toml"), initdata).unwrap();
    for bound in ["pod.toml", "initdata.toml"] {
        assert!(place.pod(&["check", bound], "table.tar", &[]).status.success(), "{bound}");
    }
    // What the host decides is no difference.
    place.change("pod.yaml", "memory: 64Mi", "memory: 65Mi");
    assert!(place.pod(&["check", "pod.toml"], "table.tar", &[]).status.success());
    for (from, to, named) in [
        ("echo done", "echo gone", "container table args"),
        ("rows 1000", "rows 1001", "volume settings files"),
        ("drop: [ALL]", "drop: [KILL]", "container table caps"),
        ("name: prepare", "name: ready", "container ready"),
        ("sizeLimit: 16Mi", "sizeLimit: 17Mi", "volume work mib"),
    ] {
        place.change("pod.yaml", from, to);
        let output = place.pod(&["check", "pod.toml"], "table.tar", &[]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(text.contains(named), "{named}: {text}");
        place.change("pod.yaml", to, from);
    }
    // The same pod of another image.
    oci::image(&place.0, "other", &[&[("bin/app", "#!"), ("bin/sh", "x"), PASSWD]]);
    let output = place.pod(&["check", "pod.toml"], "other.tar", &["--format", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let first = json(&output)["differences"][0]["what"].as_str().unwrap().to_owned();
    assert!(first.contains("layer 1"), "{first}");
    // Not in its one spelling: nobody can say what it was bound as.
    place.change("pod.toml", "version = 1", "version=1");
    assert_eq!(place.pod(&["check", "pod.toml"], "table.tar", &[]).status.code(), Some(2));
}

const GUEST: [&str; 5] = ["initdata.toml", "--kernel", "vmlinuz", "--initrd", "initrd"];

#[test]
fn numbers_and_release_policy_are_those_of_the_pods_guest() {
    let place = Place::new("measure");
    let hash = "ab".repeat(32);
    let secrets = format!(
        "\n[broker]\nkeys = [\"{hash}\"]\n[secrets]\n\"db.key\" = \"acme/db/key\"\n\
         [volume.keys]\nsecrets = [\"db.key\"]\nmounts = [\"table:/run/keys\"]\n"
    );
    let choices = std::fs::read_to_string(place.0.join("choices.toml")).unwrap();
    std::fs::write(place.0.join("choices.toml"), choices + &secrets).unwrap();
    let initdata = place.text(&["manifest"], &["--initdata"]);
    std::fs::write(place.0.join("initdata.toml"), &initdata).unwrap();
    let host_data = oci::sha256(initdata.as_bytes());
    let measured =
        place.casemate(&[&["pod", "measure"], &GUEST[..], &["--format", "json"]].concat());
    let measured = json(&measured);
    assert_eq!(measured["host_data"], host_data);
    assert_eq!(measured["digests"].as_array().unwrap().len(), 2, "of 1 and 2 vCPUs");
    // The digest is the one that `casemate measure` has of the same guest.
    let flags = ["--kernel", "vmlinuz", "--initrd", "initrd", "--cmdline", "", "--vcpus", "2"];
    let other = place.casemate(&[&["measure"], &flags[..]].concat());
    let digest = measured["digests"][1]["digest"].as_str().unwrap();
    assert_eq!(String::from_utf8_lossy(&other.stdout).trim(), digest, "{other:?}");
    let bounds = ["--uses", "9", "--from", "2026-12-01T00:00:00Z", "--until"];
    let bounds = [&bounds[..], &["2027-01-01T00:00:00Z"]].concat();
    let policy = place.casemate(&[&["pod", "policy"], &GUEST[..], &bounds[..]].concat());
    let text = String::from_utf8(policy.stdout).unwrap();
    for expected in [digest, host_data.as_str(), "[secrets.\"acme/db/key\"]", "uses = 9\nwindow"] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    std::fs::write(place.0.join("release.toml"), text).unwrap();
    let checked = place.casemate(&["policy", "check", "release.toml"]);
    assert!(checked.status.success(), "{checked:?}");
    // Without bounds nothing is given, and the text says so.
    let strict = place.casemate(&[&["pod", "policy"], &GUEST[..]].concat());
    let strict = String::from_utf8(strict.stdout).unwrap();
    assert!(strict.contains("# uses = N: nothing is given"), "{strict}");
    let mut nonsense = [&["pod", "policy"], &GUEST[..], &bounds[..]].concat();
    *nonsense.last_mut().unwrap() = "never\"";
    assert_eq!(place.casemate(&nonsense).status.code(), Some(2));
    // A manifest alone has no HOST_DATA.
    std::fs::write(place.0.join("initdata.toml"), place.text(&["manifest"], &[])).unwrap();
    let none = place.casemate(&[&["pod", "measure"], &GUEST[..]].concat());
    assert_eq!(none.status.code(), Some(2));
}

#[test]
fn what_cannot_be_bound_ends_with_one_line_that_names_it() {
    let place = Place::new("bad");
    let refused = |image: &str, named: &str| {
        let output = place.pod(&["manifest"], image, &["-o", "out"]);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{named}: {output:?}");
        assert!(text.starts_with("casemate: ") && text.lines().count() == 1, "{text}");
        assert!(text.contains(named), "{named}: {text}");
        assert!(!place.0.join("out").exists(), "{named}");
    };
    refused("missing.tar", "missing.tar");
    refused("vmlinuz", "vmlinuz");
    // An image that lacks a blob, and one of which a blob has another byte.
    oci::image(&place.0, "lost", &[&[("bin/app", "#!"), PASSWD]]);
    let gzip = std::fs::read(place.0.join("lost-0.tar.gz")).unwrap();
    let blob = place.0.join("lost/blobs/sha256").join(oci::sha256(&gzip));
    std::fs::remove_file(&blob).unwrap();
    refused("lost", &oci::sha256(&gzip));
    let mut other = gzip.clone();
    *other.last_mut().unwrap() ^= 1;
    std::fs::write(&blob, &other).unwrap();
    refused("lost", &oci::sha256(&gzip));
    // More layers than a guest stacks.
    let many: Vec<&[(&str, &str)]> = vec![&[("a", "a")]; 128];
    oci::image(&place.0, "many", &many);
    refused("many", "127 layers");
    for (from, to, named) in [
        ("restartPolicy: Never", "restartPolicy: Never\n  hostNetwork: true", "spec.hostNetwork"),
        (
            "enableServiceLinks: false",
            "enableServiceLinks: true",
            "line 9: spec.enableServiceLinks",
        ),
        ("runAsUser: 1000", "runAsUser: 0", "runAsNonRoot"),
        ("image: table:1", "image: table:2", "--image table:2=FILE"),
        ("medium: Memory", "medium: \"\\e[2J\"", "medium"),
        ("spec:\n", "spec: &a\n", "anchor"),
    ] {
        place.change("pod.yaml", from, to);
        refused("table.tar", named);
        place.change("pod.yaml", to, from);
    }
    assert!(place.pod(&["manifest"], "table.tar", &["-o", "out"]).status.success());
}
