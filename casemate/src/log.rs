//! `casemate log`: verify and show decision logs, and make keys for them. Replay is in
//! `log_replay`.

use crate::log_read::{failure, print_problems, public_key, read};
use crate::log_replay::{self, ReplayArgs};
use crate::out::outln;
use crate::{Failure, Outcome};
use casemate_foreign_text::{line, value};
use casemate_policy::lattice::hex;
use casemate_policy::log::{
    DenialsRecord, Entry, KnownHead, LogReport, PublicKey, Record, Verifier,
};
use casemate_policy::{Point, Verdict, digest};
use casemate_policy_log::{generate_key, read_head};
use clap::{Args, Subcommand};
use std::path::{Path, PathBuf};

/// Verify, show and replay decision logs
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  casemate run vm.toml --decision-log log.jsonl --log-key key
  casemate log verify log.jsonl --key key.pub
  casemate log show log.jsonl --verdict deny
")]
pub struct LogArgs {
    #[command(subcommand)]
    command: LogCommand,
}

#[derive(Debug, Subcommand)]
enum LogCommand {
    Verify(VerifyArgs),
    Show(ShowArgs),
    Replay(ReplayArgs),
    Key(KeyArgs),
}

/// Find edits, drops, repeats and moves; exit status 1 when there are any
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  casemate log verify log.jsonl --key key.pub --head-file head
  casemate log verify log.jsonl --key key.pub --closed
")]
struct VerifyArgs {
    /// The log
    file: PathBuf,
    /// Public key that the heads must be signed with
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// A record that is known from elsewhere, as NUMBER:HASH, usually a head: it and all before it
    /// must be in the log as they were. Shows that the log was cut off before it, also one without
    /// signatures; says nothing of what came after it
    #[arg(long, value_name = "HEAD", conflicts_with = "head_file")]
    head: Option<KnownHead>,
    /// The same out of a file, as `casemate run --log-head` keeps it
    #[arg(long, value_name = "FILE")]
    head_file: Option<PathBuf>,
    /// Fail also when records after the last head are not signed, or the log was not closed
    #[arg(long)]
    closed: bool,
}

/// Show past decisions and why
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  casemate log show log.jsonl
  casemate log show log.jsonl --verdict deny --rule launch.
")]
struct ShowArgs {
    /// The log
    file: PathBuf,
    #[command(flatten)]
    filter: Filter,
}

/// Which decisions are shown.
#[derive(Debug, Args)]
pub struct Filter {
    /// Only this verdict: allow, throttle, deny or kill
    #[arg(long, value_name = "NAME")]
    verdict: Option<String>,
    /// Only this decision point
    #[arg(long, value_name = "NAME")]
    point: Option<String>,
    /// Only decisions with a reason whose rule begins so
    #[arg(long, value_name = "PATH")]
    rule: Option<String>,
    /// Only records from this number on
    #[arg(long, value_name = "N", default_value_t = 0)]
    from: u64,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = u64::MAX, hide_default_value = true)]
    count: u64,
}

/// Make a key for signing heads: the secret in FILE, the public half in FILE.pub
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  casemate log key key
  casemate run vm.toml --decision-log log.jsonl --log-key key
")]
struct KeyArgs {
    /// File to write; must not exist
    file: PathBuf,
}

/// Runs the subcommand.
///
/// # Errors
/// As the subcommand says.
pub fn run(args: &LogArgs) -> Outcome {
    match &args.command {
        LogCommand::Verify(args) => verify(args),
        LogCommand::Show(args) => show_filtered(&args.file, &args.filter),
        LogCommand::Replay(args) => log_replay::run(args),
        LogCommand::Key(args) => key(args),
    }
}

fn verify(args: &VerifyArgs) -> Outcome {
    let key = public_key(args.key.as_deref())?;
    let head = args.head_file.as_deref().map(read_head).transpose();
    let head = head.map_err(|error| failure(&error))?.or(args.head);
    let report = read(&args.file, Verifier::new(key, head), |_, _| {})?;
    print_problems(&args.file, &report);
    print_vouching(&report, key, head);
    let open = args.closed && !(report.closed && report.unsigned == 0);
    if report.is_good() && !open { Ok(()) } else { Err(Failure::Status(1)) }
}

/// Who vouches for what of a log, and what is to be known of it without being wrong.
fn print_vouching(report: &LogReport, key: Option<PublicKey>, head: Option<KnownHead>) {
    let (records, decisions, heads) = (report.records, report.decisions, report.heads);
    let denials = report.denials;
    outln!(
        "{records} records, {decisions} decisions, {denials} of denials while VMs ran, {heads} signed \
         heads"
    );
    if let Some(log) = report.log {
        outln!("log {log}");
    }
    match (report.key, key) {
        (None, _) if head.is_some() => outln!(
            "not signed: what came after the record given can be made anew by whoever can write the \
             file"
        ),
        (None, _) => outln!("not signed: whoever can write the file can make it anew"),
        (Some(found), None) => outln!(
            "heads signed with {}, which is the log's own word: give --key to know whose log it is",
            hex(&found)
        ),
        (Some(found), Some(_)) => outln!("heads signed with {}, as expected", hex(&found)),
    }
    if let Some(head) = report.last_head {
        outln!("last head {head}");
    } else if let Some(last) = report.last {
        outln!("last record {last}");
    }
    if report.adopted > 0 {
        outln!(
            "{} records were taken over with --adopt: who wrote them nobody vouches for, only that \
             they have not changed since",
            report.adopted
        );
    }
    if report.recovered > 0 {
        outln!("{} times a torn last line was removed after a crash", report.recovered);
    }
    if let Some(back) = report.first_back {
        outln!(
            "the clock went back {} times, first by {}.{:06} s at line {}: times do not order these \
             records, numbers do",
            report.clock_back,
            back.micros / 1_000_000,
            back.micros % 1_000_000,
            back.line
        );
    }
    outln!(
        "{}",
        match (report.closed, report.key) {
            (true, _) => "closed",
            (false, Some(_)) => "not closed: in use, crashed, or cut off",
            (false, None) => "no signed head says that it is closed",
        }
    );
    if report.is_good() {
        print_shown(report, key.is_some(), head);
    }
}

/// What a verification that found nothing has shown, and what it could not have found. A log cut at
/// the end of a session is a whole, closed, signed log: the one that it was then.
fn print_shown(report: &LogReport, whose: bool, head: Option<KnownHead>) {
    let signed = report.last_head.is_some();
    let shown = match (signed, whose) {
        (true, true) => {
            "what is there is one piece, and all that who has the key wrote before its end"
        }
        (true, false) => "what is there is one piece, and all that its signer wrote before its end",
        (false, _) => "what is there is one piece",
    };
    match head {
        Some(head) => {
            outln!("shown: {shown}; nothing up to record {} is missing or changed", head.seq);
        }
        None => outln!("shown: {shown}"),
    }
    let after = match head {
        Some(head) => format!("after record {}", head.seq),
        None => "at its end".to_owned(),
    };
    let cure =
        "a newer head, kept where its writer cannot change it, would tell (--head, --head-file)";
    outln!("not shown: that nothing was cut off {after}: {cure}");
}

/// Verifies a log with its public key and the head that is kept beside it, as far as there are
/// such.
///
/// # Errors
/// [`Failure`]: status 1 when something is wrong with it.
#[cfg(feature = "broker")]
pub fn verify_log(file: &Path, key: Option<&Path>, head: Option<&Path>) -> Outcome {
    verify(&VerifyArgs {
        file: file.to_owned(),
        key: key.map(Path::to_owned),
        head: None,
        head_file: head.map(Path::to_owned),
        closed: false,
    })
}

/// Shows the decisions of a log.
///
/// # Errors
/// [`Failure`] for a log that is not whole, or a name that is none.
pub fn show_filtered(file: &Path, args: &Filter) -> Outcome {
    let verdict = parse(args.verdict.as_deref(), "--verdict", Verdict::from_name)?;
    let point = parse(args.point.as_deref(), "--point", Point::from_name)?;
    let wanted = |found: Verdict, at: Point, rules: &[String]| {
        let begins = |begin: &String| rules.iter().any(|rule| rule.starts_with(begin));
        verdict.is_none_or(|verdict| found == verdict)
            && point.is_none_or(|point| at == point)
            && args.rule.as_ref().is_none_or(begins)
    };
    let mut left = args.count;
    let report = read(file, Verifier::new(None, None), |record, line| {
        if record.seq < args.from || left == 0 {
            return;
        }
        let filtered = verdict.is_some() || point.is_some() || args.rule.is_some();
        let shown = match &record.entry {
            Entry::Decision(d) => wanted(d.verdict, d.point, &d.rules),
            Entry::Denials(d) => wanted(d.verdict, d.point, std::slice::from_ref(&d.rule)),
            _ => !filtered,
        };
        if shown {
            left -= 1;
            print_record(record, line);
        }
    })?;
    if report.is_good() {
        return Ok(());
    }
    let message = format!("the log is not whole: run `casemate log verify {}`", file.display());
    Err(Failure::Failed(message))
}

fn parse<T>(
    name: Option<&str>,
    flag: &str,
    from: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, Failure> {
    let Some(name) = name else { return Ok(None) };
    from(name).map(Some).ok_or_else(|| Failure::BadInput(format!("{flag}: unknown name {name:?}")))
}

fn print_record(record: &Record, text: &str) {
    // The time is shown as the log has it.
    let time = text.split('"').nth(5).unwrap_or_default();
    match &record.entry {
        Entry::Begin { log } => outln!("{:>8} {time} log {log} begins", record.seq),
        Entry::Open => outln!("{:>8} {time} a program began to write", record.seq),
        Entry::Adopted { records } => outln!(
            "{:>8} {time} {records} records were taken over that no head vouched for",
            record.seq
        ),
        Entry::Recovered { dropped } => {
            outln!("{:>8} {time} a torn last line of {dropped} bytes was removed", record.seq);
        }
        Entry::Head { closed, .. } => {
            let what = if *closed { "signed head, closed" } else { "signed head" };
            outln!("{:>8} {time} {what}", record.seq);
        }
        Entry::Denials(d) => print_denials(record.seq, time, d),
        Entry::Decision(d) => {
            let input = digest(d.input.as_bytes()).to_hex();
            outln!(
                "{:>8} {time} {} {} (policy {:.12}, input {input:.12}, engine {})",
                record.seq,
                d.point,
                d.verdict,
                hex(&d.policy),
                value(&d.engine)
            );
            for reason in &d.reasons {
                outln!("           {}", line(reason));
            }
            if d.more_reasons > 0 {
                outln!("           {} more rules deny", d.more_reasons);
            }
        }
    }
}

/// What a running VM was denied. Its name comes from a configuration, its rules from a policy.
fn print_denials(seq: u64, time: &str, d: &DenialsRecord) {
    outln!(
        "{seq:>8} {time} {} {} while VM {} ran, started by record {}: {} times, {} pages in all{} \
         (policy {:.12})",
        d.point,
        d.verdict,
        value(&d.vm),
        d.start,
        d.times,
        d.amount,
        if d.ended { ", until its end" } else { "" },
        hex(&d.policy)
    );
    outln!("           {}, with {}", value(&d.rule), line(d.limits.join(", ")));
}

fn key(args: &KeyArgs) -> Outcome {
    let (public, _) = generate_key(&args.file).map_err(|error| failure(&error))?;
    outln!("{}", hex(&public.0));
    Ok(())
}
