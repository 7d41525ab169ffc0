//! Loads of a block device for measurements: what a driver asks for, and at which rate it gets it.

use crate::driver::{DATA, Driver, header, readable};
use crate::memory::GuestRam;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};
use vhost::vhost_user::VhostUserFrontend;

/// Bytes of the image that loads are spread over.
pub const IMAGE: u64 = 256 << 20;
const FLUSH: u64 = 1 << 9;

/// What is measured, and the least ratio that it has to reach; 0 where there is no goal.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// For a table.
    pub name: &'static str,
    /// Writes, in place of reads.
    pub write: bool,
    /// Anywhere, in place of one block after the other.
    pub random: bool,
    /// Of one request.
    pub bytes: u32,
    /// Requests that are under way.
    pub depth: u16,
    /// The ratio.
    pub goal: f64,
}

/// Connects, and how long it took until the ring was enabled.
///
/// # Panics
/// Where the back end refuses.
#[must_use]
pub fn connect(socket: &Path) -> (Driver, Duration) {
    let ram = touched();
    let begun = Instant::now();
    let driver = begin(UnixStream::connect(socket).unwrap(), ram);
    (driver, begun.elapsed())
}

/// Memory that is there, so that no server waits for pages.
#[must_use]
pub fn touched() -> GuestRam {
    let ram = GuestRam::new(32 << 20);
    ram.write(0, &vec![0; 32 << 20]);
    ram
}

/// Begins to use a disk, by one ring.
///
/// # Panics
/// Where the back end refuses.
#[must_use]
pub fn begin(socket: UnixStream, ram: GuestRam) -> Driver {
    let mut driver = Driver::without_events(socket, ram);
    driver.place_rings(FLUSH);
    driver.send_events();
    driver.front.set_vring_enable(0, true).unwrap();
    driver
}

/// Requests a second.
///
/// # Panics
/// Where the device is silent, or answers with an error.
pub fn rate(driver: &mut Driver, load: &Load, time: Duration, seed: u64) -> f64 {
    let (mut dice, mut next) = (seed, 0_u64);
    let blocks = IMAGE / u64::from(load.bytes);
    let at = |slot: u16| DATA + 0x4_0000 * u64::from(slot);
    for slot in 0..load.depth {
        let (at, data) = (at(slot), (at(slot) + 0x1000, load.bytes, !load.write));
        driver.chain(0, slot * 3, &[(at, 16, false), data, (at + 0x800, 1, true)]);
    }
    let mut submit = |driver: &mut Driver, slot: u16| {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        next += 1;
        let block = if load.random { dice } else { next } % blocks;
        let sector = block * u64::from(load.bytes / 512);
        driver.ram.write(at(slot), &header(u32::from(load.write), sector));
        driver.put(0, slot * 3);
    };
    for slot in 0..load.depth {
        submit(driver, slot);
    }
    driver.publish(0);
    let (begun, mut done) = (Instant::now(), 0_u64);
    while begun.elapsed() < time {
        let before = done;
        while let Some((head, _)) = driver.answer(0) {
            done += 1;
            submit(driver, head as u16 / 3);
        }
        if done > before {
            driver.publish(0);
        } else {
            assert!(readable(&driver.queues[0].call), "the server is silent");
            let _ = driver.queues[0].call.read();
        }
    }
    let rate = done as f64 / begun.elapsed().as_secs_f64();
    // What is still in the ring, before the next load uses its descriptors.
    while driver.queues[0].used != driver.queues[0].available {
        let (head, _) = driver.wait(0).unwrap();
        assert_eq!(driver.ram.read(at(head as u16 / 3) + 0x800, 1), [0], "an I/O error");
    }
    rate
}

/// The one in the middle.
#[must_use]
pub fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or(0.0)
}
