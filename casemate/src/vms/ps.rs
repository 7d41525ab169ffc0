//! `casemate ps`: the running VMs of this user.

use super::in_words;
use crate::out::{errln, outln};
use crate::{Failure, Outcome};
use casemate_foreign_text::{json as foreign, value};
use casemate_hypervisor::vm::manage::{Facts, ManageError, all};
use casemate_hypervisor::vm::name::NameError;
use clap::Args;
use serde_json::json;
use std::time::Duration;

/// List this user's running VMs
///
/// Those of other users, and of other network namespaces, are not seen. A name whose holder does
/// not answer, or is not believed, is a line on standard error.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  casemate ps
  casemate ps --json    one object a line, as `casemate inspect --json`
")]
pub struct PsArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Characters of a name in the table; a longer one moves its line.
const NAME: usize = 20;

/// Runs the subcommand.
///
/// # Errors
/// [`Failure::Failed`] when the kernel does not list who holds names.
pub(crate) fn run(args: &PsArgs) -> Outcome {
    let found = all().map_err(|e| Failure::Failed(e.to_string()))?;
    if !args.json {
        outln!("{:NAME$} STATE        PID UPTIME   VCPUS  MEMORY PROTECTION", "NAME");
    }
    for (name, facts) in found {
        match facts {
            Ok(facts) if args.json => outln!("{}", foreign(&json!(facts).to_string())),
            Ok(facts) => print(&name, &facts),
            // It has ended since the kernel listed it.
            Err(ManageError::Name(NameError::NotFound(_)) | ManageError::Closed(_)) => {}
            Err(e) if args.json => {
                let line = json!({ "name": name, "problem": e.to_string() });
                outln!("{}", foreign(&line.to_string()));
            }
            Err(e) => errln!("casemate: {e}"),
        }
    }
    Ok(())
}

fn print(name: &str, facts: &Facts) {
    let pid = facts.processes.first().map_or(0, |supervisor| supervisor.pid);
    let uptime = in_words(Duration::from_millis(facts.uptime_ms));
    let (state, vm) = (facts.state.name(), &facts.vm);
    let protection = value(&vm.protection).at_most(20);
    let (vcpus, memory) = (vm.vcpus, format!("{}M", vm.memory_mib));
    outln!("{name:NAME$} {state:8} {pid:7} {uptime:8} {vcpus:5} {memory:>7} {protection}");
}
