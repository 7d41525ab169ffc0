//! `casemate logs`: what happened to a running VM.

use super::{failure, session};
use crate::Outcome;
use crate::out::{errln, outln};
use casemate_foreign_text::{json as foreign, line};
use casemate_hypervisor::vm::manage::Page;
use clap::Args;
use serde_json::json;

/// Show what happened to a running VM
///
/// What its supervisor saw and said, the newest 512 lines of at most 48 KiB: steps of its start,
/// what was refused to its guest, devices that lost a process, who asked for its end. It is not the
/// guest's console, which goes where `console` says, and not the decision log. It is kept in the
/// supervisor's memory, so it is gone with the VM; `casemate run --log-file` keeps more.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  casemate logs demo
  casemate logs demo --follow    until the VM has ended
  casemate logs demo --json      one object a line
")]
pub struct LogsArgs {
    /// Name of the VM
    name: String,
    /// Go on with what happens, until the VM has ended
    #[arg(long, short)]
    follow: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the subcommand.
///
/// # Errors
/// [`crate::Failure`]: 2 when no VM has the name, 1 when it is not believed or does not answer.
pub(crate) fn run(args: &LogsArgs) -> Outcome {
    let session = session(&args.name)?;
    let mut from = 0;
    loop {
        let page = session.lines(from).map_err(failure)?;
        print(&page, from, args.json);
        if page.lines.is_empty() {
            break;
        }
        from = page.next();
    }
    if !args.follow {
        return Ok(());
    }
    while let Some(page) = session.next_lines(from).map_err(failure)? {
        print(&page, from, args.json);
        from = page.next();
    }
    Ok(())
}

fn print(page: &Page, from: u64, as_json: bool) {
    let left_out = page.first.saturating_sub(from);
    if left_out > 0 {
        errln!("casemate: {left_out} lines before these are not kept any more");
    }
    for (number, one) in (page.first..).zip(&page.lines) {
        if as_json {
            let millis = u64::try_from(one.at.as_millis()).unwrap_or(u64::MAX);
            let line = json!({ "number": number, "ms": millis, "text": one.text });
            outln!("{}", foreign(&line.to_string()));
        } else {
            let (seconds, millis) = (one.at.as_secs(), one.at.subsec_millis());
            outln!("[{seconds:6}.{millis:03}] {}", line(&one.text));
        }
    }
}
