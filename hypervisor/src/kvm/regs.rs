//! Registers in KVM's structures, from the one description that is measured too
//! ([`casemate_attestation::digest::VcpuState`]).

use casemate_attestation::digest::{Segment, VcpuState};
use kvm_bindings::{Msrs, kvm_dtable, kvm_msr_entry, kvm_regs, kvm_segment, kvm_sregs};

/// General registers. What [`VcpuState`] has beyond these and [`sregs`] is as KVM's reset leaves
/// it.
pub(super) fn regs(state: &VcpuState) -> kvm_regs {
    let [r8, r9, r10, r11, r12, r13, r14, r15] = state.r8_15;
    kvm_regs {
        rax: state.rax,
        rbx: state.rbx,
        rcx: state.rcx,
        rdx: state.rdx,
        rsi: state.rsi,
        rdi: state.rdi,
        rsp: state.rsp,
        rbp: state.rbp,
        r8,
        r9,
        r10,
        r11,
        r12,
        r13,
        r14,
        r15,
        rip: state.rip,
        rflags: state.rflags,
    }
}

/// Segments, tables and control registers; the rest, such as the APIC base, stays as KVM says it
/// is.
pub(super) fn sregs(kvm: kvm_sregs, state: &VcpuState) -> kvm_sregs {
    kvm_sregs {
        cs: segment(state.cs),
        ds: segment(state.ds),
        es: segment(state.es),
        fs: segment(state.fs),
        gs: segment(state.gs),
        ss: segment(state.ss),
        tr: segment(state.tr),
        ldt: segment(state.ldtr),
        gdt: table(state.gdtr),
        idt: table(state.idtr),
        cr0: state.cr0,
        cr3: state.cr3,
        cr4: state.cr4,
        efer: state.efer,
        ..kvm
    }
}

/// The way back of Linux `svm_set_segment` (arch/x86/kvm/svm/svm.c), which packs these into a
/// VMCB's attributes.
fn segment(from: Segment) -> kvm_segment {
    let bits = |at: u16, width: u16| u8::try_from(from.attributes >> at & ((1 << width) - 1));
    // Four bits at most: they always fit.
    let bits = |at, width| bits(at, width).unwrap_or(0);
    kvm_segment {
        base: from.base,
        limit: from.limit,
        selector: from.selector,
        type_: bits(0, 4),
        s: bits(4, 1),
        dpl: bits(5, 2),
        present: bits(7, 1),
        avl: bits(8, 1),
        l: bits(9, 1),
        db: bits(10, 1),
        g: bits(11, 1),
        ..Default::default()
    }
}

/// A table's limit has 16 bits; a larger one does not exist.
fn table(from: Segment) -> kvm_dtable {
    let limit = u16::try_from(from.limit).unwrap_or(u16::MAX);
    kvm_dtable { base: from.base, limit, ..Default::default() }
}

/// `IA32_MTRR_DEF_TYPE`: whether MTRRs are on, and what holds elsewhere.
const MTRR_DEF_TYPE: u32 = 0x2ff;
/// MTRRs on, default write-back.
const MTRR_WRITE_BACK: u64 = 1 << 11 | 6;
pub(super) const MSR_COUNT: usize = 1;

pub(super) fn msrs() -> Result<Msrs, vmm_sys_util::fam::Error> {
    let entry = kvm_msr_entry { index: MTRR_DEF_TYPE, data: MTRR_WRITE_BACK, ..Default::default() };
    Msrs::from_entries(&[entry; MSR_COUNT])
}
