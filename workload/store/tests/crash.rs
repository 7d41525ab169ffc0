//! `kill -9` at every operation of a scripted run: a process of its own has the store in real
//! files, and kills itself before, in the middle of or after the n-th operation on them, for every
//! n. What it had told of is there afterwards, and no count is given back. Cannot tell what a power
//! failure leaves, which takes what the system has in memory: `power` does, on a model.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    reason = "tests"
)]

mod support;

use casemate_store::{Disk, Folder, LogStore, Side};
use rustix::process::{Signal, getpid, kill_process};
use std::io;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use support::{Call, Place, Simple, call, kek, script};

const FOLDER: &str = "CASEMATE_STORE_TEST_FOLDER";
const AT: &str = "CASEMATE_STORE_TEST_KILL_AT";

/// Where the process ends, of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    Before,
    Within,
    After,
}

const MOMENTS: [Moment; 3] = [Moment::Before, Moment::Within, Moment::After];

/// Real files, and an end.
struct Deadly {
    files: Folder,
    left: u64,
    moment: Moment,
}

fn die() -> ! {
    kill_process(getpid(), Signal::KILL).unwrap();
    unreachable!("killed")
}

impl Deadly {
    fn around<T>(
        &mut self,
        within: impl FnOnce(&mut Folder),
        all: impl FnOnce(&mut Folder) -> io::Result<T>,
    ) -> io::Result<T> {
        self.left = self.left.wrapping_sub(1);
        if self.left == 0 && self.moment == Moment::Before {
            die();
        }
        if self.left == 0 && self.moment == Moment::Within {
            within(&mut self.files);
            die();
        }
        let done = all(&mut self.files);
        if self.left == 0 {
            die();
        }
        done
    }
}

impl Disk for Deadly {
    fn read(&mut self, side: Side, most: u64) -> io::Result<Vec<u8>> {
        self.files.read(side, most)
    }

    fn write(&mut self, side: Side, at: u64, bytes: &[u8]) -> io::Result<()> {
        // The system takes a write up to a page at a time; a mark or header lies in one.
        let part = if bytes.len() <= 112 { 0 } else { bytes.len() / 2 };
        self.around(
            |files| files.write(side, at, &bytes[..part]).unwrap(),
            |files| files.write(side, at, bytes),
        )
    }

    fn reserve(&mut self, side: Side, from: u64, to: u64) -> io::Result<()> {
        self.files.reserve(side, from, to)
    }

    fn cut(&mut self, side: Side) -> io::Result<()> {
        self.around(|_| {}, |files| files.cut(side))
    }

    fn sync(&mut self, side: Side) -> io::Result<()> {
        self.around(|_| {}, |files| files.sync(side))
    }
}

/// The process that is killed: it says each answer when it has it.
#[test]
#[ignore = "a part of the test below, which starts it as a process"]
fn the_process_that_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let at = std::env::var(AT).unwrap();
    let (left, moment) = at.split_once(' ').unwrap();
    let moment = MOMENTS.into_iter().find(|one| format!("{one:?}") == moment).unwrap();
    let files = Folder::open(Path::new(&folder)).unwrap();
    let disk = Deadly { files, left: left.parse().unwrap(), moment };
    let (store, _) = LogStore::open(Box::new(disk), kek()).unwrap();
    let mut out = std::io::stdout();
    for (number, one) in script().iter().enumerate() {
        let answer = match one {
            Call::Rekey => store.change_key(kek()).map(|()| "kept".to_owned()),
            one => call(&store, one),
        };
        // Past the harness, which would keep it.
        writeln!(out, "told {number} {}", answer.unwrap()).unwrap();
        out.flush().unwrap();
    }
}

/// Runs the script in a process that is killed there: how many answers it told of, and whether it
/// was killed.
fn killed(place: &Place, at: u64, moment: Moment) -> (usize, bool) {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_process_that_is_killed", "--ignored", "--nocapture"])
        .env(FOLDER, &place.0)
        .env(AT, format!("{at} {moment:?}"))
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    let text = String::from_utf8(child.stdout).unwrap();
    let mut simple = Simple::default();
    let mut told = 0;
    for (number, one) in script().iter().enumerate() {
        let wanted = format!("told {number} {}", simple.call(one).unwrap());
        if !text.lines().any(|line| line.ends_with(&wanted)) {
            break;
        }
        told += 1;
    }
    let killed = child.status.signal() == Some(Signal::KILL.as_raw());
    assert!(killed || child.status.success(), "{:?}: {text}", child.status);
    (told, killed)
}

fn after(calls: usize) -> Simple {
    let mut simple = Simple::default();
    script().iter().take(calls).for_each(|one| drop(simple.call(one)));
    simple
}

#[test]
fn a_kill_at_every_operation_loses_nothing_that_was_told_and_gives_no_count_back() {
    let (mut kills, mut untold) = (0, 0);
    for moment in MOMENTS {
        for at in 1.. {
            let place = Place::new("crash");
            let files = Folder::create(&place.0).unwrap();
            drop(LogStore::create(Box::new(files), kek()).unwrap());
            let (told, killed) = killed(&place, at, moment);
            let files = Folder::open(&place.0).unwrap();
            let (store, opened) = LogStore::open(Box::new(files), kek())
                .unwrap_or_else(|error| panic!("{at} {moment:?}: {error}"));
            let (told_of, with_next) = (after(told).is(&store), after(told + 1).is(&store));
            if told_of.is_err() {
                // The call that it died in is there, whole, or it is not there at all.
                with_next.unwrap_or_else(|why| panic!("{at} {moment:?}: {told_of:?}; {why}"));
                untold += 1;
            }
            if !killed {
                assert_eq!((told, opened), (script().len(), Default::default()));
                break;
            }
            kills += 1;
        }
    }
    println!("{kills} kills; in {untold} the call was there that nobody had been told of");
    assert!(kills > 150 && untold > 20, "{kills} {untold}");
}
