//! What is mounted into containers beside their images.

use crate::value::{Hash, Mebibytes};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// A volume. A guest finds what the host means by container and path of a mount, never by a path of
/// the host's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Its name, a label of DNS; a pod has it once.
    pub name: String,
    /// What is in it.
    pub source: Source,
    /// Where it is, at least once.
    pub mounts: Vec<Mount>,
}

/// What is in a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Files that the host gives and that are proven: `host-files`.
    HostFiles(Files),
    /// Files of names and contents that the host chooses, read-only and without links, together at
    /// most so many KiB: `open-files`.
    OpenFiles {
        /// Most KiB, 1 to 16384.
        kib: u32,
    },
    /// A file system in the guest's memory, for all containers that mount it: `memory`.
    Memory {
        /// How large it may become.
        size: Mebibytes,
    },
    /// A disk of the host's, encrypted with a key that never leaves the guest: `scratch`.
    Scratch {
        /// How large it is.
        size: Mebibytes,
    },
    /// A disk that stays: encrypted without a header, its key a secret of the key broker: `disk`.
    Disk {
        /// Name of the secret.
        key: String,
    },
    /// Secrets of the key broker as files in memory: `secrets`.
    Secrets {
        /// Names of the secrets, which are those of the files; ascending.
        names: Vec<String>,
    },
}

/// Files of a host that are proven by hash. One that is not listed, missing or other is refused.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Files {
    /// SHA-256 of each by its name: a plain one, no path.
    pub hashes: BTreeMap<String, Hash>,
    /// Whether they are programs: mode 0555 in place of 0444.
    pub executable: bool,
}

/// Where a volume is. Written `CONTAINER:PATH:ro` or `CONTAINER:PATH:rw`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// In which container.
    pub container: String,
    /// At which path of it.
    pub path: String,
    /// Whether it cannot be written to there.
    pub read_only: bool,
}

impl Source {
    /// Its word in a manifest.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::HostFiles(_) => "host-files",
            Self::OpenFiles { .. } => "open-files",
            Self::Memory { .. } => "memory",
            Self::Scratch { .. } => "scratch",
            Self::Disk { .. } => "disk",
            Self::Secrets { .. } => "secrets",
        }
    }

    /// Whether it can be written to at all.
    #[must_use]
    pub const fn writable(&self) -> bool {
        matches!(self, Self::Memory { .. } | Self::Scratch { .. } | Self::Disk { .. })
    }

    /// Names of the secrets that it needs.
    #[must_use]
    pub fn secrets(&self) -> Vec<&str> {
        match self {
            Self::Secrets { names } => names.iter().map(String::as_str).collect(),
            Self::Disk { key } => vec![key.as_str()],
            _ => Vec::new(),
        }
    }

    /// Whether it waits for the key broker.
    #[must_use]
    pub const fn needs_broker(&self) -> bool {
        matches!(self, Self::Disk { .. } | Self::Secrets { .. })
    }
}

impl fmt::Display for Mount {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.read_only { "ro" } else { "rw" };
        write!(out, "{}:{}:{word}", self.container, self.path)
    }
}

impl FromStr for Mount {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WHY: &str = "is not CONTAINER:PATH:ro or CONTAINER:PATH:rw";
        let (container, rest) = text.split_once(':').ok_or(WHY)?;
        let (path, word) = rest.rsplit_once(':').ok_or(WHY)?;
        let read_only = match word {
            "ro" => true,
            "rw" => false,
            _ => return Err(WHY),
        };
        Ok(Self { container: container.to_owned(), path: path.to_owned(), read_only })
    }
}
