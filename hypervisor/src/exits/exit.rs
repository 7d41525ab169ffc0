//! The translation of `kvm_run` (Linux `include/uapi/linux/kvm.h`) into [`Exit`].
//!
//! It reads a byte area through checked accessors: whatever the bytes are, the result is some exit.
//! What the kernel fills from guest registers stays [`Guest`].

use crate::exits::{
    debug::Debug, errno::Errno, fail_entry::FailEntry, hlt::Hlt, hypercall::Hypercall,
    internal_error::InternalError, intr::Intr, io_in::IoIn, io_out::IoOut, ioapic_eoi::IoapicEoi,
    memory_fault::MemoryFault, mmio_read::MmioRead, mmio_write::MmioWrite, rdmsr::Rdmsr,
    req_certs::ReqCerts, shutdown::Shutdown, system_event::SystemEvent, unknown::Unknown,
    wrmsr::Wrmsr,
};
use casemate_values::Guest;

/// The first bytes of `kvm_run` that are not part of [`RunArea`]: they hold `immediate_exit`, the
/// one field that another thread may have to write.
pub const RUN_HEAD: usize = 8;

/// `kvm_run` and the pages behind it, without its first [`RUN_HEAD`] bytes. Offsets are those of
/// `kvm_run`.
#[derive(Debug)]
pub struct RunArea<'a>(&'a mut [u8]);

/// Why a vCPU left the guest.
#[derive(Debug)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each variant's type documents it")]
pub enum Exit<'a> {
    Debug(Debug),
    Errno(Errno),
    FailEntry(FailEntry),
    Hlt(Hlt),
    Hypercall(Hypercall<'a>),
    InternalError(InternalError),
    Intr(Intr),
    IoIn(IoIn<'a>),
    IoOut(IoOut<'a>),
    IoapicEoi(IoapicEoi),
    MemoryFault(MemoryFault),
    MmioRead(MmioRead<'a>),
    MmioWrite(MmioWrite<'a>),
    Rdmsr(Rdmsr<'a>),
    ReqCerts(ReqCerts<'a>),
    Shutdown(Shutdown),
    SystemEvent(SystemEvent),
    Unknown(Unknown),
    Wrmsr(Wrmsr<'a>),
}

// Exit reasons, `include/uapi/linux/kvm.h` of Linux 7.3. Numbers, not kvm-bindings' constants,
// since those stop at Linux 6.15 and lack SNP_REQ_CERTS.
const IO: u32 = 2;
const HYPERCALL: u32 = 3;
const DEBUG: u32 = 4;
const HLT: u32 = 5;
const MMIO: u32 = 6;
const SHUTDOWN: u32 = 8;
const FAIL_ENTRY: u32 = 9;
const INTR: u32 = 10;
const INTERNAL_ERROR: u32 = 17;
const SYSTEM_EVENT: u32 = 24;
const IOAPIC_EOI: u32 = 26;
const X86_RDMSR: u32 = 29;
const X86_WRMSR: u32 = 30;
const MEMORY_FAULT: u32 = 39;
const SNP_REQ_CERTS: u32 = 43;

const EXIT_REASON: usize = 8;
/// Offset of the union in `kvm_run`.
const U: usize = 32;
const IO_DIRECTION_OUT: u8 = 1;
const MEMORY_EXIT_FLAG_PRIVATE: u64 = 1 << 3;

impl<'a> RunArea<'a> {
    /// The exit's own bytes, `kvm_run[RUN_HEAD..]`.
    #[must_use]
    pub fn new(bytes: &'a mut [u8]) -> Self {
        Self(bytes)
    }

    fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        at.checked_sub(RUN_HEAD)
            .and_then(|at| self.0.get(at..)?.first_chunk::<N>().copied())
            .unwrap_or([0; N])
    }
    fn u8(&self, at: usize) -> u8 {
        u8::from_le_bytes(self.array(at))
    }
    fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes(self.array(at))
    }
    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.array(at))
    }
    fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.array(at))
    }
    fn guest(&self, at: usize) -> Guest<u64> {
        Guest::new(self.u64(at))
    }
    /// The bytes at `at..at + len`, if the area has them.
    fn slice(self, at: u64, len: u64) -> Option<&'a mut [u8]> {
        let at = usize::try_from(at).ok()?.checked_sub(RUN_HEAD)?;
        let end = at.checked_add(usize::try_from(len).ok()?)?;
        self.0.get_mut(at..end)
    }
    /// The fields at `at` that KVM reads when the vCPU is entered again.
    fn reply<const N: usize>(self, at: usize) -> Option<&'a mut [u8; N]> {
        self.0.get_mut(at.checked_sub(RUN_HEAD)?..)?.first_chunk_mut()
    }
}

impl<'a> Exit<'a> {
    /// Translates the state of `run` after a KVM_RUN that returned `result` (the errno of a
    /// failure).
    #[must_use]
    pub fn decode(result: Result<(), i32>, run: RunArea<'a>) -> Self {
        let reason = run.u32(EXIT_REASON);
        match result {
            // EINTR: kicked. EAGAIN: the vCPU waits for its start-up (Linux 6.12 spins here until
            // AP creation).
            Err(libc::EINTR | libc::EAGAIN) => Self::Intr(Intr),
            // Only with these two errnos is the exit reason of a failed run meaningful.
            Err(libc::EFAULT | libc::EHWPOISON) if reason == MEMORY_FAULT => {
                Self::MemoryFault(MemoryFault {
                    gpa: run.guest(U + 8),
                    size: run.guest(U + 16),
                    private: run.u64(U) & MEMORY_EXIT_FLAG_PRIVATE != 0,
                })
            }
            Err(errno) => Self::Errno(Errno { errno }),
            Ok(()) => Self::from_reason(reason, run),
        }
    }

    fn from_reason(reason: u32, run: RunArea<'a>) -> Self {
        let malformed = Self::Unknown(Unknown { reason });
        match reason {
            IO => Self::io(run).unwrap_or(malformed),
            HYPERCALL => {
                let number = run.guest(U);
                let args = [run.guest(U + 8), run.guest(U + 16), run.guest(U + 24)];
                let Some(reply) = run.reply(U + 56) else { return malformed };
                Self::Hypercall(Hypercall { number, args, reply })
            }
            DEBUG => Self::Debug(Debug),
            HLT => Self::Hlt(Hlt),
            MMIO => Self::mmio(run).unwrap_or(malformed),
            SHUTDOWN => Self::Shutdown(Shutdown),
            FAIL_ENTRY => Self::FailEntry(FailEntry { reason: run.u64(U) }),
            INTR => Self::Intr(Intr),
            INTERNAL_ERROR => Self::InternalError(InternalError { suberror: run.u32(U) }),
            SYSTEM_EVENT => {
                let data = (run.u32(U + 4) > 0).then(|| run.guest(U + 8));
                Self::SystemEvent(SystemEvent { kind: run.u32(U), data })
            }
            IOAPIC_EOI => Self::IoapicEoi(IoapicEoi { vector: run.u8(U) }),
            X86_RDMSR => {
                let index = Guest::new(run.u32(U + 12));
                // `error` is the first byte at U, `data` is at U + 16; both belong to the reply.
                let Some(reply) = run.slice(U as u64, 24) else { return malformed };
                Self::Rdmsr(Rdmsr { index, reply })
            }
            X86_WRMSR => {
                let (index, data) = (Guest::new(run.u32(U + 12)), run.guest(U + 16));
                let Some(reply) = run.slice(U as u64, 1) else { return malformed };
                Self::Wrmsr(Wrmsr { index, data, reply })
            }
            SNP_REQ_CERTS => {
                let (gpa, pages) = (run.guest(U), run.guest(U + 8));
                let Some(reply) = run.reply(U + 8) else { return malformed };
                Self::ReqCerts(ReqCerts { gpa, pages, reply })
            }
            _ => malformed,
        }
    }

    /// Size comes raw from the GHCB of an SNP guest: 1 to 7. `count * size` bytes are at
    /// `data_offset`.
    fn io(run: RunArea<'a>) -> Option<Self> {
        let out = run.u8(U) == IO_DIRECTION_OUT;
        let width = run.u8(U + 1);
        let port = Guest::new(run.u16(U + 2));
        let total = u64::from(run.u32(U + 4)).checked_mul(u64::from(width))?;
        let data = run.u64(U + 8);
        let data = run.slice(data, total)?;
        Some(if out {
            Self::IoOut(IoOut { port, width, data })
        } else {
            Self::IoIn(IoIn { port, width, data })
        })
    }

    fn mmio(run: RunArea<'a>) -> Option<Self> {
        let address = run.guest(U);
        let len = u64::from(run.u32(U + 16)).min(8);
        let write = run.u8(U + 20) != 0;
        let data = run.slice(U as u64 + 8, len)?;
        Some(if write {
            Self::MmioWrite(MmioWrite { address, data })
        } else {
            Self::MmioRead(MmioRead { address, data })
        })
    }

    /// The name of the variant, as in [`super::EXITS`].
    #[must_use]
    pub fn name(&self) -> &'static str {
        super::EXITS.get(self.number()).copied().unwrap_or("unknown")
    }

    /// The place of that name in [`super::EXITS`].
    #[must_use]
    pub const fn number(&self) -> usize {
        match self {
            Self::Debug(_) => 0,
            Self::Errno(_) => 1,
            Self::FailEntry(_) => 2,
            Self::Hlt(_) => 3,
            Self::Hypercall(_) => 4,
            Self::InternalError(_) => 5,
            Self::Intr(_) => 6,
            Self::IoIn(_) => 7,
            Self::IoOut(_) => 8,
            Self::IoapicEoi(_) => 9,
            Self::MemoryFault(_) => 10,
            Self::MmioRead(_) => 11,
            Self::MmioWrite(_) => 12,
            Self::Rdmsr(_) => 13,
            Self::ReqCerts(_) => 14,
            Self::Shutdown(_) => 15,
            Self::SystemEvent(_) => 16,
            Self::Unknown(_) => 17,
            Self::Wrmsr(_) => 18,
        }
    }
}
