//! How long a guest waits when the process of its disk is killed, on this machine's /dev/kvm.
//!
//! A guest of a few instructions writes one sector after the other; the process that
//! serves its disk gets SIGKILL, and its standby goes on. How long the image stands still is how
//! long the guest's longest request takes, from the kill over the supervisor, the vmm process and
//! the standby to the write. Beside it the longest standstill of the same guest before the kill.
//! The goal is 50 ms.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs, reason = "a benchmark")]

#[path = "../tests/disk_vm/mod.rs"]
mod disk_vm;

use casemate_hypervisor::exits::Stop;
use casemate_hypervisor::vm::{End, ProcessKind};
use casemate_test_support::script::Script;
use casemate_test_support::virtio::{Driver, REQUEST};
use disk_vm::{Folder, Vm, WRITE, pid, processes, signal};
use rustix::process::Signal;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

const TAKEOVERS: usize = 15;
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
}
