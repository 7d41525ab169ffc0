//! Start-up of `casemate run` and memory of the vmm process, on this machine's /dev/kvm.
//!
//! Start-up: from the start of the process to its first KVM_RUN, seen from outside. Beside it, one
//! after the other in each round: the same of other programs, where `PEER_FIRECRACKER` and
//! `PEER_CLOUD_HYPERVISOR` name them, with the same kernel (`PEER_KERNEL`, or a few bytes that are
//! an ELF file with a PVH entry); and the time that KVM's own calls for such a guest take. With
//! peers the target is 0.9 times the better of them, without them 1.5 times KVM's calls in the
//! order in which this program made them before it knew better. `stand-in` as the name of a peer is
//! no peer, but this program making KVM's calls: to try that path without one.
//!
//! Memory: resident memory of the vmm process beyond guest memory, with a running guest of 1 vCPU
//! and 128 MiB; the target is 5 MiB.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    reason = "a benchmark"
)]

use casemate_hypervisor::devices::{POWER_BUTTON_GSI, SERIAL_GSI};
use casemate_hypervisor::event::Event;
use casemate_hypervisor::exits::{Events, Note, PageRule};
use casemate_hypervisor::kvm::{Vm, VmKind};
use casemate_hypervisor::memory::GuestRam;
use casemate_hypervisor::vm::engine::{Engine, HostFds};
use casemate_hypervisor::vm::handover;
use casemate_hypervisor::vm::profile;
use casemate_hypervisor::vm::protocol::{FromVmm, MESSAGE_SIZE, Phase};
use casemate_sandbox::Image;
use casemate_test_support::first_run::time_to_first_run;
use casemate_test_support::guests::Supervisor;
use casemate_test_support::shipped;
use rustix::net::{RecvFlags, recv};
use std::cell::Cell;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

const RUNS: usize = 50;

/// A kernel that halts, for every program that is compared: an ELF file that is entered at its
/// first byte, or at its PVH entry (the note `XEN_ELFNOTE_PHYS32_ENTRY`, 18), which is the same.
fn kernel() -> std::path::PathBuf {
    if let Some(kernel) = std::env::var_os("PEER_KERNEL") {
        return kernel.into();
    }
    const ENTRY: u64 = 0x100_0000;
    let mut file = casemate_test_support::guests::elf_kernel(&[0xf4; 16]);
    let note = [4_u32, 8, 18, u32::from_le_bytes(*b"Xen\0")].map(u32::to_le_bytes).concat();
    let note = [&note[..], &ENTRY.to_le_bytes()].concat();
    let (at, size) = (1024_u64, note.len() as u64);
    let words = [at, 0, 0, size, size, 4].map(u64::to_le_bytes).concat();
    // PT_NOTE, behind the header of the segment that is there.
    let header = [&(4_u64 | 4 << 32).to_le_bytes()[..], &words].concat();
    file[120..120 + header.len()].copy_from_slice(&header);
    file[1024..1024 + note.len()].copy_from_slice(&note);
    file[56] = 2;
    let path = std::env::temp_dir().join(format!("casemate-bench-{}", std::process::id()));
    std::fs::write(&path, file).unwrap();
    path
}

/// A program that is measured: what it is called, and how it starts a guest of 1 vCPU and 128 MiB.
struct Program {
    name: String,
    command: Box<dyn Fn() -> Command>,
}

impl Program {
    fn casemate(kernel: &Path) -> Self {
        let kernel = kernel.to_owned();
        let command = move || {
            let mut command = Command::new(shipped(env!("CARGO_BIN_EXE_casemate")));
            command.args(["run", "--protection", "none", "--memory", "128M", "--kernel"]);
            command.arg(&kernel);
            command
        };
        Self { name: "casemate".into(), command: Box::new(command) }
    }

    /// The program that a variable names, started with `arguments`; none without it.
    fn peer(name: &str, variable: &str, arguments: Vec<String>) -> Option<Self> {
        let program = std::env::var_os(variable)?;
        if program == "stand-in" {
            let itself = std::env::current_exe().unwrap();
            let command = move || {
                let mut command = Command::new(&itself);
                command.arg("--stand-in");
                command
            };
            let name = format!("a stand-in, not {name}");
            return Some(Self { name, command: Box::new(command) });
        }
        let command = move || {
            let mut command = Command::new(&program);
            command.args(&arguments);
            command
        };
        Some(Self { name: name.into(), command: Box::new(command) })
    }

    fn peers(kernel: &Path, folder: &Path) -> Vec<Self> {
        let config = serde_json::json!({
            "boot-source": { "kernel_image_path": kernel, "boot_args": "console=ttyS0" },
            "drives": [],
            "machine-config": { "vcpu_count": 1, "mem_size_mib": 128 },
        });
        let file = folder.with_extension("json");
        std::fs::write(&file, config.to_string()).unwrap();
        let words = |all: &[&str]| all.iter().map(|word| (*word).to_owned()).collect();
        let firecracker = words(&["--no-api", "--config-file", file.to_str().unwrap()]);
        let kernel = kernel.to_str().unwrap();
        let memory = ["--cpus", "boot=1", "--memory", "size=128M", "--console", "off"];
        let hypervisor = [&["--kernel", kernel][..], &memory, &["--serial", "null"]].concat();
        let firecracker = Self::peer("Firecracker", "PEER_FIRECRACKER", firecracker);
        let hypervisor =
            Self::peer("Cloud Hypervisor", "PEER_CLOUD_HYPERVISOR", words(&hypervisor));
        firecracker.into_iter().chain(hypervisor).collect()
    }

    /// Microseconds to its first KVM_RUN.
    fn started(&self) -> f64 {
        let took = time_to_first_run(&mut (self.command)(), Duration::from_secs(30));
        took.unwrap_or_else(|| panic!("{} ran no vCPU", self.name)).as_secs_f64() * 1e6
    }
}

/// What stands for a peer: KVM's calls, and a first KVM_RUN.
fn stand_in() {
    let plan = casemate_test_support::guests::plan_of(&[0xf4], 1, 128 << 20);
    let ran = casemate_test_support::guests::run(&plan);
    std::process::exit(i32::from(ran.is_none()));
}

/// The order of two of KVM's calls, see `SetUp::new`.
#[derive(Clone, Copy)]
enum Order {
    /// As it is now.
    MemoryFirst,
    /// As it was.
    ControllersFirst,
}

/// Microseconds that the KVM calls of such a guest take: the calls of `casemate_hypervisor::kvm`
/// timed one by one, and nothing between them.
fn kvm_calls(order: Order) -> f64 {
    let plan = casemate_test_support::guests::plan_of(&[0xf4], 1, 128 << 20);
    let ram = GuestRam::new(plan.ram.clone()).unwrap();
    let (serial, button) = (Event::new().unwrap(), Event::new().unwrap());
    let dev_kvm = casemate_test_support::guests::kvm().unwrap().into();
    let calls = Calls::default();
    let vm = Arc::new(calls.time(|| Vm::create(dev_kvm, VmKind::Plain)).unwrap());
    match order {
        Order::MemoryFirst => {
            calls.time(|| vm.add_memory(&ram)).unwrap();
            calls.time(|| vm.create_irqchip()).unwrap();
        }
        Order::ControllersFirst => {
            calls.time(|| vm.create_irqchip()).unwrap();
            calls.time(|| vm.add_memory(&ram)).unwrap();
        }
    }
    calls.time(|| vm.add_irqfd(&serial, SERIAL_GSI)).unwrap();
    calls.time(|| vm.add_irqfd(&button, POWER_BUTTON_GSI)).unwrap();
    let cpuid = vm.cpuid(0, 1).unwrap();
    let vcpu = calls.time(|| vm.create_vcpu(0)).unwrap();
    calls.time(|| vcpu.set_cpuid(0, &cpuid)).unwrap();
    calls.time(|| vcpu.set_msrs()).unwrap();
    calls.time(|| vcpu.set_boot_state(&plan.boot)).unwrap();
    // The VM refers to the memory, which outlives it.
    drop((vcpu, vm));
    drop(ram);
    calls.0.get().as_secs_f64() * 1e6
}

/// Time spent in KVM calls.
#[derive(Default)]
struct Calls(Cell<Duration>);

impl Calls {
    fn time<T>(&self, call: impl FnOnce() -> T) -> T {
        let before = Instant::now();
        let result = call();
        self.0.set(self.0.get() + before.elapsed());
        result
    }
}

struct Nobody;
impl Events for Nobody {
    fn mark(&self, _: u8) {}
    fn note(&self, _: Note) {}
    fn denied(&self, _: PageRule, _: u64) {}
}

/// Microseconds of our engine with the same guest, KVM's calls included.
fn engine() -> f64 {
    let plan = casemate_test_support::guests::plan_of(&[0xf4], 1, 128 << 20);
    let before = Instant::now();
    let host =
        HostFds { dev_kvm: casemate_test_support::guests::kvm().unwrap().into(), dev_sev: None };
    let engine = Engine::new(host, &plan, Box::new(Nobody)).unwrap();
    let took = before.elapsed().as_secs_f64() * 1e6;
    drop(engine);
    took
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// KiB resident in process `pid`: without guest memory, and of that what no other process shares.
fn resident(pid: u32) -> (u64, u64) {
    let smaps = std::fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap();
    let (mut guest, mut rss, mut private) = (false, 0, 0);
    for line in smaps.lines() {
        let mut words = line.split_whitespace();
        let first = words.next().unwrap_or("");
        if first.contains('-') && !first.ends_with(':') {
            guest = line.contains("memfd:guest-ram");
        } else if !guest {
            let kib: u64 = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
            match first {
                "Rss:" => rss += kib,
                "Private_Clean:" | "Private_Dirty:" => private += kib,
                _ => {}
            }
        }
    }
    (rss, private)
}

/// Memory of a vmm process whose guest runs for ever.
fn memory() -> (u64, u64) {
    let dev_kvm = casemate_test_support::guests::kvm().unwrap().into();
    // jmp to itself
    let plan = casemate_test_support::guests::plan_of(&[0xeb, 0xfe], 1, 128 << 20);
    let (supervisor, input) = Supervisor::of(HostFds { dev_kvm, dev_sev: None }, &plan);
    let image = Image::new("casemate-vmm", include_bytes!(env!("CASEMATE_VMM_IMAGE"))).unwrap();
    let child = handover::spawn(&image, profile::vmm_layers(false), &input, |_| ()).unwrap();
    let (control, _console) = supervisor.admit(&plan);
    let mut packet = [0; MESSAGE_SIZE];
    loop {
        let (len, _) = recv(&control, &mut packet[..], RecvFlags::empty()).unwrap();
        match FromVmm::decode(&packet[..len]).unwrap() {
            FromVmm::Phase(Phase::FirstInstruction) => break,
            FromVmm::Failed(reason) => panic!("{reason}"),
            _ => {}
        }
    }
    std::thread::sleep(std::time::Duration::from_millis(300));
    let resident = resident(child.pid());
    child.kill().unwrap();
    resident
}

fn print_start_up(programs: &[Program]) {
    let mut starts = vec![Vec::new(); programs.len()];
    let (mut now, mut before, mut engines) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..RUNS {
        for (program, starts) in programs.iter().zip(&mut starts) {
            starts.push(program.started());
        }
        now.push(kvm_calls(Order::MemoryFirst));
        before.push(kvm_calls(Order::ControllersFirst));
        engines.push(engine());
    }
    let verdict = |met: bool| if met { "met" } else { "MISSED" };
    let starts: Vec<f64> = starts.into_iter().map(median).collect();
    let (now, before, engines) = (median(now), median(before), median(engines));
    println!(
        "process start to first KVM_RUN, medians of {RUNS} rounds, on this machine's /dev/kvm"
    );
    for (program, start) in programs.iter().zip(&starts) {
        println!("{:<52} {:>10.3} ms", program.name, start / 1e3);
    }
    println!("{:<52} {:>10.3} ms", "KVM's own calls for the same guest", now / 1e3);
    println!("{:<52} {:>10.3} ms", "the same, interrupt controllers before memory", before / 1e3);
    println!("{:<52} {:>10.3} ms", "our engine with KVM's calls, in one process", engines / 1e3);
    let (ours, peers) = (starts[0], &starts[1..]);
    let others = (ours - now) / 1e3;
    println!("{:<52} {others:>10.3} ms  {:.1}x them", "outside KVM's calls", ours / now);
    match peers.iter().copied().min_by(f64::total_cmp) {
        Some(best) => println!(
            "{:<52} {:>10.2} x   <= 0.9: {}",
            "against the better of the others",
            ours / best,
            verdict(ours <= 0.9 * best)
        ),
        None => println!(
            "{:<52} {:>10.2} x   <= 1.5: {}",
            "against KVM's calls in the order of before",
            ours / before,
            verdict(ours <= 1.5 * before)
        ),
    }
}

fn main() {
    if casemate_test_support::guests::kvm().is_none() {
        return;
    }
    if std::env::args().any(|argument| argument == "--stand-in") {
        return stand_in();
    }
    let (rss, private) = memory();
    let (kernel, folder) = (
        kernel(),
        std::env::temp_dir().join(format!("casemate-bench-peer-{}", std::process::id())),
    );
    let mut programs = vec![Program::casemate(&kernel)];
    programs.extend(Program::peers(&kernel, &folder));
    print_start_up(&programs);
    if std::env::var_os("PEER_KERNEL").is_none() {
        let _ = std::fs::remove_file(&kernel);
    }
    let _ = std::fs::remove_file(folder.with_extension("json"));
    let verdict = |met: bool| if met { "met" } else { "MISSED" };
    println!("memory of the vmm process beyond guest memory, 1 vCPU, 128 MiB");
    println!(
        "{:<52} {:>10.2} MiB  <= 5 MiB: {}",
        "resident",
        rss as f64 / 1024.0,
        verdict(rss <= 5 * 1024)
    );
    println!(
        "{:<52} {:>10.2} MiB",
        "of which shared with no other process",
        private as f64 / 1024.0
    );
}
