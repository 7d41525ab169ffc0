//! Firmware status codes. Source: Linux include/uapi/linux/psp-sev.h `sev_ret_code`.

/// What a firmware command answers when it does not succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("firmware status {self:?} ({:#x})", self.code())]
#[allow(missing_docs, reason = "named as the kernel names the codes")]
#[repr(u32)]
pub enum Status {
    InvalidGuestState = 0x02,
    PolicyFailure = 0x07,
    InvalidAddress = 0x09,
    BadSignature = 0x0A,
    BadMeasurement = 0x0B,
    InvalidGuest = 0x10,
    InvalidCommand = 0x11,
    Unsupported = 0x15,
    InvalidParam = 0x16,
    ResourceLimit = 0x17,
    AeadOverflow = 0x1D,
    InvalidKey = 0x27,
}

impl Status {
    /// The code as the command interface gives it (SEV_CMD's error).
    #[must_use]
    pub const fn code(self) -> u32 {
        self as u32
    }
}
