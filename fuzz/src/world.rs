//! A machine for exit handlers: real devices beside a recorder, and page states that record every
//! change.

use casemate_device_block::DESCRIPTION;
use casemate_device_transport::{BAR_SIZE, Function, Identity, Message};
use casemate_hypervisor::bus::{Bus, BusDevice, Effect};
use casemate_hypervisor::devices::pci_root::{ECAM_BASE, ECAM_SIZE};
use casemate_hypervisor::devices::platform::{PLATFORM_PORT, PLATFORM_SIZE};
use casemate_hypervisor::devices::{
    ConsoleQueue, PciRoot, PlatformRegisters, SERIAL_PORT, Uart, VirtioPci, Wires,
};
use casemate_hypervisor::event::Event;
use casemate_hypervisor::exits::{EXITS, Events, Exit, Guard, Machine, Note, Outcome, PageRule};
use casemate_hypervisor::memory::{GpaRange, PageStates, RamMap, Refusal, Visibility};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

/// First port of the recorder.
pub const RECORDER_PORT: u16 = 0x100;
/// First address of the recorder.
pub const RECORDER_MMIO: u64 = 0xd000_0000;
/// Size of both recorder ranges.
pub const RECORDER_SIZE: u64 = 0x40;
/// RAM of the machine: crosses the hole below 4 GiB.
pub const RAM: u64 = (3 << 30) + (64 << 20);

/// Most accesses that one exit can make: one for each byte of a vCPU's mapping, three pages. KVM
/// gives a string instruction one of them; a raw `kvm_run` may claim them all.
const ACCESSES_OF_AN_EXIT: usize = 3 * 4096;

/// Where the BARs of its two virtio-pci functions are.
pub const BARS: [u32; 2] = [0xc000_4000, 0xc000_8000];
/// Queues of each of them.
pub const QUEUES: u16 = 2;

/// What a recorder saw: offset, length, whether it was a write.
pub type Access = (u64, usize, bool);

#[derive(Debug, Default)]
struct Recorder {
    seen: Arc<Mutex<Vec<Access>>>,
}

impl BusDevice for Recorder {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        self.seen.lock().unwrap().push((offset, data.len(), false));
        data.fill(0x5a);
    }
    fn write(&mut self, offset: u64, data: &[u8]) -> Effect {
        self.seen.lock().unwrap().push((offset, data.len(), true));
        Effect::None
    }
}

/// What functions asked for so far, each thing counted; a route is counted for each source.
#[derive(Debug, Default)]
pub struct Asked {
    /// Routes of interrupts.
    pub routes: AtomicU32,
    /// Interrupts, those for changes of configuration among them.
    pub interrupts: AtomicU32,
    /// Kicks.
    pub kicks: AtomicU32,
    /// Wakes of the thread that talks to devices.
    pub requests: AtomicU32,
}

impl Asked {
    /// All four.
    pub fn counts(&self) -> [u32; 4] {
        let all = [&self.routes, &self.interrupts, &self.kicks, &self.requests];
        all.map(|count| count.load(Ordering::Relaxed))
    }
}

#[derive(Debug)]
struct Wired(Arc<Asked>);

impl Wires for Wired {
    fn route(&mut self, routes: &mut dyn Iterator<Item = Option<Message>>) {
        let routes = routes.count();
        assert_eq!(routes, usize::from(QUEUES) + 1, "each queue's, and the configuration's");
        self.0.routes.fetch_add(routes as u32, Ordering::Relaxed);
    }
    fn interrupt(&mut self, queue: u16) {
        assert!(queue < QUEUES, "an interrupt of a queue that there is not");
        self.0.interrupts.fetch_add(1, Ordering::Relaxed);
    }
    fn interrupt_config(&mut self) {
        self.0.interrupts.fetch_add(1, Ordering::Relaxed);
    }
    fn kick(&mut self, queue: u16) {
        assert!(queue < QUEUES, "a kick of a queue that there is not");
        self.0.kicks.fetch_add(1, Ordering::Relaxed);
    }
    fn request(&mut self) {
        self.0.requests.fetch_add(1, Ordering::Relaxed);
    }
}

/// A disk's function.
fn function(bar: u32, asked: &Arc<Asked>) -> Arc<Mutex<VirtioPci>> {
    let identity = Identity {
        kind: DESCRIPTION.virtio,
        class: DESCRIPTION.class,
        features: DESCRIPTION.features,
        queues: QUEUES,
        queue_size: 256,
        config: vec![7; DESCRIPTION.config],
        bar,
    };
    let function = Function::new(identity, RamMap::new(RAM).unwrap()).expect("a possible device");
    Arc::new(Mutex::new(VirtioPci::new(function, Box::new(Wired(asked.clone())))))
}

struct States {
    changes: Arc<Mutex<Vec<(GpaRange, Visibility)>>>,
    written: Arc<Mutex<Vec<(u64, usize)>>>,
    answer: Option<Refusal>,
}

impl PageStates for States {
    fn convert(&self, range: GpaRange, to: Visibility) -> Result<u64, Refusal> {
        match self.answer {
            Some(refusal) => Err(refusal),
            None => {
                self.changes.lock().unwrap().push((range, to));
                Ok(range.pages())
            }
        }
    }

    fn write_shared(&self, gpa: u64, bytes: &[u8]) -> Result<(), Refusal> {
        match self.answer {
            Some(refusal) => Err(refusal),
            None => {
                self.written.lock().unwrap().push((gpa, bytes.len()));
                Ok(())
            }
        }
    }
}

#[derive(Debug, Default)]
struct Counts {
    notes: Arc<AtomicU32>,
    denied: Arc<AtomicU32>,
}

impl Events for Counts {
    fn mark(&self, _: u8) {}
    fn note(&self, _: Note) {
        self.notes.fetch_add(1, Ordering::Relaxed);
    }
    fn denied(&self, _: PageRule, _: u64) {
        self.denied.fetch_add(1, Ordering::Relaxed);
    }
}

/// The machine and what happened to it.
#[derive(Debug)]
pub struct World {
    /// What handlers see.
    pub machine: Machine,
    seen: Arc<Mutex<Vec<Access>>>,
    changes: Arc<Mutex<Vec<(GpaRange, Visibility)>>>,
    written: Arc<Mutex<Vec<(u64, usize)>>>,
    notes: Arc<AtomicU32>,
    denied: Arc<AtomicU32>,
    /// The functions on its PCI bus, in order.
    pub functions: [Arc<Mutex<VirtioPci>>; 2],
    /// What they asked for.
    pub asked: Arc<Asked>,
}

impl World {
    /// A machine whose page states answer `answer` (none: they change).
    pub fn new(answer: Option<Refusal>) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let changes = Arc::new(Mutex::new(Vec::new()));
        let written = Arc::new(Mutex::new(Vec::new()));
        let (notes, denied) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let recorder = Arc::new(Mutex::new(Recorder { seen: seen.clone() }));
        let event = || Event::new().expect("an eventfd");
        let console = ConsoleQueue::new(event(), 1);
        let uart = Arc::new(Mutex::new(Uart::new(event(), event(), console)));
        let (mut pio, mut mmio) = (Bus::default(), Bus::default());
        pio.add(RECORDER_PORT.into(), RECORDER_SIZE, recorder.clone()).unwrap();
        pio.add(SERIAL_PORT.into(), 8, uart.clone()).unwrap();
        assert!(pio.add(RECORDER_PORT.into(), 1, uart).is_err(), "two devices have one port");
        let platform = Arc::new(Mutex::new(PlatformRegisters::default()));
        pio.add(PLATFORM_PORT.into(), PLATFORM_SIZE, platform).unwrap();
        mmio.add(RECORDER_MMIO, RECORDER_SIZE, recorder).unwrap();
        let asked = Arc::new(Asked::default());
        let functions = BARS.map(|bar| function(bar, &asked));
        let root = PciRoot::new(functions.to_vec());
        mmio.add(ECAM_BASE, ECAM_SIZE, Arc::new(Mutex::new(root))).unwrap();
        for (bar, function) in BARS.into_iter().zip(&functions) {
            mmio.add(bar.into(), BAR_SIZE, function.clone()).unwrap();
        }
        let machine = Machine {
            pio,
            mmio,
            ram: RamMap::new(RAM).unwrap(),
            pages: Box::new(States { changes: changes.clone(), written: written.clone(), answer }),
            certs: None,
            guard: Guard::default(),
            events: Box::new(Counts { notes: notes.clone(), denied: denied.clone() }),
        };
        Self { machine, seen, changes, written, notes, denied, functions, asked }
    }

    /// Handles `exit`; nothing in it may allocate more than a bounded amount.
    pub fn handle(&self, exit: Exit<'_>) -> Outcome {
        assert!(EXITS.contains(&exit.name()), "an exit without a name");
        let mut outcome = Outcome::Resume;
        // The recorder is this harness's own memory, kept over all exits of an input. Its room is
        // made before the measurement, so that only what a handler allocates is counted; an exit
        // with more accesses than the mapping has bytes still shows as an allocation.
        self.seen.lock().unwrap().reserve(ACCESSES_OF_AN_EXIT);
        self.changes.lock().unwrap().reserve(64);
        self.written.lock().unwrap().reserve(64);
        let used = allocation_counter::measure(|| outcome = exit.handle(&self.machine));
        assert!(used.bytes_max < 64 * 1024, "one exit allocated {} bytes", used.bytes_max);
        for (offset, len, _) in self.accesses() {
            assert!(
                offset + len as u64 <= RECORDER_SIZE,
                "a device saw an access outside its range"
            );
            assert!(matches!(len, 1 | 2 | 4 | 8), "a device saw an access no processor makes");
        }
        for (range, _) in self.changes() {
            assert!(self.machine.ram.covers(range), "a page outside RAM changed its state");
        }
        assert!(self.notes.load(Ordering::Relaxed) <= 100, "a guest can flood the log");
        if let Outcome::Stop(stop) = outcome {
            let text = stop.to_string();
            assert!(!text.is_empty() && !text.contains('\n'), "a stop is one line: {text:?}");
            assert!(!(stop.is_success() && stop.is_hosts_fault()));
        }
        outcome
    }

    /// Denials of the policy that were told so far.
    pub fn denied(&self) -> u32 {
        self.denied.load(Ordering::Relaxed)
    }

    /// What the recorder saw so far.
    pub fn accesses(&self) -> Vec<Access> {
        self.seen.lock().unwrap().clone()
    }

    /// Writes to shared memory so far: address and bytes.
    pub fn written(&self) -> Vec<(u64, usize)> {
        self.written.lock().unwrap().clone()
    }

    /// Page-state changes so far.
    pub fn changes(&self) -> Vec<(GpaRange, Visibility)> {
        self.changes.lock().unwrap().clone()
    }
}
