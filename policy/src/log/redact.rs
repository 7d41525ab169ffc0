//! What of an input is not kept in a log.
//!
//! A log is read by more people than a VM's configuration, and for longer. Of all facts only the
//! kernel command line is free text that programs put secrets into (`k3s_token=…`, `-- --password
//! …`); all others are digests, numbers, names and paths that the policy is written about.

use crate::cmdline::CommandLine;
use crate::fact::Fact;
use crate::facts::Facts;
use crate::fields::Key;
use crate::lattice::{Pattern, Patterns};
use crate::rule::Rule;
use std::borrow::Cow;

/// The rule, in a sentence for documents and `--help`.
pub const REDACTION: &str = "of the kernel command line a word without `=` is kept, and one with `=` \
     whose name is in a list of kernel parameters that hold no secret; of any other word with `=` the \
     name is kept, and of what follows `--` nothing; facts that make an input longer than 12 KiB are \
     left out";

/// Stands for what was left out of a word: any text without white space and quotes.
const GONE: &str = "\u{2026}";
/// Stands for what may also have had white space and quotes in it, in which other readers of a
/// command line than the kernel find words of their own.
const GONE_ANY: &str = "\u{2026}\u{2026}";

/// Kernel parameters whose values say how to boot and hold no secret (Linux
/// Documentation/admin-guide/kernel-parameters.txt).
const KEPT: &[&str] = &[
    "acpi",
    "apparmor",
    "audit",
    "cgroup_no_v1",
    "clocksource",
    "console",
    "debug_pagealloc",
    "earlycon",
    "earlyprintk",
    "enforcing",
    "hugepages",
    "hugepagesz",
    "init",
    "init_on_alloc",
    "init_on_free",
    "iommu",
    "lockdown",
    "loglevel",
    "lsm",
    "maxcpus",
    "mem",
    "mitigations",
    "module.sig_enforce",
    "net.ifnames",
    "nr_cpus",
    "panic",
    "pci",
    "quiet",
    "random.trust_cpu",
    "rdinit",
    "reboot",
    "root",
    "rootdelay",
    "rootfstype",
    "roothash",
    "security",
    "selinux",
    "swiotlb",
    "systemd.unit",
    "transparent_hugepage",
    "tsc",
    "usrhash",
];

/// Facts less what is redacted.
pub(super) struct Redacted {
    pub(super) facts: Facts,
    /// Those of which something is missing.
    pub(super) redacted: Vec<Key>,
}

pub(super) fn redact(facts: &Facts) -> Redacted {
    let mut out = Redacted { facts: facts.clone(), redacted: Vec::new() };
    let line = match facts.get(Key::LaunchCmdline) {
        // A line that is missing or invalid has nothing to redact; its name is all that is kept
        // anyway.
        None | Some(Fact::Invalid(_)) => return out,
        Some(Fact::CommandLine(line)) => Some(line),
        // No command line that this version makes: nothing of it can be told to be no secret.
        Some(_) => None,
    };
    let words: Option<Vec<Cow<'_, str>>> = line.map(|line| words(line));
    // A line of which every word is kept stays as it is, and is not marked as redacted.
    if let (Some(line), Some(words)) = (line, &words)
        && words.iter().zip(line.words()).all(|(kept, word)| **kept == **word)
    {
        return out;
    }
    // Written anew from what is kept. If the words do not make a line, nothing of it is kept.
    let kept = words.and_then(|words| CommandLine::of_words(words.iter().map(|w| &**w)).ok());
    match kept {
        Some(line) => out.facts.set(Key::LaunchCmdline, Fact::CommandLine(Box::new(line))),
        None => out.facts.remove(Key::LaunchCmdline),
    }
    out.redacted.push(Key::LaunchCmdline);
    out
}

/// What is kept of each word; of all words behind `--` one mark.
fn words(line: &CommandLine) -> Vec<Cow<'_, str>> {
    let separator = line.words().iter().position(|word| **word == *"--");
    // What follows `--` is for init: none of it is a kernel parameter, and all of it may be a
    // secret.
    let (parameters, arguments) = line.words().split_at(separator.unwrap_or(line.words().len()));
    let mut kept: Vec<Cow<'_, str>> = parameters.iter().map(|word| kept(word)).collect();
    kept.extend(arguments.first().map(|separator| Cow::Borrowed(&**separator)));
    if arguments.len() > 1 {
        kept.push(GONE_ANY.into());
    }
    kept
}

fn kept(word: &str) -> Cow<'_, str> {
    match word.split_once('=') {
        // A name that is not in the list may be anything; only the name is kept.
        Some((name, value)) if !KEPT.contains(&name) => {
            // Two marks, because a quoted value may hold what other readers take for words, and a
            // rule on such words then stays open.
            let simple = value.chars().all(|c| c > ' ' && c != '"' && c != '\u{a0}');
            format!("{name}={}", if simple { GONE } else { GONE_ANY }).into()
        }
        _ => word.into(),
    }
}

/// What a rule says of a fact of which something is missing: `None` where that decides.
pub(super) fn admits(rule: &Rule, kept: Option<&Fact>) -> Option<bool> {
    // What looks at no fact decides without it.
    if rule.is_any() || rule.is_empty() {
        return Some(rule.is_any());
    }
    let Some(Fact::CommandLine(line)) = kept else { return None };
    // A word of which something is gone is known by its beginning: a set of possible words. A rule
    // decides when it says the same of all of them.
    let parts: Vec<Pattern> = line.words().iter().filter_map(|word| part(word)).collect();
    let hides_words = line.line().contains(GONE_ANY);
    match rule {
        Rule::Names(allowed) => all_allowed(allowed, &whole(line.words()), &parts),
        Rule::Forbidden(forbidden) => {
            none_forbidden(forbidden.patterns(), &whole(line.seen()), &parts, hides_words)
        }
        Rule::Required(required) => {
            all_there(required.texts()?, &whole(line.taken()), &parts, hides_words)
        }
        _ => None,
    }
}

/// Refused when some whole word is refused, or no possible word is allowed; admitted when all
/// possible words are; else open.
fn all_allowed(allowed: &Patterns, whole: &[&str], parts: &[Pattern]) -> Option<bool> {
    let refused = whole.iter().any(|word| !allowed.admits(word));
    if refused || parts.iter().any(|part| !meets(allowed, part)) {
        return Some(false);
    }
    parts.iter().all(|part| covers(allowed, part)).then_some(true)
}

/// The other way round: a found word refuses, and only what meets no pattern is sure to be allowed.
fn none_forbidden(
    forbidden: &Patterns,
    whole: &[&str],
    parts: &[Pattern],
    hides_words: bool,
) -> Option<bool> {
    let found = whole.iter().any(|word| forbidden.admits(word));
    if found || parts.iter().any(|part| covers(forbidden, part)) {
        return Some(false);
    }
    let possible = hides_words || parts.iter().any(|part| meets(forbidden, part));
    (!possible).then_some(true)
}

/// A required word may be behind what is gone: then nothing is certain but a name that is not
/// there.
fn all_there(
    wanted: &[Box<str>],
    whole: &[&str],
    parts: &[Pattern],
    hides_words: bool,
) -> Option<bool> {
    let missing: Vec<_> =
        wanted.iter().map(AsRef::as_ref).filter(|text: &&str| !whole.contains(text)).collect();
    let may_be = |text: &str| parts.iter().any(|part| part.matches(text));
    match missing.iter().all(|text| may_be(text)) {
        // Of each missing word the name alone says that it is not there.
        false => Some(false),
        true if missing.is_empty() && !hides_words => Some(true),
        true => None,
    }
}

/// The words of which nothing is missing.
fn whole(words: &[Box<str>]) -> Vec<&str> {
    words.iter().map(AsRef::as_ref).filter(|word| part(word).is_none()).collect()
}

/// Whether one of the patterns has a text in common with a prefix: then one of the two begins with
/// the other.
fn meets(patterns: &Patterns, part: &Pattern) -> bool {
    let met = |p: &Pattern| part.covers(p) || (p.is_prefix() && p.covers(part));
    patterns.patterns().iter().any(met)
}

/// Whether one of the patterns admits whatever begins with a prefix.
fn covers(patterns: &Patterns, part: &Pattern) -> bool {
    patterns.patterns().iter().any(|pattern| pattern.covers(part))
}

/// What a word of which something is missing begins with.
fn part(word: &str) -> Option<Pattern> {
    let known = word.strip_suffix(GONE_ANY).or_else(|| word.strip_suffix(GONE))?;
    Some(Pattern::prefix(known))
}
