//! Doorbells on the machine's own /dev/kvm: a guest's write signals an event inside the kernel,
//! without an exit.

use casemate_hypervisor::bus::Bus;
use casemate_hypervisor::event::Event;
use casemate_hypervisor::exits::{Events, Guard, Machine, Note, Outcome, PageRule, Stop};
use casemate_hypervisor::kvm::{Vm, VmKind};
use casemate_hypervisor::memory::GuestRam;
use casemate_hypervisor::memory::page_state::AllShared;
use casemate_test_support::guests::{dx, out, plan, rbx};
use kvm_ioctls::IoEventAddress;
use std::sync::Arc;

struct Nobody;
impl Events for Nobody {
    fn mark(&self, _: u8) {}
    fn note(&self, _: Note) {}
    fn denied(&self, _: PageRule, _: u64) {}
}

#[test]
fn writes_to_a_doorbell_signal_its_event_and_do_not_exit() {
    const PORT: u16 = 0x700;
    const ADDRESS: u64 = 0xd000_0000;
    let Some(dev_kvm) = casemate_test_support::guests::kvm() else { return };
    // mov [rbx], al, then ud2 without an IDT
    let write = vec![0x88, 0x03];
    let code = [dx(PORT), out(1), out(2), rbx(ADDRESS), write, vec![0x0f, 0x0b]].concat();
    let plan = plan(&code, 1);
    let vm = Arc::new(Vm::create(dev_kvm.into(), VmKind::Plain).unwrap());
    let ram = GuestRam::new(plan.ram.clone()).unwrap();
    vm.create_irqchip().unwrap();
    vm.add_memory(&ram).unwrap();
    for pages in plan.pages() {
        ram.write(pages.range.start(), pages.contents()).unwrap();
    }
    let (port, mmio) = (Event::new().unwrap(), Event::new().unwrap());
    vm.add_ioeventfd(&port, &IoEventAddress::Pio(PORT.into())).unwrap();
    vm.add_ioeventfd(&mmio, &IoEventAddress::Mmio(ADDRESS)).unwrap();
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
    // The first exit is the end.
    assert_eq!(vcpu.run().handle(&machine), Outcome::Stop(Stop::Shutdown));
    assert_eq!((port.take(), mmio.take()), (2, 1));
}
