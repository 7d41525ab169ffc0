//! The control groups of a running VM for `casemate inspect`: the limits as its supervisor set
//! them, and beside each what the kernel says is used of it.

use super::told;
use casemate_foreign_text::value;
use casemate_hypervisor::host::cgroup_usage::Usage;
use casemate_hypervisor::vm::manage::{CgroupFact, LimitsFact};
use std::path::Path;

/// Prints them; that there are none is said, too.
pub(super) fn print_group(cgroup: Option<&CgroupFact>) {
    let Some(CgroupFact { directory, limits, processes }) = cgroup else {
        return told("cgroup", "none of its own: no limits but those of whoever started it");
    };
    told("cgroup", value(directory));
    print(limits, Usage::of(Path::new(directory)).unwrap_or_default());
    for (name, limits) in processes {
        // A name of the supervisor's, and of no other directory.
        let inside = Path::new(name).components().count() == 1 && !name.starts_with('.');
        let usage = inside.then(|| Usage::of(&Path::new(directory).join(name))).flatten();
        told("  of process", value(name));
        print(limits, usage.unwrap_or_default());
    }
}

/// A line for each of what is limited or counted.
fn print(limits: &LimitsFact, used: Usage) {
    let mib = |bytes: u64| format!("{}.{}M", bytes >> 20, ((bytes & 0xf_ffff) * 10) >> 20);
    let seconds = |micros: u64| format!("{}.{} s", micros / 1_000_000, micros / 100_000 % 10);
    let of_memory = limits.memory_mib.map(|mib| format!("{mib}M"));
    let of_cpu = limits.cpu_percent.map(|percent| format!("{percent} % of a processor"));
    line("  memory", used.memory.map(mib), of_memory);
    line("  cpu", used.cpu_micros.map(seconds), of_cpu);
    if let Some(weight) = limits.cpu_weight {
        told("  cpu weight", weight);
    }
    line("  pids", used.pids.map(|pids| pids.to_string()), limits.pids.map(|n| n.to_string()));
}

fn line(what: &str, used: Option<String>, limit: Option<String>) {
    match (used, limit) {
        (None, None) => {}
        (None, Some(limit)) => told(what, format_args!("at most {limit}; what is used is unknown")),
        (Some(used), None) => told(what, format_args!("{used} used, not limited")),
        (Some(used), Some(limit)) => told(what, format_args!("{used} used, at most {limit}")),
    }
}
