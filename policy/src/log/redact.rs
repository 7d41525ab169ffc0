//! What of an input is not kept in a log.
//!
//! A log is read by more people than a VM's configuration, and for longer. Of all facts only the kernel
//! command line is free text that programs put secrets into (`k3s_token=…`, `-- --password …`); all
//! others are digests, numbers, names and paths that the policy is written about.

use crate::fact::{Fact, Facts};
use crate::fields::Key;
use crate::lattice::{Pattern, Patterns};
use crate::rule::Rule;

/// The rule, in a sentence for documents and `--help`.
pub const REDACTION: &str = "of the kernel command line a word without `=` is kept, and one with `=` whose \
     name is in a list of kernel parameters that hold no secret; of any other word with `=` the name is \
     kept, and of what follows `--` nothing; facts that make an input longer than 12 KiB are left out";

/// Stands for what was left out. A word that ends with it may have been any that begins so.
const GONE: &str = "\u{2026}";

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
    "rootflags",
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
    let Some(fact) = facts.get(Key::LaunchCmdline) else { return out };
    let mut arguments = false;
    let word = |fact: &Fact| {
        let Fact::Text(word) = fact else { return Fact::Text(GONE.into()) };
        if arguments {
            return Fact::Text(GONE.into());
        }
        arguments |= **word == *"--";
        match word.split_once('=') {
            Some((name, _)) if !KEPT.contains(&name) => Fact::Text(format!("{name}={GONE}").into()),
            _ => fact.clone(),
        }
    };
    let kept = match fact {
        Fact::List(words) => Fact::List(words.iter().map(word).collect()),
        // No command line that this version makes: nothing of it can be told to be no secret.
        Fact::Invalid(_) => return out,
        _ => Fact::List(vec![Fact::Text(GONE.into())]),
    };
    if kept != *fact {
        out.facts.set(Key::LaunchCmdline, kept);
        out.redacted.push(Key::LaunchCmdline);
    }
    out
}

/// What a rule says of a fact of which something is missing: `None` where that decides.
pub(super) fn admits(rule: &Rule, kept: Option<&Fact>) -> Option<bool> {
    if rule.is_any() || rule.is_empty() {
        return Some(rule.is_any());
    }
    let Some(Fact::List(items)) = kept else { return None };
    let words =
        || items.iter().filter_map(|item| if let Fact::Text(t) = item { Some(t) } else { None });
    let whole = || words().filter(|word| !word.ends_with(GONE));
    let parts = || words().filter_map(|word| word.strip_suffix(GONE)).map(Pattern::prefix);
    // One pattern has a text in common with a prefix when one of the two begins with the other.
    let meets = |patterns: &Patterns, part: &Pattern| {
        let met = |p: &Pattern| part.covers(p) || (p.is_prefix() && p.covers(part));
        patterns.patterns().iter().any(met)
    };
    let covers = |patterns: &Patterns, part: &Pattern| {
        patterns.patterns().iter().any(|pattern| pattern.covers(part))
    };
    match rule {
        Rule::Names(allowed) => {
            if whole().any(|word| !allowed.admits(word)) || parts().any(|p| !meets(allowed, &p)) {
                return Some(false);
            }
            parts().all(|part| covers(allowed, &part)).then_some(true)
        }
        Rule::Forbidden(forbidden) => {
            let patterns = forbidden.patterns();
            if whole().any(|word| patterns.admits(word)) || parts().any(|p| covers(patterns, &p)) {
                return Some(false);
            }
            (!parts().any(|part| meets(patterns, &part))).then_some(true)
        }
        Rule::Required(required) => {
            let wanted = required.texts()?;
            let missing = || wanted.iter().filter(|text| !whole().any(|word| **word == ***text));
            if missing().next().is_none() {
                return Some(true);
            }
            let may_be = |text: &str| parts().any(|part| part.matches(text));
            (!missing().all(|text| may_be(text))).then_some(false)
        }
        _ => None,
    }
}
