//! The registers that each vCPU of a plan starts with: one description, for the launch digest and
//! for KVM.
//!
//! They are written down in the form in which the processor measures them ([`VcpuState`]); `kvm`
//! translates that into KVM's structures. Were it the other way round, a register that KVM is told
//! and the digest is not would show only on the day a launch fails.

use casemate_attestation::digest::{Segment, VcpuState};
use casemate_layout::map;
use x86_64::registers::control::{Cr0Flags, Cr4Flags};
use x86_64::registers::model_specific::EferFlags;
use x86_64::structures::gdt::DescriptorFlags as Descriptor;

/// Where and how the boot processor starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct BootState {
    /// Address of the first instruction.
    pub rip: u64,
    /// The stack pointer at that instruction.
    pub rsp: u64,
    /// First argument (System V second): address of the parameters.
    pub rsi: u64,
    /// The page table of the first instruction.
    pub cr3: u64,
}

/// Paging, write protection, numeric errors native; caches on.
const CR0: Cr0Flags = Cr0Flags::PROTECTED_MODE_ENABLE
    .union(Cr0Flags::MONITOR_COPROCESSOR)
    .union(Cr0Flags::EXTENSION_TYPE)
    .union(Cr0Flags::NUMERIC_ERROR)
    .union(Cr0Flags::WRITE_PROTECT)
    .union(Cr0Flags::PAGING);
/// PAE, and SSE state for the boot code's SHA instructions.
const CR4: Cr4Flags =
    Cr4Flags::PHYSICAL_ADDRESS_EXTENSION.union(Cr4Flags::OSFXSR).union(Cr4Flags::OSXMMEXCPT_ENABLE);
/// Long mode. SVME is KVM's own business and must not be set by user space.
const EFER: EferFlags = EferFlags::LONG_MODE_ENABLE
    .union(EferFlags::LONG_MODE_ACTIVE)
    .union(EferFlags::NO_EXECUTE_ENABLE);

/// Flat segments as a VMCB holds them (AMD 24593, appendix B); nothing loads them from a table
/// before the guest has its own. Attributes: type 3:0, S 4, P 7, L 9, D/B 10, G 11.
const CODE: Segment = Segment::new(0x08, attributes(Descriptor::KERNEL_CODE64), u32::MAX, 0);
const DATA: Segment = Segment::new(0x10, attributes(Descriptor::KERNEL_DATA), u32::MAX, 0);
/// System segments, whose type is a number: busy TSS, LDT; present. The boot code finds its task
/// state where this leads, and so needs neither a descriptor nor LTR.
const TASK: Segment = Segment::new(0, 0x8b, TASK_LIMIT, map::SCRATCH_TASK.start);
/// Offset of the last byte of a task state segment of 64 bits.
const TASK_LIMIT: u32 = 0x67;
const _: () = assert!(map::SCRATCH_TASK.size == TASK_LIMIT as u64 + 1);
const LDT: Segment = Segment::new(0, 0x82, 0xffff, 0);
/// No descriptor table: an event before the guest has made its own ends it.
const NO_TABLE: Segment = Segment::new(0, 0, 0, 0);

/// A descriptor's flags as a VMCB has them: its bits 47:40 and 55:52, next to each other.
const fn attributes(flags: Descriptor) -> u16 {
    let bits = flags.bits();
    // Twelve bits.
    #[allow(clippy::cast_possible_truncation, reason = "masked")]
    let attributes = ((bits >> 40 & 0xff) | (bits >> 52 & 0xf) << 8) as u16;
    attributes
}

impl BootState {
    /// All registers of the boot processor. RDX is zero as in [`parked`].
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
            efer: EFER.bits(),
            cr0: CR0.bits(),
            cr3: self.cr3,
            cr4: CR4.bits(),
            rip: self.rip,
            rsp: self.rsp,
            rsi: self.rsi,
            rdx: 0,
            ..VcpuState::kvm_reset()
        }
    }
}

/// Present segments of one byte in a page that nobody ever makes valid.
const STUCK_CODE: Segment = Segment::new(0, SMALL | 0xb, 0, map::PARKED.start);
const STUCK_DATA: Segment = Segment::new(0, SMALL | 0x3, 0, map::PARKED.start);
/// A segment of 16-bit code or data whose limit counts bytes.
const SMALL: u16 = attributes(Descriptor::USER_SEGMENT.union(Descriptor::PRESENT));
const STUCK_TASK: Segment = Segment::new(0, 0x8b, 0, map::PARKED.start);
const STUCK_LDT: Segment = Segment::new(0, 0x82, 0, map::PARKED.start);
/// Beyond the limit of [`STUCK_CODE`], and with its base still in [`map::PARKED`].
const STUCK_RIP: u64 = 0xff0;

/// What every vCPU but the first is launched with: a state that leads nowhere.
///
/// KVM launches, and the firmware measures, a state for each vCPU, and the host can run it whenever
/// it likes, for as long as the guest lives; that KVM holds the vCPU back is the host's good will.
/// A Linux guest never uses it: it makes a state of its own for each processor that it starts (GHCB
/// AP creation, `wakeup_cpu_via_vmgexit` in Linux). The reset state that KVM leaves there has an
/// interrupt table in page 0 and a stack below 64 KiB, so that one injected event would run
/// whatever bytes these pages hold by then, as 16-bit code with all the guest's rights.
///
/// Here three things each suffice. The instruction pointer is beyond the code segment's limit, so
/// no instruction is ever fetched: #GP. The interrupt table has limit 0, so neither that nor any
/// other event has a vector: it becomes a double fault, which has none either, and the processor
/// shuts down. And code and stack are in a page that neither boot code nor Linux ever accepts, so
/// that even without limits every access would fault, and nothing be written. Shutdown ends the VM,
/// as the host can at any time.
///
/// RDX is 0, where KVM's reset leaves a processor signature, which would make the digest depend on
/// the host.
#[must_use]
pub fn parked() -> VcpuState {
    VcpuState {
        rdx: 0,
        rip: STUCK_RIP,
        cs: STUCK_CODE,
        ss: STUCK_DATA,
        ds: STUCK_DATA,
        es: STUCK_DATA,
        fs: STUCK_DATA,
        gs: STUCK_DATA,
        tr: STUCK_TASK,
        ldtr: STUCK_LDT,
        gdtr: NO_TABLE,
        idtr: NO_TABLE,
        ..VcpuState::kvm_reset()
    }
}

/// The state of each of `vcpus` vCPUs, in order, as an SNP launch measures it.
pub fn vcpu_states(boot: &BootState, vcpus: u32) -> impl Iterator<Item = VcpuState> + use<> {
    let boot = boot.registers();
    std::iter::once(boot).chain(std::iter::repeat(parked())).take(vcpus as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a processor in this state does before its first instruction: fetches it, or takes
    /// `event`, a vector. By the processor's own rules for real mode (AMD64 APM volume 2,
    /// "Real-Mode Interrupt Control Transfers" and "Segment-Limit Checks"): a MODEL, written from
    /// the manual, of no more than the two.
    #[derive(Debug, PartialEq, Eq)]
    enum First {
        Fetches(u64),
        /// Runs the handler whose vector lies here, after a push to this address.
        Handles {
            vector_at: u64,
            pushes_at: u64,
        },
        ShutsDown,
    }

    const GENERAL_PROTECTION: u8 = 13;
    const DOUBLE_FAULT: u8 = 8;

    fn first(state: &VcpuState, event: Option<u8>) -> First {
        assert_eq!((state.cr0 & 1, state.efer, state.rflags), (0, 0, 2), "not real mode");
        match event {
            None if state.rip > u64::from(state.cs.limit) => first(state, Some(GENERAL_PROTECTION)),
            None => First::Fetches(state.cs.base + state.rip),
            Some(vector) => {
                let entry = u64::from(vector) * 4;
                let has_vector = entry + 3 <= u64::from(state.idtr.limit);
                let top = state.rsp.wrapping_sub(2) & 0xffff;
                let has_stack = top < u64::from(state.ss.limit);
                match (has_vector && has_stack, vector) {
                    (true, _) => First::Handles {
                        vector_at: state.idtr.base + entry,
                        pushes_at: state.ss.base + top,
                    },
                    (false, DOUBLE_FAULT) => First::ShutsDown,
                    (false, _) => first(state, Some(DOUBLE_FAULT)),
                }
            }
        }
    }

    /// Protects: a host that runs a processor which the guest never started gets nothing but an
    /// end. It cannot tell what a processor does that breaks its manual's rules.
    #[test]
    fn no_instruction_and_no_event_leads_anywhere_from_the_state_of_a_parked_processor() {
        let state = parked();
        assert_eq!(first(&state, None), First::ShutsDown);
        for vector in 0..=u8::MAX {
            assert_eq!(first(&state, Some(vector)), First::ShutsDown, "vector {vector}");
        }
    }

    /// Each of the three reasons is enough: without the limits everything is in the page that
    /// nobody accepts.
    #[test]
    fn without_its_limits_a_parked_processor_touches_nothing_but_the_page_that_nobody_accepts() {
        let mut state = parked();
        let inside = |at: u64| at >= map::PARKED.start && at < map::PARKED.end();
        state.cs.limit = 0xffff;
        match first(&state, None) {
            First::Fetches(at) => assert!(inside(at), "{at:#x}"),
            other => panic!("{other:?}"),
        }
        for segment in [state.cs, state.ss, state.ds, state.es, state.fs, state.gs, state.tr] {
            assert_eq!((segment.base, segment.attributes & 0x80), (map::PARKED.start, 0x80));
        }
        assert!(!map::PARKED.overlaps(map::HOST_MAP) && map::VIDEO.contains(map::PARKED));
    }

    /// What was there before, to show that the model can tell: KVM's reset state has a vector for
    /// everything, and pushes into low memory.
    #[test]
    fn the_reset_state_would_have_led_into_low_memory() {
        let reset = VcpuState::kvm_reset();
        for vector in 0..=u8::MAX {
            assert!(matches!(
                first(&reset, Some(vector)),
                First::Handles { vector_at: 0..0x400, pushes_at: 0xfffe }
            ));
        }
    }

    /// The numbers that are measured, as the manual has them: a digest must not change with a
    /// library's version.
    #[test]
    fn registers_have_the_values_that_are_published() {
        let boot = BootState { rip: 1, rsp: 2, rsi: 3, cr3: 4 }.registers();
        assert_eq!((boot.cr0, boot.cr4, boot.efer), (0x8001_0033, 0x620, 0xd00));
        assert_eq!((boot.cs.attributes, boot.ss.attributes), (0xa9b, 0xc93));
        assert_eq!((boot.tr.base, boot.tr.limit, boot.tr.attributes), (0x2_0200, 0x67, 0x8b));
        assert_eq!((parked().cs.attributes, parked().ss.attributes), (0x9b, 0x93));
    }

    #[test]
    fn all_processors_but_the_first_have_the_same_state() {
        let boot = BootState { rip: 1, rsp: 2, rsi: 3, cr3: 4 };
        let states: Vec<_> = vcpu_states(&boot, 5).collect();
        assert_eq!((states.len(), states[0].rip), (5, 1));
        assert!(states[1..].iter().all(|state| *state == parked()));
        assert_eq!((states[0].rdx, states[1].rdx), (0, 0), "a host's signature");
    }
}
