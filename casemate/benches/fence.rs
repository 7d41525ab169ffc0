//! What the memory fence costs a device: the same disk, served by `casemate device block` with
//! `--fence` and without, to the same driver in memory that it has touched; interleaved, medians of
//! the rounds. The goal is 0.97 times the rate without.
//!
//! `cargo bench -p casemate --bench fence [-- ROUNDS SECONDS]`
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a measurement stops at what goes wrong"
)]

use casemate_test_devices::driver::Driver;
use casemate_test_devices::load::{IMAGE, Load, begin, median, rate, touched};
use casemate_test_devices::scratch::Scratch;
use casemate_test_support::shipped;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const fn load(name: &'static str, write: bool, random: bool, bytes: u32, depth: u16) -> Load {
    Load { name, write, random, bytes, depth, goal: 0.97 }
}

const LOADS: [Load; 4] = [
    load("4 KiB random read, depth 1", false, true, 4096, 1),
    load("4 KiB random read, depth 32", false, true, 4096, 32),
    load("4 KiB random write, depth 32", true, true, 4096, 32),
    load("128 KiB sequential read, depth 8", false, false, 128 << 10, 8),
];

/// A disk and its driver; the command is killed in the end.
struct Disk {
    command: Child,
    driver: Driver,
}

impl Disk {
    /// Serves an image, which is its own: it is locked.
    fn start(scratch: &Scratch, name: &str, more: &[&str]) -> Self {
        let (image, socket) = (scratch.path(name), scratch.path(&format!("{name}.socket")));
        std::fs::write(&image, vec![0x5a; IMAGE as usize]).unwrap();
        let mut command = Command::new(shipped(env!("CARGO_BIN_EXE_casemate")));
        command.args(["device", "block", "--once", "--file"]).arg(&image).arg("--socket");
        let mut command = command.arg(&socket).args(more).stdin(Stdio::null()).spawn().unwrap();
        let stream = loop {
            assert!(command.try_wait().unwrap().is_none(), "it does not serve");
            match UnixStream::connect(&socket) {
                Ok(stream) => break stream,
                Err(_) => std::thread::sleep(Duration::from_millis(1)),
            }
        };
        let driver = begin(stream, touched());
        Self { command, driver }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.command.kill();
        let _ = self.command.wait();
    }
}

fn main() {
    let numbers: Vec<f64> = std::env::args().filter_map(|word| word.parse().ok()).collect();
    let rounds = numbers.first().copied().unwrap_or(15.0) as u64;
    let time = Duration::from_secs_f64(numbers.get(1).copied().unwrap_or(0.3));
    let scratch = Scratch::in_memory();
    let mut disks =
        [Disk::start(&scratch, "fenced", &["--fence"]), Disk::start(&scratch, "bare", &[])];
    println!("a disk behind the memory fence and without, page-cached, {rounds} rounds:");
    for load in &LOADS {
        let mut rates = [Vec::new(), Vec::new()];
        for round in 0..rounds {
            // Who is first in one round is second in the next.
            let first = usize::from(round % 2 == 1);
            for which in [first, 1 - first] {
                let driver = &mut disks[which].driver;
                rates[which].push(rate(driver, load, time, 0x1234_5678 + round));
            }
        }
        // Of each round, since both are of one moment there.
        let [fenced, bare] = &rates;
        let ratio = median(fenced.iter().zip(bare).map(|(fenced, bare)| fenced / bare).collect());
        let [fenced, bare] = rates.map(median);
        println!(
            "{:36} {fenced:9.0} /s {bare:9.0} /s   ratio {ratio:.2} (goal {:.2})",
            load.name, load.goal
        );
    }
}
