//! The janitor of control groups: tells which limits a VM has met, and removes the VM's groups,
//! however the VM ends.
//!
//! It is as [`crate::janitor`], in the directory of the VM's groups: that one removes no folder,
//! this one nothing else, and neither has what the other has. A group goes when nothing runs in it
//! (Linux Documentation/admin-guide/cgroup-v2.rst, "Organizing Processes and Threads"), and of a
//! supervisor that was killed the children are about to end when this process hears of it: so it
//! tries again. What the kernel has counted of a group is gone with it, and is read before.

use crate::janitor::layers_of_one_that_stays;
use crate::limits_met::LimitsMet;
use crate::status::{DONE, FAILED};
use crate::words::FromDevice;
use casemate_sandbox::{
    Action, Born, Child, FdSlot, FdTable, Given, Image, InDirectory, Layers, Pin, Profile, Rule,
    SandboxError, Setup, exit, freeze_heap, spawn_image_with, sys,
};
use rustix::fs::{AtFlags, CWD, statat, unlinkat};
use rustix::io::{Errno, pread};
use rustix::net::{RecvFlags, recv};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

/// First byte of its start, where devices have the number of their kind.
pub(crate) const START: u8 = 0x83;
/// Heap beyond what is used when the process is confined.
const HEAP: usize = 16 * 1024;
/// Groups at most: a bit each in what it tells.
pub const MAX_GROUPS: usize = 64;
/// Bytes of a file of events that are read: the kernel's have a few short lines.
const EVENTS_SIZE: usize = 1024;

/// First pauses between two attempts, and how many of them.
const SOON: (Duration, u32) = (Duration::from_millis(10), 100);
/// Those after them. A process that the kernel works for, in storage that does not answer, may
/// take that long to end; then somebody else has to remove its group.
const LATE: (Duration, u32) = (Duration::from_secs(1), 600);

/// Whoever watches the process, and whose end it waits for.
pub const GROUP_CONTROL: FdSlot = FdSlot("control");
/// Files in which the kernel counts what became of a group's limits.
pub const GROUP_EVENTS: FdSlot = FdSlot("group events");

/// `MSG_OOB` and `MSG_PEEK`.
const OOB_PEEK: u64 = 3;
/// `AT_SYMLINK_NOFOLLOW`.
const NO_FOLLOW: u32 = 0x100;
/// `AT_REMOVEDIR`.
const REMOVE_DIR: u32 = 0x200;
const CLOCK_MONOTONIC: u32 = 1;

/// A janitor of groups, from before it waits to its end.
pub const GROUP_JANITOR: Profile = Profile {
    name: "group-janitor",
    rules: &[
        Rule::new(
            sys("recvfrom"),
            &[Pin::Fd(0, GROUP_CONTROL), Pin::Bits(3, OOB_PEEK, 0), Pin::Long(4, 0)],
            "the end of its supervisor",
        ),
        Rule::new(
            sys("sendmsg"),
            &[Pin::Fd(0, GROUP_CONTROL), Pin::Bits(2, OOB_PEEK, 0)],
            "that it is locked, and which limits its VM has met",
        ),
        Rule::new(sys("pread64"), &[Pin::Fd(0, GROUP_EVENTS)], "which limits its VM has met"),
        Rule::new(
            sys("newfstatat"),
            &[Pin::Int(3, NO_FOLLOW)],
            "whether the group is still its VM's",
        ),
        Rule::new(sys("unlinkat"), &[Pin::Int(2, REMOVE_DIR)], "remove a group; never a file"),
        Rule::new(
            sys("clock_nanosleep"),
            &[Pin::Int(0, CLOCK_MONOTONIC), Pin::Int(1, 0)],
            "wait a moment for processes that are ending",
        ),
        Rule::new(sys("exit_group"), &[], "end"),
    ],
};

/// The groups of a VM, as they are now: that of the VM, below the janitor's directory, and one for
/// each of its processes, below that.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupPlaces {
    /// Its name.
    pub name: Vec<u8>,
    /// The file system's number.
    pub device: u64,
    /// The inode's.
    pub inode: u64,
    /// The names of the processes' groups.
    pub leaves: Vec<Vec<u8>>,
}

/// The open files of one group, for what the kernel has counted.
#[derive(Debug, Default)]
pub struct GroupEvents {
    /// `memory.events`, or of the VM's group `memory.events.local`; None where memory is not
    /// controlled.
    pub memory: Option<OwnedFd>,
    /// `pids.events`; None where processes are not.
    pub pids: Option<OwnedFd>,
}

/// Takes up what the files of the group in this place say.
fn take_up(met: &mut LimitsMet, place: usize, events: &GroupEvents) {
    let bit = u32::try_from(place).ok().and_then(|place| 1_u64.checked_shl(place)).unwrap_or(0);
    let counted = |file: &Option<OwnedFd>, key: &[u8]| {
        let mut text = [0; EVENTS_SIZE];
        let len = file.as_ref().and_then(|file| pread(file, &mut text[..], 0).ok());
        if count(text.get(..len.unwrap_or(0)).unwrap_or_default(), key) > 0 { bit } else { 0 }
    };
    met.killed |= counted(&events.memory, b"oom_kill");
    met.memory |= counted(&events.memory, b"oom");
    met.pids |= counted(&events.pids, b"max");
}

/// The number behind `key` in a file of lines of a key and a number each; 0 where there is none.
fn count(text: &[u8], key: &[u8]) -> u64 {
    let mut lines = text.split(|byte| *byte == b'\n');
    let number = lines.find_map(|line| line.strip_prefix(key)?.strip_prefix(b" "));
    number.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok()).unwrap_or(0)
}

/// A name with its length before it.
fn put(to: &mut Vec<u8>, name: &[u8]) {
    let len = name.len().min(u8::MAX.into());
    to.push(u8::try_from(len).unwrap_or(u8::MAX));
    to.extend(name.iter().take(len));
}

/// The name of one directory, and what is behind it.
fn take(bytes: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let (len, rest) = bytes.split_first()?;
    let (name, rest) = rest.split_at_checked((*len).into())?;
    let bad = matches!(name, b"" | b"." | b"..") || name.contains(&b'/') || name.contains(&0);
    (!bad).then(|| (name.to_vec(), rest))
}

impl GroupPlaces {
    /// How many groups they are.
    fn count(&self) -> usize {
        self.leaves.len().saturating_add(1)
    }

    /// Behind them, which files of events there are: a byte for each group.
    fn encode(&self, events: &[GroupEvents]) -> Vec<u8> {
        let mut to = vec![START];
        to.extend(self.device.to_le_bytes());
        to.extend(self.inode.to_le_bytes());
        put(&mut to, &self.name);
        to.push(u8::try_from(self.leaves.len()).unwrap_or(u8::MAX));
        self.leaves.iter().for_each(|leaf| put(&mut to, leaf));
        let there = |events: &GroupEvents| {
            u8::from(events.memory.is_some()) | u8::from(events.pids.is_some()) << 1
        };
        to.extend(events.iter().map(there));
        to
    }

    fn decode(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (device, rest) = bytes.split_first_chunk()?;
        let (inode, rest) = rest.split_first_chunk()?;
        let (name, rest) = take(rest)?;
        let (count, mut rest) = rest.split_first()?;
        let mut leaves = Vec::new();
        for _ in 0..*count {
            let (leaf, behind) = take(rest)?;
            leaves.push(leaf);
            rest = behind;
        }
        let (device, inode) = (u64::from_le_bytes(*device), u64::from_le_bytes(*inode));
        let places = Self { name, device, inode, leaves };
        (places.count() <= MAX_GROUPS).then_some((places, rest))
    }

    /// Removes what can be removed now. False when something is left that may go later.
    fn remove(&self) -> bool {
        let path = [b"/", &self.name[..]].concat();
        let there = statat(CWD, &path[..], AtFlags::SYMLINK_NOFOLLOW);
        if !there.is_ok_and(|there| (there.st_dev, there.st_ino) == (self.device, self.inode)) {
            // Gone, or somebody else's by now.
            return true;
        }
        let gone = |path: &[u8]| {
            let removed = unlinkat(CWD, path, AtFlags::REMOVEDIR);
            !matches!(removed, Err(Errno::BUSY | Errno::NOTEMPTY | Errno::INTR))
        };
        let leaf = |name: &Vec<u8>| gone(&[&path, &b"/"[..], name].concat());
        // Each is tried, also behind one that is not gone yet.
        let left = self.leaves.iter().filter(|name| !leaf(name)).count();
        left == 0 && gone(&path)
    }

    /// Removes all of it, as soon as nothing runs there any more.
    fn remove_at_last(&self) {
        for (pause, times) in [SOON, LATE] {
            for _ in 0..times {
                if self.remove() {
                    return;
                }
                std::thread::sleep(pause);
            }
        }
    }
}

/// The layers of its process, whose root is `directory`: those of every janitor, but that it
/// removes directories.
#[must_use]
pub fn group_janitor_layers(directory: &Path) -> Layers {
    layers_of_one_that_stays("group-janitor", directory, InDirectory::RemoveFolders)
}

/// Starts a janitor for `places`, with the files of each in the same order, the VM's first. When
/// the other end of `control` says a word or is closed, it answers which limits were met, and
/// removes the groups.
///
/// # Errors
/// [`SandboxError`].
pub fn spawn_group_janitor(
    image: &Image,
    layers: Layers,
    (places, events): (&GroupPlaces, &[GroupEvents]),
    control: &impl AsFd,
    before: impl FnOnce(&Child),
) -> Result<Child, SandboxError> {
    let files = events.iter().flat_map(|group| [&group.memory, &group.pids]).flatten();
    let layers = files.fold(layers.keep(control), Layers::keep);
    spawn_image_with(layers, image, &places.encode(events), before)
}

pub(crate) fn main(mut given: Given, born: Born) -> i32 {
    let start = std::mem::take(&mut given.start);
    let decoded = start.get(1..).and_then(GroupPlaces::decode);
    let Some(((places, there), control)) = decoded.zip(given.descriptor()) else { return FAILED };
    if there.len() != places.count() || there.iter().any(|there| *there > 3) {
        return FAILED;
    }
    let mut events = Vec::new();
    for there in there {
        let mut file = |bit: u8| if there & bit == 0 { Some(None) } else { file(&mut given) };
        let (Some(memory), Some(pids)) = (file(1), file(2)) else { return FAILED };
        events.push(GroupEvents { memory, pids });
    }
    group_janitor_body(&places, &events, &control, born, || ())
}

/// A file that there must be.
fn file(given: &mut Given) -> Option<Option<OwnedFd>> {
    given.descriptor().map(Some)
}

/// The body of the process, with something more that is done once it is locked. For tests.
pub fn group_janitor_body(
    places: &GroupPlaces,
    events: &[GroupEvents],
    control: &OwnedFd,
    born: Born,
    once_locked: impl FnOnce(),
) -> i32 {
    let Ok(setup) = born.confine() else { return FAILED };
    if let Err(why) = lock(setup, events, control) {
        FromDevice::Failed(why).tell(control);
        exit(FAILED)
    }
    FromDevice::Locked.tell(control);
    once_locked();
    let mut word = [0; 1];
    while recv(control, &mut word[..], RecvFlags::empty()) == Err(Errno::INTR) {}
    let mut met = LimitsMet::default();
    for (place, events) in events.iter().enumerate() {
        take_up(&mut met, place, events);
    }
    FromDevice::LimitsMet(met).tell(control);
    places.remove_at_last();
    exit(DONE)
}

fn lock(setup: Setup, events: &[GroupEvents], control: &OwnedFd) -> Result<(), String> {
    let files = events.iter().flat_map(|group| [&group.memory, &group.pids]).flatten();
    let fds = FdTable::new()
        .with(GROUP_CONTROL, control)
        .with_raw(GROUP_EVENTS, files.map(AsRawFd::as_raw_fd));
    let locked = (|| {
        freeze_heap(HEAP)?;
        setup.lock(&GROUP_JANITOR, &fds, Action::Kill)
    })();
    locked.map(drop).map_err(|e: SandboxError| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::{GroupEvents, GroupPlaces, MAX_GROUPS, count};

    #[test]
    fn places_survive_the_trip_and_lead_to_no_other_directory() {
        let places = |name: &[u8], leaf: &[u8]| GroupPlaces {
            name: name.to_vec(),
            device: 7,
            inode: u64::MAX,
            leaves: vec![b"vmm".to_vec(), leaf.to_vec()],
        };
        let trip = |places: &GroupPlaces| {
            let events = [GroupEvents::default(), GroupEvents::default(), GroupEvents::default()];
            let bytes = places.encode(&events);
            let decoded = GroupPlaces::decode(&bytes[1..]);
            decoded.map(|(places, there)| (places, there.to_vec()))
        };
        let good = places(b"demo.vm", b"block-root");
        assert_eq!(trip(&good), Some((good.clone(), vec![0; 3])));
        for bad in [&b""[..], b".", b"..", b"../x", b"a/b", b"a\0"] {
            assert_eq!(trip(&places(bad, b"vmm")), None, "{bad:?}");
            assert_eq!(trip(&places(b"demo.vm", bad)), None, "{bad:?}");
        }
        let many = GroupPlaces { leaves: vec![b"x".to_vec(); MAX_GROUPS], ..good.clone() };
        assert_eq!(trip(&many), None);
        let whole = good.encode(&[]);
        assert_eq!(GroupPlaces::decode(&whole[1..whole.len() - 1]), None);
    }

    /// Protects the words about a VM's end: a kernel that counts more than is known here, or less,
    /// is no limit that was met.
    #[test]
    fn events_are_the_numbers_behind_their_keys() {
        let text = b"low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n";
        let found = [&b"max"[..], b"oom", b"oom_kill", b"oom_group_kill", b"low", b"none"];
        assert_eq!(found.map(|key| count(text, key)), [12, 3, 2, 0, 0, 0]);
        for odd in [&b""[..], b"oom", b"oom ", b"oom x", b"oom -1", b"oom  1", b"\xff\n"] {
            assert_eq!(count(odd, b"oom"), 0, "{odd:?}");
        }
    }
}
