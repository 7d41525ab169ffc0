//! Hand-made guests: a few instructions, page tables and a boot state, as a launch plan.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]
#![allow(dead_code, reason = "each test file uses its part")]

use casemate_hypervisor::exits::{Events, Note, PageRule, Stop};
use casemate_hypervisor::launch::BootState;
use casemate_hypervisor::launch::{LaunchPlan, PageKind};
use casemate_hypervisor::memory::RamMap;
use casemate_hypervisor::vm::engine::{HostFds, SetUp};
use casemate_hypervisor::vm::handover::{PlanFile, VmmInput};
use casemate_hypervisor::vm::virtio::DeviceSocket;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

/// Where the code of a tiny guest is.
pub const CODE: u64 = 0x10_0000;
/// Where data for it is.
pub const DATA: u64 = 0x11_0000;
const TABLES: u64 = 0x1000;

/// What a tiny guest did.
#[derive(Debug)]
pub struct Ran {
    pub stop: Stop,
    pub output: String,
    pub marks: Vec<u8>,
}

#[derive(Debug, Clone, Default)]
struct Marks(Arc<Mutex<Vec<u8>>>);
impl Events for Marks {
    fn mark(&self, step: u8) {
        self.0.lock().unwrap().push(step);
    }
    fn note(&self, _: Note) {}
    fn denied(&self, _: PageRule, _: u64) {}
}

/// /dev/kvm, or a line that says the test was skipped.
pub fn kvm() -> Option<File> {
    match File::options().read(true).write(true).open("/dev/kvm") {
        Ok(file) => Some(file),
        Err(e) => {
            println!("SKIPPED: /dev/kvm: {e}");
            None
        }
    }
}

/// Page tables that map the first 4 GiB to themselves with 2 MiB pages (no 1 GiB pages: not every
/// KVM has them).
pub fn page_tables() -> Vec<u8> {
    page_tables_at(TABLES)
}

/// The same for this address.
pub fn page_tables_at(at: u64) -> Vec<u8> {
    let mut tables = vec![0_u64; 512 * 6];
    tables[0] = (at + 0x1000) | 7;
    for i in 0..4 {
        tables[512 + i] = (at + 0x2000 + i as u64 * 0x1000) | 7;
        for j in 0..512 {
            tables[1024 + i * 512 + j] = (((i * 512 + j) as u64) << 21) | 0x87;
        }
    }
    tables.into_iter().flat_map(u64::to_le_bytes).collect()
}

/// The plan of a guest that runs `code` on `vcpus` processors; the first one starts at it.
pub fn plan(code: &[u8], vcpus: u32) -> LaunchPlan {
    plan_of(code, vcpus, 4 << 20)
}

/// The same with this much RAM.
pub fn plan_of(code: &[u8], vcpus: u32, ram: u64) -> LaunchPlan {
    let boot = BootState { rip: CODE, rsp: 0x8_0000, rsi: 0, cr3: TABLES };
    let mut plan = LaunchPlan::new(RamMap::new(ram).unwrap(), vcpus, boot);
    plan.add_pages("page tables", PageKind::Normal, TABLES, page_tables()).unwrap();
    plan.add_pages("code", PageKind::Normal, CODE, code.to_vec()).unwrap();
    plan
}

/// The supervisor's side of a vmm process.
#[derive(Debug)]
pub struct Supervisor {
    pub control: OwnedFd,
    pub console: OwnedFd,
    pub file: PlanFile,
}

impl Supervisor {
    /// With what its vmm process begins with: on `host`, for a VM of the shape of `plan`.
    pub fn of(host: HostFds, plan: &LaunchPlan) -> (Self, VmmInput) {
        let pair = |kind| socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None);
        let (control, its_control) = pair(SocketType::SEQPACKET).unwrap();
        let (console, its_console) = pair(SocketType::STREAM).unwrap();
        let file = PlanFile::new().unwrap();
        let (shape, plan) = (plan.shape(), file.for_process().unwrap());
        let input = VmmInput {
            host,
            control: its_control,
            console: its_console,
            shape,
            plan,
            devices: Vec::new(),
        };
        (Self { control, console, file }, input)
    }

    /// Admits `plan`: control and console are left.
    pub fn admit(self, plan: &LaunchPlan) -> (OwnedFd, OwnedFd) {
        self.file.hand_over(plan, &self.control).unwrap();
        (self.control, self.console)
    }
}

/// Runs a plan to its end in this process, without a lock.
pub fn run(plan: &LaunchPlan) -> Option<Ran> {
    run_with(plan, Vec::new())
}

/// The same with devices.
pub fn run_with(plan: &LaunchPlan, devices: Vec<DeviceSocket>) -> Option<Ran> {
    let marks = Marks::default();
    let host = HostFds { dev_kvm: kvm()?.into(), dev_sev: None };
    let set_up = SetUp::with_devices(host, &plan.shape(), devices).unwrap();
    let engine = set_up.load(plan, Box::new(marks.clone())).unwrap();
    let ready = engine.start_threads().unwrap();
    ready.go();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    let stop = loop {
        if let Some(stop) = ready.stop_reason() {
            break stop;
        }
        if std::time::Instant::now() > deadline {
            let mut output = vec![0; 4096];
            let len = ready.ends.console.take(&mut output);
            let output = String::from_utf8_lossy(&output[..len]);
            panic!("the guest did not stop; it wrote {output:?}");
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    };
    let mut output = vec![0; 1 << 20];
    let len = ready.ends.console.take(&mut output);
    let output = String::from_utf8_lossy(&output[..len]).into_owned();
    let marks = marks.0.lock().unwrap().clone();
    Some(Ran { stop, output, marks })
}

/// `mov dx, port`
pub fn dx(port: u16) -> Vec<u8> {
    [&[0x66, 0xba][..], &port.to_le_bytes()].concat()
}
/// `mov al, byte; out dx, al`
pub fn out(byte: u8) -> Vec<u8> {
    vec![0xb0, byte, 0xee]
}
/// `mov rbx, address`
pub fn rbx(address: u64) -> Vec<u8> {
    [&[0x48, 0xbb][..], &address.to_le_bytes()].concat()
}
/// Writes S5 to the sleep control register.
pub fn power_off() -> Vec<u8> {
    [dx(0x600), out(0x34), vec![0xf4]].concat()
}

/// Reads an input byte from the serial port, prints it, and switches off.
pub fn echo() -> Vec<u8> {
    // 1: in al, dx; test al, 1; jz 1b
    let wait = vec![0xec, 0xa8, 1, 0x74, 0xfb];
    // in al, dx; out dx, al
    let copy = vec![0xec, 0xee];
    [dx(0x3f8), out(b'>'), dx(0x3fd), wait, dx(0x3f8), copy, power_off()].concat()
}

/// Where the one segment of a kernel for the real launch path is.
pub const KERNEL: u64 = 0x100_0000;

/// A kernel for the real launch path: an ELF file whose one segment is `code`.
pub fn elf_kernel(code: &[u8]) -> Vec<u8> {
    let mut file = vec![0; 64];
    file[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    (file[16], file[18], file[32], file[52], file[54], file[56]) = (2, 62, 64, 64, 56, 1);
    file[24..32].copy_from_slice(&KERNEL.to_le_bytes());
    // PT_LOAD, readable and executable
    file.extend_from_slice(&(1_u64 | 5 << 32).to_le_bytes());
    let len = code.len() as u64;
    for word in [4096, KERNEL, KERNEL, len, len.max(4096), 4096] {
        file.extend_from_slice(&word.to_le_bytes());
    }
    file.resize(4096, 0);
    file.extend_from_slice(code);
    file
}
