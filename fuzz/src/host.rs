//! Text that the kernel gives about this process, and the description of a guest's workload.

use crate::bounded;
use arbitrary::{Result, Unstructured};
use casemate_hypervisor::host::cgroup::{CgroupLimits, UNLIMITED, mount_point};
use casemate_init::workload;

/// Where control groups are mounted, and what limits a group has: a path without a line's end but
/// those that the kernel escapes, numbers that a policy can hold, or nothing. Whoever may mount in
/// this namespace chooses the path.
pub fn cgroup_text(data: &[u8]) {
    let _ = cgroup_text_of(&mut Unstructured::new(data));
}

fn cgroup_text_of(u: &mut Unstructured) -> Result<()> {
    let (cpu, memory, pids): (Option<&str>, Option<&str>, Option<&str>) = u.arbitrary()?;
    if let Some(limits) = CgroupLimits::read(cpu, memory, pids) {
        assert!(limits.memory_mib <= UNLIMITED && limits.pids <= UNLIMITED);
        assert_eq!(limits.pids == UNLIMITED, pids.is_none_or(is_no_limit));
    }
    // What the kernel would write for a path comes back as that path.
    let path: String = u.arbitrary()?;
    let mut written = String::new();
    for c in path.chars() {
        match c {
            ' ' | '\t' | '\n' | '\\' => written.push_str(&format!("\\{:03o}", u32::from(c))),
            // A carriage return before the end of a line would belong to that end.
            '\r' => {}
            _ => written.push(c),
        }
    }
    let mountinfo = format!("30 29 0:26 / /{written} rw shared:4 - cgroup2 cgroup2 rw\n");
    let read = mount_point(&mountinfo);
    assert_eq!(read, Some(format!("/{}", path.replace('\r', ""))), "{mountinfo:?}");
    let rest = u.bytes(u.len())?;
    bounded(4096 + 8 * rest.len() as u64, || {
        let _ = std::str::from_utf8(rest).map(mount_point);
    });
    Ok(())
}

fn is_no_limit(text: &str) -> bool {
    let text = text.trim();
    text == "max" || text.parse() == Ok(UNLIMITED)
}

/// A workload's description: understood whole, or refused with its line; nothing in it is dropped.
pub fn workload_file(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    bounded(4096 + 64 * data.len() as u64, || match workload::parse(text) {
        Ok(workload) => {
            assert!(!workload.args.is_empty(), "a workload without a program");
            let said = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
            let kept = workload.args.len() + workload.env.len() + workload.disks.len();
            assert_eq!(said.count(), kept);
            assert!(workload.disks.iter().all(|disk| disk.path.starts_with('/')));
            assert!(workload.env.iter().all(|(name, _)| !name.contains('=')));
        }
        Err(why) => assert!(!why.contains('\n'), "{why:?}"),
    });
}
