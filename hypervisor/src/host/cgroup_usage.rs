//! What the processes of a control group use, as the kernel counts it.

use super::cgroup::{is_group, read};
use rustix::fs::{CWD, Mode, OFlags, openat};
use std::path::Path;

/// What a group uses. None: the kernel does not count it there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time since the group was made, in microseconds.
    pub cpu_micros: Option<u64>,
    /// Memory in bytes.
    pub memory: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
}

impl Usage {
    /// Of the group at `path`; None when there is no such group.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = openat(CWD, path, flags, Mode::empty()).ok()?;
        if !is_group(&directory) {
            return None;
        }
        let text = |file: &str| read(&directory, file).ok();
        let number = |file: &str| text(file)?.trim_end().parse().ok();
        Some(Self {
            cpu_micros: text("cpu.stat").as_deref().and_then(cpu_micros),
            memory: number("memory.current"),
            pids: number("pids.current"),
        })
    }
}

/// The time in the text of `cpu.stat`.
fn cpu_micros(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("usage_usec "))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{Usage, cpu_micros};

    #[test]
    fn processor_time_is_the_number_of_its_line() {
        assert_eq!(cpu_micros("usage_usec 12\nuser_usec 10\nsystem_usec 2\n"), Some(12));
        for odd in ["", "user_usec 10\n", "usage_usec\n", "usage_usec -1\n", "usage_usec 1 2\n"] {
            assert_eq!(cpu_micros(odd), None, "{odd:?}");
        }
    }

    /// Protects who reads the numbers from those of files that the kernel has not written.
    #[test]
    fn a_directory_that_is_no_group_uses_nothing_that_is_known() {
        let place = std::env::temp_dir().join(format!("casemate-usage-{}", std::process::id()));
        std::fs::create_dir_all(&place).unwrap();
        std::fs::write(place.join("memory.current"), "1\n").unwrap();
        assert_eq!(Usage::of(&place), None);
        std::fs::remove_dir_all(&place).unwrap();
        assert_eq!(Usage::of(&place), None);
    }
}
