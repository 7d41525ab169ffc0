//! What a disk's processes cost, and how long a guest waits when one of them is killed, on this
//! machine's /dev/kvm.
//!
//! Takeover: a guest of a few instructions writes one sector after the other; the process that
//! serves its disk gets SIGKILL, and its standby goes on. How long the image stands still is how
//! long the guest's longest request takes, from the kill over the supervisor, the vmm process and
//! the standby to the write. Beside it the longest standstill of the same guest before the kill.
//! The goal is 50 ms.
//!
//! Lock-down: from the start of a VM to the moment at which the last of its processes is locked,
//! with a disk and its standby against the same VM without, in turns. The goal is 3 ms more.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    reason = "a benchmark"
)]

#[path = "../tests/disk_vm/mod.rs"]
mod disk_vm;

use casemate_hypervisor::config::{RawConfig, RawDisk};
use casemate_hypervisor::exits::Stop;
use casemate_hypervisor::vm::{End, Happened, ProcessKind, prepare_plan};
use casemate_test_support::script::Script;
use casemate_test_support::virtio::{Driver, REQUEST, scripted};
use disk_vm::{Folder, PROGRAMS, Vm, WRITE, pid, processes, signal};
use rustix::event::PollFlags;
use rustix::process::Signal;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

const TAKEOVERS: usize = 15;
const STARTS: usize = 25;
/// Requests of the guest.
const WRITES: u16 = 2200;

/// Longest standstills of the image, before the kill and from it on, in milliseconds.
fn takeover(round: usize) -> (f64, f64) {
    let folder = Folder::new(&format!("bench-standby-{round}"));
    let name = format!("bench-standby-{round}-{}", std::process::id());
    let script = Script::default().open().reset().drive(1 << 9);
    let script = (0..WRITES).fold(script, |script, number| {
        let data = number.saturating_add(1).to_le_bytes();
        script.bytes(REQUEST[1], &data).request(number, WRITE, 1, 512)
    });
    let done = |end: &End, _: &str| *end == End::Stopped(Stop::PowerOff { status: None });
    let mut supervisor = Vm::new(&folder, &name, &script).start(done);
    let all = processes(&name, 4);
    let image = File::open(folder.0.join("disk.img")).unwrap();
    let written = || {
        let mut number = [0; 2];
        image.read_exact_at(&mut number, 512).unwrap();
        u16::from_le_bytes(number)
    };
    // What the image had there is no number of the guest's.
    while !(1..=WRITES).contains(&written()) {}
    let (mut killed, mut last, mut since) = (false, written(), Instant::now());
    let (mut longest, mut longest_after) = (Duration::ZERO, Duration::ZERO);
    while last != WRITES {
        let now = written();
        let still = since.elapsed();
        let which = if killed { &mut longest_after } else { &mut longest };
        *which = still.max(*which);
        if now != last {
            (last, since) = (now, Instant::now());
            if !killed && now > 200 {
                signal(pid(&all, ProcessKind::Block), Signal::KILL);
                killed = true;
            }
        }
        assert!(still < Duration::from_secs(30), "the guest stands still at {now}");
    }
    supervisor.wait().unwrap();
    (longest.as_secs_f64() * 1e3, longest_after.as_secs_f64() * 1e3)
}

/// Milliseconds from the start of a VM to the lock of its last process.
fn lock_down(folder: &Folder, with_disk: bool) -> f64 {
    let disk = RawDisk { path: Some(folder.0.join("disk.img")), ..RawDisk::default() };
    let raw = RawConfig {
        name: Some(format!("bench-lock-{}", std::process::id())),
        kernel: Some("unused".into()),
        protection: Some("none".into()),
        disk: if with_disk { vec![disk] } else { Vec::new() },
        ..RawConfig::default()
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

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

const fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "MISSED" }
}

fn main() {
    if casemate_test_support::guests::kvm().is_none() {
        return;
    }
    let (mut quiet, mut taken): (Vec<f64>, Vec<f64>) = (0..TAKEOVERS).map(takeover).unzip();
    println!("a guest's longest request, {TAKEOVERS} runs, on this machine's /dev/kvm");
    println!("{:<52} {:>10.3} ms", "before its disk is killed, median", median(&mut quiet));
    let (middle, worst) = (median(&mut taken), taken.last().copied().unwrap_or(0.0));
    println!("{:<52} {middle:>10.3} ms", "while another process takes over, median");
    println!("{:<52} {worst:>10.3} ms  < 50 ms: {}", "the longest of all", verdict(worst < 50.0));
    let folder = Folder::new("bench-lock");
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        without.push(lock_down(&folder, false));
        with.push(lock_down(&folder, true));
    }
    let (with, without) = (median(&mut with), median(&mut without));
    let more = with - without;
    println!("start of a VM to the lock of its last process, medians of {STARTS} rounds");
    println!("{:<52} {without:>10.3} ms", "without devices");
    println!("{:<52} {with:>10.3} ms", "with a disk and its standby");
    println!("{:<52} {more:>10.3} ms  <= 3 ms: {}", "more", verdict(more <= 3.0));
}
