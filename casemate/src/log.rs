//! `casemate log`: verify and show decision logs, and make keys for them.

use crate::out::outln;
use crate::policy::files::printable;
use crate::{Failure, Outcome};
use casemate_policy::lattice::hex;
use casemate_policy::log::{Entry, KnownHead, LogReport, MAX_LINE, PublicKey, Record, Verifier};
use casemate_policy::{Point, Verdict};
use casemate_policy_log::{generate_key, read_public_key};
use clap::{Args, Subcommand};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// Verify and show decision logs
#[derive(Debug, Args)]
pub struct LogArgs {
    #[command(subcommand)]
    command: LogCommand,
}

#[derive(Debug, Subcommand)]
enum LogCommand {
    Verify(VerifyArgs),
    Show(ShowArgs),
    Key(KeyArgs),
}

/// Find edits, drops, repeats and moves; exit status 1 when there are any
#[derive(Debug, Args)]
struct VerifyArgs {
    /// The log
    file: PathBuf,
    /// Public key that the heads must be signed with
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// A record that is known from elsewhere, as NUMBER:HASH, usually a head: it and all before it must be in the log as they
    /// were. Shows that the log was cut off before it, also one without signatures; says nothing of what came after it
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
struct ShowArgs {
    /// The log
    file: PathBuf,
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
        LogCommand::Show(args) => show(args),
        LogCommand::Key(args) => key(args),
    }
}

fn bad(path: &Path) -> impl Fn(std::io::Error) -> Failure + '_ {
    move |error| Failure::BadInput(format!("{}: {error}", path.display()))
}

/// Feeds a log to a verifier, in memory that does not grow with it.
fn read(
    path: &Path,
    mut verifier: Verifier,
    mut each: impl FnMut(&Record, &str),
) -> Result<LogReport, Failure> {
    let mut file = BufReader::with_capacity(1 << 16, File::open(path).map_err(bad(path))?);
    let limit = u64::try_from(MAX_LINE).unwrap_or(u64::MAX).saturating_add(2);
    let mut line = Vec::new();
    loop {
        line.clear();
        file.by_ref().take(limit).read_until(b'\n', &mut line).map_err(bad(path))?;
        if line.last() != Some(&b'\n') {
            // Without its line feed a line is the torn end of the file, or too long to be a record.
            if u64::try_from(line.len()).unwrap_or(0) < limit {
                return Ok(verifier.finish(&line));
            }
            file.skip_until(b'\n').map_err(bad(path))?;
        }
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        if let Some(record) = verifier.line(text) {
            each(&record, std::str::from_utf8(text).unwrap_or_default());
        }
    }
}

fn read_head(path: &Path) -> Result<KnownHead, Failure> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(4096).read_to_string(&mut text))
        .map_err(bad(path))?;
    text.trim().parse().map_err(|error| Failure::BadInput(format!("{}: {error}", path.display())))
}

fn verify(args: &VerifyArgs) -> Outcome {
    let key = args.key.as_deref().map(read_public_key).transpose();
    let key: Option<PublicKey> = key.map_err(|error| Failure::BadInput(error.to_string()))?;
    let head = args.head_file.as_deref().map(read_head).transpose()?.or(args.head);
    let report = read(&args.file, Verifier::new(key, head), |_, _| {})?;
    for problem in &report.problems {
        outln!("{}: {}", args.file.display(), printable(&problem.to_string()));
    }
    if report.more_problems > 0 {
        outln!("{}: {} more problems", args.file.display(), report.more_problems);
    }
    outln!(
        "{} records, {} decisions, {} signed heads",
        report.records,
        report.decisions,
        report.heads
    );
    match (report.key, key) {
        (None, _) if head.is_some() => {
            outln!(
                "not signed: what came after the record given can be made anew by whoever can write the file"
            );
        }
        (None, _) => outln!("not signed: whoever can write the file can make it anew"),
        (Some(found), None) => outln!(
            "heads signed with {}, which is the log's own word: give --key to know whose log it is",
            hex(&found)
        ),
        (Some(found), Some(_)) => outln!("heads signed with {}, as expected", hex(&found)),
    }
    if let Some(head) = report.last_head {
        outln!("last head {head}");
    }
    if report.unsigned > 0 && report.heads > 0 {
        outln!(
            "{} records after the last signed head are chained, but not signed",
            report.unsigned
        );
    }
    if report.recovered > 0 {
        outln!("{} times a torn last line was removed after a crash", report.recovered);
    }
    outln!(
        "{}",
        match (report.closed, report.key) {
            (true, _) => "closed",
            (false, Some(_)) => "not closed: in use, crashed, or cut off",
            (false, None) => "no signed head says that it is closed",
        }
    );
    let open = args.closed && !(report.closed && report.unsigned == 0);
    if report.is_good() && !open { Ok(()) } else { Err(Failure::Status(1)) }
}

fn show(args: &ShowArgs) -> Outcome {
    let verdict = parse(args.verdict.as_deref(), "--verdict", Verdict::from_name)?;
    let point = parse(args.point.as_deref(), "--point", Point::from_name)?;
    let mut left = args.count;
    let report = read(&args.file, Verifier::new(None, None), |record, line| {
        if record.seq < args.from || left == 0 {
            return;
        }
        let filtered = verdict.is_some() || point.is_some() || args.rule.is_some();
        let shown = match &record.entry {
            Entry::Decision(d) => {
                verdict.is_none_or(|v| d.verdict == v)
                    && point.is_none_or(|p| d.point == p)
                    && args
                        .rule
                        .as_ref()
                        .is_none_or(|r| d.rules.iter().any(|rule| rule.starts_with(r)))
            }
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
    let message =
        format!("the log is not whole: run `casemate log verify {}`", args.file.display());
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

fn print_record(record: &Record, line: &str) {
    // The time is shown as the log has it.
    let time = line.split('"').nth(5).unwrap_or_default();
    match &record.entry {
        Entry::Open => outln!("{:>8} {time} a program began to write", record.seq),
        Entry::Recovered { dropped } => {
            outln!("{:>8} {time} a torn last line of {dropped} bytes was removed", record.seq);
        }
        Entry::Head { closed, .. } => {
            let what = if *closed { "signed head, closed" } else { "signed head" };
            outln!("{:>8} {time} {what}", record.seq);
        }
        Entry::Decision(d) => {
            let (policy, input) = (hex(&d.policy), hex(&d.input));
            outln!(
                "{:>8} {time} {} {} (policy {:.12}, input {input:.12}, engine {})",
                record.seq,
                d.point,
                d.verdict,
                policy,
                printable(&d.engine)
            );
            for reason in &d.reasons {
                outln!("           {}", printable(reason).replace('\n', " "));
            }
        }
    }
}

fn key(args: &KeyArgs) -> Outcome {
    let public = generate_key(&args.file).map_err(|error| Failure::BadInput(error.to_string()))?;
    let mut path = args.file.clone().into_os_string();
    path.push(".pub");
    let path = PathBuf::from(path);
    std::fs::write(&path, format!("{}\n", hex(&public.0)))
        .map_err(|error| Failure::Failed(format!("{}: {error}", path.display())))?;
    outln!("{}", hex(&public.0));
    Ok(())
}
