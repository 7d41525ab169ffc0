//! `[secrets]`: releases that nobody would repeat by hand.

use super::launch::{ZERO, zeros};
use super::{Lint, lint};
use crate::audit::Level::{Error, Warning};
use crate::audit::danger::{Ask, Bad, Witness};
use crate::audit::strangers;
use crate::fields::Key;
use crate::lattice::Range;
use crate::rule::Rule;

/// Releases of one secret that nobody would do by hand.
const USES: u64 = 100_000;
const DAY: u64 = 24 * 60 * 60;
const TEN_YEARS: u64 = 3653 * DAY;
/// 2026-01-01: before it there was no engine that could have released anything.
const FIRST_RELEASE: u64 = 1_767_225_600;

/// Software that nobody listed or signed, in the grant and in the attestation section: what either
/// pins is pinned. A grant to whatever one signer has approved is how secrets survive an update.
fn any_software(ask: &Ask<'_>) -> Option<Witness> {
    let unlisted = [
        (Key::ReportMeasurement, strangers::digest(48)),
        (Key::ReportIdKey, strangers::digest_or_unset(48)),
    ];
    // A secret's report is judged by both: what attestation pins need not be pinned again.
    let attestation = ask.attestation();
    if !unlisted.iter().all(|(key, bad)| attestation.admits(*key, bad)) {
        return None;
    }
    ask.all(&unlisted)
}

/// A guest with an initdata that nobody listed: its host wrote it, with a launch policy and a
/// broker of its own choice, and the launch digest and the signer say nothing of it.
fn any_initdata(ask: &Ask<'_>) -> Option<Witness> {
    let stranger = strangers::digest(32);
    // As of the software: what attestation pins is pinned.
    let admitted = ask.attestation().admits(Key::ReportHostData, &stranger);
    if admitted { ask.own(stranger) } else { None }
}

/// A moment more than ten years after the window opens. Without a clock "for ever" can only be so
/// long.
fn for_ever(ask: &Ask<'_>) -> Option<Witness> {
    // From the window's own start, or from when there was anything to release: a window that opened
    // in 1970 is not fifty years long for that.
    let Some(Rule::Range(window)) = ask.rule("secrets.*.window") else { return None };
    let late = window.min().max(FIRST_RELEASE).saturating_add(TEN_YEARS);
    ask.own(Bad::Within(Rule::Range(Range::at_least(late))))
}

pub(super) const LINTS: &[Lint] = &[
    lint(
        "CM025",
        Warning,
        "secrets.*.measurement",
        |ask| zeros(ask, Key::ReportMeasurement, 48),
        ZERO,
    ),
    lint(
        "CM070",
        Error,
        "secrets.*.attested",
        |ask| ask.own(Bad::index(0)),
        "the secret goes to a guest that fails attestation",
    ),
    lint("CM071", Error, "secrets.*.measurement", any_software, "the secret goes to any software"),
    lint(
        "CM078",
        Error,
        "secrets.*.host_data",
        any_initdata,
        "the secret goes to a guest with any initdata, whose broker and launch policy its host chose",
    ),
    lint(
        "CM072",
        Warning,
        "secrets.*.uses",
        |ask| ask.own(Bad::above(USES)),
        "the secret may be released without an end that matters",
    ),
    lint(
        "CM073",
        Warning,
        "secrets.*.window",
        for_ever,
        "the secret may be released for more than ten years",
    ),
    lint(
        "CM074",
        Warning,
        "secrets.*.context",
        |ask| ask.own(strangers::name()),
        "a report made for any purpose releases the secret",
    ),
    lint(
        "CM075",
        Warning,
        "secrets.*.session_age",
        |ask| ask.own(Bad::above(DAY)),
        "a session of more than a day releases the secret",
    ),
    lint(
        "CM076",
        Warning,
        "secrets.*.vmpl",
        |ask| ask.own(Bad::above(0)),
        "software at a lower privilege level gets the secret",
    ),
];
