//! Bad input of `casemate run`: each kind is refused with exit status 2 (1 where the host is at
//! fault) and one line that names the field and what to do, and leaves nothing behind.

use casemate_test_support::bzimage::bzimage;
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
        (["--memory", "67108864"], ["`memory`", "a number alone is MiB; so many bytes are 64M"]),
        (["--memory", "67108865"], ["`memory`", "64M and a bit"]),
        (["--cmdline", &long], ["`cmdline`", "at most 2047"]),
        (["--cmdline", "a\nb"], ["`cmdline`", "one line"]),
        (["--name", "a/b"], ["`name`", "letters"]),
        (["--console", "printer"], ["`console`", "file:PATH"]),
        (["--console-wait", "long"], ["`console_wait`", "such as"]),
        (["--console-limit", "1K"], ["`console_limit`", "such as 64M"]),
        (["--escape", "ctrl-c"], ["`escape`", "none"]),
        (["--grace", "0s"], ["`grace`", "such as"]),
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

/// Protects whoever measures first and runs later: what one takes, the other takes.
#[test]
fn a_layer_that_does_not_exist_is_refused_by_every_command_that_reads_a_configuration() {
    let place = Place::new("layers");
    for (protection, layers) in [
        ("none", "\"nonsense\""),
        ("sev-snp", "\"landlock\", \"Seccomp\""),
        ("sev-snp", "\"\\u001b[2J\""),
    ] {
        let config = format!(
            "kernel = \"kernel\"\nprotection = \"{protection}\"\n[sandbox]\noptional = [{layers}]\n"
        );
        let config = place.write("vm.toml", config.as_bytes());
        for command in ["run", "measure"] {
            let words = ["`sandbox.optional`", "empty-root"];
            assert_refused(Command::new(PROGRAM).args([command, &config]), 2, &words);
        }
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
        ("console = \"file:x y\"\n", ["line 1", "as { file = \"x y\" }"]),
        ("console = \"file\"\n", ["line 1", "as { file = \"PATH\" }"]),
        ("console = \"printer\"\n", ["\"printer\", expected \"stdio\"", "{ file = \"PATH\" }"]),
        ("vcpus = \"2\"\n", ["line 1", "a whole number without quotes"]),
        ("cmdline = [\"a\"]\n", ["invalid type: list", "a text in quotes"]),
        ("kernel = 1\n", ["line 1", "a path in quotes"]),
        ("[disk]\npath = \"x\"\n", ["line 1", "begin each with [[name]]"]),
        ("[sandbox]\noptional = \"seccomp\"\n", ["line 2", "expected a list, such as"]),
        ("console = { pty = \"x\" }\n", ["line 1", "expected \"stdio\""]),
        ("console = { file = \"x\", size = 1 }\n", ["line 1", "expected \"stdio\""]),
        ("memory = 256\n", ["line 1", "such as \"256M\""]),
        ("timeout = 90\n", ["line 1", "or \"90s\""]),
        ("name = \"\u{1b}[2J\" x\n", ["line 1", "\\u{1b}"]),
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
    assert_refused(
        &mut run(&place, &["--initrd", &directory]),
        2,
        &["`initrd`", "it is a directory"],
    );
    let mut command = Command::new(PROGRAM);
    command.args(["run", "--protection", "none", "--kernel", &gone]);
    assert_refused(&mut command, 2, &["`kernel`", "cannot read"]);
    let log = place.path("no/such/log");
    let console = format!("file:{log}");
    let mut command = run(&place, &["--console", &console]);
    if Path::new("/dev/kvm").exists() {
        assert_refused(&mut command, 2, &["`console`", "cannot write"]);
    }
}

/// Protects whoever starts a VM from a hang without a word and from a full memory: every path that
/// `run` takes is looked at before it is read or written. Cannot tell what a file system does that
/// hangs itself.
#[test]
fn what_is_no_file_is_neither_waited_for_nor_read_without_end() {
    let place = Place::new("kinds");
    let fifo = place.path("fifo");
    let made = Command::new("mkfifo").arg(&fifo).status();
    assert!(made.is_ok_and(|status| status.success()));
    for (path, kind) in [(fifo.as_str(), "FIFO"), ("/dev/zero", "a device"), ("/", "a directory")] {
        let mut as_config = Command::new(PROGRAM);
        // A directory may be an image's.
        let word = if path == "/" { "image" } else { "configuration" };
        assert_refused(as_config.args(["run", path]), 2, &[word, kind]);
        for (flag, word) in [("--initrd", "`initrd`"), ("--policy", "--policy")] {
            assert_refused(&mut run(&place, &[flag, path]), 2, &[word, kind]);
        }
        let mut as_kernel = Command::new(PROGRAM);
        as_kernel.args(["run", "--protection", "none", "--kernel", path]);
        assert_refused(&mut as_kernel, 2, &["`kernel`", kind]);
        if Path::new("/dev/kvm").exists() {
            let console = format!("file:{path}");
            assert_refused(&mut run(&place, &["--console", &console]), 2, &["`console`", kind]);
        }
    }
    for key in ["id_block", "id_auth", "certs"] {
        let other = place.write("other", &vec![0; if key == "id_auth" { 96 } else { 4096 }]);
        let pair = match key {
            "id_block" => format!("id_auth = \"{other}\"\n"),
            "id_auth" => format!("id_block = \"{other}\"\n"),
            _ => String::new(),
        };
        let text = format!(
            "kernel = \"kernel\"\nprotection = \"sev-snp\"\n[snp]\n{key} = \"{fifo}\"\n{pair}"
        );
        let config = place.write("vm.toml", text.as_bytes());
        let field = format!("`snp.{key}`");
        let mut command = Command::new(PROGRAM);
        assert_refused(command.args(["run", &config]), 2, &[&field, "FIFO"]);
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
        (b"just a text\n".to_vec(), ["`kernel`", "neither"]),
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

/// A PE file with one section of this name, and what else it has at these places.
fn pe(section: &[u8; 8], parts: &[(usize, &[u8])]) -> Vec<u8> {
    let mut file = vec![0; 0x400];
    let good: [(usize, &[u8]); 4] =
        [(0, b"MZ"), (0x3c, &[0x80]), (0x80, b"PE\0\0\x64\x86\x01\0"), (0x98, section)];
    for (at, bytes) in good.iter().chain(parts) {
        for (to, from) in file.iter_mut().skip(*at).zip(*bytes) {
            *to = *from;
        }
    }
    file
}

/// Protects: who hands over what is no kernel reads what it is and what to do. It cannot tell
/// whether a tool named there does what it says.
#[test]
fn files_that_are_no_kernels_are_named_with_what_to_do() {
    let place = Place::new("foreign");
    let zeros = |mark: &[u8]| [mark, &[0; 4096]].concat();
    let changed = |at: usize, byte: u8| {
        let mut file = elf(0x100_0000, &[(0x100_0000, 16, 4096)]);
        if let Some(to) = file.get_mut(at) {
            *to = byte;
        }
        file
    };
    for (bytes, words) in [
        (Vec::new(), ["empty", "is needed"]),
        (b"#!/bin/sh\n".to_vec(), ["a script", "is needed"]),
        (zeros(b"\x1f\x8b\x08"), ["a gzip file", "unpack it first"]),
        (zeros(b"\xfd7zXZ\0"), ["an xz file", "not Xen"]),
        (zeros(b"\x28\xb5\x2f\xfd"), ["a zstd file", "unpack"]),
        (zeros(b"070701"), ["cpio archive", "`initrd`"]),
        (pe(b".linux\0\0", &[]), ["unified kernel image", "--only-section=.linux"]),
        (pe(b".text\0\0\0", &[]), ["an EFI program", "is needed"]),
        (pe(b".text\0\0\0", &[(4, b"zimg")]), ["another processor", "x86-64"]),
        (pe(b".text\0\0\0", &[(0x38, b"ARM\x64")]), ["an arm64 kernel", "x86-64"]),
        (pe(b".text\0\0\0", &[(0x3c, &[0xff; 4])]), ["neither", "bzImage"]),
        (changed(4, 1), ["a 32-bit ELF file", "64-bit mode"]),
        (changed(18, 183), ["an arm64 ELF file", "x86-64"]),
        (changed(16, 1), ["kernel module", "is needed"]),
        (changed(16, 3), ["position-independent program", "is needed"]),
    ] {
        place.write("kernel", &bytes);
        let words: Vec<&str> = [&["`kernel`"][..], &words].concat();
        assert_refused(&mut run(&place, &[]), 2, &words);
    }
}

/// An ELF executable as linkers make programs: `kind` is the type of its second program header.
fn program(kind: u8, base: u64, offset: u64) -> Vec<u8> {
    let mut file = elf(base + 0x1000, &[(base, 0x800, 0x2000), (base + 0x2000, 16, 4096)]);
    for (at, byte) in [(72, offset), (73, offset >> 8), (120, u64::from(kind))] {
        if let Some(to) = file.get_mut(at) {
            *to = u8::try_from(byte & 0xff).unwrap_or(0);
        }
    }
    file
}

/// Protects: a program that Linux runs is not entered as a kernel. It cannot tell a program that a
/// linker script placed elsewhere and that wants nothing of a loader.
#[test]
fn a_static_program_does_not_pass_for_a_kernel() {
    let place = Place::new("program");
    let (load, interpreter, tls) = (1, 3, 7);
    for bytes in [
        program(load, 0x40_0000, 0),
        program(load, 0x20_0000, 0),
        program(tls, 0x100_0000, 0x1000),
        program(interpreter, 0x100_0000, 0x1000),
    ] {
        place.write("kernel", &bytes);
        assert_refused(&mut run(&place, &[]), 2, &["`kernel`", "program for Linux", "initrd"]);
    }
    // The same addresses, with a kernel's own bytes there; and an ELF header loaded elsewhere.
    for bytes in [program(load, 0x40_0000, 0x1000), program(load, 0xff_f000, 0)] {
        let kind = casemate_hypervisor::launch::kernel::recognise(&bytes).map(|image| image.kind);
        assert_eq!(kind, Ok(casemate_layout::KernelKind::Elf));
    }
}

/// Protects: a kernel gets the command line that was asked for and measured, whole, and an initrd
/// where it looks for it.
#[test]
fn the_limits_that_a_kernel_declares_hold() {
    let place = Place::new("limits");
    place.write("kernel", &bzimage(&[(0x238, &[100])]));
    let long = "x".repeat(101);
    assert_refused(
        &mut run(&place, &["--cmdline", &long]),
        2,
        &["`cmdline`", "101", "at most 100"],
    );
    // 32 MiB: the kernel uses 16 to 18 MiB, and no initrd of 15 MiB fits below its limit, whatever
    // the memory.
    place.write("kernel", &bzimage(&[(0x22c, &[0xff, 0xff, 0xff, 1])]));
    let initrd = place.write("initrd", &vec![7; 15 << 20]);
    for memory in ["128M", "1G"] {
        let mut command = run(&place, &["--memory", memory, "--initrd", &initrd]);
        assert_refused(&mut command, 2, &["`initrd`", "none beyond 0x1ffffff"]);
    }
}

/// Protects: a kernel that cannot be put where it has to run says so in words of its owner.
#[test]
fn a_kernel_that_must_run_too_low_says_so_and_one_that_moves_is_moved() {
    use casemate_hypervisor::launch::kernel::recognise;
    let place = Place::new("low");
    let at = |address: u32, relocatable: u8| {
        bzimage(&[(0x258, &address.to_le_bytes()), (0x234, &[relocatable])])
    };
    place.write("kernel", &at(0xf_0000, 0));
    assert_refused(&mut run(&place, &[]), 2, &["`kernel`", "0xf0000", "relocat"]);
    // As memtest86+, at 1 MiB: set-up sectors need not lie in front.
    for (address, relocatable, start) in
        [(0xf_0000, 1, 0x20_0000), (0x10_0000, 1, 0x10_0000), (0x10_0000, 0, 0x10_0000)]
    {
        let image = recognise(&at(address, relocatable)).unwrap();
        assert_eq!(image.memory.start, start, "{address:#x}");
    }
}

/// Protects: a path cannot forge a second line of the program's, or steer the terminal.
#[test]
fn a_path_with_control_characters_is_shown_escaped_and_on_one_line() {
    let place = Place::new("escape");
    let gone = place.path("a\ncasemate: all is well\u{1b}]0;x");
    for flag in ["--kernel", "--initrd"] {
        let mut command = Command::new(PROGRAM);
        command.args(["run", "--protection", "none", "--kernel", &place.path("kernel")]);
        if flag == "--kernel" {
            command = Command::new(PROGRAM);
            command.args(["run", "--protection", "none"]);
        }
        command.args([flag, &gone]);
        assert_refused(&mut command, 2, &["cannot read", "a\\ncasemate", "\\u{1b}"]);
    }
    let name = "kern\nel";
    place.write(name, b"x");
    let mut command = Command::new(PROGRAM);
    command.args(["run", "--protection", "none", "--kernel", &place.path(name)]);
    assert_refused(&mut command, 2, &["`kernel`", "kern\\nel", "neither"]);
    let gone = place.path("no\n.toml");
    assert_refused(Command::new(PROGRAM).args(["run", &gone]), 2, &["no\\n.toml"]);
}

/// Protects: `ulimit -f` is answered with words, where the kernel would end the process by a
/// signal.
#[test]
fn a_limit_on_file_sizes_is_said_and_is_not_the_end_of_the_process() {
    let place = Place::new("fsize");
    let limited = |arguments: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit -f 0; exec \"$0\" {arguments}"), PROGRAM]);
        command.current_dir(&place.0);
        command
    };
    if Path::new("/dev/kvm").exists() {
        let mut command = limited("run --protection none --kernel kernel --cmdline x");
        assert_refused(&mut command, 1, &["ulimit -f unlimited"]);
    }
    place.write("kernel", &bzimage(&[]));
    place.write("vm.toml", b"kernel = \"kernel\"\nprotection = \"sev-snp\"\n");
    assert_refused(&mut limited("measure vm.toml --save-plan p"), 1, &["p", "File too large"]);
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
    assert_refused(&mut command, 1, &["host.snp: found false", "casemate host"]);
    // A policy that does not ask for it changes the words only.
    let any = casemate_policy::Policy::permissive_text().replace("[\"none\"]", "\"any\"");
    let policy = place.write("policy.toml", any.as_bytes());
    command.args(["--policy", &policy]);
    assert_refused(&mut command, 1, &["`protection`", "sev-snp", "casemate host"]);
}

/// `casemate run` of a confidential guest with these lines in its configuration, `[snp]` last.
fn confidential(place: &Place, top: &str, snp: &str) -> Command {
    let text = format!("kernel = \"kernel\"\nprotection = \"sev-snp\"\n{top}\n[snp]\n{snp}\n");
    let config = place.write("vm.toml", text.as_bytes());
    let mut command = Command::new(PROGRAM);
    command.args(["run", &config]);
    command
}

#[test]
fn impossible_snp_values_name_their_key_and_the_bit() {
    let place = Place::new("snp-values");
    place.write("kernel", &bzimage(&[]));
    place.write("short", &[0; 95]);
    place.write("block", &[0; 96]);
    place.write("auth", &[0; 4096]);
    place.write("large", &vec![0; 0x4001]);
    place.write("endless", &[1; 4096]);
    place.write("empty", b"");
    let zeros = "0".repeat(62);
    for (snp, words) in [
        ("policy = 0x10000", ["`snp.policy`", "bit 17"]),
        ("policy = 0x70000", ["`snp.policy`", "bit 18"]),
        ("policy = 0x4030000", ["`snp.policy`", "bit 26 has no meaning"]),
        ("policy = -1", ["policy", "line 5"]),
        ("vmsa_features = 8", ["`snp.vmsa_features`", "bit 3"]),
        ("c_bit = 31", ["`snp.c_bit`", "EPYC has 51"]),
        ("c_bit = 300", ["c_bit", "line 5"]),
        (&format!("host_data = \"{zeros}\""), ["`snp.host_data`", "64 hexadecimal"]),
        ("host_data = \"zz\"", ["`snp.host_data`", "64 hexadecimal"]),
        ("expect_digest = \"00\"", ["`snp.expect_digest`", "96 hexadecimal"]),
        ("id_block = \"block\"", ["`snp.id_auth`", "signatures"]),
        ("id_auth = \"auth\"", ["`snp.id_block`", "name its file"]),
        ("id_block = \"short\"\nid_auth = \"auth\"", ["`snp.id_block`", "must have 96"]),
        ("id_block = \"gone\"\nid_auth = \"auth\"", ["`snp.id_block`", "No such file"]),
        ("author_key_enabled = true", ["`snp.author_key_enabled`", "`snp.id_block`"]),
        ("certs = \"gone\"", ["`snp.certs`", "No such file"]),
        ("certs = \"empty\"", ["`snp.certs`", "empty"]),
        ("certs = \"large\"", ["`snp.certs`", "16 KiB"]),
        ("certs = \"endless\"", ["`snp.certs`", "no end"]),
        ("polcy = 1", ["line 5", "polcy"]),
    ] {
        assert_refused(&mut confidential(&place, "", snp), 2, &words);
    }
    let mut command = Command::new(PROGRAM);
    let text = "kernel = \"kernel\"\nprotection = \"none\"\n[snp]\npolicy = 0x30000\n";
    command.args(["run", &place.write("none.toml", text.as_bytes())]);
    assert_refused(&mut command, 2, &["`snp`", "sev-snp"]);
}

#[test]
fn launches_that_cannot_be_what_was_asked_for_are_refused_before_anything_is_started() {
    let place = Place::new("snp-launch");
    place.write("kernel", &bzimage(&[]));
    place.write("auth", &[0; 4096]);
    place.write("block", &[0xab; 96]);
    let wrong = format!("expect_digest = \"{}\"", "ab".repeat(48));
    assert_refused(
        &mut confidential(&place, "", &wrong),
        2,
        &["launch digest", "not the expected abab"],
    );
    let block = "id_block = \"block\"\nid_auth = \"auth\"";
    let words = ["`snp.id_block`", "abababab", "casemate measure"];
    assert_refused(&mut confidential(&place, "", block), 2, &words);
    for (memory, words) in [
        ("65537K", ["`memory`", "whole MiB"]),
        ("0x40000000", ["`memory`", "such as 256M"]),
        ("31M", ["`memory`", "at least 32M"]),
        ("95M", ["`memory`", "at least 96M"]),
    ] {
        let top = format!("memory = \"{memory}\"");
        assert_refused(&mut confidential(&place, &top, ""), 2, &words);
    }
    assert_refused(&mut confidential(&place, "vcpus = 65", ""), 2, &["`vcpus`", "use 1 to 64"]);
    let initrd =
        format!("initrd = \"{}\"\nmemory = \"128M\"", place.write("initrd", &vec![7; 80 << 20]));
    assert_refused(&mut confidential(&place, &initrd, ""), 2, &["`memory`", "initrd", "need"]);
}

#[test]
fn kernels_that_cannot_be_confidential_guests_say_what_they_lack() {
    let place = Place::new("snp-kernels");
    for (edit, words) in [
        ((0, &b"\0\0"[..]), ["`kernel`", "CONFIG_EFI_STUB"]),
        ((0x236, &[0]), ["`kernel`", "no 64-bit entry"]),
        ((0x206, &[11]), ["`kernel`", "2.11, older than 2.12"]),
        ((0x230, &[3]), ["`kernel`", "kernel_alignment"]),
        ((0x1f1, &[200]), ["`kernel`", "truncated"]),
        // init_size: more than there is RAM
        ((0x260, &[0, 0, 0, 0x70]), ["`memory`", "too little"]),
    ] {
        place.write("kernel", &bzimage(&[edit]));
        assert_refused(&mut confidential(&place, "", ""), 2, &words);
    }
}

#[test]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
fn a_kept_plan_has_the_digest_of_its_configuration_and_a_damaged_one_is_refused() {
    let place = Place::new("plan");
    place.write("kernel", &bzimage(&[]));
    let config = place.write("vm.toml", b"kernel = \"kernel\"\nprotection = \"sev-snp\"\n");
    let file = place.path("plan");
    let digest = |arguments: &[&str]| {
        let output = Command::new(PROGRAM).arg("measure").args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let saved = digest(&[&config, "--save-plan", &file]);
    assert_eq!(digest(&["--plan", &file]), saved);
    assert_eq!(saved, digest(&[&config]));
    let plan = std::fs::read(&file).unwrap();
    let short = plan.get(..plan.len() - 1).unwrap();
    for (bytes, words) in
        [(&b"x"[..], ["--plan", "no launch plan"]), (short, ["--plan", "cut off"])]
    {
        let bad = place.write("bad", bytes);
        assert_refused(Command::new(PROGRAM).args(["measure", "--plan", &bad]), 2, &words);
    }
}

/// The program in a mount namespace whose /dev is prepared by `dev`; None where that needs more
/// rights.
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

/// Protects whoever reads the answer: what is wrong with the input is said first, then what the
/// policy says, then what the host lacks, though the host is tried first and fails at once.
#[test]
fn wrong_input_is_answered_before_a_denial_and_a_denial_before_what_the_host_lacks() {
    let place = Place::new("order");
    place.write("kernel", &bzimage(&[]));
    let strict = "--policy builtin:strict";
    // Without files of any size there is no memory for the program of the vmm process.
    for _ in 0..5 {
        for (flags, status, words) in [
            (format!("--kernel missing {strict}"), 2, "`kernel`"),
            (format!("--kernel kernel --memory 999999G {strict}"), 2, "`memory`"),
            ("--kernel kernel --policy missing".into(), 2, "--policy"),
            (format!("--kernel kernel {strict}"), 1, "the policy denies this VM"),
        ] {
            let line = format!("ulimit -f 0; exec \"$0\" run --protection none {flags}");
            let mut command = Command::new("sh");
            command.args(["-c", &line, PROGRAM]).current_dir(&place.0);
            assert_refused(&mut command, status, &[words]);
        }
    }
}

/// Protects the reason that a vmm process gives when it fails: it is told whether the process ended
/// before or after its supervisor had handed the plan over.
#[test]
fn what_the_vmm_process_failed_with_is_told_whenever_it_failed() {
    if !Path::new("/dev/kvm").exists() {
        println!("SKIPPED: no /dev/kvm");
        return;
    }
    let place = Place::new("last-words");
    // Room for the process's program, and not for guest memory, which is a file, too.
    let line = "ulimit -f 20000; exec \"$0\" run --protection none --kernel kernel --memory 64M";
    for _ in 0..20 {
        let mut command = Command::new("sh");
        command.args(["-c", line, PROGRAM]).current_dir(&place.0);
        assert_refused(&mut command, 1, &["guest RAM", "ulimit -f unlimited"]);
    }
}
