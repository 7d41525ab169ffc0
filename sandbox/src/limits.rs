//! Resource limits.

use super::refusal::Refusal;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Resource limits; `None` leaves one as it is, and so does a value above the hard limit that the
/// process was given. Both the soft and the hard limit are set, so they stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Size of a core file, bytes.
    pub core: Option<u64>,
    /// One more than the highest descriptor that can be opened.
    pub open_files: Option<u64>,
    /// Threads and processes of the user in its user namespace.
    pub threads: Option<u64>,
    /// Largest size to which a file can grow, bytes.
    pub file_size: Option<u64>,
    /// Bytes of address space (RLIMIT_AS).
    pub address_space: Option<u64>,
    /// Bytes of memory that may be locked (RLIMIT_MEMLOCK).
    pub locked_memory: Option<u64>,
}

impl Limits {
    /// No core files, nothing else limited.
    pub const NO_CORE: Self = Self {
        core: Some(0),
        open_files: None,
        threads: None,
        file_size: None,
        address_space: None,
        locked_memory: None,
    };

    /// The limits in the order of the fields, for a packet.
    pub(super) const fn all(&self) -> [Option<u64>; 6] {
        let Self { core, open_files, threads, file_size, address_space, locked_memory } = *self;
        [core, open_files, threads, file_size, address_space, locked_memory]
    }

    /// The limits in that order.
    pub(super) const fn from_all(all: [Option<u64>; 6]) -> Self {
        let [core, open_files, threads, file_size, address_space, locked_memory] = all;
        Self { core, open_files, threads, file_size, address_space, locked_memory }
    }

    pub(super) fn apply(&self) -> Result<String, Refusal> {
        let mut set = Vec::new();
        for (name, resource, value) in [
            ("core", Resource::Core, self.core),
            ("nofile", Resource::Nofile, self.open_files),
            ("nproc", Resource::Nproc, self.threads),
            ("fsize", Resource::Fsize, self.file_size),
            ("as", Resource::As, self.address_space),
            ("memlock", Resource::Memlock, self.locked_memory),
        ] {
            if let Some(value) = value {
                // Never more than what this process was given: only root may have it.
                let most = getrlimit(resource).maximum.unwrap_or(u64::MAX);
                let value = value.min(most);
                setrlimit(resource, Rlimit { current: Some(value), maximum: Some(value) })
                    .map_err(|e| Refusal::new(format!("setrlimit({name}, {value})"), e))?;
                set.push(format!("{name}={value}"));
            }
        }
        Ok(set.join(" "))
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::NO_CORE
    }
}
