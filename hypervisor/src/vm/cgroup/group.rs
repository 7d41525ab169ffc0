//! One control group: its files, each value written as a number and read back as one.

use super::CgroupError;
use crate::config::GroupLimits;
use crate::host::cgroup::read;
use casemate_device_process::GroupEvents;
use rustix::fs::{AtFlags, Mode, OFlags, mkdirat, openat, unlinkat};
use rustix::io::Errno;
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// The period of `cpu.max`, microseconds: the kernel's own.
const PERIOD: u64 = 100_000;

/// An open control group. The path is for messages only.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) directory: OwnedFd,
    pub(super) path: PathBuf,
}

impl Group {
    /// Makes the group `name` in this one.
    ///
    /// # Errors
    /// [`CgroupError::There`], [`CgroupError::Make`].
    pub(super) fn make(&self, name: &str) -> Result<Self, CgroupError> {
        let path = self.path.join(name);
        let wrong = |errno| match errno {
            Errno::EXIST => CgroupError::There { path: super::shown(&path) },
            errno => CgroupError::make(&path, errno),
        };
        mkdirat(&self.directory, name, Mode::from_raw_mode(0o755)).map_err(wrong)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = openat(&self.directory, name, flags, Mode::empty()).map_err(|errno| {
            // Nobody else knows of it yet.
            let _ = unlinkat(&self.directory, name, AtFlags::REMOVEDIR);
            CgroupError::make(&path, errno)
        })?;
        Ok(Self { directory, path })
    }

    /// The path of a file, for messages.
    pub(super) fn file(&self, name: &str) -> String {
        super::shown(&self.path.join(name))
    }

    /// Writes into a file of the group.
    pub(super) fn write(&self, file: &str, text: &str) -> Result<(), Errno> {
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&self.directory, file, flags, Mode::empty())?;
        let written = File::from(file).write_all(text.as_bytes());
        written.map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))
    }

    /// Sets the limits, and sees that the kernel has taken each as it was meant.
    ///
    /// # Errors
    /// [`CgroupError::Make`], [`CgroupError::NotTaken`].
    pub(super) fn limit(&self, limits: GroupLimits) -> Result<(), CgroupError> {
        let quota = limits.cpu_percent.map(|percent| percent.saturating_mul(PERIOD / 100));
        let files = [
            ("cpu.weight", limits.cpu_weight.map(|weight| vec![weight])),
            ("cpu.max", quota.map(|quota| vec![quota, PERIOD])),
            ("memory.max", limits.memory.map(|bytes| vec![bytes])),
            ("pids.max", limits.pids.map(|pids| vec![pids])),
        ];
        for (file, numbers) in files {
            numbers.map_or(Ok(()), |numbers| self.set(file, &numbers))?;
        }
        Ok(())
    }

    fn set(&self, file: &str, numbers: &[u64]) -> Result<(), CgroupError> {
        let path = self.path.join(file);
        let wrong = |errno| CgroupError::make(&path, errno);
        let wanted = numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(" ");
        self.write(file, &wanted).map_err(wrong)?;
        let found = read(&self.directory, file).map_err(wrong)?;
        if parse(&found).as_deref() == Some(numbers) {
            return Ok(());
        }
        let found = found.trim().to_owned();
        Err(CgroupError::NotTaken { path: self.file(file), wanted, found })
    }

    /// Its files of events, as far as the kernel counts them here.
    pub(super) fn events(&self, memory: &str) -> GroupEvents {
        let open = |file: &str| {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            openat(&self.directory, file, flags, Mode::empty()).ok()
        };
        GroupEvents { memory: open(memory), pids: open("pids.events") }
    }

    /// The names in a file of names with blanks between, such as `cgroup.controllers`.
    pub(super) fn names(&self, file: &str) -> Result<Vec<String>, CgroupError> {
        let text = read(&self.directory, file)
            .map_err(|errno| CgroupError::make(Path::new(&self.file(file)), errno))?;
        Ok(text.split_whitespace().map(str::to_owned).collect())
    }
}

/// The numbers of a line with blanks between; None where something else is there.
fn parse(text: &str) -> Option<Vec<u64>> {
    text.trim_end().split(' ').map(|number| number.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::parse;

    /// Protects a limit that is believed to be in force.
    #[test]
    fn what_is_read_back_is_numbers_or_nothing() {
        assert_eq!(parse("150000 100000\n"), Some(vec![150_000, 100_000]));
        assert_eq!(parse("64\n"), Some(vec![64]));
        for other in ["", "max\n", "max 100000\n", "1  2", "-1", "1\n2\n"] {
            assert_eq!(parse(other), None, "{other:?}");
        }
    }
}
