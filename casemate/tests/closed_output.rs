//! The program's output may have no reader, or no room.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

use std::fs::OpenOptions;
use std::process::{Command, Output, Stdio};

const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors/");

fn casemate(arguments: &[&str], stdout: Stdio, stderr: Stdio) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_casemate"));
    command.args(arguments).stdin(Stdio::null()).stdout(stdout).stderr(stderr);
    command.spawn().unwrap().wait_with_output().unwrap()
}

/// The writing end of a pipe that nobody reads.
fn nobody() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

#[test]
fn a_reader_that_has_gone_away_changes_neither_the_answer_nor_says_anything() {
    let report = format!("{VECTORS}reports/ms_turin.bin");
    let own = format!("{VECTORS}reports/ms_turin.vcek.der");
    let other = format!("{VECTORS}reports/ms_genoa.vcek.der");
    for (arguments, status) in [
        (vec!["policy", "reference"], 0),
        (vec!["policy", "schema"], 0),
        (vec!["policy", "lint", "builtin:permissive", "--fail-on", "note"], 1),
        (vec!["sandbox", "profiles"], 0),
        (vec!["attest", "show", &report], 0),
        (vec!["attest", "verify", &report, "--at", "2026-06-01", "--cert", &own], 3),
        (vec!["attest", "verify", &report, "--at", "2026-06-01", "--cert", &other], 1),
        (vec!["--help"], 0),
    ] {
        let output = casemate(&arguments, nobody(), Stdio::piped());
        assert_eq!(output.status.code(), Some(status), "{arguments:?}");
        assert!(
            output.stderr.is_empty(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[test]
fn a_message_that_nobody_reads_keeps_the_status() {
    let output = casemate(&["attest", "show", "/nonexistent"], nobody(), nobody());
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn output_that_cannot_be_written_is_a_failure() {
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = casemate(&["policy", "reference"], full.into(), Stdio::piped());
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("cannot write to standard output"), "{message}");
    assert_eq!(message.lines().count(), 1);
}

/// Protects a terminal, and who reads output line by line, from what file names hold. Cannot tell
/// of other foreign text, nor whether each command keeps that on one line.
#[test]
fn a_file_name_is_escaped_on_a_terminal_and_in_a_file() {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("terminal-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let policy = folder.join("a\u{1b}[2J\u{202e}.toml");
    std::fs::write(&policy, "schema_version = 1\nmin_engine = \"0.1.0\"\n").unwrap();
    let arguments = ["policy", "check", policy.to_str().unwrap()];
    let to_file = casemate(&arguments, Stdio::piped(), Stdio::piped());
    let written = String::from_utf8(to_file.stdout).unwrap();
    assert!(written.contains("a\\u{1b}[2J\\u{202e}.toml"), "{written:?}");
    // `script` (of Debian's essential package bsdutils) gives its command a terminal.
    let command = format!("'{}' policy check \"$POLICY\"", env!("CARGO_BIN_EXE_casemate"));
    let shown = Command::new("script")
        .args(["-qec", &command, "/dev/null"])
        .env("POLICY", &policy)
        .env("SHELL", "/bin/sh")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap().replace("\r\n", "\n");
    assert!(shown.contains("a\\u{1b}[2J\\u{202e}.toml"), "{shown:?}");
    assert!(shown.chars().all(|c| c == '\n' || casemate_foreign_text::is_plain(c)), "{shown:?}");
    std::fs::remove_dir_all(&folder).unwrap();
}

/// Protects a VM's times and its user's signals from whoever has standard error and reads nothing
/// of it. Skipped without /dev/kvm. Cannot tell of a reader that takes some now and then.
#[cfg(feature = "vm")]
#[test]
fn a_standard_error_that_nobody_reads_holds_up_neither_time_out_nor_end() {
    use casemate_test_support::guests::{echo, elf_kernel, kvm};
    use std::io::{Read, Write};
    if kvm().is_none() {
        eprintln!("skipped: no /dev/kvm");
        return;
    }
    let kernel = std::env::temp_dir().join(format!("casemate-unread-{}", std::process::id()));
    std::fs::write(&kernel, elf_kernel(&echo())).unwrap();
    let kernel_path = kernel.to_str().unwrap();
    let arguments = ["run", "--protection", "none", "--memory", "32M", "--timeout", "1s"];
    let arguments = [&arguments[..], &["--kernel", kernel_path]].concat();
    let usual = casemate(&arguments, Stdio::null(), Stdio::piped());
    assert_eq!(usual.status.code(), Some(3), "{}", String::from_utf8_lossy(&usual.stderr));
    // A pipe of a page, with room for all that is said but for the last bytes of it.
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    rustix::pipe::fcntl_setpipe_size(&writer, 4096).unwrap();
    let before = vec![b'.'; 4096 - usual.stderr.len() + 8];
    writer.write_all(&before).unwrap();
    let unread = casemate(&arguments, Stdio::null(), writer.into());
    assert_eq!(unread.status.code(), Some(3));
    let mut held = Vec::new();
    reader.read_to_end(&mut held).unwrap();
    assert!(held.len() < before.len() + usual.stderr.len(), "it had room for all");
    std::fs::remove_file(&kernel).unwrap();
}
