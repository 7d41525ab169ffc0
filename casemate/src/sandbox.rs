//! `casemate sandbox show`: what confines the processes of a running VM, read back from the kernel.

use crate::out::outln;
use crate::{Failure, Outcome};
use casemate_hypervisor::vm::name::{NameError, ask};
use casemate_hypervisor::vm::profile;
use casemate_sandbox::{InForce, Profile, inspect};
use clap::{Args, Subcommand};
use serde_json::json;

/// Show what confines a running VM
#[derive(Debug, Args)]
pub struct SandboxArgs {
    #[command(subcommand)]
    command: SandboxCommand,
}

#[derive(Debug, Subcommand)]
enum SandboxCommand {
    /// What is in force for each process of a VM, read back from the kernel
    ///
    /// As root the filters themselves are read back, too. Landlock cannot be read back by another process: that it
    /// is in force was checked when the process was locked.
    Show {
        /// Name of the VM
        name: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// The system calls that each kind of process may make once it is locked, and why
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
        SandboxCommand::Profiles { json } => {
            profiles(*json);
            Ok(())
        }
    }
}

fn show(name: &str, as_json: bool) -> Outcome {
    let state = ask(name).map_err(|e| match e {
        NameError::NotFound(_) => Failure::BadInput(e.to_string()),
        _ => Failure::Failed(e.to_string()),
    })?;
    let mut shown = Vec::new();
    for line in state.lines() {
        let process = line.split_once(' ').and_then(|(kind, pid)| Some((kind, pid.parse().ok()?)));
        let (kind, pid) = process.ok_or_else(|| {
            Failure::Failed(format!("the VM {name:?} answered something that is no process"))
        })?;
        let in_force = inspect(pid).map_err(|e| Failure::Failed(e.to_string()))?;
        shown.push((kind, in_force));
    }
    if as_json {
        let processes: Vec<_> =
            shown.iter().map(|(kind, f)| json!({ "kind": kind, "in_force": f })).collect();
        outln!("{}", json!({ "vm": name, "processes": processes }));
    } else {
        for (kind, in_force) in &shown {
            print_process(kind, in_force);
        }
    }
    Ok(())
}

fn print_process(kind: &str, in_force: &InForce) {
    outln!("== {kind}");
    outln!("{}", in_force.to_string().trim_end());
    if let Some(profile) = profile_of(kind) {
        outln!("profile {:?}: {} system calls", profile.name, profile.syscalls().len());
        outln!("  {}", profile.syscalls().join(" "));
    }
}

fn profile_of(kind: &str) -> Option<&'static Profile> {
    ALL.iter().find(|(name, _)| *name == kind).map(|(_, profile)| *profile)
}

const ALL: [(&str, &Profile); 3] = [
    ("supervisor", &profile::SUPERVISOR),
    ("vmm", &profile::VMM),
    ("vmm-confidential", &profile::VMM_SNP),
];

fn profiles(as_json: bool) {
    for (kind, profile) in ALL {
        if as_json {
            let rules: Vec<_> = profile
                .rules
                .iter()
                .map(|rule| json!({ "syscall": rule.syscall.name(), "why": rule.why }))
                .collect();
            outln!("{}", json!({ "kind": kind, "rules": rules }));
        } else {
            outln!("{kind}: {} system calls", profile.syscalls().len());
            for rule in profile.rules {
                outln!("  {:20} {}", rule.syscall.name(), rule.why);
            }
        }
    }
}
