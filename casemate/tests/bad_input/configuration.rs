//! Values, keys, and files that are named.

use super::{PROGRAM, Place, assert_refused, run};
use std::path::Path;
use std::process::Command;

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
