//! Bad input of `casemate run`: each kind is refused with exit status 2 (1 where the host is at fault) and one line
//! that names the field and what to do, and leaves nothing behind.

use std::path::{Path, PathBuf};
use std::process::Command;

const PROGRAM: &str = env!("CARGO_BIN_EXE_casemate");

/// A directory with a good kernel in it, removed at the end.
struct Place(PathBuf);

impl Place {
    #[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("casemate-bad-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        let place = Self(path);
        place.write("kernel", &elf(0x100_0000, &[(0x100_0000, 16, 4096)]));
        place
    }
    #[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    fn write(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_string_lossy().into_owned()
    }
    fn path(&self, name: &str) -> String {
        self.0.join(name).to_string_lossy().into_owned()
    }
}
impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// An ELF kernel; segments are (address, bytes in the file, bytes in memory).
fn elf(entry: u64, segments: &[(u64, u64, u64)]) -> Vec<u8> {
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(64, 0);
    let mut put = |at: usize, bytes: &[u8]| {
        for (to, from) in file.iter_mut().skip(at).zip(bytes) {
            *to = *from;
        }
    };
    put(16, &[2, 0, 62]);
    put(24, &entry.to_le_bytes());
    put(32, &[64]);
    put(52, &[64, 0, 56, 0, u8::try_from(segments.len()).unwrap_or(0)]);
    for (address, in_file, in_memory) in segments {
        file.extend_from_slice(&[1, 0, 0, 0, 5, 0, 0, 0]);
        for word in [4096, *address, *address, *in_file, *in_memory, 4096] {
            file.extend_from_slice(&word.to_le_bytes());
        }
    }
    file.resize(8192, 0xf4);
    file
}

/// Exit status and error output of the program under `command`.
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
fn outcome(command: &mut Command) -> (i32, String) {
    let output = command.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "nothing goes to standard output");
    let text = String::from_utf8_lossy(&output.stderr);
    // The warning about `protection = "none"` comes first where the configuration itself was good.
    let lines: Vec<_> = text.lines().filter(|line| !line.contains("warning: protection")).collect();
    (output.status.code().unwrap_or(-1), lines.join("\n"))
}

/// Asserts that `command` is refused with `status` by one line with all of `words`.
fn assert_refused(command: &mut Command, status: i32, words: &[&str]) {
    let (got, line) = outcome(command);
    assert_eq!(got, status, "{command:?}: {line}");
    assert_eq!(line.lines().count(), 1, "{command:?}: {line}");
    for word in words {
        assert!(line.contains(word), "{command:?}: no {word:?} in: {line}");
    }
}

fn run(place: &Place, flags: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(["run", "--protection", "none", "--kernel", &place.path("kernel")]).args(flags);
    command
}

#[test]
fn impossible_values_name_their_field() {
    let place = Place::new("values");
    let long = "x".repeat(2048);
    for (flags, words) in [
        (["--vcpus", "0"], ["`vcpus`", "use 1 to"]),
        (["--vcpus", "65"], ["`vcpus`", "use 1 to 64"]),
        (["--memory", "16M"], ["`memory`", "at least 32M"]),
        (["--memory", "100000G"], ["`memory`", "at most"]),
        (["--memory", "much"], ["`memory`", "such as 256M"]),
        (["--memory", "2000G"], ["`memory`", "ask for less"]),
        (["--cmdline", &long], ["`cmdline`", "at most 2047"]),
        (["--cmdline", "a\nb"], ["`cmdline`", "one line"]),
        (["--name", "a/b"], ["`name`", "letters"]),
        (["--console", "printer"], ["`console`", "file:PATH"]),
        (["--timeout", "soon"], ["`timeout`", "such as"]),
        (["--protection", "sev"], ["`protection`", "sev-snp"]),
    ] {
        // A flag given twice is a different error: the one under test replaces the good one.
        let mut command = Command::new(PROGRAM);
        command.args(["run", "--kernel", &place.path("kernel")]).args(flags);
        if flags.first() != Some(&"--protection") {
            command.args(["--protection", "none"]);
        }
        assert_refused(&mut command, 2, &words);
    }
}

#[test]
fn a_command_line_with_nul_is_refused() {
    let place = Place::new("nul");
    let config = place
        .write("vm.toml", b"kernel = \"kernel\"\nprotection = \"none\"\ncmdline = \"a\\u0000b\"\n");
    assert_refused(Command::new(PROGRAM).args(["run", &config]), 2, &["`cmdline`", "NUL"]);
}

#[test]
fn unknown_keys_and_wrong_types_name_file_line_and_key() {
    let place = Place::new("keys");
    for (text, words) in [
        ("protection = \"none\"\nkernle = \"k\"\n", ["line 2", "kernle"]),
        ("protection = \"none\"\nvcpus = \"two\"\n", ["line 2", "vcpus"]),
        ("protection = \n", ["line 1", "protection"]),
    ] {
        let config = place.write("vm.toml", text.as_bytes());
        assert_refused(Command::new(PROGRAM).args(["run", &config]), 2, &words);
    }
    let gone = place.path("gone.toml");
    assert_refused(Command::new(PROGRAM).args(["run", &gone]), 2, &["gone.toml", "cannot read"]);
}

#[test]
fn protection_must_be_said() {
    let place = Place::new("protection");
    let mut command = Command::new(PROGRAM);
    command.args(["run", "--kernel", &place.path("kernel")]);
    assert_refused(&mut command, 2, &["`protection`", "missing", "sev-snp"]);
}

#[test]
fn files_that_are_missing_or_no_files_name_their_field() {
    let place = Place::new("files");
    let gone = place.path("gone");
    assert_refused(&mut run(&place, &["--initrd", &gone]), 2, &["`initrd`", "cannot read", "gone"]);
    let directory = place.path(".");
    assert_refused(&mut run(&place, &["--initrd", &directory]), 2, &["`initrd`", "not a file"]);
    let mut command = Command::new(PROGRAM);
    command.args(["run", "--protection", "none", "--kernel", &gone]);
    assert_refused(&mut command, 2, &["`kernel`", "cannot read"]);
    let log = place.path("no/such/log");
    let console = format!("file:{log}");
    let mut command = run(&place, &["--console", &console]);
    if Path::new("/dev/kvm").exists() {
        assert_refused(&mut command, 2, &["`console`", "cannot open"]);
    }
}

#[test]
fn kernels_that_are_none_say_what_is_wrong() {
    let place = Place::new("kernels");
    let mut cut = vec![0; 4096];
    for (to, from) in cut.iter_mut().skip(0x1f1).zip([1, 0, 0, 0, 0, 1]) {
        *to = from;
    }
    for (to, from) in cut.iter_mut().skip(0x202).zip(*b"HdrS\x0f\x02") {
        *to = from;
    }
    for (at, byte) in [(0x1fe, 0x55), (0x1ff, 0xaa), (0x201, 0x6a), (0x211, 1), (0x236, 1)] {
        if let Some(to) = cut.get_mut(at) {
            *to = byte;
        }
    }
    let good = (0x100_0000, 16, 4096);
    for (bytes, words) in [
        (Vec::new(), ["`kernel`", "neither"]),
        (b"#!/bin/sh\n".to_vec(), ["`kernel`", "neither"]),
        (cut, ["`kernel`", "truncated"]),
        (elf(0x100_0000, &[(0x100_0000, 9000, 9000)]), ["`kernel`", "truncated"]),
        (elf(0x100_0000, &[good, (0x100_0800, 16, 4096)]), ["`kernel`", "overlap"]),
        (elf(0x900_0000, &[good]), ["`kernel`", "entry point"]),
        (elf(0x100_0000, &[good, (u64::MAX, 16, 4096)]), ["`kernel`", "impossible"]),
        (elf(0x100_0000, &[(0x100_0000, 16, 1 << 40)]), ["`kernel`", "above 3 GiB"]),
        (elf(0x100_0000, &[(0x100_0000, 16, 1 << 31)]), ["`memory`", "too little"]),
    ] {
        place.write("kernel", &bytes);
        assert_refused(&mut run(&place, &[]), 2, &words);
    }
}

#[test]
fn an_initrd_that_does_not_fit_asks_for_more_memory() {
    let place = Place::new("initrd");
    let initrd = place.write("initrd", &vec![7; 60 << 20]);
    let mut command = run(&place, &["--memory", "64M", "--initrd", &initrd]);
    assert_refused(&mut command, 2, &["`memory`", "64 MiB", "initrd", "need"]);
}

#[test]
fn protection_that_the_host_lacks_is_refused_and_never_downgraded() {
    if Path::new("/dev/sev").exists() || !Path::new("/dev/kvm").exists() {
        println!("SKIPPED: this host may offer SEV-SNP, or has no /dev/kvm");
        return;
    }
    let place = Place::new("snp");
    let mut command = Command::new(PROGRAM);
    command.args(["run", "--protection", "sev-snp", "--kernel", &place.path("kernel")]);
    assert_refused(&mut command, 1, &["`protection`", "sev-snp", "casemate host"]);
}

/// The program in a mount namespace whose /dev is prepared by `dev`; None where that needs more rights.
fn with_dev(place: &Place, dev: &str, user: &str) -> Option<Command> {
    let possible = Command::new("unshare").args(["-m", "true"]).status().is_ok_and(|s| s.success());
    if !possible {
        println!("SKIPPED: no mount namespace can be made");
        return None;
    }
    let mut command = Command::new("unshare");
    let script = format!(
        "mount -t tmpfs none /dev && {dev} && exec {user} \"$0\" run --protection none --kernel \"$1\""
    );
    command.args(["-m", "sh", "-c", &script, PROGRAM, &place.path("kernel")]);
    Some(command)
}

#[test]
fn a_machine_without_kvm_is_told_apart_from_a_user_without_access() {
    let place = Place::new("kvm");
    if let Some(mut command) = with_dev(&place, "true", "") {
        assert_refused(&mut command, 1, &["/dev/kvm is not there", "casemate host"]);
    }
    let user = "setpriv --reuid 65534 --regid 65534 --clear-groups";
    let readable = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "test", "-x", PROGRAM])
        .status()
        .is_ok_and(|status| status.success());
    if !readable {
        println!("SKIPPED: another user cannot run the program where it is");
        return;
    }
    if let Some(mut command) = with_dev(&place, "touch /dev/kvm && chmod 600 /dev/kvm", user) {
        assert_refused(&mut command, 1, &["/dev/kvm", "group"]);
    }
}

#[test]
fn refusals_leave_no_file_and_no_name() {
    let place = Place::new("left");
    let console = format!("file:{}", place.path("console.log"));
    let name = format!("refused-{}", std::process::id());
    place.write("kernel", b"no kernel");
    for flags in [["--vcpus", "0"], ["--vcpus", "1"]] {
        let mut command = run(&place, &flags);
        let (status, line) = outcome(command.args(["--console", &console, "--name", &name]));
        assert_eq!(status, 2, "{line}");
    }
    assert!(!Path::new(&place.path("console.log")).exists(), "a refused run made its console file");
    let names = std::fs::read_to_string("/proc/net/unix").unwrap_or_default();
    assert!(!names.contains(&name), "a refused run holds its name");
}
