//! Signals by name.

use std::fmt;
use std::str::FromStr;

/// A signal that a container may be sent: 1 to 31, whose numbers no C library moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signal(u8);

/// The names of signals 1 to 31 on x86-64 (signal(7)), without `SIG`.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

impl Signal {
    /// What asks a program to end.
    pub const TERM: Self = Self(15);
    /// What ends it.
    pub const KILL: Self = Self(9);

    /// The signal of this number; None outside of 1 to 31.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        u8::try_from(number).ok().filter(|number| (1..=31).contains(number)).map(Self)
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }

    /// Its name, without `SIG`.
    #[must_use]
    pub fn name(self) -> &'static str {
        usize::from(self.0).checked_sub(1).and_then(|at| NAMES.get(at)).copied().unwrap_or("")
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl FromStr for Signal {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = (1..).zip(NAMES).find(|(_, name)| *name == text).map(|(number, _)| number);
        number.map(Self).ok_or("is no name of a signal, such as TERM")
    }
}
