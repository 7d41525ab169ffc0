//! KVM_EXIT_SNP_REQ_CERTS (Linux 7.0): an extended guest request wants the certificate table.

use crate::exits::{Machine, Outcome};
use crate::guest_value::Guest;

/// A guest asks for certificates.
#[derive(Debug)]
pub struct ReqCerts<'a> {
    /// Page-aligned address in shared memory.
    pub gpa: Guest<u64>,
    /// Pages the guest offers: any number.
    pub pages: Guest<u64>,
    /// 0, ENOSPC, EAGAIN or EIO; anything else makes KVM_RUN fail.
    pub reply: &'a mut [u8; 8],
}

impl ReqCerts<'_> {
    /// Answers "generic error": this VM has no certificates to give, and never enabled the exit.
    pub fn handle(self, _: &Machine) -> Outcome {
        *self.reply = u64::from(libc::EIO.unsigned_abs()).to_le_bytes();
        Outcome::Resume
    }
}
