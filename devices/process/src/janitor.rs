//! The janitor: removes the sockets that a VM has in the file system, however the VM ends.
//!
//! A supervisor locks itself and can remove nothing from then on; one that is killed can do nothing
//! at all. So a process of its own waits for the end of the supervisor's socket, which the kernel
//! closes in every case, removes what is still the VM's, and ends. It sees the one directory that
//! these sockets are in, reads no byte of anybody, and has a name and an inode of each. It is the
//! one process that outlives its supervisor, by that much.

use crate::status::{DONE, FAILED};
use crate::words::FromDevice;
use casemate_sandbox::{
    Action, Born, Child, FdSlot, FdTable, Given, Image, InDirectory, Layer, Layers, Limits, Pin,
    Profile, Rule, SandboxError, Setup, exit, freeze_heap, spawn_image_with, sys,
};
use rustix::fs::{AtFlags, CWD, statat, unlinkat};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// First byte of a janitor's start, where devices have the number of their kind.
pub(crate) const START: u8 = 0x82;
/// Heap beyond what is used when the process is confined.
const HEAP: usize = 16 * 1024;
/// Places at most.
const MOST: usize = 32;

/// Whoever watches the process, and whose end it waits for.
pub const CONTROL: FdSlot = FdSlot("control");

/// `MSG_OOB` and `MSG_PEEK`.
const OOB_PEEK: u64 = 3;
/// `AT_SYMLINK_NOFOLLOW`.
const NO_FOLLOW: u32 = 0x100;

/// A janitor, from before it waits to its end.
pub const JANITOR: Profile = Profile {
    name: "janitor",
    rules: &[
        Rule::new(
            sys("recvfrom"),
            &[Pin::Fd(0, CONTROL), Pin::Bits(3, OOB_PEEK, 0), Pin::Long(4, 0)],
            "the end of its supervisor",
        ),
        Rule::new(
            sys("sendmsg"),
            &[Pin::Fd(0, CONTROL), Pin::Bits(2, OOB_PEEK, 0)],
            "that it is locked",
        ),
        Rule::new(
            sys("newfstatat"),
            &[Pin::Int(3, NO_FOLLOW)],
            "whether a socket is still its VM's",
        ),
        Rule::new(sys("unlinkat"), &[Pin::Int(2, 0)], "remove a socket; never a folder"),
        Rule::new(sys("exit_group"), &[], "end"),
    ],
};

/// Something in the janitor's directory, as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its name.
    pub name: Vec<u8>,
    /// The file system's number.
    pub device: u64,
    /// The inode's.
    pub inode: u64,
}

impl Place {
    fn encode(&self, to: &mut Vec<u8>) {
        to.extend(self.device.to_le_bytes());
        to.extend(self.inode.to_le_bytes());
        to.push(u8::try_from(self.name.len()).unwrap_or(u8::MAX));
        to.extend(&self.name);
    }

    fn decode(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (device, rest) = bytes.split_first_chunk()?;
        let (inode, rest) = rest.split_first_chunk()?;
        let (len, rest) = rest.split_first()?;
        let (name, rest) = rest.split_at_checked((*len).into())?;
        let good = !name.is_empty() && !name.contains(&b'/') && !name.contains(&0);
        let (device, inode) = (u64::from_le_bytes(*device), u64::from_le_bytes(*inode));
        good.then_some((Self { name: name.to_vec(), device, inode }, rest))
    }

    /// Removes it, unless it is somebody else's by now.
    fn remove(&self) {
        let path = [b"/", &self.name[..]].concat();
        let there = statat(CWD, &path[..], AtFlags::SYMLINK_NOFOLLOW);
        if there.is_ok_and(|there| (there.st_dev, there.st_ino) == (self.device, self.inode)) {
            let _ = unlinkat(CWD, &path[..], AtFlags::empty());
        }
    }
}

fn decode(mut bytes: &[u8]) -> Option<Vec<Place>> {
    let mut places = Vec::new();
    while !bytes.is_empty() && places.len() < MOST {
        let (place, rest) = Place::decode(bytes)?;
        places.push(place);
        bytes = rest;
    }
    bytes.is_empty().then_some(places)
}

/// The layers of a janitor's process, whose root is `directory`.
#[must_use]
pub fn janitor_layers(directory: &Path) -> Layers {
    layers_of_one_that_stays("janitor", directory, InDirectory::Remove)
}

/// The layers of a process that does one thing in `directory` when the VM is over: all but its end
/// with its parent, which it is there for. One of root's stays user 0, without a capability: nobody
/// else may remove what is root's.
pub(crate) fn layers_of_one_that_stays(name: &str, directory: &Path, may: InDirectory) -> Layers {
    let limits = Limits { file_size: Some(0), open_files: Some(0), ..Limits::NO_CORE };
    let layers = Layers::new(name).limits(limits).without(Layer::DeathSignal);
    let layers = layers.in_directory(directory, may);
    if rustix::process::geteuid().is_root() {
        layers.without(Layer::UserNamespace).without(Layer::UserId)
    } else {
        layers
    }
}

/// Starts a janitor for `places`; it removes them when the other end of `control` says a word or is
/// closed.
///
/// # Errors
/// [`SandboxError`].
pub fn spawn_janitor(
    image: &Image,
    layers: Layers,
    places: &[Place],
    control: &impl AsFd,
    before: impl FnOnce(&Child),
) -> Result<Child, SandboxError> {
    let mut start = vec![START];
    places.iter().take(MOST).for_each(|place| place.encode(&mut start));
    spawn_image_with(layers.keep(control), image, &start, before)
}

pub(crate) fn main(mut given: Given, born: Born) -> i32 {
    let places = given.start.get(1..).and_then(decode);
    let Some((places, control)) = places.zip(given.descriptor()) else { return FAILED };
    janitor_body(&places, &control, born, || ())
}

/// The body of the process, with something more that is done once it is locked. For tests.
pub fn janitor_body(
    places: &[Place],
    control: &OwnedFd,
    born: Born,
    once_locked: impl FnOnce(),
) -> i32 {
    let Ok(setup) = born.confine() else { return FAILED };
    if let Err(why) = lock(setup, control) {
        FromDevice::Failed(why).tell(control);
        exit(FAILED)
    }
    FromDevice::Locked.tell(control);
    once_locked();
    let mut word = [0; 1];
    while recv(control, &mut word[..], RecvFlags::empty()) == Err(Errno::INTR) {}
    places.iter().for_each(Place::remove);
    exit(DONE)
}

fn lock(setup: Setup, control: &OwnedFd) -> Result<(), String> {
    let locked = (|| {
        freeze_heap(HEAP)?;
        setup.lock(&JANITOR, &FdTable::new().with(CONTROL, control), Action::Kill)
    })();
    locked.map(drop).map_err(|e: SandboxError| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::{Place, decode};

    #[test]
    fn places_survive_the_trip_and_lead_to_no_other_directory() {
        let place = |name: &[u8]| Place { name: name.to_vec(), device: 7, inode: u64::MAX };
        let encode = |places: &[Place]| {
            let mut to = Vec::new();
            places.iter().for_each(|place| place.encode(&mut to));
            to
        };
        let places = vec![place(b"v.sock"), place(b"x")];
        assert_eq!(decode(&encode(&places)), Some(places.clone()));
        assert_eq!(decode(&[]), Some(vec![]));
        for name in [&b""[..], b"../x", b"a\0"] {
            assert_eq!(decode(&encode(&[place(name)])), None, "{name:?}");
        }
        let whole = encode(&places);
        assert_eq!(decode(&whole[..whole.len() - 1]), None);
    }
}
