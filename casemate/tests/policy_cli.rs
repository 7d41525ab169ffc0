//! `casemate policy` and `casemate log` as a user meets them: output, exit status, nothing left
//! behind.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "functions that tests share"
)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../policy/examples")
}

fn example(name: &str) -> String {
    examples().join(name).to_string_lossy().into_owned()
}

/// Runs the program with an input, and returns its status, stdout and stderr.
fn casemate(args: &[&str], input: &str) -> (i32, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_casemate"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that reads no input closes the pipe: that is its right.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

fn scratch(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("casemate-cli-{}-{name}", std::process::id()))
}

const CONSOLE: &str = r#"{"point": "access", "runtime": {"console": "interactive", "debug": "none",
    "snapshot": false, "migration": false}}"#;

#[test]
fn the_examples_pass_check_and_test() {
    for name in ["production.toml", "ci.toml", "multi-tenant.toml"] {
        assert_eq!(casemate(&["policy", "check", "--strict", &example(name)], "").0, 0, "{name}");
    }
    let (status, out, _) = casemate(&["policy", "test", &examples().to_string_lossy()], "");
    assert_eq!(status, 0, "{out}");
    assert!(out.contains("238 of 238 loosened rules noticed"), "{out}");
}

/// Protects who reads what a script printed: the name of a file cannot make a line of its own, nor
/// reach a terminal.
#[test]
fn a_file_name_is_printed_on_one_line_whatever_is_in_it() {
    let folder = scratch("names");
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("a\nFAILED \u{1b}[2J.toml");
    let path = path.to_str().unwrap();
    let (status, made, _) = casemate(&["policy", "init", path], "");
    assert_eq!((status, made.lines().count()), (0, 1), "{made}");
    let (status, checked, _) = casemate(&["policy", "check", path], "");
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(status, 0, "{checked}");
    assert_eq!(checked.lines().filter(|line| line.contains("SHA-256")).count(), 1, "{checked}");
    for text in [made, checked] {
        let lines_of_its_own = text.lines().filter(|line| line.starts_with("FAILED")).count();
        assert!(lines_of_its_own == 0 && !text.contains('\u{1b}'), "{text:?}");
    }
}

#[test]
fn a_question_is_answered_by_output_and_status() {
    let production = example("production.toml");
    let ask = |verb: &str, rest: &[&str]| {
        let args = [&["policy", verb, &production, "--input", "-"], rest].concat();
        casemate(&args, CONSOLE)
    };
    let (status, out, _) = ask("eval", &[]);
    assert_eq!(status, 1);
    assert!(out.starts_with("access: deny\n  runtime.console: found \"interactive\""), "{out}");
    let (status, out, _) = ask("explain", &["--json"]);
    assert_eq!(status, 1);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json["rules"].as_array().unwrap().len(), 5);
    assert_eq!(json["rules"][0]["outcome"], "DENIED");
    let (status, out, _) = ask("why-not", &[]);
    assert_eq!(
        (status, out.lines().nth(1)),
        (1, Some("  runtime.console: \"interactive\" -> \"output\""))
    );
    let allowed = CONSOLE.replace("interactive", "output");
    assert_eq!(casemate(&["policy", "eval", &production, "--input", "-"], &allowed).0, 0);
}

#[test]
fn a_looser_policy_needs_approval_and_a_merge_does_not() {
    let (strict, permissive) = ("builtin:strict", "builtin:permissive");
    assert_eq!(casemate(&["policy", "diff", strict, strict], "").0, 0);
    let (status, out, _) = casemate(&["policy", "diff", strict, permissive, "--json"], "");
    assert_eq!(status, 1);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json["looser"], true);
    let operator = example("multi-tenant.toml");
    let args = ["policy", "merge", &operator, &example("tenant-blue.layer.toml")];
    let (status, merged, note) = casemate(&args, "");
    assert_eq!(status, 0, "{note}");
    let (status, out, _) = casemate(&["policy", "diff", &operator, "-"], &merged);
    assert_eq!(status, 0, "{out}");
    assert!(out.contains("launch.tenants: stricter"), "{out}");
    let (_, hash, _) = casemate(&["policy", "hash", "-"], &merged);
    assert!(note.contains(hash.trim()), "the merge says the hash of what it prints");
}

#[test]
fn exports_lint_init_and_schema_are_written() {
    let production = example("production.toml");
    let out = |args: &[&str]| {
        let (status, out, error) = casemate(&[&["policy"], args].concat(), CONSOLE);
        assert_eq!(status, 0, "{args:?}: {error}");
        out
    };
    assert!(out(&["export", &production, "--rego"]).starts_with("package casemate"));
    assert!(out(&["export", &production, "--cedar"]).contains("permit (principal"));
    assert!(out(&["export", &production, "--cedar", "--schema"]).contains("entity Guest"));
    assert!(
        out(&["export", &production, "--rego", "--input", "-"]).contains("\"runtime.console\":2")
    );
    let sarif = out(&["lint", &production, "--format", "sarif"]);
    let sarif: serde_json::Value = serde_json::from_str(&sarif).unwrap();
    assert_eq!(sarif["version"], "2.1.0");
    assert!(serde_json::from_str::<serde_json::Value>(&out(&["schema"])).is_ok());
    assert!(out(&["reference"]).starts_with("# Policy fields"));
    let file = scratch("init.toml");
    let path = file.to_string_lossy();
    out(&["init", &path]);
    out(&["check", &path]);
    let (status, _, error) = casemate(&["policy", "init", &path], "");
    assert_eq!(status, 2, "a file that is there is not overwritten: {error}");
    std::fs::remove_file(file).unwrap();
}

#[test]
fn bad_input_is_status_2_with_every_error_and_its_place() {
    let bad =
        "schema_version = 1\nmin_engine = \"0.1.0\"\n[launch]\nmeasurment = []\ntenants = 3\n";
    let file = scratch("bad.toml");
    std::fs::write(&file, bad).unwrap();
    let (status, out, error) = casemate(&["policy", "check", &file.to_string_lossy()], "");
    assert_eq!((status, out.as_str()), (2, ""));
    assert!(
        error.contains("bad.toml:4:1: launch.measurment: unknown key; did you mean `measurement`?")
    );
    assert!(error.contains("bad.toml:5:11: launch.tenants: expected a list of texts"), "{error}");
    std::fs::remove_file(file).unwrap();
    assert_eq!(casemate(&["policy", "check", "/nonexistent"], "").0, 2);
    assert_eq!(casemate(&["policy", "eval", "builtin:strict", "--input", "-"], "{}").0, 2);
    assert_eq!(
        casemate(&["policy", "eval", "builtin:strict", "--input", "-", "--point", "x"], "{}").0,
        2
    );
}

#[test]
fn a_name_in_a_document_forges_no_line_and_cannot_steer_the_terminal() {
    let name = "\\u001b[31m\\nFAILED\\u202e";
    for document in [format!("\"{name}\" = 1\n"), format!("[\"{name}\"]\nx = 1\n")] {
        let text = format!("schema_version = 1\nmin_engine = \"0.1.0\"\n{document}");
        for command in ["hash", "check", "lint", "test", "export"] {
            let (status, _, error) = casemate(&["policy", command, "-"], &text);
            assert_eq!(status, 2, "{error}");
            let plain = |c| c == '\n' || casemate_foreign_text::is_plain(c);
            assert!(
                error.chars().all(plain) && !error.contains("\nFAILED"),
                "{command}: {error:?}"
            );
        }
    }
}

#[test]
fn an_argument_forges_no_line_of_what_is_wrong_with_the_command_line() {
    // As a pattern of the shell passes on a file name that somebody else chose.
    let name = "x\nFAILED\u{1b}[31m";
    for arguments in [
        &["policy", name][..],
        &["host", name],
        &["policy", "check", &format!("--{name}")],
        &["measure", "--vcpus", name],
    ] {
        let (status, _, error) = casemate(arguments, "");
        assert_eq!(status, 2, "{error}");
        assert!(error.contains("FAILED"), "{arguments:?}: {error:?}");
        assert!(!error.contains("\nFAILED") && !error.contains('\u{1b}'), "{error:?}");
    }
}

#[test]
fn a_log_is_verified_and_shown() {
    let log = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds/policy_log/whole");
    let path = log.to_string_lossy();
    let (status, out, _) = casemate(&["log", "verify", &path, "--closed"], "");
    assert_eq!(status, 0, "{out}");
    let head = out.lines().find_map(|line| line.strip_prefix("last head ")).unwrap().to_owned();
    let (status, out, _) = casemate(&["log", "show", &path, "--verdict", "deny"], "");
    assert_eq!(status, 0);
    assert!(out.contains("access deny") && out.contains("runtime.console"), "{out}");
    // Cut off after its first head the log is whole in itself; the head that is known shows the
    // cut.
    let text = std::fs::read_to_string(&log).unwrap();
    let cut: String = text.lines().take(4).map(|line| format!("{line}\n")).collect();
    let file = scratch("cut.log");
    std::fs::write(&file, cut).unwrap();
    let short = file.to_string_lossy();
    assert_eq!(casemate(&["log", "verify", &short], "").0, 0);
    assert_eq!(casemate(&["log", "verify", &short, "--closed"], "").0, 1);
    assert_eq!(casemate(&["log", "verify", &short, "--head", &head], "").0, 1);
    std::fs::write(&file, text.replace("deny", "kill")).unwrap();
    assert_eq!(casemate(&["log", "verify", &short], "").0, 1);
    std::fs::remove_file(&file).unwrap();
    let (status, public, _) = casemate(&["log", "key", &short], "");
    assert_eq!((status, public.trim().len()), (0, 64));
    let other = format!("{short}.pub");
    assert_eq!(casemate(&["log", "verify", &path, "--key", &other], "").0, 1, "another key");
    std::fs::remove_file(&file).unwrap();
    std::fs::remove_file(other).unwrap();
}

/// Protects who meets an id in a review: it is listed, explained, and its links lead to headings.
#[test]
fn every_check_and_lint_is_listed_with_what_to_do() {
    let (status, out, _) = casemate(&["policy", "rules"], "");
    assert_eq!(status, 0);
    assert!(out.lines().any(|line| line.starts_with("CM001 error")), "{out}");
    let (_, whole, _) = casemate(&["policy", "rules", "CM024"], "");
    for part in
        ["what to do: ", "example: [launch]", "see: docs/policy-fields.md#launchcmdline_allow"]
    {
        assert!(whole.contains(part), "{part}: {whole}");
    }
    let reference = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/policy-fields.md");
    let reference = std::fs::read_to_string(reference).unwrap();
    let (_, lines, _) = casemate(&["policy", "rules", "--json"], "");
    for line in lines.lines() {
        let one: serde_json::Value = serde_json::from_str(line).unwrap();
        for field in one["fields"].as_array().unwrap() {
            let heading = format!("### `{}`", field.as_str().unwrap());
            assert!(reference.contains(&heading), "{heading}");
        }
    }
    let (status, _, err) = casemate(&["policy", "rules", "CM000"], "");
    assert_eq!((status, err.lines().count()), (2, 1), "{err}");
}
