//! The decision log through the program: what an attacker without the key can do to it between two
//! honest starts, and what the user sees. Every start here is denied by its policy, so nothing
//! boots.
#![cfg(feature = "vm")]
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "test code")]

use casemate_policy::PageRule;
use casemate_policy::log::{Chain, DenialsRecord, Entry, Record};
use casemate_policy_log::{LogFile, read_key};
use casemate_test_support::bzimage::bzimage;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};

const PROGRAM: &str = env!("CARGO_BIN_EXE_casemate");
const RUN: &[&str] = &[
    "run",
    "--protection",
    "none",
    "--kernel",
    "kernel",
    "--policy",
    "policy.toml",
    "--decision-log",
    "log",
];
const SIGNED: &[&str] = &["--log-key", "key", "--log-head", "head"];

/// A folder with a kernel, a policy that denies every VM for its memory, and a key.
struct Place(PathBuf);

impl Place {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("casemate-log-{test}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        let place = Self(path);
        place.write("kernel", &bzimage(&[]));
        place.write("policy.toml", place.policy("4096").as_bytes());
        assert_eq!(place.casemate(&["log", "key", "key"]).status.code(), Some(0));
        place
    }
    /// What admits every plain VM with at least so much memory.
    #[allow(clippy::unused_self, reason = "reads better")]
    fn policy(&self, mib: &str) -> String {
        let least = format!("memory_mib = {{ min = {mib}, max = 8192 }}");
        casemate_policy::Policy::permissive_text()
            .replace("\nmemory_mib = \"any\"", &format!("\n{least}"))
    }
    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.0.join(name), bytes).unwrap();
    }
    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.0.join(name)).unwrap()
    }
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(arguments).current_dir(&self.0);
        command
    }
    fn casemate(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }
    /// An honest start, which the policy denies: exit status and what it said.
    fn run(&self, flags: &[&str]) -> (i32, String) {
        let output = self.casemate(&[RUN, flags].concat());
        let text = String::from_utf8(output.stderr).unwrap();
        (output.status.code().unwrap_or(-1), text)
    }
    fn denied(&self, flags: &[&str]) {
        let (status, text) = self.run(flags);
        assert_eq!(status, 1, "{text}");
        assert!(text.contains("resources.memory_mib"), "{text}");
    }
    fn refused(&self, flags: &[&str], status: i32, words: &str) {
        let before = self.contents();
        let (got, text) = self.run(flags);
        assert_eq!(got, status, "{text}");
        assert!(text.contains(words), "{words}: {text}");
        assert!(!text.contains("resources.memory_mib"), "nothing was decided: {text}");
        assert_eq!(
            self.contents(),
            before,
            "a refused log is left as it is, and nothing beside it"
        );
    }
    fn contents(&self) -> Vec<(String, Vec<u8>)> {
        let names = std::fs::read_dir(&self.0).unwrap();
        let mut names: Vec<String> =
            names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names.into_iter().map(|name| (name.clone(), self.read(&name))).collect()
    }
    fn verify(&self, flags: &[&str]) -> (i32, String) {
        let output = self.casemate(&[&["log", "verify", "log"], flags].concat());
        (output.status.code().unwrap_or(-1), String::from_utf8(output.stdout).unwrap())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const ALL: &[&str] = &["--key", "key.pub", "--head-file", "head", "--closed"];

/// The log with every line that `keep` says, all hashes made anew and every denial an approval.
fn forge(log: &[u8], keep: impl Fn(&Entry) -> bool) -> Vec<u8> {
    let lines = log.split(|b| *b == b'\n').filter(|line| !line.is_empty());
    let records: Vec<Record> = lines.map(|line| Record::parse(line).unwrap().0).collect();
    let Some(Entry::Begin { log }) = records.first().map(|r| r.entry.clone()) else { panic!() };
    let (mut chain, mut out) = (Chain::new(log), String::new());
    for mut record in records {
        if let Entry::Decision(decision) = &mut record.entry {
            decision.verdict = casemate_policy::Verdict::Allow;
            (decision.rules, decision.reasons) = (Vec::new(), Vec::new());
        }
        if keep(&record.entry) {
            chain = chain.append_to(&mut out, record.time, record.entry);
        }
    }
    out.into_bytes()
}

#[test]
fn a_log_forged_between_two_starts_is_neither_signed_nor_called_closed() {
    let place = Place::new("forged");
    (0..3).for_each(|_| place.denied(SIGNED));
    assert_eq!(place.verify(ALL).0, 0);
    let forged = forge(&place.read("log"), |entry| !matches!(entry, Entry::Head { .. }));
    place.write("log", &forged);
    place.refused(SIGNED, 2, "cut off or replaced");
    place.refused(&["--log-key", "key"], 2, "signed by nobody");
}

#[test]
fn a_log_cut_or_removed_between_two_starts_is_found_by_its_head_file_before_and_after() {
    for keep in [0, 2, 4, usize::MAX] {
        let place = Place::new(&format!("cut-{keep}"));
        (0..2).for_each(|_| place.denied(SIGNED));
        if keep == usize::MAX {
            std::fs::remove_file(place.0.join("log")).unwrap();
        } else {
            let log = place.read("log");
            let lines: Vec<&[u8]> = log.split_inclusive(|b| *b == b'\n').collect();
            place.write("log", &lines.into_iter().take(keep).collect::<Vec<_>>().concat());
        }
        place.refused(SIGNED, 2, "cut off or replaced");
        assert_ne!(place.verify(ALL).0, 0, "{keep}");
    }
}

/// Protects who trusts a log that lacks its last session: it is whole, closed and signed, and only
/// a head tells. Cannot tell of a head file that is put back with it, of which only another copy
/// does.
#[test]
fn verify_says_what_it_has_shown_and_that_a_cut_at_the_end_needs_a_head_to_be_found() {
    let place = Place::new("two-sessions");
    place.denied(SIGNED);
    let (first, first_head) = (place.read("log"), place.read("head"));
    place.denied(SIGNED);
    let second_head = String::from_utf8(place.read("head")).unwrap().trim().to_owned();
    let with_key: &[&str] = &["--key", "key.pub", "--closed"];
    let with_head = [with_key, &["--head", &second_head]].concat();
    let number = second_head.split_once(':').unwrap().0.to_owned();

    let (status, whole) = place.verify(&with_head);
    assert_eq!(status, 0, "{whole}");
    assert!(whole.contains(&format!("nothing up to record {number} is missing")), "{whole}");
    assert!(whole.contains(&format!("not shown: that nothing was cut off after record {number}")));

    place.write("log", &first);
    let (status, cut) = place.verify(with_key);
    assert_eq!(status, 0, "{cut}");
    assert!(cut.contains("\nclosed\n"), "{cut}");
    assert!(
        cut.contains("\nnot shown: that nothing was cut off at its end: a newer head"),
        "{cut}"
    );
    assert!(!cut.contains("nothing up to record"), "{cut}");
    let (status, found) = place.verify(&with_head);
    assert_eq!(status, 1, "{found}");
    assert!(!found.contains("shown:"), "{found}");

    // Put back with its head file, it is what it was.
    place.write("head", &first_head);
    let (status, both) = place.verify(&[with_key, &["--head-file", "head"]].concat());
    assert_eq!(status, 0, "{both}");
    assert!(both.contains("not shown: that nothing was cut off after record"), "{both}");
}

#[test]
fn a_key_file_named_as_the_log_is_not_emptied() {
    let place = Place::new("no-log");
    let seed = place.read("key");
    let without_line_feed = seed.strip_suffix(b"\n").unwrap();
    place.write("log", without_line_feed);
    place.refused(SIGNED, 2, "no decision log");
    assert_eq!(place.read("log"), without_line_feed);
}

#[test]
fn a_key_that_others_can_read_is_refused_before_anything_is_read() {
    let place = Place::new("open-key");
    let mode = |mode| {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(place.0.join("key"), permissions).unwrap();
    };
    mode(0o644);
    place.refused(SIGNED, 2, "mode 644");
    mode(0o600);
    place.denied(SIGNED);
}

#[test]
fn starts_at_once_on_one_log_are_all_in_it() {
    let place = Place::new("at-once");
    let children: Vec<_> = (0..6)
        .map(|_| place.command(&[RUN, SIGNED].concat()).stderr(std::process::Stdio::null()).spawn())
        .collect();
    for child in children {
        assert_eq!(child.unwrap().wait().unwrap().code(), Some(1));
    }
    let (status, text) = place.verify(ALL);
    assert_eq!(status, 0, "{text}");
    // Each is asked about host, launch and resources, which denies.
    assert!(text.contains("18 decisions"), "{text}");
}

/// Runs starts on a file system that is full after a few, until one cannot be logged; then with
/// room. In a mount namespace of its own, so that nothing of it stays.
const FULL_DISK: &str = r#"
mount -t tmpfs -o size=16k,mode=700 none disk || exit 77
for i in $(seq 40); do
    "$0" "$@" 2>err
    status=$?
    grep -q 'cannot be logged' err && break
done
echo "full $status: $(cat err)"
echo "left: $(ls -A disk | xargs)"
"$0" log verify disk/log --key key.pub --head-file disk/head
echo "verified $?"
mount -o remount,size=1m disk
"$0" "$@" 2>err
echo "again $?: $(cat err)"
"$0" log verify disk/log --key key.pub --head-file disk/head --closed
echo "closed $?"
"#;

#[test]
fn a_full_disk_takes_nothing_back_and_leaves_nothing_behind() {
    let place = Place::new("full");
    std::fs::create_dir(place.0.join("disk")).unwrap();
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", FULL_DISK, PROGRAM]);
    let log = ["--decision-log", "disk/log", "--log-key", "key", "--log-head", "disk/head"];
    let run = RUN.iter().take_while(|flag| **flag != "--decision-log").chain(&log);
    let output = command.args(run).current_dir(&place.0).output().unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    if output.status.code() == Some(77) || text.contains("unshare failed") {
        println!("SKIPPED: only root can mount a small file system");
        return;
    }
    assert!(text.contains("full 1: ") && text.contains("so no guest is started"), "{text}");
    assert!(text.contains("left: head log log.lock\n"), "{text}");
    assert!(text.contains("verified 0\n"), "whole lines only: {text}");
    let again = text.split("again 1: ").nth(1).unwrap_or_else(|| panic!("{text}"));
    assert!(again.contains("resources.memory_mib") && again.contains("closed 0\n"), "{text}");
}

#[test]
fn an_empty_file_is_not_called_a_good_log_whatever_is_expected_of_it() {
    let place = Place::new("empty");
    place.write("log", b"");
    let head = format!("0:{}", "00".repeat(32));
    for flags in [&[][..], &["--key", "key.pub"], &["--head", &head], &["--closed"]] {
        let (status, text) = place.verify(flags);
        assert_eq!(status, 1, "{flags:?}: {text}");
        assert!(text.contains("there is no record"), "{text}");
    }
    assert_eq!(place.casemate(&["log", "show", "log"]).status.code(), Some(1));
    let replay = ["log", "replay", "log", "--policy", "policy.toml"];
    assert_eq!(place.casemate(&replay).status.code(), Some(1));
}

#[test]
fn denials_of_a_running_guest_are_verified_shown_and_replayed() {
    let place = Place::new("denials");
    place.denied(SIGNED);
    let strict = casemate_policy::Policy::builtin_strict();
    let key = Some(read_key(&place.0.join("key")).unwrap());
    let head = Some(place.0.join("head"));
    let file = LogFile { key, head, ..LogFile::new(&place.0.join("log")) };
    let (mut log, _) = file.open().unwrap();
    log.release().unwrap();
    for (times, ended) in [(1, false), (9, true)] {
        let none = DenialsRecord::none_yet(&strict, PageRule::Shared, "\u{1b}[2Jvm");
        let amount = times * 512;
        log.denials(vec![DenialsRecord { start: 4, times, amount, ended, ..none }]).unwrap();
    }
    let (status, text) = place.verify(ALL);
    assert_eq!(status, 0, "{text}");
    assert!(text.contains("2 of denials while VMs ran"), "{text}");
    let show = |flags: &[&str]| {
        let output = place.casemate(&[&["log", "show", "log"], flags].concat());
        String::from_utf8(output.stdout).unwrap()
    };
    let text = show(&["--point", "page-state"]);
    assert_eq!(text.lines().count(), 4, "{text}");
    assert!(text.contains("started by record 4: 9 times, 4608 pages in all, until its end"));
    assert!(text.contains("runtime.shared_percent") && !text.contains('\u{1b}'), "{text}");
    assert_eq!(show(&["--rule", "runtime.shared", "--verdict", "kill"]), text);
    assert_eq!(show(&["--rule", "runtime.page_state_changes"]), "");
    let replay = |policy: &str| {
        let output = place.casemate(&["log", "replay", "log", "--policy", policy]);
        (output.status.code().unwrap_or(-1), String::from_utf8(output.stdout).unwrap())
    };
    let (_, text) = replay("builtin:permissive");
    assert_eq!(text.matches("page-state: kill -> allow").count(), 2, "{text}");
    let (_, text) = replay("builtin:strict");
    assert!(!text.contains("page-state"), "{text}");
}

#[test]
fn a_log_is_replayed_against_another_policy() {
    let place = Place::new("replay");
    let replay = |policy: &str, flags: &[&str]| {
        place.write("other.toml", policy.as_bytes());
        let arguments = [&["log", "replay", "log", "--policy", "other.toml"][..], flags].concat();
        let output = place.casemate(&arguments);
        (output.status.code().unwrap_or(-1), String::from_utf8(output.stdout).unwrap())
    };
    let cmdline = ["--cmdline", "console=ttyS0 token=hunter2"];
    place.denied(&[SIGNED, &cmdline].concat());
    assert!(!String::from_utf8(place.read("log")).unwrap().contains("hunter2"));
    let (status, text) = replay(&place.policy("4096"), &["--key", "key.pub"]);
    assert_eq!(status, 0, "{text}");
    let (status, text) = replay(&place.policy("64"), &[]);
    assert_eq!(status, 1, "{text}");
    assert!(text.contains("resources: deny -> allow") && text.contains("memory_mib"), "{text}");
    let exact = "cmdline_allow = [\"console=*\", \"token=hunter2\"]";
    let exact = place.policy("4096").replace("cmdline_allow = \"any\"", exact);
    let (status, text) = replay(&exact, &[]);
    assert_eq!(status, 3, "{text}");
    assert!(text.contains("launch: allow -> undecidable"), "{text}");
    assert!(text.contains("launch.cmdline_allow"), "{text}");
    let (status, text) = replay(&exact, &["--json"]);
    assert_eq!(status, 3);
    for line in text.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
    assert_eq!(replay("x", &[]).0, 2);
    // A log that is not whole proves nothing.
    let log = String::from_utf8(place.read("log")).unwrap();
    place.write("log", log.replace("token=", "taken=").as_bytes());
    assert_eq!(replay(&place.policy("4096"), &[]).0, 1);
}

#[test]
fn a_policy_is_read_within_a_bound_from_what_is_a_file() {
    let place = Place::new("policy");
    let run = |policy: &str| {
        let flags = ["run", "--protection", "none", "--kernel", "kernel", "--policy", policy];
        let output = place.casemate(&flags);
        (output.status.code().unwrap_or(-1), String::from_utf8(output.stderr).unwrap())
    };
    Command::new("mkfifo").arg(place.0.join("fifo")).status().unwrap();
    place.write("large", &vec![b'#'; 5 << 20]);
    for policy in ["/dev/zero", "fifo", ".", "large", "nothing"] {
        let (status, text) = run(policy);
        assert_eq!(status, 2, "{policy}: {text}");
        assert!(text.contains("--policy: cannot read"), "{policy}: {text}");
    }
    // The built-in ones have names, here as for every other command.
    let (status, text) = run("builtin:strict");
    assert_eq!(status, 1, "{text}");
    assert!(text.contains("built-in strict"), "{text}");
}

#[test]
fn a_log_without_heads_is_taken_over_by_name_only() {
    let place = Place::new("adopt");
    place.denied(&[]);
    place.refused(SIGNED, 2, "--adopt");
    place.denied(&[SIGNED, &["--adopt"]].concat());
    let (status, text) = place.verify(ALL);
    assert_eq!(status, 0, "{text}");
    assert!(text.contains("were taken over with --adopt"), "{text}");
    place.denied(SIGNED);
    place.refused(&[], 2, "give --log-key");
}
