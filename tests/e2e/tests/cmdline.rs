//! The policy's reading of the kernel command line, and what a booted Linux made of the same line.
//!
//! Parameters that Linux does not know go to init: those with a value into its environment, others,
//! and all behind `--`, to its arguments, each as the kernel has taken it apart. That shows words
//! and their ends; that the last value of a parameter counts, and that `-` and `_` are the same in
//! names, shows a parameter of Linux that can be read back. It cannot tell what programs of the
//! guest make of the line.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use casemate_e2e::{Boot, Left};
use casemate_policy::CommandLine;
use std::time::Duration;

/// Twelve guests, one after the other, on a machine that may be busy.
static BOOT: Boot = Boot::new("cmdline", |host| host.timeout(Duration::from_secs(900)));

/// How many lines `l1/cmdline.sh` has.
const LINES: usize = 12;
/// A parameter that Linux knows and shows.
const SHOWN: &str = "firmware_class.path";
/// What Linux knows of the words that come before: it does not pass them on.
const KNOWN: &[&str] = &["console=ttyS0", "panic=-1", "quiet", "loglevel=1"];

/// The bytes of one of the guest's files.
fn bytes(left: &Left, file: &str) -> Vec<u8> {
    let results = left.results().unwrap_or_else(|why| panic!("{why}\n{}\n{}", left.out, left.err));
    let mark = format!("bytes of {file}: ");
    let found = results.split(&mark).nth(1).and_then(|rest| rest.split('.').next());
    let Some(hex) = found else { panic!("no {file}: {}\n{}", left.out, left.err) };
    let digits: Vec<u8> = hex.bytes().collect();
    let (pairs, rest) = digits.as_chunks::<2>();
    assert!(rest.is_empty(), "{file}: {hex}");
    let number = |pair: &[u8; 2]| u8::from_str_radix(&String::from_utf8_lossy(pair), 16);
    pairs.iter().map(number).collect::<Result<_, _>>().unwrap_or_else(|e| panic!("{hex}: {e}"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches('\n').to_owned()
}

/// Texts that end with a zero each, written as the policy writes words: with `_` for `-` in their
/// names.
fn texts(bytes: &[u8]) -> Vec<String> {
    let all = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    let canonical = |word: &[u8]| {
        let word = text(word);
        let (name, value) = word.split_at(value_of(&word).map_or(word.len(), |(at, _)| at));
        format!("{}{value}", name.replace('-', "_"))
    };
    if bytes.is_empty() {
        Vec::new()
    } else {
        all.split(|byte| *byte == 0).map(canonical).collect()
    }
}

/// Where the `=` of a word is, and the value behind it.
fn value_of(word: &str) -> Option<(usize, &str)> {
    let at = word.bytes().skip(1).position(|byte| byte == b'=')? + 1;
    Some((at, word.get(at + 1..)?))
}

/// What init gets, by the policy's reading: its arguments and its environment.
fn expected(line: &CommandLine) -> (Vec<String>, Vec<String>) {
    let mut parts = line.words().split(|word| **word == *"--");
    let (mut arguments, mut environment): (Vec<String>, Vec<String>) = Default::default();
    for word in parts.next().unwrap_or_default() {
        let name = word.get(..value_of(word).map_or(word.len(), |(at, _)| at)).unwrap_or_default();
        if KNOWN.contains(&&**word) || name.contains('.') {
            continue;
        }
        if value_of(word).is_none() {
            arguments.push(word.to_string());
            continue;
        }
        // The last value of a name, at the place of the first.
        let same = |old: &&mut String| old.starts_with(&format!("{name}="));
        match environment.iter_mut().find(same) {
            Some(old) => *old = word.to_string(),
            None => environment.push(word.to_string()),
        }
    }
    // The kernel reads init's arguments up to another `--`, and drops what is behind that.
    arguments.extend(parts.next().unwrap_or_default().iter().map(ToString::to_string));
    (arguments, environment)
}

#[test]
fn words_are_those_that_linux_passes_to_init() {
    let mut words = 0;
    for number in 1..=LINES {
        let left = BOOT.scenario(&format!("line-{number}"));
        let shown = text(&bytes(&left, "/proc/cmdline"));
        let line = CommandLine::parse(&shown).unwrap();
        let (arguments, environment) = expected(&line);
        let got = texts(&bytes(&left, "/proc/1/cmdline"));
        assert_eq!(got.get(1..), Some(&arguments[..]), "{shown}");
        let mut got = texts(&bytes(&left, "/proc/1/environ"));
        got.retain(|entry| entry != "HOME=/" && entry != "TERM=linux");
        assert_eq!(got, environment, "{shown}");
        words += line.words().len();
        println!("line {number}: {} words as Linux has them: {shown}", line.words().len());
    }
    println!("{words} words in {LINES} lines");
    assert!(words > 120, "{words}");
}

#[test]
fn a_parameter_is_in_force_as_linux_shows_it() {
    let mut seen = 0;
    for number in 1..=LINES {
        let left = BOOT.scenario(&format!("line-{number}"));
        let line = CommandLine::parse(&text(&bytes(&left, "/proc/cmdline"))).unwrap();
        let taken = line.taken().iter().find_map(|word| word.strip_prefix(&format!("{SHOWN}=")));
        let shown = text(&bytes(&left, "/sys/module/firmware_class/parameters/path"));
        assert_eq!(taken.unwrap_or_default(), shown, "{}", line.line());
        seen += usize::from(taken.is_some());
    }
    assert_eq!(seen, 3, "lines with {SHOWN}");
}
