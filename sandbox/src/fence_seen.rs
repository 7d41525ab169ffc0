//! The memory fence of a process, read back from the kernel: which shared memory of files it maps,
//! and which of that is fenced (`um` among the VmFlags of /proc/PID/smaps, proc_pid_smaps(5)); and
//! whether its userfaultfds answer by SIGBUS (the features in /proc/PID/fdinfo).

use std::collections::BTreeMap;
use std::fmt;
use std::fs::read_to_string;

/// What of the memory that a process shares with others is behind a fence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct FenceSeen {
    /// Bytes that it maps of files, shared, with a fence.
    pub fenced: u64,
    /// Bytes that it maps so without a fence.
    pub unfenced: u64,
    /// Whether every userfaultfd that it holds answers by SIGBUS; false where it holds none.
    pub sigbus: bool,
}

/// `UFFD_FEATURE_SIGBUS`: a hole answers by a signal, and waits for nobody.
const SIGBUS: u64 = 1 << 7;

impl FenceSeen {
    /// Whether there is memory behind the fence, and none beside it.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.sigbus && self.fenced > 0 && self.unfenced == 0
    }

    /// Of a process with these descriptors; None when it cannot be read.
    pub(super) fn of(pid: u32, descriptors: &BTreeMap<u32, String>) -> Option<Self> {
        let smaps = read_to_string(format!("/proc/{pid}/smaps")).ok()?;
        let (fenced, unfenced) = shared_files(&smaps);
        let userfaultfds =
            descriptors.iter().filter(|(_, what)| *what == "anon_inode:[userfaultfd]");
        let mut features = Vec::new();
        for (fd, _) in userfaultfds {
            let info = read_to_string(format!("/proc/{pid}/fdinfo/{fd}")).ok()?;
            features.push(features_of(&info)?);
        }
        let sigbus = !features.is_empty() && features.iter().all(|bits| bits & SIGBUS != 0);
        Some(Self { fenced, unfenced, sigbus })
    }
}

/// The features of a userfaultfd: the second number of `API:\taa:80000080:...`, hexadecimal.
fn features_of(fdinfo: &str) -> Option<u64> {
    let api = fdinfo.lines().find_map(|line| line.strip_prefix("API:"))?;
    u64::from_str_radix(api.trim().split(':').nth(1)?, 16).ok()
}

/// Bytes of shared mappings of files, with and without a fence.
///
/// A mapping begins with a line `from-to perms offset device inode path`; its fields follow, the
/// last of which is VmFlags. What the kernel maps of a descriptor without a file, such as a vCPU's
/// state, is not counted: nothing else can grow by it.
fn shared_files(smaps: &str) -> (u64, u64) {
    let (mut fenced, mut unfenced) = (0_u64, 0_u64);
    let mut size = None;
    for line in smaps.lines() {
        if let Some(flags) = line.strip_prefix("VmFlags:") {
            let has = |flag| flags.split_whitespace().any(|other| other == flag);
            if let Some(size) = size.take().filter(|_| has("sh")) {
                let sum = if has("um") { &mut fenced } else { &mut unfenced };
                *sum = sum.saturating_add(size);
            }
        } else if let Some(mapping) = mapping(line) {
            size = mapping;
        }
    }
    (fenced, unfenced)
}

/// Of the first line of a mapping its size, where it is of a file; None of every other line.
fn mapping(line: &str) -> Option<Option<u64>> {
    let mut words = line.split_whitespace();
    let (from, to) = words.next()?.split_once('-')?;
    let address = |text| u64::from_str_radix(text, 16).ok();
    let size = address(to)?.checked_sub(address(from)?)?;
    let path = words.nth(4).unwrap_or("");
    Some((path.starts_with('/')).then_some(size))
}

impl fmt::Display for FenceSeen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fenced, unfenced, sigbus } = *self;
        match (fenced, unfenced) {
            (0, 0) => return f.write_str("it shares no memory"),
            (0, unfenced) => return write!(f, "none around {} KiB", unfenced / 1024),
            (fenced, 0) => write!(f, "around {} KiB, all that it shares", fenced / 1024)?,
            (fenced, unfenced) => {
                write!(f, "around {} KiB, NOT AROUND {} KiB", fenced / 1024, unfenced / 1024)?;
            }
        }
        f.write_str(if sigbus { "; a hole is SIGBUS" } else { "; A HOLE IS NOT SIGBUS" })
    }
}

#[cfg(test)]
mod tests {
    use super::{features_of, shared_files};

    /// Protects what is said of a process: as Linux 6.18 writes it. Cannot tell whether a later
    /// kernel writes it so; the tests of the fence itself do.
    #[test]
    fn a_fenced_mapping_is_told_from_others() {
        let smaps = "\
7f0000000000-7f0000100000 rw-s 00000000 00:01 2061 /memfd:guest-ram (deleted)
Size:               1024 kB
VmFlags: rd wr sh mr mw me ms um sd 
7f0000200000-7f0000300000 rw-s 00000000 00:01 2061 /memfd:a name with um (deleted)
Size:               1024 kB
VmFlags: rd wr sh mr mw me ms sd 
7f0000300000-7f0000302000 rw-s 00000000 00:0e 12 anon_inode:kvm-vcpu:0
VmFlags: rd wr sh mr mw me ms sd 
7f0000400000-7f0000500000 r-xp 00000000 00:01 99 /memfd:casemate-device (deleted)
VmFlags: rd ex mr mw me sd 
7f0000500000-7f0000600000 rw-p 00000000 00:00 0 
VmFlags: rd wr mr mw me ac sd 
";
        assert_eq!(shared_files(smaps), (1 << 20, 1 << 20));
        assert_eq!(shared_files("VmFlags: sh um\nnonsense\n-\n1-0 x\n"), (0, 0));
    }

    #[test]
    fn features_are_the_second_number() {
        let info = "pos:\t0\npending:\t0\ntotal:\t0\nAPI:\taa:800000a0:7ffff00000000001\n";
        assert_eq!(features_of(info), Some(0x8000_00a0));
        assert_eq!(features_of("API:\taa"), None);
        assert_eq!(features_of(""), None);
    }
}
