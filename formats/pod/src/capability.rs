//! Capabilities that a container may have.

use std::fmt;
use std::str::FromStr;

/// A capability (capabilities(7)). Only those that do not undo what keeps containers of a pod apart
/// from each other and from the agent: `SYS_ADMIN`, `SYS_MODULE` and their like have no name here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Capability(u8);

/// Names without `CAP_`, and numbers (linux/capability.h), in the order of names.
const ALL: [(&str, u8); 18] = [
    ("AUDIT_WRITE", 29),
    ("CHOWN", 0),
    ("DAC_OVERRIDE", 1),
    ("FOWNER", 3),
    ("FSETID", 4),
    ("IPC_LOCK", 14),
    ("KILL", 5),
    ("LEASE", 28),
    ("MKNOD", 27),
    ("NET_ADMIN", 12),
    ("NET_BIND_SERVICE", 10),
    ("NET_RAW", 13),
    ("SETFCAP", 31),
    ("SETGID", 6),
    ("SETPCAP", 8),
    ("SETUID", 7),
    ("SYS_CHROOT", 18),
    ("SYS_NICE", 23),
];
/// What container engines give when nothing is said (`defaultUnixCaps` of containerd's
/// oci/spec.go).
const DEFAULT: [&str; 14] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

impl Capability {
    /// What engines give when nothing is said, in the order of names.
    #[must_use]
    pub fn defaults() -> Vec<Self> {
        DEFAULT.iter().filter_map(|name| name.parse().ok()).collect()
    }

    /// Its number.
    #[must_use]
    pub fn number(self) -> u8 {
        ALL.get(usize::from(self.0)).map_or(0, |(_, number)| *number)
    }

    /// Its name, without `CAP_`.
    #[must_use]
    pub fn name(self) -> &'static str {
        ALL.get(usize::from(self.0)).map_or("", |(name, _)| name)
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl FromStr for Capability {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let at = (0..).zip(ALL).find(|(_, (name, _))| *name == text).map(|(at, _)| at);
        at.map(Self).ok_or("is no capability that a container of a pod may have")
    }
}
