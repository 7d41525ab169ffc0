//! `casemate log replay`: which decisions of a log another policy would have made otherwise, and
//! why.

use crate::log_read::{print_problems, public_key, read};
use crate::out::outln;
use crate::policy::files::{json, read_policy};
use crate::{Failure, Outcome};
use casemate_foreign_text::line;
use casemate_policy::log::{Entry, Replayed, Verifier};
use casemate_policy::{Point, Verdict};
use clap::Args;
use std::path::PathBuf;

/// Exit status when nothing changes for certain, but what was redacted decides something.
const UNDECIDABLE: u8 = 3;

/// Ask another policy about the decisions of a log; which change, and why
///
/// The input of a decision is kept in its record, redacted: of the kernel command line a word
/// without `=` is kept, and one with `=` whose name is in a list of kernel parameters that hold no
/// secret; of any other word with `=` the name is kept, and of what follows `--` nothing; facts
/// that make an input longer than 12 KiB are left out. Where the new policy's answer hangs on what
/// is not kept, the decision is undecidable. Denials of a running guest were counted: they stay
/// where the limits stay, are allowed where there are none, and are undecidable otherwise.
///
/// Exit status: 0 no decision changes, 1 some do, or the log is not whole, 2 bad input, 3 none
/// changes for certain, but some are undecidable.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  casemate log replay log.jsonl --policy new.toml --key key.pub
")]
pub struct ReplayArgs {
    /// The log
    file: PathBuf,
    /// Policy (TOML or JSON), or builtin:strict, builtin:permissive
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// Public key that the log's heads must be signed with
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

/// How many decisions came out how.
#[derive(Debug, Default)]
struct Count {
    same: u64,
    changed: u64,
    undecidable: u64,
}

/// Replays a log.
///
/// # Errors
/// The exit statuses of [`ReplayArgs`].
pub fn run(args: &ReplayArgs) -> Outcome {
    let policy = read_policy(&args.policy)?;
    let key = public_key(args.key.as_deref())?;
    let mut count = Count::default();
    let report = read(&args.file, Verifier::new(key, None), |record, _| {
        let logged = match &record.entry {
            Entry::Decision(logged) => Logged {
                seq: record.seq,
                point: logged.point,
                verdict: logged.verdict,
                reasons: logged.reasons.clone(),
                now: logged.replay(&policy),
            },
            Entry::Denials(logged) => Logged {
                seq: record.seq,
                point: logged.point,
                verdict: logged.verdict,
                reasons: logged.limits.clone(),
                now: logged.replay(&policy),
            },
            _ => return,
        };
        tell(logged, args.json, &mut count);
    })?;
    let Count { same, changed, undecidable } = count;
    if args.json {
        outln!(
            "{{\"whole\":{},\"same\":{same},\"changed\":{changed},\"undecidable\":{undecidable}}}",
            report.is_good()
        );
    } else {
        print_problems(&args.file, &report);
        outln!("{same} decisions stay, {changed} change, {undecidable} are undecidable");
    }
    if !report.is_good() {
        return Err(Failure::Failed(
            "the log is not whole: what it says is not to be relied on".into(),
        ));
    }
    match (changed, undecidable) {
        (0, 0) => Ok(()),
        (0, _) => Err(Failure::Status(UNDECIDABLE)),
        _ => Err(Failure::Status(1)),
    }
}

/// A decision, or the denials of a running guest, and what becomes of it.
struct Logged {
    seq: u64,
    point: Point,
    verdict: Verdict,
    /// What was against it, as it was logged.
    reasons: Vec<String>,
    now: Replayed,
}

fn tell(logged: Logged, as_json: bool, count: &mut Count) {
    let Logged { seq, point, verdict, reasons, now } = logged;
    let (new, why): (&str, Vec<String>) = match now {
        Replayed::Same => {
            count.same = count.same.saturating_add(1);
            return;
        }
        Replayed::Changed(decision) => {
            count.changed = count.changed.saturating_add(1);
            let why = decision.reasons.iter().map(ToString::to_string).collect();
            (decision.verdict.name(), why)
        }
        Replayed::Undecidable(rules) => {
            count.undecidable = count.undecidable.saturating_add(1);
            ("undecidable", rules)
        }
    };
    // What is allowed now has no rules against it; then the rules that were against it are the
    // reason.
    let admitted = new == Verdict::Allow.name();
    let why = if admitted { reasons } else { why };
    if as_json {
        let why: Vec<String> = why.iter().map(|text| json(text)).collect();
        outln!(
            "{{\"seq\":{seq},\"point\":\"{}\",\"logged\":\"{}\",\"now\":\"{new}\",\"because\":[{}]}}",
            point,
            verdict,
            why.join(",")
        );
        return;
    }
    outln!("{seq:>8} {point}: {verdict} -> {new}");
    for text in why {
        let word = if admitted { "no longer: " } else { "" };
        outln!("           {word}{}", line(text));
    }
}
