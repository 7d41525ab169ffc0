//! A vCPU that no guest has started, run by a host that wants it to, on the machine's own /dev/kvm:
//! the state that an SNP launch measures of it shuts down, whatever lies in memory, and writes
//! nothing.
//!
//! Protects what `launch::parked` promises of a real KVM: that it takes the state, and that nothing
//! comes of it. A plain VM stands for the guest: the page that nobody accepts, and all above it, is
//! no RAM here. Processors that are emulated in software often ignore a code segment's limit, so
//! that the instruction fetch ends there only for want of a page.
#![allow(clippy::unwrap_used, reason = "tests")]

use casemate_hypervisor::exits::Exit;
use casemate_hypervisor::kvm::{Vcpu, Vm, VmKind};
use casemate_hypervisor::memory::{GuestRam, RamMap};
use casemate_layout::map::PARKED;
use casemate_test_support::guests::kvm;
use casemate_test_support::kernel_calls::{inject_nmi, make_runnable};

/// What a host may do before it runs the vCPU.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Push {
    Nothing,
    Nmi,
}

/// How it ended.
#[derive(Debug, PartialEq)]
enum End {
    /// Triple fault.
    ShutDown,
    /// An instruction that could not be fetched.
    NoInstruction,
    Other(String),
}

/// Runs a parked vCPU with all of RAM set to `byte`; how that ends, and RAM afterwards.
fn run(byte: u8, push: Push) -> Option<(End, Vec<u8>)> {
    let vm = Vm::create(kvm()?.into(), VmKind::Plain).unwrap();
    vm.create_irqchip().unwrap();
    let size = PARKED.start;
    let ram = GuestRam::new(RamMap::new(size).unwrap()).unwrap();
    let mut bytes = vec![byte; usize::try_from(size).unwrap()];
    ram.write(0, &bytes).unwrap();
    vm.add_memory(&ram).unwrap();
    let mut vcpu: Vcpu = vm.create_vcpu(0).unwrap();
    vcpu.set_cpuid(0, &vm.cpuid(0, 1).unwrap()).unwrap();
    vcpu.park_for_ap_creation().unwrap();
    make_runnable(vcpu.raw_fd()).unwrap();
    if push == Push::Nmi {
        inject_nmi(vcpu.raw_fd()).unwrap();
    }
    let end = match vcpu.run() {
        Exit::Shutdown(_) => End::ShutDown,
        Exit::InternalError(_) => End::NoInstruction,
        other => End::Other(format!("{other:?}")),
    };
    ram.read(0, &mut bytes).unwrap();
    Some((end, bytes))
}

#[test]
fn a_vcpu_that_nobody_started_ends_at_once_and_leaves_memory_as_it_was() {
    // No-operations; jumps to themselves, which would run for ever; zeros, which add to memory.
    for byte in [0x90, 0xeb, 0x00] {
        for (push, ends) in [
            (Push::Nmi, &[End::ShutDown][..]),
            (Push::Nothing, &[End::ShutDown, End::NoInstruction]),
        ] {
            let Some((end, memory)) = run(byte, push) else { return };
            assert!(ends.contains(&end), "{push:?}, memory of {byte:#x}: {end:?}");
            assert!(memory.iter().all(|found| *found == byte), "{push:?}: memory was written");
        }
    }
}
