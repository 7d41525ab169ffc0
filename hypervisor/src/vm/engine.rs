//! A VM inside one process: KVM, memory, devices, vCPU threads. No files, no sockets, no lock:
//! those are the caller's (see [`super::vmm`]).

use super::device_thread;
pub use super::engine_error::EngineError;
use super::ready::Snp;
pub use super::ready::{Beginning, Ends, Ready};
use super::stop_slot::StopSlot;
use super::virtio::{DeviceFds, DeviceSocket, Lines, Wired};
use crate::bus::{Bus, BusError};
use crate::devices::pci_root::{ECAM_BASE, ECAM_SIZE};
use crate::devices::platform::{PLATFORM_PORT, PLATFORM_SIZE};
use crate::devices::{
    ConsoleQueue, POWER_BUTTON_GSI, PciRoot, PlatformRegisters, SERIAL_GSI, SERIAL_PORT, Uart,
};
use crate::event::Event;
use crate::exits::{Events, Exit, ExitCounts, Guard, Machine, Outcome, Progress, Stop, VcpuStep};
use crate::kvm::{KernelSides, PrivateMemory, SnpError, SnpVm, SupportedCpuid, Vcpu, Vm, VmKind};
use crate::launch::cpuid_page::CpuidTable;
use crate::launch::issue::issue;
use crate::launch::{LaunchPlan, Shape, SnpShape};
use crate::memory::page_state::AllShared;
use crate::memory::{GuestRam, PageMap, PageStates, PrivateRam};
use casemate_device_transport::BAR_SIZE;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::{Arc, Barrier, Mutex};

/// A VM that is set up and has no guest yet: what KVM makes from a [`Shape`] alone. Nothing is in
/// its memory, no launch has begun, no vCPU has registers.
#[derive(Debug)]
pub struct SetUp {
    shape: Shape,
    vm: Arc<Vm>,
    snp: Option<SnpParts>,
    ram: GuestRam,
    vcpus: Vec<Vcpu>,
    pio: Bus,
    mmio: Bus,
    lines: Lines,
    ends: Ends,
}

/// What a confidential VM has more.
#[derive(Debug)]
struct SnpParts {
    vm: SnpVm,
    private: PrivateMemory,
}

/// A VM with a guest that has not run.
#[derive(Debug)]
pub struct Engine {
    vm: Arc<Vm>,
    snp: Option<Snp>,
    ram: GuestRam,
    vcpus: Vec<Vcpu>,
    machine: Arc<Machine>,
    stop: Arc<StopSlot>,
    devices: Wired,
    /// The host's ends.
    pub ends: Ends,
}

/// Device files of the host.
#[derive(Debug)]
pub struct HostFds {
    /// /dev/kvm.
    pub dev_kvm: OwnedFd,
    /// /dev/sev, for a confidential VM.
    pub dev_sev: Option<OwnedFd>,
}

/// The plan is measured for one position of the C-bit.
fn check_c_bit(vm: &Vm, shape: SnpShape) -> Result<(), SnpError> {
    match vm.c_bit()? {
        Some(host) if host != shape.c_bit => Err(SnpError::CBit { host, planned: shape.c_bit }),
        _ => Ok(()),
    }
}

fn event() -> Result<Event, EngineError> {
    Event::new().map_err(EngineError::Event)
}

impl SetUp {
    /// A VM without devices that are processes; see [`SetUp::with_devices`].
    ///
    /// # Errors
    /// [`EngineError`].
    pub fn new(host: HostFds, shape: &Shape) -> Result<Self, EngineError> {
        Self::with_devices(host, shape, Vec::new())
    }

    /// Creates the VM, its memory, interrupt controllers, vCPUs and the host's ends, and the lines
    /// of devices, whose processes need not be there yet.
    ///
    /// # Errors
    /// [`EngineError`].
    pub fn with_devices(
        host: HostFds,
        shape: &Shape,
        devices: Vec<DeviceSocket>,
    ) -> Result<Self, EngineError> {
        let kind = if shape.snp.is_some() { VmKind::Snp } else { VmKind::Plain };
        let vm = Arc::new(Vm::create(host.dev_kvm, kind)?);
        let ram = GuestRam::new(shape.ram.clone())?;
        // Memory before interrupt controllers. A new slot waits until no vCPU can see the old ones
        // (`synchronize_srcu_expedited` in `kvm_swap_active_memslots`), which takes microseconds
        // where nothing else waits for the same. Each controller that is added to the buses of the
        // VM leaves such a wait behind in Linux 6.18 (`call_srcu` in `kvm_io_bus_register_dev`), of
        // the unhurried kind: a slot that comes after it takes milliseconds.
        let snp = match (shape.snp, host.dev_sev) {
            (Some(snp), Some(dev_sev)) => {
                check_c_bit(&vm, snp)?;
                ram.in_single_pages()?;
                let snp = SnpVm::init(vm.clone(), dev_sev, snp)?;
                Some(SnpParts { vm: snp, private: PrivateMemory::add(&vm, &ram)? })
            }
            (Some(_), None) => return Err(EngineError::NoDevSev),
            (None, _) => {
                vm.add_memory(&ram)?;
                None
            }
        };
        vm.create_irqchip()?;
        let (output_ready, input_drained) = (event()?, event()?);
        let (serial_line, power_button, stopped) = (event()?, event()?, event()?);
        vm.add_irqfd(&serial_line, SERIAL_GSI)?;
        vm.add_irqfd(&power_button, POWER_BUTTON_GSI)?;
        let console = ConsoleQueue::new(output_ready.clone(), shape.vcpus);
        let uart = Uart::new(serial_line.clone(), input_drained.clone(), console.clone());
        let uart = Arc::new(Mutex::new(uart));
        let (pio, mmio) = buses(&uart)?;
        let lines = Lines::new(&vm, devices, &stopped)?;
        let mut vcpus = Vec::new();
        for id in 0..shape.vcpus {
            let vcpu = vm.create_vcpu(id)?;
            // A plain VM's get theirs with the guest (`load`), when its supervisor may have told
            // what CPUID can be. For a confidential one KVM was asked first of all.
            if snp.is_some() {
                vm.equip(&vcpu, id, shape.vcpus)?;
                if id > 0 {
                    vcpu.park_for_ap_creation()?;
                }
            }
            vcpus.push(vcpu);
        }
        let orders = lines.orders();
        let ends = Ends {
            console,
            output_ready,
            input_drained,
            uart,
            serial_line,
            power_button,
            stopped,
            orders,
        };
        Ok(Self { shape: shape.clone(), vm, snp, ram, vcpus, pio, mmio, lines, ends })
    }

    /// Takes over what its supervisor was told of this host's CPUID, so that KVM need not be asked.
    pub fn know_supported(&self, supported: SupportedCpuid) {
        self.vm.know_supported(supported);
    }

    /// Gives the VM its guest: the plan's contents, except those that the firmware launches, and
    /// the boot processor's registers; and guest memory to the processes of its devices.
    ///
    /// # Errors
    /// [`EngineError`].
    pub fn load(self, plan: &LaunchPlan, events: Box<dyn Events>) -> Result<Engine, EngineError> {
        let Self { shape, vm, snp, ram, vcpus, pio, mut mmio, lines, ends } = self;
        if plan.shape() != shape {
            return Err(EngineError::OtherShape);
        }
        if snp.is_none() {
            (0..).zip(&vcpus).try_for_each(|(id, vcpu)| vm.equip(vcpu, id, shape.vcpus))?;
        }
        let (snp, pages): (_, Box<dyn PageStates>) = match (snp, &plan.snp) {
            (Some(SnpParts { vm, private }), Some(launch)) => {
                private.share(&plan.shared)?;
                let files = private.files();
                let map = PageMap::new(plan.ram.clone(), &plan.shared);
                let sides = KernelSides::new(ram.clone(), private);
                let pages = PrivateRam::new(sides, map, launch.page_limits);
                (Some(Snp { vm, files }), Box::new(pages))
            }
            _ => {
                for pages in plan.pages() {
                    ram.write(pages.range.start(), pages.contents())?;
                }
                (None, Box::new(AllShared))
            }
        };
        for staged in plan.staging() {
            ram.write(staged.gpa, &staged.bytes)?;
        }
        if let Some(boot) = vcpus.first() {
            boot.set_boot_state(&plan.boot)?;
        }
        let stop = lines.stop();
        let devices = lines.join(&ram)?;
        let functions = devices.functions.iter().map(|(_, device)| device.clone()).collect();
        mmio.add(ECAM_BASE, ECAM_SIZE, Arc::new(Mutex::new(PciRoot::new(functions))))?;
        for (bar, device) in &devices.functions {
            mmio.add(*bar, BAR_SIZE, device.clone())?;
        }
        let machine = Machine {
            pio,
            mmio,
            ram: plan.ram.clone(),
            pages,
            certs: plan.snp.as_ref().and_then(|launch| launch.certs.clone()),
            guard: Guard::default(),
            events,
        };
        let machine = Arc::new(machine);
        Ok(Engine { vm, snp, ram, vcpus, machine, stop, devices, ends })
    }
}

impl Engine {
    /// A VM with its guest in one step, for who has nothing to do in between.
    ///
    /// # Errors
    /// [`EngineError`].
    pub fn new(
        host: HostFds,
        plan: &LaunchPlan,
        events: Box<dyn Events>,
    ) -> Result<Self, EngineError> {
        SetUp::new(host, &plan.shape())?.load(plan, events)
    }

    /// Descriptors that are used for devices; empty without any.
    #[must_use]
    pub fn device_fds(&self) -> DeviceFds {
        self.devices.fds.clone()
    }

    /// Has the firmware launch the plan's pages and every vCPU's state; nothing to do for a plain
    /// VM. Gives the number of pages.
    ///
    /// # Errors
    /// [`EngineError`].
    pub fn launch(&self, plan: &LaunchPlan) -> Result<u64, EngineError> {
        let (Some(snp), Some(launch)) = (&self.snp, &plan.snp) else { return Ok(0) };
        let cpuid = CpuidTable::new(&self.vm.cpuid(0, plan.vcpus)?)?.encode();
        Ok(issue(plan, launch, &cpuid, &mut &snp.vm)?)
    }

    /// Descriptors that must stay open while the VM lives, though the process may use them in no
    /// call.
    #[must_use]
    pub fn needed_fds(&self) -> Vec<RawFd> {
        let dev_sev = self.snp.as_ref().map(|snp| snp.vm.sev_fd());
        dev_sev.into_iter().chain([self.vm.raw_fd()]).collect()
    }

    /// Descriptors with which page states change: of the VM, then of memory; empty for a plain VM.
    #[must_use]
    pub fn page_state_fds(&self) -> (Vec<RawFd>, Vec<RawFd>) {
        match &self.snp {
            None => (Vec::new(), Vec::new()),
            Some(snp) => {
                let memory = self.ram.file().as_raw_fd();
                let files = snp.files.iter().copied().chain([memory]).collect();
                (vec![self.vm.raw_fd()], files)
            }
        }
    }

    /// The vCPUs' descriptors, for a sandbox profile.
    #[must_use]
    pub fn vcpu_fds(&self) -> Vec<RawFd> {
        self.vcpus.iter().map(Vcpu::raw_fd).collect()
    }

    /// Starts a thread per vCPU, and one for each device. Each does all its set-up
    /// and then waits: after this call no thread makes any system call that a running vCPU does not
    /// make, so that the process can be locked.
    ///
    /// # Errors
    /// [`EngineError::Thread`].
    pub fn start_threads(self) -> Result<Ready, EngineError> {
        Ok(self.begin_threads()?.begun())
    }

    /// The same, without waiting until the threads have begun.
    ///
    /// # Errors
    /// [`EngineError::Thread`].
    pub fn begin_threads(self) -> Result<Beginning, EngineError> {
        let Wired { served, orders, .. } = self.devices;
        let count = self.vcpus.len() + served.len();
        let (ready, go) = (Arc::new(Barrier::new(count + 1)), Arc::new(Barrier::new(count + 1)));
        let counts: Vec<Arc<ExitCounts>> = self.vcpus.iter().map(|_| Arc::default()).collect();
        for ((id, vcpu), counts) in (0..).zip(self.vcpus).zip(counts.iter().cloned()) {
            let (machine, stop) = (self.machine.clone(), self.stop.clone());
            let console = self.ends.console.clone();
            let (ready, go) = (ready.clone(), go.clone());
            std::thread::Builder::new()
                .name(format!("vcpu{id}"))
                .stack_size(VCPU_STACK)
                .spawn(move || {
                    let mut vcpu = vcpu;
                    ready.wait();
                    go.wait();
                    let reason = run(id, &mut vcpu, &machine, &console, &counts);
                    machine.events.vcpu(id, VcpuStep::Stopped);
                    stop.set(reason);
                    // The lock forbids what the end of a thread and of its vCPU would do: close,
                    // munmap.
                    loop {
                        std::thread::park();
                    }
                })
                .map_err(|source| EngineError::Thread { id, source })?;
        }
        for (number, served) in served.into_iter().enumerate() {
            let (stop, machine) = (self.stop.clone(), self.machine.clone());
            let (ready, go, orders) = (ready.clone(), go.clone(), orders.clone());
            std::thread::Builder::new()
                .name(format!("device{number}"))
                .stack_size(VCPU_STACK)
                .spawn(move || {
                    let mut served = served;
                    ready.wait();
                    go.wait();
                    device_thread::serve(&mut served, &orders, &*machine.events, &stop);
                    // As above.
                    loop {
                        std::thread::park();
                    }
                })
                .map_err(EngineError::DeviceThread)?;
        }
        let (stop, ends, machine) = (self.stop, self.ends, self.machine);
        let (vm, snp, ram) = (self.vm, self.snp, self.ram);
        Ok(Beginning {
            ready,
            then: Ready { go, stop, ends, machine, counts, _vm: vm, _snp: snp, _ram: ram },
        })
    }
}

/// Stack of a vCPU thread: handlers are shallow.
const VCPU_STACK: usize = 128 * 1024;

/// Ports and memory; what is in memory is there once the processes of devices are.
fn buses(uart: &Arc<Mutex<Uart>>) -> Result<(Bus, Bus), BusError> {
    let mut pio = Bus::default();
    pio.add(SERIAL_PORT.into(), 8, uart.clone())?;
    let platform = Arc::new(Mutex::new(PlatformRegisters::default()));
    pio.add(PLATFORM_PORT.into(), PLATFORM_SIZE, platform)?;
    Ok((pio, Bus::default()))
}

fn run(
    id: u32,
    vcpu: &mut Vcpu,
    machine: &Machine,
    console: &ConsoleQueue,
    counts: &ExitCounts,
) -> Stop {
    let mut progress = Progress::default();
    let mut is_new = true;
    loop {
        let exit = vcpu.run();
        counts.count(&exit);
        // A vCPU that waits for its start can be interrupted all the same.
        if is_new && !matches!(exit, Exit::Intr(_)) {
            is_new = false;
            machine.events.vcpu(id, VcpuStep::FirstExit);
        }
        if let Outcome::Stop(stop) = progress.after(&exit) {
            return stop;
        }
        if let Outcome::Stop(stop) = exit.handle(machine) {
            return stop;
        }
        // Here, not in the serial port: this thread holds no device now, so the others can use
        // them.
        console.wait_for_room();
    }
}
