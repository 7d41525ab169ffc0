//! How a workload ended, for the owner of its results: the host knows it at most by the guest's
//! word, and what the host says of it nothing proves.

use std::fmt;

/// Why a workload ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// It exited.
    Exit,
    /// A signal ended it.
    Signal,
    /// It wanted more memory than the guest has for it.
    Memory,
}

impl Cause {
    /// The byte for it.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Exit => 0,
            Self::Signal => 1,
            Self::Memory => 2,
        }
    }

    /// The cause of a byte.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Exit),
            1 => Some(Self::Signal),
            2 => Some(Self::Memory),
            _ => None,
        }
    }
}

/// How a workload ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ending {
    /// Its exit status as a shell gives it: 128 and the number of the signal that ended it.
    pub status: u8,
    /// Why.
    pub cause: Cause,
}

impl Ending {
    /// It exited, with status 0.
    pub const GOOD: Self = Self { status: 0, cause: Cause::Exit };
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cause {
            Cause::Exit => write!(f, "exited with status {}", self.status),
            Cause::Signal => write!(f, "was ended by signal {}", self.status & 0x7f),
            Cause::Memory => f.write_str("was ended since the guest had no more memory for it"),
        }
    }
}
