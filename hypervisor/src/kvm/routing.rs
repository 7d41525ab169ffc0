//! Where interrupts go: the whole routing table of a VM, which KVM takes only as a whole.

use super::{KvmError, Vm};
use casemate_device_transport::Message;
use kvm_bindings::{
    KVM_IRQ_ROUTING_IRQCHIP, KVM_IRQ_ROUTING_MSI, KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER,
    KVM_IRQCHIP_PIC_SLAVE, KvmIrqRouting, kvm_irq_routing_entry,
    kvm_irq_routing_entry__bindgen_ty_1, kvm_irq_routing_irqchip, kvm_irq_routing_msi,
};
use std::sync::{Arc, Mutex, PoisonError};

/// `KVM_SET_GSI_ROUTING`: `_IOW(KVMIO, 0x6a, struct kvm_irq_routing)`.
pub const SET_GSI_ROUTING: u32 = 0x4008_ae6a;
/// Interrupt lines before those of devices: the IOAPIC's pins.
pub const FIRST_DEVICE_GSI: u32 = 24;
/// Lines that the two interrupt controllers of a PC have besides.
const PIC_LINES: u32 = 16;

/// The routes of every interrupt source of the VM's devices: source `n` is line
/// [`FIRST_DEVICE_GSI`] `+ n`, whatever the guest makes of its vectors, so that no event has to be
/// tied to another line while the VM runs.
#[derive(Debug)]
pub struct Routing {
    vm: Arc<Vm>,
    messages: Mutex<Vec<Option<Message>>>,
}

impl Routing {
    /// Routes of so many sources, none of which leads anywhere.
    ///
    /// # Errors
    /// [`KvmError`].
    pub fn new(vm: Arc<Vm>, sources: usize) -> Result<Self, KvmError> {
        let messages = vec![None; sources];
        // Now, so that a kernel that refuses it does so before there is a guest.
        set(&vm, &messages)?;
        Ok(Self { vm, messages: Mutex::new(messages) })
    }

    /// Changes the routes from source `first` on.
    ///
    /// # Errors
    /// [`KvmError`]; the old routes hold then.
    pub fn change(
        &self,
        first: usize,
        routes: impl Iterator<Item = Option<Message>>,
    ) -> Result<(), KvmError> {
        // One table for all devices: who changes it does so alone, until KVM has it.
        let mut messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        for (slot, route) in messages.iter_mut().skip(first).zip(routes) {
            *slot = route;
        }
        set(&self.vm, &messages)
    }
}

/// Gives KVM the whole table: what it has by itself (`default_routing`, arch/x86/kvm/irq_comm.c),
/// without which serial port and power button would be dead, and the devices' routes.
fn set(vm: &Vm, messages: &[Option<Message>]) -> Result<(), KvmError> {
    let wrong = |e| KvmError::new("KVM_SET_GSI_ROUTING", "interrupts of devices", e);
    let pics = (0..PIC_LINES).map(|line| {
        let chip = if line < 8 { KVM_IRQCHIP_PIC_MASTER } else { KVM_IRQCHIP_PIC_SLAVE };
        pin(line, chip, line % 8)
    });
    let ioapic = (0..FIRST_DEVICE_GSI).map(|line| pin(line, KVM_IRQCHIP_IOAPIC, line));
    let devices = (FIRST_DEVICE_GSI..).zip(messages);
    let devices = devices.filter_map(|(line, message)| Some(msi(line, (*message)?)));
    let entries: Vec<kvm_irq_routing_entry> = pics.chain(ioapic).chain(devices).collect();
    let table = KvmIrqRouting::from_entries(&entries)
        .map_err(|_| wrong(kvm_ioctls::Error::new(libc::E2BIG)))?;
    vm.fd.set_gsi_routing(&table).map_err(wrong)
}

fn pin(gsi: u32, irqchip: u32, pin: u32) -> kvm_irq_routing_entry {
    let irqchip = kvm_irq_routing_irqchip { irqchip, pin };
    let u = kvm_irq_routing_entry__bindgen_ty_1 { irqchip };
    kvm_irq_routing_entry { gsi, type_: KVM_IRQ_ROUTING_IRQCHIP, u, ..Default::default() }
}

fn msi(gsi: u32, message: Message) -> kvm_irq_routing_entry {
    let msi = kvm_irq_routing_msi {
        address_lo: message.address,
        data: message.data,
        ..Default::default()
    };
    let u = kvm_irq_routing_entry__bindgen_ty_1 { msi };
    kvm_irq_routing_entry { gsi, type_: KVM_IRQ_ROUTING_MSI, u, ..Default::default() }
}
