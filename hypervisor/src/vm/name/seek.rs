//! Finding and reaching who holds a name.

use super::sockets;
use crate::config::is_name;
use casemate_sandbox::peer;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// Holders of one name that are looked at. One of them is right; more are somebody's attempts.
const MAX_HOLDERS: usize = 64;
/// Names of one user that are looked at.
const MAX_NAMES: usize = 1024;
/// How long all holders together may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// The address of a holder: of this user and name, chosen by a random word.
pub(super) fn address(name: &str, word: &str) -> String {
    format!("{}{word}", prefix(name))
}

fn prefix(name: &str) -> String {
    format!("{}{name}/", own())
}

/// What every address of this user begins with.
fn own() -> String {
    format!("casemate/{}/", rustix::process::geteuid().as_raw())
}

pub(super) fn unix_socket() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
}

/// Until when who begins now waits.
pub(in crate::vm) fn patience() -> Instant {
    Instant::now() + PATIENCE
}

/// The addresses at which this user may hold the name. A name cannot contain the `/` that ends it,
/// so no other name has this prefix.
pub(super) fn addresses(name: &str, until: Instant) -> std::io::Result<BTreeSet<String>> {
    let uid = rustix::process::geteuid().as_raw();
    sockets::addresses(&prefix(name), uid, MAX_HOLDERS, until)
}

/// The names that this user may hold: what stands before the random word of an address.
pub(super) fn names(until: Instant) -> std::io::Result<BTreeSet<String>> {
    let (uid, own) = (rustix::process::geteuid().as_raw(), own());
    let found = sockets::addresses(&own, uid, MAX_NAMES, until)?;
    let name = |address: &String| {
        let (name, _) = address.strip_prefix(&own)?.split_once('/')?;
        is_name(name).then(|| name.to_owned())
    };
    Ok(found.iter().filter_map(name).collect())
}

/// Who is at an address.
#[derive(Debug)]
pub(super) enum Holder {
    /// A process of this user, and the connection to it; its number, where it has one here.
    Ours(OwnedFd, Option<u32>),
    /// A process of another user: not believed.
    Foreign,
    /// It does not take connections.
    Mute,
    /// Nobody any more.
    Gone,
}

/// Connects to an address; who listens there, as the kernel says.
pub(super) fn reach(address: &str, until: Instant) -> Result<Holder, Errno> {
    let to = SocketAddrUnix::new_abstract_name(address.as_bytes())?;
    let socket = unix_socket()?;
    loop {
        match connect(&socket, &to) {
            Ok(()) => break,
            Err(Errno::INTR) => {}
            // Its queue is full, perhaps because of others who ask.
            Err(Errno::AGAIN) if Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(Errno::AGAIN) => return Ok(Holder::Mute),
            Err(Errno::CONNREFUSED) => return Ok(Holder::Gone),
            // A socket of another type is none of ours.
            Err(Errno::PROTOTYPE) => return Ok(Holder::Foreign),
            Err(e) => return Err(e),
        }
    }
    let Ok(peer) = peer(&socket) else { return Ok(Holder::Gone) };
    if peer.uid != rustix::process::geteuid().as_raw() {
        return Ok(Holder::Foreign);
    }
    Ok(Holder::Ours(socket, peer.pid))
}

/// Waits until a connection has something, or is closed; false when it does not come to that in
/// time, where there is one.
pub(in crate::vm) fn readable(socket: &OwnedFd, until: Option<Instant>) -> bool {
    loop {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let left = left.map(|left| Timespec::try_from(left).unwrap_or_default());
        match poll(&mut [PollFd::new(socket, PollFlags::IN)], left.as_ref()) {
            Err(Errno::INTR) => {}
            Ok(0) | Err(_) => return false,
            Ok(_) => return true,
        }
    }
}
