//! From an exit to its handler.

use crate::exits::{Exit, Machine, Outcome};

impl Exit<'_> {
    /// Hands the exit to the handler of its variant, which is total.
    pub fn handle(self, machine: &Machine) -> Outcome {
        match self {
            Self::Debug(exit) => exit.handle(),
            Self::Errno(exit) => exit.handle(),
            Self::FailEntry(exit) => exit.handle(),
            Self::Hlt(exit) => exit.handle(),
            Self::Hypercall(exit) => exit.handle(machine),
            Self::InternalError(exit) => exit.handle(),
            Self::Intr(exit) => exit.handle(),
            Self::IoIn(exit) => exit.handle(machine),
            Self::IoOut(exit) => exit.handle(machine),
            Self::IoapicEoi(exit) => exit.handle(),
            Self::MemoryFault(exit) => exit.handle(machine),
            Self::MmioRead(exit) => exit.handle(machine),
            Self::MmioWrite(exit) => exit.handle(machine),
            Self::Rdmsr(exit) => exit.handle(),
            Self::ReqCerts(exit) => exit.handle(machine),
            Self::Shutdown(exit) => exit.handle(),
            Self::SystemEvent(exit) => exit.handle(),
            Self::Unknown(exit) => exit.handle(),
            Self::Wrmsr(exit) => exit.handle(),
        }
    }
}
