//! Registers of a vCPU that starts in 64-bit mode.

use crate::launch::LaunchPlan;
use casemate_attestation::digest::{Segment, VcpuState};
use kvm_bindings::{Msrs, kvm_msr_entry, kvm_regs, kvm_segment, kvm_sregs};

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

/// Selectors of the flat segments; nothing loads them from a table before the guest has its own.
const CODE_SELECTOR: u16 = 0x08;
const DATA_SELECTOR: u16 = 0x10;

pub(super) fn regs(state: &BootState) -> kvm_regs {
    kvm_regs {
        rip: state.rip,
        rsp: state.rsp,
        rsi: state.rsi,
        rflags: 2,
        // KVM's reset leaves 0x600 in RDX, which would be measured.
        rdx: 0,
        ..Default::default()
    }
}

pub(super) fn sregs(mut sregs: kvm_sregs, state: &BootState) -> kvm_sregs {
    let code = kvm_segment {
        base: 0,
        limit: 0xffff_ffff,
        selector: CODE_SELECTOR,
        type_: 11,
        present: 1,
        dpl: 0,
        db: 0,
        s: 1,
        l: 1,
        g: 1,
        ..Default::default()
    };
    let data = kvm_segment { selector: DATA_SELECTOR, type_: 3, db: 1, l: 0, ..code };
    let task = kvm_segment { selector: 0, type_: 11, s: 0, limit: 0xffff, l: 0, g: 0, ..code };
    let ldt = kvm_segment { type_: 2, ..task };
    sregs.cs = code;
    (sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ss) = (data, data, data, data, data);
    (sregs.tr, sregs.ldt) = (task, ldt);
    sregs.gdt = kvm_bindings::kvm_dtable::default();
    sregs.idt = kvm_bindings::kvm_dtable::default();
    (sregs.cr0, sregs.cr3, sregs.cr4, sregs.efer) = (CR0, state.cr3, CR4, EFER);
    sregs
}

/// A segment as KVM writes it into the VMCB (Linux `arch/x86/kvm/svm/svm.c`, `svm_set_segment`).
fn segment(from: kvm_segment) -> Segment {
    let bits = [
        (from.s, 4),
        (from.dpl, 5),
        (from.present, 7),
        (from.avl, 8),
        (from.l, 9),
        (from.db, 10),
        (from.g, 11),
    ];
    let attributes = bits
        .into_iter()
        .fold(u16::from(from.type_), |attributes, (field, at)| attributes | u16::from(field) << at);
    Segment::new(from.selector, attributes, from.limit, from.base)
}

/// The state of every vCPU of a plan as an SNP launch measures it, from the same values that are set: the boot
/// processor's, and KVM's reset state with RDX 0 for the others.
pub fn vcpu_states(plan: &LaunchPlan) -> impl Iterator<Item = VcpuState> {
    let mut others = VcpuState::kvm_reset();
    others.rdx = 0;
    let (sregs, regs) = (sregs(kvm_sregs::default(), &plan.boot), regs(&plan.boot));
    let table = Segment::new(0, 0, 0, 0);
    let boot = VcpuState {
        es: segment(sregs.es),
        cs: segment(sregs.cs),
        ss: segment(sregs.ss),
        ds: segment(sregs.ds),
        fs: segment(sregs.fs),
        gs: segment(sregs.gs),
        gdtr: table,
        ldtr: segment(sregs.ldt),
        idtr: table,
        tr: segment(sregs.tr),
        efer: sregs.efer,
        cr0: sregs.cr0,
        cr3: sregs.cr3,
        cr4: sregs.cr4,
        rflags: regs.rflags,
        rip: regs.rip,
        rsp: regs.rsp,
        rdx: regs.rdx,
        rsi: regs.rsi,
        ..others
    };
    std::iter::once(boot).chain(std::iter::repeat(others)).take(plan.vcpus as usize)
}

/// `IA32_MTRR_DEF_TYPE`.
const MTRR_DEF_TYPE: u32 = 0x2ff;
/// MTRRs on, default write-back.
const MTRR_WRITE_BACK: u64 = 1 << 11 | 6;
pub(super) const MSR_COUNT: usize = 1;

pub(super) fn msrs() -> Result<Msrs, vmm_sys_util::fam::Error> {
    let entry = kvm_msr_entry { index: MTRR_DEF_TYPE, data: MTRR_WRITE_BACK, ..Default::default() };
    Msrs::from_entries(&[entry; MSR_COUNT])
}
