//! What the processes of a VM with a disk, its standby, a network device and a socket device cost,
//! on this machine's /dev/kvm.
//!
//! Lock-down: from the start of a VM to the moment at which the last of its processes is locked,
//! against the same VM without devices, in turns. The goal is 3 ms more.
//!
//! Memory: what each process has that it shares with nobody and no file is behind (Pss_Anon), once
//! the guest has used its disk. The supervisor is a copy of this program, and has what this had.
//! The goals are 512 KiB for a device and 4 MiB for all together.
//!
//! Without a network namespace of its own there is no network device, and it is said.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    reason = "a benchmark"
)]

#[path = "../tests/disk_vm/mod.rs"]
mod disk_vm;

use casemate_hypervisor::config::{RawConfig, RawDisk, RawNet, RawVsock};
use casemate_hypervisor::vm::{Happened, ProcessKind, prepare_plan};
use casemate_test_support::network::{ip, own_network};
use casemate_test_support::script::Script;
use casemate_test_support::virtio::{Driver, REQUEST, scripted};
use disk_vm::{Folder, PROGRAMS, Vm, WRITE, processes};
use rustix::event::PollFlags;
use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

const STARTS: usize = 25;
const TAP: &str = "bench0";

/// A disk, a network device where there is one, a socket device with a port of the host.
fn devices(folder: &Folder, network: bool) -> RawConfig {
    let net = RawNet { tap: Some(TAP.into()), ..RawNet::default() };
    let path = Some(folder.0.join("v"));
    RawConfig {
        disk: vec![RawDisk { path: Some(folder.0.join("disk.img")), ..RawDisk::default() }],
        net: if network { vec![net] } else { Vec::new() },
        vsock: Some(RawVsock { cid: Some(42), path, ports: vec![52], ..RawVsock::default() }),
        ..RawConfig::default()
    }
}

/// Milliseconds from the start of a VM to the lock of its last process.
fn lock_down(devices: RawConfig) -> f64 {
    let raw = RawConfig {
        name: Some(format!("bench-lock-{}", std::process::id())),
        kernel: Some("unused".into()),
        protection: Some("none".into()),
        ..devices
    };
    let config = raw.validate().unwrap();
    let plan = scripted(&Script::default().wait_u8(REQUEST[2], 0x77));
    let before = Instant::now();
    let mut vm = prepare_plan(&config, plan, PROGRAMS).unwrap().start().unwrap();
    loop {
        while let Some(event) = vm.next_event() {
            match event.what {
                Happened::AllConfined => {
                    let took = event.at.duration_since(before);
                    vm.kill();
                    return took.as_secs_f64() * 1e3;
                }
                Happened::Ended(end) => panic!("{end:?}"),
                _ => {}
            }
        }
        vm.wait(PollFlags::empty(), &[], None).unwrap();
    }
}

/// KiB that each process of a running VM shares with nobody and no file is behind.
fn memory(folder: &Folder, network: bool) -> Vec<(ProcessKind, u64)> {
    let script = Script::default().open().reset().drive(1 << 9);
    let script = script.bytes(REQUEST[1], b"I run").request(0, WRITE, 0, 512);
    // No byte becomes that one.
    let script = script.wait_u8(REQUEST[0], 0x77);
    let name = format!("bench-memory-{}", std::process::id());
    let mut vm = Vm::new(folder, &name, &script);
    vm.devices = devices(folder, network);
    let mut supervisor = vm.start(|_, _| true);
    folder.wait_for(b"I run");
    // Supervisor, vmm, disk, standby, socket device, connector, janitor.
    let all = processes(&name, if network { 8 } else { 7 });
    let private = |pid: u32| {
        let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
        let line = rollup.lines().find_map(|line| line.strip_prefix("Pss_Anon:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    };
    let memory = all.into_iter().map(|(kind, pid)| (kind, private(pid))).collect();
    supervisor.kill().unwrap();
    supervisor.wait().unwrap();
    memory
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

const fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "MISSED" }
}

fn main() {
    // Before there is a thread.
    let network = rustix::process::geteuid().is_root() && own_network();
    if casemate_test_support::guests::kvm().is_none() {
        return;
    }
    if network {
        assert!(ip(&["tuntap", "add", "dev", TAP, "mode", "tap"]));
        assert!(ip(&["link", "set", TAP, "up"]));
    } else {
        println!("without a network device: it needs root and a network namespace");
    }
    let folder = Folder::new("bench-processes");
    // Another user's connector has to get in.
    std::fs::set_permissions(&folder.0, std::fs::Permissions::from_mode(0o755)).unwrap();
    let disk_alone = || RawConfig { disk: devices(&folder, false).disk, ..RawConfig::default() };
    let mut times = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..STARTS {
        times[0].push(lock_down(RawConfig::default()));
        times[1].push(lock_down(disk_alone()));
        times[2].push(lock_down(devices(&folder, network)));
    }
    let [without, disk, with] = times.map(median);
    println!("start of a VM to the lock of its last process, medians of {STARTS} rounds");
    println!("{:<52} {without:>10.3} ms", "without devices");
    println!("{:<52} {disk:>10.3} ms", "with a disk and its standby");
    println!("{:<52} {with:>10.3} ms", "with these, network and socket device");
    let more = with - without;
    println!("{:<52} {more:>10.3} ms  <= 3 ms: {}", "more than without", verdict(more <= 3.0));

    println!("memory that a process shares with nobody and no file is behind");
    let memory = memory(&folder, network);
    for (kind, kib) in &memory {
        let is_device = !matches!(kind, ProcessKind::Supervisor | ProcessKind::Vmm);
        let goal = if is_device {
            format!("  <= 512 KiB: {}", verdict(*kib <= 512))
        } else {
            String::new()
        };
        println!("{:<52} {kib:>6} KiB{goal}", kind.to_string());
    }
    let all: u64 = memory.iter().map(|(_, kib)| kib).sum();
    println!("{:<52} {all:>6} KiB  <= 4096 KiB: {}", "all", verdict(all <= 4096));
}
