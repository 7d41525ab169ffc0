//! KVM_EXIT_SNP_REQ_CERTS (Linux 7.0): an extended guest request wants the certificate table.

use crate::exits::{Machine, Outcome};
use crate::memory::PAGE_SIZE;
use casemate_values::{Guest, MAX_GPA};

/// A guest asks for certificates.
#[derive(Debug)]
pub struct ReqCerts<'a> {
    /// Page-aligned address, said to be in shared memory.
    pub gpa: Guest<u64>,
    /// Pages the guest offers: any number.
    pub pages: Guest<u64>,
    /// Pages needed, then the result: 0, ENOSPC, EAGAIN or EIO; anything else makes KVM_RUN fail.
    pub reply: &'a mut [u8; 16],
}

/// The guest offers too few pages, and is told how many it needs.
const ENOSPC: u64 = libc::ENOSPC as u64;
/// A generic error: there is no table, or it cannot be written where the guest wants it.
const EIO: u64 = libc::EIO as u64;

impl ReqCerts<'_> {
    /// Writes the table to the guest's pages if they are all shared and enough, and nothing
    /// otherwise. A VM without certificates never enabled the exit.
    pub fn handle(self, machine: &Machine) -> Outcome {
        let (needed, result) = match &machine.certs {
            None => (0, EIO),
            Some(table) => {
                let needed = (table.bytes().len() as u64).div_ceil(PAGE_SIZE);
                // More pages than are needed are neither looked at nor written.
                let gpa = self.gpa.at_most(MAX_GPA, "the guest physical addresses");
                let write = |gpa| machine.pages.write_shared(gpa, table.bytes()).is_ok();
                let result = if !self.pages.at_least(needed) {
                    ENOSPC
                } else if gpa.is_ok_and(write) {
                    0
                } else {
                    EIO
                };
                (needed, result)
            }
        };
        let bytes = needed.to_le_bytes().into_iter().chain(result.to_le_bytes());
        for (to, byte) in self.reply.iter_mut().zip(bytes) {
            *to = byte;
        }
        Outcome::Resume
    }
}
