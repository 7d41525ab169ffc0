//! A block device's process that is killed under load. Protects: what was acknowledged is in the
//! image, whole; another process takes over at the used index, and every request is answered once,
//! without an error, in order. Cannot tell: what survives a power failure, since the host's page
//! cache survives a process.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use casemate_test_devices::driver::{DATA, Driver, header};
use casemate_test_devices::memory::GuestRam;
use casemate_test_devices::process::Process;
use casemate_test_devices::scratch::Scratch;
use std::collections::BTreeMap;
use std::path::Path;

const BACKEND: &str = env!("CARGO_BIN_EXE_block-backend");
const SECTORS: u64 = 32;
const DEPTH: u16 = 64;
const FLUSH: u64 = 1 << 9;

/// Numbers without pattern, the same in each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

/// What a slot is doing: writing a version to a sector, or a flush.
type Doing = Option<(u64, u64)>;

struct Journal {
    dice: Dice,
    /// The newest version that was given to the device, by sector.
    given: BTreeMap<u64, u64>,
    /// The newest version that was acknowledged.
    acknowledged: BTreeMap<u64, u64>,
    version: u64,
    doing: Vec<Doing>,
    busy: Vec<bool>,
}

impl Journal {
    fn new(seed: u64) -> Self {
        let (doing, busy) = (vec![None; DEPTH.into()], vec![false; DEPTH.into()]);
        let (given, acknowledged) = (BTreeMap::new(), BTreeMap::new());
        Self { dice: Dice(seed), given, acknowledged, version: 0, doing, busy }
    }

    /// Fills every idle slot with a request.
    fn submit(&mut self, driver: &mut Driver) {
        for slot in 0..DEPTH {
            if self.busy[usize::from(slot)] {
                continue;
            }
            let at = DATA + 0x1000 * u64::from(slot);
            let status = (at + 0xfff, 1, true);
            driver.ram.write(at + 0xfff, &[0xff]);
            if self.dice.roll(10) == 0 {
                self.doing[usize::from(slot)] = None;
                driver.ram.write(at, &header(4, 0));
                driver.chain(0, slot * 3, &[(at, 16, false), status]);
            } else {
                let sector = self.dice.roll(SECTORS);
                self.version += 1;
                self.given.insert(sector, self.version);
                self.doing[usize::from(slot)] = Some((sector, self.version));
                driver.ram.write(at, &header(1, sector));
                driver.ram.write(at + 0x200, &self.version.to_le_bytes().repeat(64));
                driver.chain(0, slot * 3, &[(at, 16, false), (at + 0x200, 512, false), status]);
            }
            self.busy[usize::from(slot)] = true;
            driver.put(0, slot * 3);
        }
        driver.publish(0);
    }

    /// Takes every answer that is there.
    fn collect(&mut self, driver: &mut Driver) -> u32 {
        let mut count = 0;
        while let Some((head, len)) = driver.answer(0) {
            let slot = head / 3;
            let at = DATA + 0x1000 * u64::from(slot);
            assert_eq!((driver.ram.read(at + 0xfff, 1)[0], len), (0, 1), "an I/O error");
            let slot = slot as usize;
            assert!(std::mem::take(&mut self.busy[slot]), "answered twice");
            if let Some((sector, version)) = self.doing[slot] {
                let newest = self.acknowledged.entry(sector).or_default();
                assert!(*newest < version, "writes to one sector were done out of order");
                *newest = version;
            }
            count += 1;
        }
        count
    }

    /// Every sector is whole, not older than what was acknowledged, not newer than what was given.
    fn check(&self, image: &Path) {
        let bytes = std::fs::read(image).unwrap();
        for sector in 0..SECTORS {
            let start = usize::try_from(sector * 512).unwrap();
            let words: Vec<_> = bytes[start..start + 512].as_chunks::<8>().0.to_vec();
            let version = u64::from_le_bytes(words[0]);
            assert!(words.iter().all(|word| *word == words[0]), "sector {sector} is torn");
            let newest = |map: &BTreeMap<u64, u64>| map.get(&sector).copied().unwrap_or(0);
            assert!(newest(&self.acknowledged) <= version, "sector {sector} is lost");
            assert!(version <= newest(&self.given), "sector {sector} is from nowhere");
        }
    }
}

#[test]
fn a_killed_process_loses_nothing_and_the_next_one_goes_on_where_it_was() {
    let scratch = Scratch::new();
    let image = scratch.sparse("disk", SECTORS * 512);
    let mut journal = Journal::new(0x9e37_79b9_7f4a_7c15);
    let start = || Process::start(BACKEND, &scratch.path("socket"), &[image.to_str().unwrap()]);
    let mut process = start();
    let ram = GuestRam::new(8 << 20);
    let mut driver = Driver::negotiate(process.connect(), 1, ram);
    driver.activate(FLUSH);
    for _ in 0..30 {
        let enough = u32::try_from(journal.dice.roll(600)).unwrap();
        let mut done = 0;
        journal.submit(&mut driver);
        while done < enough {
            done += journal.collect(&mut driver);
            journal.submit(&mut driver);
        }
        process.kill();
        journal.collect(&mut driver);
        journal.check(&image);
        // The next process: the same rings, from the used index on. Nothing was told to the driver.
        process = start();
        driver = driver.reconnect(process.connect());
        driver.activate(FLUSH);
        driver.queues[0].kick.write(1).unwrap();
    }
    while journal.busy.iter().any(|busy| *busy) {
        if journal.collect(&mut driver) == 0 {
            assert!(casemate_test_devices::driver::readable(&driver.queues[0].call));
            let _ = driver.queues[0].call.read();
        }
    }
    journal.check(&image);
    assert!(journal.version > 1000, "too little was done to tell anything");
}
