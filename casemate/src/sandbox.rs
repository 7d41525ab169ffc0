//! `casemate sandbox`: what confines the processes of a running VM, read back from the kernel.

use crate::out::outln;
use crate::sandbox_check::check;
use crate::{Failure, Outcome};
use casemate_device_process::DeviceKind;
use casemate_foreign_text::{json as foreign, value};
use casemate_hypervisor::vm::ProcessKind;
use casemate_hypervisor::vm::name::{NameError, Running, ask};
use casemate_sandbox::{InForce, Profile, Rule, inspect};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

/// Show what confines a running VM
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct SandboxArgs {
    #[command(subcommand)]
    command: SandboxCommand,
}

const EXAMPLES: &str = "\
Examples:
  casemate sandbox show demo    each process of the running VM \"demo\"
  casemate sandbox check demo   fails when one is weaker than its profile
  casemate sandbox profiles     every system call they may make, and why
";

#[derive(Debug, Subcommand)]
enum SandboxCommand {
    /// What is in force for each process of a VM, read back from the kernel
    ///
    /// As root the filters themselves are read back, too. Landlock cannot be read back by another
    /// process: that it is in force was checked when the process was locked.
    #[command(after_help = "\
Examples:
  casemate sandbox show demo
  casemate sandbox show demo --json
")]
    Show {
        /// Name of the VM
        name: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Whether every process of a VM is as locked as its profile says; 1 when one is weaker
    ///
    /// Looks at what `show` shows, as root: filters by the numbers of the calls they let through
    /// for any arguments, privileges, namespaces, root directory, limits, memory fence.
    #[command(after_help = "\
Examples:
  casemate sandbox check demo
  casemate sandbox check demo --json    one object a process
")]
    Check {
        /// Name of the VM
        name: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// The system calls that each kind of process may make once it is locked, and why
    #[command(after_help = "\
Examples:
  casemate sandbox profiles
  casemate sandbox profiles --json    one object a line
")]
    Profiles {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Runs the subcommand.
///
/// # Errors
/// [`Failure`] with the exit status.
pub fn run(args: &SandboxArgs) -> Outcome {
    match &args.command {
        SandboxCommand::Show { name, json } => show(name, *json),
        SandboxCommand::Check { name, json } => {
            let running = running(name)?;
            check(&read_back(&running)?, *json)
        }
        SandboxCommand::Profiles { json } => {
            profiles(*json);
            Ok(())
        }
    }
}

/// The processes of a running VM.
pub(crate) fn running(name: &str) -> Result<Vec<Running>, Failure> {
    ask(name).map_err(|e| match e {
        NameError::NotFound(_) => Failure::BadInput(e.to_string()),
        _ => Failure::Failed(e.to_string()),
    })
}

/// What is in force for each.
pub(crate) fn read_back(running: &[Running]) -> Result<Vec<(&Running, InForce)>, Failure> {
    let mut shown = Vec::new();
    for process in running {
        let mut in_force = inspect(process.pid).map_err(|e| Failure::Failed(e.to_string()))?;
        // Of a process that has ended meanwhile, all of that may be of another one.
        if !process.is_alive() {
            return Err(Failure::Failed(format!("the {} process has just ended", process.kind)));
        }
        // What its descriptors lead to has names that others chose, and so has its control group.
        if let Some(group) = &mut in_force.cgroup {
            *group = value(&*group).to_string();
        }
        for what in in_force.descriptors.iter_mut().flat_map(|all| all.values_mut()) {
            *what = value(&*what).to_string();
        }
        shown.push((process, in_force));
    }
    Ok(shown)
}

fn show(name: &str, as_json: bool) -> Outcome {
    let running = running(name)?;
    let shown = read_back(&running)?;
    if as_json {
        let process = |(process, in_force): &(&Running, InForce)| {
            let without: Vec<_> = process.without.iter().map(|layer| layer.name()).collect();
            json!({ "kind": process.kind.name(), "in_force": in_force, "without": without })
        };
        let processes: Vec<_> = shown.iter().map(process).collect();
        outln!("{}", foreign(&json!({ "vm": name, "processes": processes }).to_string()));
    } else {
        for (process, in_force) in &shown {
            print_process(process, in_force);
        }
    }
    Ok(())
}

fn print_process(process: &Running, in_force: &InForce) {
    let kind = process.kind;
    outln!("== {kind}");
    if !process.without.is_empty() {
        let names: Vec<_> = process.without.iter().map(|layer| layer.name()).collect();
        outln!(
            "RUNS WITHOUT       {} (optional, and this host could not give them)",
            names.join(", ")
        );
    }
    outln!("{}", in_force.to_string().trim_end());
    let profile = kind.profile();
    outln!("profile {:?}: {} system calls", profile.name, profile.syscalls().len());
    outln!("  {}", profile.syscalls().join(" "));
}

/// The processes of a key broker.
#[cfg(feature = "broker")]
fn brokers() -> impl Iterator<Item = (&'static str, &'static Profile)> {
    use casemate_keeper::profile::{KEEPER, SUPERVISOR};
    let all = [&casemate_front::profile::FRONT, &KEEPER, &SUPERVISOR];
    all.into_iter().map(|profile| (profile.name, profile))
}

#[cfg(not(feature = "broker"))]
fn brokers() -> impl Iterator<Item = (&'static str, &'static Profile)> {
    std::iter::empty()
}

fn profiles(as_json: bool) {
    let kinds = ProcessKind::ALL.into_iter().map(|kind| (kind.name(), kind.profile()));
    // What a device may do before it is locked for good, and what for the VMM of others.
    let devices = DeviceKind::ALL.into_iter().map(DeviceKind::description);
    let devices = devices.flat_map(|device| [device.set_up, device.foreign]);
    let others = devices.map(|profile| (profile.name, profile));
    for (kind, profile) in kinds.chain(others).chain(brokers()) {
        if as_json {
            outln!("{}", json!({ "kind": kind, "rules": rules_json(profile) }));
        } else {
            outln!("{kind}: {} system calls", profile.syscalls().len());
            for rule in profile.rules {
                outln!("  {:20} {}", rule.syscall.name(), rule.why);
            }
        }
    }
}

/// The rules of a profile: each system call with what it is for.
pub(crate) fn rules_json(profile: &Profile) -> Vec<Value> {
    let rule = |rule: &Rule| json!({ "syscall": rule.syscall.name(), "why": rule.why });
    profile.rules.iter().map(rule).collect()
}
