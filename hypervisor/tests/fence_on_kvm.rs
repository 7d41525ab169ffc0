//! The memory fence around a guest's own memory, on the machine's /dev/kvm: a device process
//! reaches the page that the guest has touched, and no other. Cannot tell of a confidential guest,
//! whose private pages this KVM does not have: to the fence they are holes like those here.
//! Skipped, and said so, without /dev/kvm or not as root.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "tests fail by panicking"
)]

use casemate_hypervisor::bus::Bus;
use casemate_hypervisor::exits::{Events, Guard, Machine, Note, Outcome, PageRule, Stop};
use casemate_hypervisor::kvm::{Vm, VmKind};
use casemate_hypervisor::memory::GuestRam;
use casemate_hypervisor::memory::page_state::AllShared;
use casemate_sandbox::{Child, Exit, Layer, Layers};
use casemate_test_support::guests::{DATA, kvm, plan, rbx};
use casemate_test_support::memory::{Mapping, PAGE, held};
use casemate_test_support::sandbox::{confined, pipe};
use rustix::io::{Errno, read, write};
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::sync::Arc;

struct Nobody;
impl Events for Nobody {
    fn mark(&self, _: u8) {}
    fn note(&self, _: Note) {}
    fn denied(&self, _: PageRule, _: u64) {}
}

/// The page that the guest writes, and its neighbour.
const PAGES: [usize; 2] = [DATA as usize / PAGE, DATA as usize / PAGE + 1];
const GONE: u8 = 0xee;

/// A process that maps the guest's memory, fenced or not. For each byte that it gets it says what
/// it finds in the two pages; [`GONE`] for a page that it cannot reach.
struct Device {
    child: Child,
    ask: OwnedFd,
    answers: OwnedFd,
}

impl Device {
    fn new(ram: &GuestRam, layers: Layers) -> Self {
        let ((asked, ask), (answers, answer)) = (pipe(), pipe());
        let (scratch_read, scratch) = pipe();
        let pages = ram.file().metadata().unwrap().len() as usize / PAGE;
        let file = ram.file().try_clone().unwrap();
        let layers = layers.keep(&asked).keep(&answer).keep(&file);
        let child = confined(layers.keep(&scratch_read).keep(&scratch), |setup| {
            let memory = Mapping::of(&file, pages);
            setup.fence().unwrap().cover(memory.start, memory.size()).unwrap();
            while read(&asked, &mut [0_u8]) == Ok(1) {
                let found = PAGES.map(|page| match memory.writev_from(page, &scratch) {
                    Ok(_) => {
                        read(&scratch_read, &mut [0_u8; PAGE][..]).unwrap();
                        memory.load(page)
                    }
                    Err(Errno::FAULT) => GONE,
                    Err(e) => panic!("{e}"),
                });
                write(&answer, &found).unwrap();
            }
            0
        });
        Self { child, ask, answers }
    }

    fn finds(&self) -> [u8; 2] {
        let mut found = [0; 2];
        write(&self.ask, &[1]).unwrap();
        assert_eq!(read(&self.answers, &mut found).unwrap(), 2);
        found
    }

    fn end(mut self) {
        drop(self.ask);
        assert_eq!(self.child.wait().unwrap(), Exit::Code(0));
    }
}

/// Runs a guest that writes 42 to its page; `look` sees its memory before, and after.
fn with_guest(layers: &Layers, mut look: impl FnMut(&Device, &GuestRam, bool)) {
    let Some(dev_kvm) = kvm() else { return };
    // mov byte ptr [rbx], 42, then ud2 without an IDT
    let plan = plan(&[&rbx(DATA)[..], &[0xc6, 0x03, 42, 0x0f, 0x0b]].concat(), 1);
    let ram = GuestRam::new(plan.ram.clone()).unwrap();
    for pages in plan.pages() {
        ram.write(pages.range.start(), pages.contents()).unwrap();
    }
    // Before KVM makes threads in this process.
    let device = Device::new(&ram, layers.clone());
    let vm = Arc::new(Vm::create(dev_kvm.into(), VmKind::Plain).unwrap());
    vm.create_irqchip().unwrap();
    vm.add_memory(&ram).unwrap();
    let mut vcpu = vm.create_vcpu(0).unwrap();
    vcpu.set_cpuid(0, &vm.cpuid(0, 1).unwrap()).unwrap();
    vcpu.set_boot_state(&plan.boot).unwrap();
    let machine = Machine {
        pio: Bus::default(),
        mmio: Bus::default(),
        ram: plan.ram.clone(),
        pages: Box::new(AllShared),
        certs: None,
        guard: Guard::default(),
        events: Box::new(Nobody),
    };
    look(&device, &ram, false);
    assert_eq!(vcpu.run().handle(&machine), Outcome::Stop(Stop::Shutdown));
    look(&device, &ram, true);
    device.end();
}

fn a_device_behind_a_fence_reaches_the_page_that_the_guest_wrote_and_no_other() {
    with_guest(&Layers::new("device").with(Layer::MemoryFence), |device, ram, after| {
        let expected = if after { [42, GONE] } else { [GONE; 2] };
        // Other pages may be there by now: the guest's page tables, which the processor marks.
        let held_now = held(ram.file());
        assert_eq!(device.finds(), expected);
        assert_eq!(held(ram.file()), held_now, "looking makes no page");
    });
    with_guest(&Layers::new("device"), |device, ram, after| {
        let held_now = held(ram.file());
        assert_eq!(device.finds(), if after { [42, 0] } else { [0; 2] });
        let grown = held(ram.file()) - held_now;
        assert_eq!(grown, if after { 0 } else { 2 }, "else this could not tell");
    });
}

fn main() -> ExitCode {
    casemate_test_support::sandbox::main(&[(
        "a_device_behind_a_fence_reaches_the_page_that_the_guest_wrote_and_no_other",
        a_device_behind_a_fence_reaches_the_page_that_the_guest_wrote_and_no_other,
    )])
}
