//! `casemate inspect`: what a running VM is.

use super::group::print_group;
use super::{failure, in_words, session, told};
use crate::Outcome;
use crate::out::outln;
use casemate_foreign_text::{json as foreign, value};
use casemate_hypervisor::vm::manage::{Facts, NetFact, ProcessFact, RefusedFact, VmFacts};
use clap::Args;
use serde_json::json;
use std::time::Duration;

/// Show what a running VM is: configuration, policy, digest, processes
///
/// It is what its supervisor says, of which the kernel vouches for who that is and for its
/// children. Whether each process is locked the kernel tells by `casemate sandbox show`; what is
/// used of the limits of control groups it tells here, and not in the JSON. The kernel's command
/// line is left out, since secrets stand there.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  casemate inspect demo
  casemate inspect demo --json
")]
pub struct InspectArgs {
    /// Name of the VM
    name: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the subcommand.
///
/// # Errors
/// [`crate::Failure`]: 2 when no VM has the name, 1 when it is not believed or does not answer.
pub(crate) fn run(args: &InspectArgs) -> Outcome {
    let facts = session(&args.name)?.facts().map_err(failure)?;
    if args.json {
        outln!("{}", foreign(&json!(facts).to_string()));
    } else {
        print(&facts);
    }
    Ok(())
}

fn print(facts: &Facts) {
    let Facts { state, uptime_ms, processes, vm } = facts;
    told("name", value(&vm.name));
    let uptime = in_words(Duration::from_millis(*uptime_ms));
    told("state", format_args!("{}, started {uptime} ago", state.name()));
    told("protection", value(&vm.protection));
    told("vcpus", vm.vcpus);
    told("memory", format_args!("{}M", vm.memory_mib));
    told("policy", vm.policy.as_ref().map_or_else(|| "none".into(), |it| value(it).to_string()));
    if let Some(hash) = &vm.policy_hash {
        told("policy hash", value(hash));
    }
    if let Some(digest) = &vm.launch_digest {
        told("launch digest", value(digest));
    }
    print_configuration(vm);
    outln!("processes");
    processes.iter().for_each(print_process);
}

fn print_configuration(vm: &VmFacts) {
    if vm.left_out {
        outln!("(its paths and devices are left out: they are too long for an answer)");
        return;
    }
    told("kernel", value(&vm.kernel));
    if let Some(initrd) = &vm.initrd {
        told("initrd", value(initrd));
    }
    told("console", value(&vm.console));
    if vm.virtio_console {
        told("  hvc0", "yes");
    }
    if let Some(timeout) = vm.timeout_ms {
        told("timeout", in_words(Duration::from_millis(timeout)));
    }
    told("grace", in_words(Duration::from_millis(vm.grace_ms)));
    for disk in &vm.disks {
        let is = [(disk.read_only, ", read only"), (disk.direct, ", direct")];
        let is: String = is.iter().filter(|(is, _)| *is).map(|(_, word)| *word).collect();
        let queues = disk.queues;
        let (name, path) = (value(&disk.name), value(&disk.path));
        told("disk", format_args!("{name}: {path}{is}, queues {queues}"));
        if let Some((per_second, burst)) = disk.bandwidth {
            let limit = format_args!("{per_second} bytes a second, {burst} at once");
            told("  bandwidth", limit);
        }
        if let Some((per_second, burst)) = disk.iops {
            told("  iops", format_args!("{per_second} requests a second, {burst} at once"));
        }
    }
    for foreign in &vm.vhost_user {
        let (name, socket) = (value(&foreign.name), value(&foreign.socket));
        let (kind, queues) = (value(&foreign.kind), foreign.queues);
        told("vhost-user", format_args!("{name}: {kind}, {socket}, queues {queues}"));
    }
    vm.nets.iter().for_each(print_net);
    if vm.rng {
        told("rng", "yes");
    }
    print_group(vm.cgroup.as_ref());
    if let Some(vsock) = &vm.vsock {
        told("vsock", format_args!("cid {}", vsock.cid));
        if let Some(path) = &vsock.path {
            told("  socket", value(path));
        }
        for port in &vsock.ports {
            told("  guest to port", port);
        }
        for (port, path) in &vsock.forwards {
            told("  forward", format_args!("{port}: {}", value(path)));
        }
    }
}

fn print_net(net: &NetFact) {
    let NetFact { name, tap, mac, mtu, bandwidth, packets, refused } = net;
    let (name, tap, mac) = (value(name), value(tap), value(mac));
    told("net", format_args!("{name}: {tap}, {mac}, MTU {mtu}"));
    if let Some((per_second, burst)) = bandwidth {
        told("  bandwidth", format_args!("{per_second} bytes a second, {burst} at once"));
    }
    if let Some((per_second, burst)) = packets {
        told("  packets", format_args!("{per_second} frames a second, {burst} at once"));
    }
    let RefusedFact { source, unread, egress, rate } = *refused;
    for (count, why) in [
        (source, "say that another card sent them"),
        (unread, "cannot be read"),
        (egress, "network.egress"),
        (rate, "network.rate"),
    ] {
        if count > 0 {
            told("  refused", format_args!("{count} frames or more: {why}"));
        }
    }
}

fn print_process(process: &ProcessFact) {
    let ProcessFact { kind, pid, device, locked, without } = process;
    let kind = value(kind).at_most(40).to_string();
    let locked = if *locked { "locked" } else { "not locked yet" };
    let device = device.as_ref().map(|name| format!(" of {}", value(name)));
    let missing = without.iter().map(|layer| value(layer).at_most(40).to_string());
    let missing = match without.len() {
        0 => String::new(),
        _ => format!(", WITHOUT {}", missing.collect::<Vec<_>>().join(", ")),
    };
    outln!("  {pid:7} {kind}{}, {locked}{missing}", device.unwrap_or_default());
}
