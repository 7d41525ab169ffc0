//! The kernel command line: one reading, and what rules make of it.
//!
//! What Linux itself makes of such lines is compared in `tests/e2e/tests/cmdline.rs`; here is what
//! follows from it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use casemate_policy::{CommandLine, Fact, Facts, Input, Key, MAX_LINE, Point, Policy};
use proptest::prelude::{Strategy, prop_assert, prop_assert_eq, proptest};

fn texts(words: &[Box<str>]) -> Vec<&str> {
    words.iter().map(|word| &**word).collect()
}

fn words(line: &str) -> Vec<String> {
    let line = CommandLine::parse(line).unwrap();
    texts(line.words()).into_iter().map(str::to_owned).collect()
}

/// A policy with these lines in its `[launch]` section; only its decisions on the command line are
/// looked at.
fn policy(lines: &str) -> Policy {
    let text =
        format!("schema_version = 1\nmin_engine = \"0.1.0\"\nname = \"p\"\n[launch]\n{lines}\n");
    Policy::load(&text, "p.toml").unwrap_or_else(|error| panic!("{error}"))
}

/// Whether the rules in `lines` admit the line, however the engine gets it.
fn admits(lines: &str, line: &str) -> bool {
    let policy = policy(lines);
    let denied = |facts: &Facts| {
        let reasons = policy.decide(Point::Launch, facts).reasons;
        reasons.iter().any(|reason| reason.rule.starts_with("launch.cmdline"))
    };
    // As `run` has it, and as `eval` reads it: as a text, in one piece, and cut at its blanks.
    let run = denied(&Facts::new().command_line(line));
    let json = |text: &str| {
        let text = text.replace('\\', "\\\\").replace('"', "\\\"");
        text.replace('\t', "\\t").replace('\n', "\\n")
    };
    let pieces: Vec<String> = line.split(' ').map(|p| format!("\"{}\"", json(p))).collect();
    for value in [
        format!("\"{}\"", json(line)),
        format!("[\"{}\"]", json(line)),
        format!("[{}]", pieces.join(",")),
    ] {
        let text = format!("{{\"launch.cmdline\": {value}}}");
        let input = Input::load(&text, "i.json").unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(denied(&input.facts), run, "{value}");
    }
    !run
}

#[test]
fn words_are_taken_apart_as_the_kernel_does_it() {
    for (line, expected) in [
        ("console=hvc0  init=/bin/sh", &["console=hvc0", "init=/bin/sh"][..]),
        ("  ", &[]),
        // Quotes around a word or around a value go away, others stay.
        ("\"init=/bin/sh\" a=\"b c\"", &["init=/bin/sh", "a=b c"]),
        ("a\"b c\"d e", &["a\"b c\"d", "e"]),
        ("a=b\"c d\"e f", &["a=b\"c d\"e", "f"]),
        ("a=\"b\"c\"d\" e", &["a=b\"c\"d", "e"]),
        ("a=\"b\"c d", &["a=b\"c", "d"]),
        ("\"a b\" c", &["a b", "c"]),
        ("\"a b\"=c d", &["a b\"=c", "d"]),
        ("a=\"\" b", &["a=", "b"]),
        ("\"\" b", &["", "b"]),
        // A quote that is not closed holds the rest of the line.
        ("a \"b c", &["a", "b c"]),
        ("a=\"b c", &["a=b c"]),
        ("a=\"", &["a="]),
        // The first `=` that is not the first character.
        ("=a b==c =d=e", &["=a", "b==c", "=d=e"]),
        // What `isspace` says of bytes, also inside of a character.
        ("x\u{b}init=/bin/sh\n", &["x", "init=/bin/sh"]),
        ("a\tb\rc\u{c}d", &["a", "b", "c", "d"]),
        ("x=à init=/x", &["x=\u{fffd}", "init=/x"]),
        ("\u{a0}init=/x", &["\u{fffd}", "init=/x"]),
        ("a\u{1f}b", &["a\u{1f}b"]),
        // `-` and `_` in names, not in values, and not the separator.
        (
            "page-poison=a-b a_b-c --x=-- -- d-e",
            &["page_poison=a-b", "a_b_c", "__x=--", "--", "d_e"],
        ),
    ] {
        assert_eq!(words(line), expected, "{line:?}");
    }
}

#[test]
fn what_is_in_force_stands_before_the_separator_and_is_the_last_of_its_name() {
    let taken = |line: &str| {
        let line = CommandLine::parse(line).unwrap();
        texts(line.taken()).join("|")
    };
    assert_eq!(taken("a=1 b -- c d=2"), "a=1|b");
    assert_eq!(taken("a=1 \"--\" b=2"), "a=1");
    assert_eq!(taken("a=1 --=x --b"), "__=x|__b|a=1");
    assert_eq!(taken("a=1 a=2 a"), "a");
    assert_eq!(taken("a-b=1 a_b=2"), "a_b=2");
    assert_eq!(taken("a_b=1 a-b=2"), "a_b=2");
    assert_eq!(taken("ro rw"), "rw");
    assert_eq!(taken("rw a ro"), "a|ro");
    assert_eq!(taken("x=\"a=1 b\" c"), "c|x=a=1 b");
}

/// Protects: a requirement on a parameter that x86 code looks for by itself is met only when that
/// code finds it, too. It cannot tell parameters that a later kernel looks for in this way.
#[test]
fn a_parameter_that_x86_code_looks_for_is_in_force_when_both_readers_agree() {
    let required =
        |line: &str| admits("cmdline_allow = \"any\"\ncmdline_require = [\"spectre_v2=on\"]", line);
    assert!(required("spectre_v2=on"));
    assert!(required("x=\"spectre_v2=on y\" spectre_v2=on"));
    for line in [
        "spectre-v2=on",
        "spectre_v2=\"on\"",
        "\"spectre_v2=on\"",
        "-- spectre_v2=on",
        "spectre_v2=on -- spectre_v2=off",
        "spectre_v2=on x=\"y spectre_v2=off z\"",
    ] {
        assert!(!required(line), "{line}");
    }
}

#[test]
fn a_required_word_must_be_in_force() {
    let required = |line: &str| {
        admits(
            "cmdline_allow = \"any\"\ncmdline_require = [\"lockdown=integrity\", \"page-poison=1\"]",
            line,
        )
    };
    for line in [
        "lockdown=integrity page-poison=1",
        "page_poison=1 lockdown=integrity",
        "page_poison=0 page-poison=1 lockdown=\"integrity\"",
        "page_poison=1 \"lockdown=integrity\" -- lockdown=none",
        "\tpage-poison=1\nlockdown=integrity",
    ] {
        assert!(required(line), "{line}");
    }
    for line in [
        "lockdown=integrity",
        "lockdown=integrity -- page_poison=1",
        "lockdown=integrity \"--\" page_poison=1",
        "lockdown=integrity page_poison=1 page-poison=0",
        "lockdown=integrity page-poison=1 lockdown=none",
        "lockdown=integrity page-poison=1 lockdown",
        "lockdown=integrity x=\"page_poison=1\"",
        "lockdown=integrity \"x page_poison=1 y\"",
        "lockdown=integrity page_poison=1\"",
        "Lockdown=integrity page_poison=1",
    ] {
        assert!(!required(line), "{line}");
    }
}

#[test]
fn a_forbidden_word_cannot_hide_from_any_reader() {
    let forbidden = "cmdline_allow = \"any\"\ncmdline_forbid = [\"init=*\", \"debug\", \"systemd.debug-shell*\"]";
    assert!(admits(forbidden, "debugx xdebug rdinit=/x debug=1 -- debug_"));
    for line in [
        "a init=/bin/sh",
        "\"init=/bin/sh\"",
        "init=\"/bin/sh -x\"",
        "\"init=/bin/sh -x\"",
        "-- init=/bin/sh",
        "a=\"b init=/bin/sh c\"",
        "a=\"b debug c\"",
        "de\"bug\"",
        "in\"it\"=/bin/sh",
        "systemd.debug_shell=1",
        "systemd.debug-shell=1",
        "\"systemd\".debug_shell",
        "x\u{a0}debug",
        "a \"debug",
        // systemd drops quotes of both kinds, wherever they stand.
        "de'bug'",
        "'debug'",
        "'init'=/bin/sh",
        "systemd.debug'-'shell",
        "a='b \" c' \"de'bu'g\" debu\"g\"",
        "'systemd'.\"debug\"_shell",
        "a 'debug",
    ] {
        assert!(!admits(forbidden, line), "{line}");
    }
    assert!(!admits("cmdline_allow = \"any\"\ncmdline_forbid = [\"--*\"]", "a -- b"));
    assert!(!admits("cmdline_allow = \"any\"\ncmdline_forbid = [\"-*\"]", "a -- b"));
    assert!(!admits("cmdline_allow = \"any\"\ncmdline_forbid = [\"--\"]", "a -- b"));
}

#[test]
fn allowed_are_the_kernels_words_and_everything_behind_the_separator() {
    let allowed = "cmdline_allow = [\"quiet\", \"dyn-dbg=*\", \"a=b c\", \"d=\\\"e f\\\"\"]";
    for line in ["quiet", "dyn_dbg=\"file a.c +p\"", "a=\"b c\"", "\"a=b c\"", "d=\"e f\"", ""] {
        assert!(admits(allowed, line), "{line}");
    }
    for line in ["quiet x", "a=b c", "quiet -- quiet", "a=\"b  c\"", "\"quiet x\"", "Quiet"] {
        assert!(!admits(allowed, line), "{line}");
    }
    assert!(admits("cmdline_allow = [\"quiet\", \"--\", \"single\"]", "quiet -- single"));
}

#[test]
fn a_line_that_the_kernel_would_not_read_to_its_end_is_no_fact() {
    for line in ["a\0b".to_owned(), "x".repeat(MAX_LINE + 1)] {
        assert!(CommandLine::parse(&line).is_err());
        let facts = Facts::new().command_line(&line);
        assert!(matches!(facts.get(Key::LaunchCmdline), Some(Fact::Invalid(_))));
        let decision = policy("cmdline_allow = \"any\"").decide(Point::Launch, &facts);
        let invalid = |rule: &str| decision.reasons.iter().any(|reason| reason.rule == rule);
        assert!(invalid("launch.cmdline_allow"));
    }
    let long = format!("{{\"launch.cmdline\": \"{}\"}}", "x".repeat(MAX_LINE + 1));
    assert!(Input::load(&long, "i.json").unwrap_err().to_string().contains("2048 bytes"));
    assert!(Input::load("{\"launch.cmdline\": [1]}", "i.json").is_err());
    assert!(Input::load("{\"launch.cmdline\": 1}", "i.json").is_err());
}

#[test]
fn a_denial_shows_what_its_rule_has_looked_at() {
    let rules = "cmdline_allow = [\"a\"]\ncmdline_forbid = [\"b\"]\ncmdline_require = [\"d\"]";
    let facts = Facts::new().command_line("x=\"y b z\" c -- d");
    let decision = policy(rules).decide(Point::Launch, &facts);
    let found = |rule: &str| {
        let reason = decision.reasons.iter().find(|reason| reason.rule == rule);
        reason.map(|reason| reason.found.clone())
    };
    let found = |rule: &str| found(rule).unwrap_or_default();
    assert_eq!(found("launch.cmdline_allow"), "[\"x=y b z\", \"c\", \"--\", \"d\"]");
    assert_eq!(found("launch.cmdline_forbid"), "[\"b\"]");
    assert_eq!(found("launch.cmdline_require"), "[\"c\", \"x=y b z\"]");
}

fn line() -> impl Strategy<Value = String> {
    let piece = proptest::sample::select(vec![
        "a",
        "b",
        "-",
        "_",
        "--",
        "=",
        "\"",
        "'",
        " ",
        "\t",
        "\u{a0}",
        "à",
        "init=",
        "spectre_v2=",
        "ro",
        "rw",
        "\u{b}",
    ]);
    proptest::collection::vec(piece, 0..16).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn every_line_reads_back_and_its_views_are_ordered(text in line()) {
        let line = CommandLine::parse(&text).unwrap();
        prop_assert!(line.words().iter().all(|word| line.seen().contains(word)));
        prop_assert!(line.taken().iter().all(|word| line.words().contains(word)));
        // Written into an input and read again it is the same fact.
        let input = Input { point: Some(Point::Launch), facts: Facts::new().command_line(&text) };
        prop_assert_eq!(&Input::load(&input.to_json(), "i.json").unwrap(), &input);
        // Its words make a line with the same words.
        let again = CommandLine::of_words(texts(line.words())).unwrap();
        if !text.contains('"') && !text.contains('à') && !text.contains('\u{a0}') {
            prop_assert_eq!(again.words(), line.words());
        }
    }

    #[test]
    fn words_without_quotes_are_what_a_line_of_them_reads(
        words in proptest::collection::vec("[a-z=_ ]{0,6}", 0..6),
    ) {
        let line = CommandLine::of_words(words.iter().map(String::as_str)).unwrap();
        prop_assert_eq!(texts(line.words()), words.iter().map(String::as_str).collect::<Vec<_>>());
    }
}
