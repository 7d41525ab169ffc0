//! Files of a run that are written to, named as what the run also has: each pair is refused with
//! one line that names both, and the file is as it was. Cannot tell of a file that is put under a
//! name between the look and the opening. No guest starts here: the policy denies all.
#![cfg(feature = "vm")]
#![allow(missing_docs, clippy::unwrap_used, reason = "test code")]

use casemate_test_support::bzimage::bzimage;
use std::path::PathBuf;
use std::process::Command;

const PROGRAM: &str = env!("CARGO_BIN_EXE_casemate");

/// A folder with everything that a run may read.
struct Place(PathBuf);

impl Place {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("casemate-one-{test}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        let place = Self(path);
        place.write("kernel", &bzimage(&[]));
        place.write("initrd", b"initrd");
        place.write("policy", b"schema_version = 1\nmin_engine = \"0.1.0\"\n");
        place.write("disk", &[0; 4096]);
        place.write("vm.toml", b"kernel = \"kernel\"\n");
        let key = place.casemate(&["log", "key", "key"]);
        assert_eq!(key, (0, String::new()));
        place
    }
    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.0.join(name), bytes).unwrap();
    }
    fn casemate(&self, arguments: &[&str]) -> (i32, String) {
        let output = Command::new(PROGRAM).args(arguments).current_dir(&self.0).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        let lines = text.lines().filter(|line| !line.contains("warning: protection"));
        (output.status.code().unwrap_or(-1), lines.collect::<Vec<_>>().join("\n"))
    }
    /// A run with these flags in place of its usual ones.
    fn run(&self, flags: &[[&str; 2]]) -> (i32, String) {
        let usual = [
            ["--kernel", "kernel"],
            ["--initrd", "initrd"],
            ["--policy", "policy"],
            ["--protection", "none"],
            ["--decision-log", "log"],
            ["--log-key", "key"],
            ["--log-head", "head"],
            ["--console", "file:console"],
            ["--disk", "path=disk,name=root"],
        ];
        let given = |flag: &str| flags.iter().any(|[given, _]| *given == flag);
        let kept = usual.iter().filter(|[flag, _]| !given(flag));
        let all: Vec<&str> = kept.chain(flags).flatten().copied().collect();
        self.casemate(&[&["run", "vm.toml"], &all[..]].concat())
    }
    fn contents(&self) -> Vec<(String, Vec<u8>)> {
        let names = std::fs::read_dir(&self.0).unwrap();
        let mut all: Vec<_> = names
            .map(|entry| {
                let name = entry.unwrap().file_name().into_string().unwrap();
                let bytes = std::fs::read(self.0.join(&name)).unwrap();
                (name, bytes)
            })
            .collect();
        all.sort();
        all
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn no_output_of_a_run_is_another_of_its_files() {
    let place = Place::new("outputs");
    place.write("old.log", b"2026-01-31T00:00:00Z INFO  program: an older run\n");
    std::fs::hard_link(place.0.join("key"), place.0.join("linked")).unwrap();
    let before = place.contents();
    let read = ["kernel", "initrd", "policy", "key", "linked", "disk", "vm.toml"];
    let outputs: [(&str, &str); 3] =
        [("--decision-log", ""), ("--log-head", ""), ("--console", "file:")];
    for (flag, form) in outputs {
        for name in read {
            let (status, line) = place.run(&[[flag, &format!("{form}{name}")]]);
            assert_eq!((status, line.lines().count()), (2, 1), "{flag} {name}: {line}");
            assert!(line.contains(" are one file, which would be written over"), "{line}");
            assert!(line.contains(flag.trim_start_matches("--")), "{flag} {name}: {line}");
            assert_eq!(place.contents(), before, "{flag} {name}");
        }
    }
    for (flags, words) in [
        (&[["--log-head", "log"]][..], "--log-head and --decision-log"),
        (&[["--console", "file:log"]], "`console` and --decision-log"),
        (&[["--console", "file:head"]], "`console` and --log-head"),
        (&[["--log-head", "console.1"]], "ends in .1 and --log-head"),
        (&[["--disk", "path=kernel,name=root"]], "the disk `root` and `kernel`"),
        (&[["--disk", "path=key,name=root,ro"], ["--console", "file:key"]], "`console` and"),
        (&[["--log-file", "old.log"], ["--console", "file:old.log"]], "`console` and --log-file"),
        (&[["--log-file", "old.log"], ["--log-head", "old.log"]], "--log-head and --log-file"),
    ] {
        let (status, line) = place.run(flags);
        assert_eq!((status, line.lines().count()), (2, 1), "{flags:?}: {line}");
        assert!(line.contains(words), "{flags:?}: {line}");
    }
}

#[test]
fn files_that_are_different_ones_are_not_in_the_way() {
    let place = Place::new("different");
    let (status, line) = place.run(&[["--disk", "path=disk,ro,name=root"]]);
    assert_eq!(status, 1, "{line}");
    assert!(line.contains("denies"), "{line}");
}

/// Protects reports, certificates, policies and keys from the outputs of commands that read them.
/// Cannot tell of what is read behind a folder's name.
#[test]
fn no_output_of_a_command_is_a_file_that_it_has_read_or_written() {
    let place = Place::new("commands");
    let vectors = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/reports");
    for (from, to) in [("ms_genoa.bin", "report"), ("ms_genoa.vcek.der", "vcek")] {
        std::fs::copy(vectors.join(from), place.0.join(to)).unwrap();
    }
    let strict = Command::new(PROGRAM).args(["policy", "init"]).output().unwrap().stdout;
    place.write("strict", &strict);
    let data = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../attestation/tests/data");
    std::fs::copy(data.join("model_id_key.pem"), place.0.join("id-key")).unwrap();
    let digest = "ab".repeat(48);
    let verify = ["attest", "verify", "report", "--cert", "vcek", "--at", "2026-06-01"];
    assert_eq!(place.casemate(&[&verify[..], &["-q", "--record", "record"]].concat()).0, 3);
    let before = place.contents();
    let strictly = [&verify[..], &["--policy", "strict"]].concat();
    let replay = ["attest", "replay", "record", "--policy", "strict", "--at", "2026-06-01"];
    let block = ["measure", "--digest", &digest, "--id-key", "id-key"];
    let measure = ["measure", "--kernel", "kernel", "--protection", "sev-snp"];
    for (command, outputs) in [
        (&verify[..], &["--record", "report"][..]),
        (&verify, &["--record", "vcek"]),
        (&verify, &["--record", "./vcek"]),
        (&strictly, &["--facts", "strict"]),
        (&strictly, &["--facts", "report"]),
        (&strictly, &["--decision-log", "new", "--log-key", "key", "--log-head", "new"]),
        (&strictly, &["--decision-log", "new", "--log-head", "new.lock"]),
        (&strictly, &["--decision-log", "new", "--log-key", "key", "--log-head", "key"]),
        (&strictly, &["--decision-log", "key", "--log-key", "key"]),
        (&strictly, &["--decision-log", "report"]),
        (&strictly, &["--decision-log", "vcek"]),
        (&strictly, &["--decision-log", "strict"]),
        (&strictly, &["--decision-log", "new", "--record", "new"]),
        (&strictly, &["--decision-log", "new", "--facts", "new"]),
        (&replay, &["--decision-log", "record"]),
        (&replay, &["--decision-log", "new", "--log-head", "strict"]),
        (&replay, &["--decision-log", "key", "--log-key", "key"]),
        (&block, &["--id-block", "id-key", "--id-auth", "auth"]),
        (&block, &["--id-auth", "id-key", "--id-block", "new"]),
        (&measure, &["--save-plan", "kernel"]),
        (&["attest", "table", "vcek"], &["--out", "vcek"]),
    ] {
        let (status, text) = place.casemate(&[command, outputs].concat());
        assert_eq!(status, 2, "{outputs:?}: {text}");
        assert!(text.contains(" are one file, which would be written over"), "{text}");
        for (name, bytes) in &before {
            assert!(std::fs::read(place.0.join(name)).unwrap() == *bytes, "{outputs:?}: {name}");
        }
        assert_eq!(place.contents().len(), before.len(), "{outputs:?} left a file");
    }
    // Standard input and output are two, and a device keeps nothing.
    for record in ["-", "/dev/null"] {
        let file = std::fs::File::open(place.0.join("report")).unwrap();
        let mut command = Command::new(PROGRAM);
        let verify = ["attest", "verify", "-", "--cert", "vcek", "--at", "2026-06-01", "--record"];
        command.args(verify).arg(record).current_dir(&place.0).stdin(file);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
