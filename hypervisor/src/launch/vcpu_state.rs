//! The registers that each vCPU of a plan starts with: one description, for the launch digest and for KVM.
//!
//! They are written down in the form in which the processor measures them ([`VcpuState`]); `kvm` translates that into
//! KVM's structures. Were it the other way round, a register that KVM is told and the digest is not would show only on
//! the day a launch fails.

use casemate_attestation::digest::{Segment, VcpuState};

/// Where and how the boot processor starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct BootState {
    /// First instruction.
    pub rip: u64,
    /// Stack pointer.
    pub rsp: u64,
    /// First argument (System V second): address of the parameters.
    pub rsi: u64,
    /// Page-table root.
    pub cr3: u64,
}

/// Long mode, paging, write protection, numeric errors native; caches on.
const CR0: u64 = 0x8001_0033;
/// PAE, and SSE state for the boot code's SHA instructions (OSFXSR, OSXMMEXCPT).
const CR4: u64 = 0x0000_0620;
/// LME, LMA, NXE. SVME is KVM's own business and must not be set by user space.
const EFER: u64 = 0x0000_0d00;

/// Flat segments as a VMCB holds them (AMD 24593, appendix B); nothing loads them from a table before the guest has its
/// own. Attributes: type 3:0, S 4, P 7, L 9, D/B 10, G 11.
const CODE: Segment = Segment::new(0x08, 0xa9b, 0xffff_ffff, 0);
const DATA: Segment = Segment::new(0x10, 0xc93, 0xffff_ffff, 0);
const TASK: Segment = Segment::new(0, 0x8b, 0xffff, 0);
const LDT: Segment = Segment::new(0, 0x82, 0xffff, 0);
/// No descriptor table: an event before the guest has made its own ends it.
const NO_TABLE: Segment = Segment::new(0, 0, 0, 0);

impl BootState {
    /// All registers of the boot processor. KVM's reset leaves 0x600 in RDX, a processor signature, which would make the
    /// digest depend on the host: it is zero.
    #[must_use]
    pub fn registers(&self) -> VcpuState {
        VcpuState {
            es: DATA,
            cs: CODE,
            ss: DATA,
            ds: DATA,
            fs: DATA,
            gs: DATA,
            gdtr: NO_TABLE,
            ldtr: LDT,
            idtr: NO_TABLE,
            tr: TASK,
            efer: EFER,
            cr0: CR0,
            cr3: self.cr3,
            cr4: CR4,
            rip: self.rip,
            rsp: self.rsp,
            rsi: self.rsi,
            ..parked()
        }
    }
}

/// KVM's reset state with RDX 0: what every vCPU but the first is launched with.
fn parked() -> VcpuState {
    VcpuState { rdx: 0, ..VcpuState::kvm_reset() }
}

/// The state of each of `vcpus` vCPUs, in order, as an SNP launch measures it.
pub fn vcpu_states(boot: &BootState, vcpus: u32) -> impl Iterator<Item = VcpuState> + use<> {
    let boot = boot.registers();
    std::iter::once(boot).chain(std::iter::repeat(parked())).take(vcpus as usize)
}
