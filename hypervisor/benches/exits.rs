//! What user space does for one exit: translation of `kvm_run` and dispatch to a device, per exit.
//! The target is 200 ns each; the baseline of the same run is the device call alone.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs, reason = "a benchmark")]

use casemate_hypervisor::bus::Bus;
use casemate_hypervisor::devices::pci_root::{ECAM_BASE, ECAM_SIZE};
use casemate_hypervisor::devices::platform::{PLATFORM_PORT, PLATFORM_SIZE};
use casemate_hypervisor::devices::{ConsoleQueue, PciRoot, PlatformRegisters, SERIAL_PORT, Uart};
use casemate_hypervisor::event::Event;
use casemate_hypervisor::exits::{
    Events, Exit, Guard, Machine, Note, Outcome, PageRule, RUN_HEAD, RunArea,
};
use casemate_hypervisor::memory::RamMap;
use casemate_hypervisor::memory::page_state::AllShared;
use std::hint::black_box;
use std::sync::{Arc, Mutex};
use std::time::Instant;

struct Nobody;
impl Events for Nobody {
    fn mark(&self, _: u8) {}
    fn note(&self, _: Note) {}
    fn denied(&self, _: PageRule, _: u64) {}
}

fn machine() -> Machine {
    let event = || Event::new().unwrap();
    let uart = Uart::new(event(), event(), ConsoleQueue::new(event(), 1));
    let (mut pio, mut mmio) = (Bus::default(), Bus::default());
    pio.add(SERIAL_PORT.into(), 8, Arc::new(Mutex::new(uart))).unwrap();
    let platform = Arc::new(Mutex::new(PlatformRegisters::default()));
    pio.add(PLATFORM_PORT.into(), PLATFORM_SIZE, platform).unwrap();
    mmio.add(ECAM_BASE, ECAM_SIZE, Arc::new(Mutex::new(PciRoot::default()))).unwrap();
    Machine {
        pio,
        mmio,
        ram: RamMap::new(128 << 20).unwrap(),
        pages: Box::new(AllShared),
        certs: None,
        guard: Guard::default(),
        events: Box::new(Nobody),
    }
}

/// A vCPU's mapping with this exit in it: `fields` are offsets into `kvm_run` and bytes.
fn mapping(reason: u32, fields: &[(usize, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![0; 3 * 4096];
    bytes[8..12].copy_from_slice(&reason.to_le_bytes());
    for (at, field) in fields {
        bytes[*at..at + field.len()].copy_from_slice(field);
    }
    bytes
}

const ROUNDS: u32 = 2_000_000;

/// Nanoseconds of one call: the least of five rounds, which is the least disturbed.
fn nanoseconds(mut call: impl FnMut()) -> f64 {
    (0..5)
        .map(|_| {
            let before = Instant::now();
            for _ in 0..ROUNDS {
                call();
            }
            before.elapsed().as_secs_f64() * 1e9 / f64::from(ROUNDS)
        })
        .fold(f64::INFINITY, f64::min)
}

fn main() {
    let machine = machine();
    let exit = |name: &str, mut bytes: Vec<u8>| {
        let took = nanoseconds(|| {
            let area = RunArea::new(black_box(&mut bytes[RUN_HEAD..]));
            let outcome = Exit::decode(Ok(()), area).handle(black_box(&machine));
            assert!(outcome == Outcome::Resume);
        });
        (name.to_owned(), took)
    };
    let (pages, one) = (4096_u64.to_le_bytes(), 1_u32.to_le_bytes());
    let io = |direction: u8, port: u16| {
        let [low, high] = port.to_le_bytes();
        mapping(2, &[(32, &[direction, 1, low, high]), (36, &one), (40, &pages)])
    };
    let mmio = |address: u64, write: u8| {
        let four = 4_u32.to_le_bytes();
        mapping(6, &[(32, &address.to_le_bytes()), (48, &four), (52, &[write])])
    };
    let lock = Mutex::new(PciRoot::default());
    let baseline = nanoseconds(|| {
        use casemate_hypervisor::bus::BusDevice;
        let mut data = [0; 4];
        black_box(&lock).lock().unwrap().read(black_box(0), &mut data);
        black_box(data);
    });
    println!("baseline: one device read behind its lock {baseline:>8.1} ns");
    println!("{:<42} {:>8}  {:>8}  target", "exit, translation and dispatch", "ns", "baseline");
    for (name, took) in [
        exit("PIO read, serial port", io(0, SERIAL_PORT + 5)),
        exit("PIO write, serial port", io(1, SERIAL_PORT + 7)),
        exit("PIO read, no device", io(0, 0x80)),
        exit("MMIO read, PCI configuration space", mmio(ECAM_BASE, 0)),
        exit("MMIO write, PCI configuration space", mmio(ECAM_BASE, 1)),
        exit("MMIO read, no device", mmio(0xd000_0000, 0)),
    ] {
        let verdict = if took < 200.0 { "met" } else { "MISSED" };
        println!("{name:<42} {took:>8.1}  {:>7.1}x  < 200 ns: {verdict}", took / baseline);
    }
}
