//! The block device beside qemu-storage-daemon: the same driver, the same image in the page cache,
//! interleaved in one run. Ratios are of the medians of the rounds; the rates are this machine's
//! and this moment's. Without qemu-storage-daemon only ours is printed.
//!
//! `cargo bench -p casemate-test-devices --bench block [-- ROUNDS SECONDS]`
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a measurement stops at what goes wrong"
)]

use casemate_test_devices::load::{IMAGE, Load, connect, median, rate};
use casemate_test_devices::scratch::Scratch;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const fn load(
    name: &'static str,
    write: bool,
    random: bool,
    bytes: u32,
    depth: u16,
    goal: f64,
) -> Load {
    Load { name, write, random, bytes, depth, goal }
}

const LOADS: [Load; 6] = [
    load("4 KiB random read, depth 1", false, true, 4096, 1, 2.0),
    load("4 KiB random read, depth 32", false, true, 4096, 32, 2.0),
    load("4 KiB random write, depth 1", true, true, 4096, 1, 2.0),
    load("4 KiB random write, depth 32", true, true, 4096, 32, 2.0),
    load("128 KiB sequential read, depth 8", false, false, 128 << 10, 8, 1.0),
    load("128 KiB sequential write, depth 8", true, false, 128 << 10, 8, 1.0),
];

/// A server over an image; killed in the end.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ours(socket: &Path, image: &Path, direct: bool) -> Server {
    let mut command = Command::new(env!("CARGO_BIN_EXE_block-backend"));
    command.arg(socket).arg(image).arg("lock").stdout(Stdio::piped());
    if direct {
        command.arg("direct");
    }
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    Server(child)
}

fn theirs(socket: &Path, image: &Path, direct: bool) -> Option<Server> {
    let cache = if direct { "on" } else { "off" };
    let file = image.display();
    let blockdev =
        format!("driver=file,node-name=f,filename={file},aio=threads,cache.direct={cache}");
    let path = socket.display();
    let kind = "type=vhost-user-blk,id=e,node-name=f,writable=on,num-queues=1";
    let export = format!("{kind},addr.type=unix,addr.path={path}");
    let mut command = Command::new("qemu-storage-daemon");
    command.args(["--blockdev", &blockdev, "--export", &export]).stderr(Stdio::null());
    let server = Server(command.spawn().ok()?);
    for _ in 0..1000 {
        if socket.exists() {
            return Some(server);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    None
}

/// Connections that are timed of each server: one alone is this moment's.
const CONNECTIONS: usize = 15;

/// How long each server takes from a connection to an enabled ring, in milliseconds, in turns. Ours
/// serves each by a process of its own, which is there before; theirs is one for all.
fn connections(sockets: &[PathBuf; 2], image: &Path, direct: bool, with: bool) -> [Vec<f64>; 2] {
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..CONNECTIONS {
        let _ = std::fs::remove_file(&sockets[0]);
        let mut server = ours(&sockets[0], image, direct);
        for (times, socket) in times.iter_mut().zip(sockets).take(if with { 2 } else { 1 }) {
            let (driver, time) = connect(socket);
            times.push(time.as_secs_f64() * 1e3);
            drop(driver);
        }
        // It lets the image go with its front end.
        let _ = server.0.wait();
    }
    let _ = std::fs::remove_file(&sockets[0]);
    times
}

/// Memory that a process shares with nobody and no file is behind.
fn private_kib(pid: u32) -> u64 {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss_Anon:"));
    line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

/// One table, page-cached or direct.
fn table(scratch: &Scratch, image: &Path, direct: bool, rounds: u64, time: Duration) {
    let sockets = [scratch.path("ours"), scratch.path("theirs")];
    sockets.iter().for_each(|socket| drop(std::fs::remove_file(socket)));
    // One image each: ours is locked against a second writer.
    let copy = image.with_extension("copy");
    std::fs::copy(image, &copy).unwrap();
    let second = theirs(&sockets[1], &copy, direct);
    let times = connections(&sockets, image, direct, second.is_some());
    let first = ours(&sockets[0], image, direct);
    let mut drivers = vec![connect(&sockets[0])];
    if second.is_some() {
        drivers.push(connect(&sockets[1]));
    }
    let [ours_ready, theirs_ready] = times.map(median);
    let against = match second {
        None => "not there".into(),
        Some(_) => {
            let ratio = ours_ready / theirs_ready;
            format!("{theirs_ready:.2} ms, ratio {ratio:.2} (goal at most 1.0)")
        }
    };
    println!("connect to ready: ours {ours_ready:.2} ms, qemu-storage-daemon {against}");
    let memory = |server: &Server| private_kib(server.0.id());
    println!(
        "private memory: ours {} KiB, qemu-storage-daemon {}",
        memory(&first),
        second.as_ref().map_or("not there".into(), |server| format!("{} KiB", memory(server)))
    );
    for load in LOADS.iter().filter(|load| !direct || load.random) {
        let mut rates = [Vec::new(), Vec::new()];
        for round in 0..rounds {
            for (rates, (driver, _)) in rates.iter_mut().zip(&mut drivers) {
                rates.push(rate(driver, load, time, 0x1234_5678 + round));
            }
        }
        let [ours, theirs] = rates.map(median);
        let goal = match (direct, load.goal) {
            (true, _) if load.depth > 1 => "no goal".into(),
            (true, _) => "goal 1.0".into(),
            (false, goal) => format!("goal {goal:.1}"),
        };
        let ratio = if theirs > 0.0 { format!("{:.2}", ours / theirs) } else { "-".into() };
        println!("{:36} {ours:9.0} /s {theirs:9.0} /s   ratio {ratio} ({goal})", load.name);
    }
    drop((first, second));
    let _ = std::fs::remove_file(copy);
}

fn main() {
    let numbers: Vec<f64> = std::env::args().filter_map(|word| word.parse().ok()).collect();
    let rounds = numbers.first().copied().unwrap_or(5.0) as u64;
    let time = Duration::from_secs_f64(numbers.get(1).copied().unwrap_or(0.4));
    let run = |scratch: &Scratch, direct: bool| {
        let image = scratch.path("disk");
        std::fs::write(&image, vec![0x5a; IMAGE as usize]).unwrap();
        table(scratch, &image, direct, rounds, time);
    };
    // In memory: a page cache that is written back measures the disk of the machine, and who else
    // writes to it.
    println!("block device and qemu-storage-daemon, one queue, page-cached, {rounds} rounds:");
    run(&Scratch::in_memory(), false);
    println!("past the page cache (O_DIRECT), on the disk of this machine:");
    run(&Scratch::new(), true);
}
