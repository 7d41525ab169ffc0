//! Start-up of `casemate run` and memory of the vmm process, on this machine's /dev/kvm.
//!
//! Start-up: from process start to the first guest instruction, beside a baseline of the same run:
//! the time that the kernel's KVM calls for the same guest take. The difference is ours; the target
//! is 3 ms. Memory: resident memory of the vmm process beyond guest memory, with a running guest of
//! 1 vCPU and 128 MiB; the target is 5 MiB.

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
use casemate_test_support::guests::Supervisor;
use rustix::net::{RecvFlags, recv};
use std::cell::Cell;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

const RUNS: usize = 50;

/// A kernel that halts: the launch path ends before it matters what it does.
fn kernel() -> std::path::PathBuf {
    let path = std::env::temp_dir().join(format!("casemate-bench-{}", std::process::id()));
    std::fs::write(&path, casemate_test_support::guests::elf_kernel(&[0xf4; 16])).unwrap();
    path
}

/// Microseconds to the first guest instruction, from the process's own timeline.
fn started(kernel: &std::path::Path) -> f64 {
    let output = Command::new(env!("CARGO_BIN_EXE_casemate"))
        .args(["run", "--protection", "none", "--memory", "128M", "--timeout", "250ms"])
        .args(["--timeline=json", "--kernel"])
        .arg(kernel)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let json = text.lines().find(|line| line.starts_with('{')).unwrap_or_else(|| panic!("{text}"));
    let value: serde_json::Value = serde_json::from_str(json).unwrap();
    let found = find(&value).unwrap_or_else(|| panic!("the guest did not start: {text}"));
    found as f64
}

/// `micros` of the step "first guest instruction", wherever it is.
fn find(value: &serde_json::Value) -> Option<u64> {
    match value {
        serde_json::Value::Array(items) => items.iter().find_map(find),
        serde_json::Value::Object(map) => {
            if map.get("step").and_then(|s| s.as_str()) == Some("first guest instruction") {
                return map.get("micros")?.as_u64();
            }
            map.values().find_map(find)
        }
        _ => None,
    }
}

/// Microseconds that the KVM calls of such a guest take, in the order of `Engine`: the calls of
/// `casemate_hypervisor::kvm` timed one by one, and nothing between them.
fn kvm_calls() -> f64 {
    let plan = casemate_test_support::guests::plan_of(&[0xf4], 1, 128 << 20);
    let ram = GuestRam::new(plan.ram.clone()).unwrap();
    let (serial, button) = (Event::new().unwrap(), Event::new().unwrap());
    let dev_kvm = casemate_test_support::guests::kvm().unwrap().into();
    let calls = Calls::default();
    let vm = Arc::new(calls.time(|| Vm::create(dev_kvm, VmKind::Plain)).unwrap());
    calls.time(|| vm.add_memory(&ram)).unwrap();
    calls.time(|| vm.create_irqchip()).unwrap();
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
    let child = handover::spawn(&image, profile::vmm_layers(), &input, |_| ()).unwrap();
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

fn main() {
    if casemate_test_support::guests::kvm().is_none() {
        return;
    }
    let (rss, private) = memory();
    let kernel = kernel();
    let (mut start, mut calls, mut engines) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..RUNS {
        start.push(started(&kernel));
        calls.push(kvm_calls());
        engines.push(engine());
    }
    let _ = std::fs::remove_file(kernel);
    let verdict = |met: bool| if met { "met" } else { "MISSED" };
    let (start, calls, engines) = (median(start), median(calls), median(engines));
    println!("start-up, medians of {RUNS} runs, on this machine's /dev/kvm");
    println!("{:<52} {:>10.3} ms", "process start to first guest instruction", start / 1e3);
    println!("{:<52} {:>10.3} ms", "baseline: KVM's own calls for the same guest", calls / 1e3);
    println!("{:<52} {:>10.3} ms", "of which our engine with KVM's calls", engines / 1e3);
    let ours = (start - calls) / 1e3;
    println!(
        "{:<52} {ours:>10.3} ms  {:.1}x the baseline, < 3 ms: {}",
        "outside KVM's calls",
        start / calls,
        verdict(ours < 3.0)
    );
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
