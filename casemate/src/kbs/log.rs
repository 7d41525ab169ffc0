//! `casemate kbs log`: what a broker decided.

use super::broker::Broker;
use crate::log::{Filter, show_filtered, verify_log};
use crate::{Failure, Outcome};
use clap::Args;
use std::path::PathBuf;

/// Show what a broker decided, and why
///
/// The same as `casemate log show` of the decision log that the configuration names.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  casemate kbs log
  casemate kbs log --verdict deny --point secrets
  casemate kbs log --verify    is it whole, and the broker's?
")]
pub(super) struct KbsLogArgs {
    #[command(flatten)]
    filter: Filter,
    /// Verify the log instead, with the public half of its key
    #[arg(long, conflicts_with_all = ["verdict", "point", "rule", "from", "count"])]
    verify: bool,
    #[command(flatten)]
    broker: Broker,
}

pub(super) fn run(args: &KbsLogArgs) -> Outcome {
    let config = args.broker.config()?;
    let log = &config.decision_log;
    if !log.exists() {
        let text = "there is no decision log yet: the broker makes it when it starts";
        return Err(Failure::BadInput(format!("{}: {text}", log.display())));
    }
    if !args.verify {
        return show_filtered(log, &args.filter);
    }
    // Beside the key, where `casemate log key` leaves it.
    let key = config.log_key.as_ref().map(|key| {
        let mut public = key.clone().into_os_string();
        public.push(".pub");
        PathBuf::from(public)
    });
    verify_log(log, key.as_deref(), config.log_head.as_deref())
}
