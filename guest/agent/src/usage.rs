//! What the processes of a container use, as the kernel counts it for each.

use casemate_agent::ToHost;
use std::fs;

/// Nanoseconds of a tick: the kernel tells user space of 100 in a second, whatever it counts
/// itself (`USER_HZ`).
const TICK: u64 = 10_000_000;
const PAGE: u64 = 4096;

/// Adds up the processes of these sessions. One that ends meanwhile is not counted.
pub fn usage(sessions: &[u32]) -> ToHost {
    let (mut memory, mut cpu, mut processes) = (0u64, 0u64, 0u32);
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = entry.file_name();
        let is_process = name.to_str().is_some_and(|name| name.parse::<u32>().is_ok());
        let stat =
            if is_process { fs::read_to_string(entry.path().join("stat")).ok() } else { None };
        let Some(one) = stat.as_deref().and_then(Stat::read) else { continue };
        if sessions.contains(&one.session) {
            memory = memory.saturating_add(one.pages.saturating_mul(PAGE));
            cpu = cpu.saturating_add(one.ticks.saturating_mul(TICK));
            processes = processes.saturating_add(1);
        }
    }
    ToHost::Stats { memory, cpu, processes }
}

/// What `/proc/PID/stat` says of a process (proc_pid_stat(5)).
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    session: u32,
    ticks: u64,
    pages: u64,
}

impl Stat {
    fn read(text: &str) -> Option<Self> {
        // A process names itself, and may have a parenthesis and blanks in its name: what stands
        // behind the last parenthesis is the kernel's. Field 3 is the first of it.
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        let session = u32::try_from(number(6)?).ok()?;
        Some(Self { session, ticks: number(14)?.checked_add(number(15)?)?, pages: number(24)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_cannot_name_itself_into_another_session() {
        let stat = "7 (x) 1 1 (y) S 1 7 42 0 -1 4194560 1 2 3 4 30 12 0 0 20 0 1 0 99 4096 5 0";
        assert_eq!(Stat::read(stat), Some(Stat { session: 42, ticks: 42, pages: 5 }));
        assert_eq!(Stat::read("7 (x) S 1"), None);
        assert_eq!(Stat::read(""), None);
    }

    #[test]
    fn this_process_is_counted_in_its_session() {
        let own = fs::read_to_string("/proc/self/stat").unwrap();
        let session = Stat::read(&own).unwrap().session;
        let ToHost::Stats { memory, processes, .. } = usage(&[session]) else { panic!() };
        assert!(memory > 0 && processes > 0);
        let none = usage(&[u32::MAX]);
        assert_eq!(none, ToHost::Stats { memory: 0, cpu: 0, processes: 0 });
    }
}
