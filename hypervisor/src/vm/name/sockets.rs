//! The kernel's list of the sockets at which somebody may hold a name.
//!
//! Anybody may listen at any address, as often as their descriptors allow. So the kernel is asked
//! whose each socket is (sock_diag(7), UNIX_DIAG_UID: Linux 5.3), and those of other users are
//! never connected to: however many there are, they cost the time to list them, which has a bound.
//! A kernel without that list is asked for `/proc/net/unix`, which names no user; then a stranger's
//! sockets count among those that are looked at.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::time::Instant;

/// How much of `/proc/net/unix` is read: some 80 bytes for each socket.
const MAX_LIST: u64 = 16 << 20;
/// What one packet of the list has at most (`NLMSG_GOODSIZE` is a page, or 8 KiB).
const PACKET: usize = 32 * 1024;

// Numbers of linux/netlink.h, linux/sock_diag.h and linux/unix_diag.h.
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// `NLM_F_REQUEST | NLM_F_DUMP`.
const DUMP: u16 = 0x301;
const AF_UNIX: u8 = 1;
/// A bit for each state, of which this is TCP_LISTEN.
const LISTENING: u32 = 1 << 10;
/// `UDIAG_SHOW_NAME | UDIAG_SHOW_UID`.
const SHOW: u32 = 0x41;
const UNIX_DIAG_NAME: u16 = 0;
const UNIX_DIAG_UID: u16 = 7;
/// `struct nlmsghdr`, `struct unix_diag_msg`, `struct rtattr`.
const HEADER: usize = 16;
const MESSAGE: usize = 16;
const ATTRIBUTE: usize = 4;

/// The abstract addresses with this prefix at which a socket of `uid` listens, at most `most`.
///
/// # Errors
/// The kernel's reason; `TimedOut` when the list is not there in time.
pub(super) fn addresses(
    prefix: &str,
    uid: u32,
    most: usize,
    until: Instant,
) -> std::io::Result<BTreeSet<String>> {
    match dump(prefix, uid, most, until) {
        // A kernel without it (CONFIG_UNIX_DIAG), or older than its users.
        Err(Errno::NOENT | Errno::PROTONOSUPPORT | Errno::AFNOSUPPORT | Errno::INVAL) => {
            listed(prefix, most)
        }
        other => other.map_err(Into::into),
    }
}

/// Asks by sock_diag.
fn dump(prefix: &str, uid: u32, most: usize, until: Instant) -> Result<BTreeSet<String>, Errno> {
    let (kind, flags) = (SocketType::RAW, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK);
    let socket = socket_with(AddressFamily::NETLINK, kind, flags, Some(netlink::SOCK_DIAG))?;
    // Without an address it goes to the kernel.
    send(&socket, &request(), SendFlags::empty())?;
    let mut found = BTreeSet::new();
    let mut packet = vec![0; PACKET];
    loop {
        let len = received(&socket, &mut packet, until)?;
        let mut rest = packet.get(..len).unwrap_or_default();
        while let Some((kind, message)) = next(&mut rest) {
            match kind {
                NLMSG_DONE => return Ok(found),
                NLMSG_ERROR => return Err(error(message)),
                SOCK_DIAG_BY_FAMILY => {
                    let one = of(message, uid).and_then(|name| name.strip_prefix(b"\0"));
                    let text = one.and_then(|name| std::str::from_utf8(name).ok());
                    let text = text.filter(|text| text.starts_with(prefix));
                    found.extend(text.filter(|_| found.len() < most).map(str::to_owned));
                }
                _ => {}
            }
        }
    }
}

/// `struct nlmsghdr` and `struct unix_diag_req`.
fn request() -> Vec<u8> {
    let (sequence, port, pad, inode, cookie) = (1_u32, 0_u32, 0_u16, 0_u32, u32::MAX);
    let mut bytes = 40_u32.to_ne_bytes().to_vec();
    bytes.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes.extend(DUMP.to_ne_bytes());
    bytes.extend([sequence, port].map(u32::to_ne_bytes).as_flattened());
    bytes.extend([AF_UNIX, 0]);
    bytes.extend(pad.to_ne_bytes());
    bytes.extend([LISTENING, inode, SHOW, cookie, cookie].map(u32::to_ne_bytes).as_flattened());
    bytes
}

fn received(socket: &OwnedFd, packet: &mut [u8], until: Instant) -> Result<usize, Errno> {
    loop {
        // Before the packets, too: a list that has no end is never waited for.
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Errno::TIMEDOUT);
        }
        match recv(socket, &mut *packet, RecvFlags::DONTWAIT) {
            Ok((len, _)) => return Ok(len),
            Err(Errno::AGAIN) => {
                let left = Timespec::try_from(left).unwrap_or_default();
                let _ = poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&left));
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// The next part of a chain of lengths and contents: its kind and what it holds. `header` is the
/// length of what stands before, which the length counts.
fn part<'a>(rest: &mut &'a [u8], header: usize, length: usize) -> Option<&'a [u8]> {
    let whole = rest.get(..length)?;
    // Each begins at a multiple of four.
    *rest = rest.get(length.checked_next_multiple_of(4)?..).unwrap_or_default();
    whole.get(header..)
}

fn next<'a>(rest: &mut &'a [u8]) -> Option<(u16, &'a [u8])> {
    let (length, tail) = rest.split_first_chunk()?;
    let kind = u16::from_ne_bytes(*tail.first_chunk()?);
    let length = usize::try_from(u32::from_ne_bytes(*length)).ok()?;
    Some((kind, part(rest, HEADER, length)?))
}

fn next_attribute<'a>(rest: &mut &'a [u8]) -> Option<(u16, &'a [u8])> {
    let (length, tail) = rest.split_first_chunk()?;
    let kind = u16::from_ne_bytes(*tail.first_chunk()?);
    Some((kind, part(rest, ATTRIBUTE, u16::from_ne_bytes(*length).into())?))
}

/// The address of a socket, unless the kernel says that it is another user's.
fn of(message: &[u8], uid: u32) -> Option<&[u8]> {
    let mut rest = message.get(MESSAGE..)?;
    let (mut name, mut owner) = (None, None);
    while let Some((kind, value)) = next_attribute(&mut rest) {
        match kind {
            UNIX_DIAG_NAME => name = Some(value),
            UNIX_DIAG_UID => owner = value.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes)),
            _ => {}
        }
    }
    // A kernel before 5.3 does not say.
    name.filter(|_| owner.is_none_or(|owner| owner == uid))
}

/// What the kernel refuses: a negative errno.
fn error(message: &[u8]) -> Errno {
    let code = message.first_chunk().map_or(0, |bytes| i32::from_ne_bytes(*bytes));
    Errno::from_raw_os_error(code.saturating_neg())
}

/// Asks by `/proc/net/unix`.
fn listed(prefix: &str, most: usize) -> std::io::Result<BTreeSet<String>> {
    let mut list = Vec::new();
    File::open("/proc/self/net/unix")?.take(MAX_LIST).read_to_end(&mut list)?;
    Ok(of_text(&list, prefix).take(most).map(str::to_owned).collect())
}

/// The kernel shows the zero byte in front of an abstract name as `@`, and all other bytes as they
/// are. A socket that waits to be accepted has its listener's address, too.
fn of_text<'a>(list: &'a [u8], prefix: &'a str) -> impl Iterator<Item = &'a str> {
    list.split(|byte| *byte == b'\n').filter_map(move |line| {
        let text = std::str::from_utf8(line).ok()?;
        let at = text.find(&format!("@{prefix}"))?;
        text.get(at + 1..)
    })
}

#[cfg(test)]
mod tests {
    use super::{dump, listed, next, of_text};
    use crate::vm::name::{hold, seek};
    use std::time::{Duration, Instant};

    /// Protects both ways of asking: each finds the same sockets, and the first those of one user.
    /// Cannot tell of another user's sockets, which `tests/vm_name.rs` makes.
    #[test]
    fn both_lists_of_the_kernel_have_the_sockets_that_listen() {
        let name = format!("test-lists-{}", std::process::id());
        let held = ["00", "01"].map(|word| hold::bind(&seek::address(&name, word)).unwrap());
        let prefix = seek::address(&name, "");
        let (uid, until) = (rustix::process::geteuid().as_raw(), in_time());
        let all = [format!("{prefix}00"), format!("{prefix}01")];
        assert!(listed(&prefix, 8).unwrap().iter().eq(&all));
        // Skipped where the kernel was built without it.
        if let Ok(found) = dump(&prefix, uid, 8, until) {
            assert!(found.iter().eq(&all), "{found:?}");
            assert_eq!(dump(&prefix, uid, 1, until).unwrap().len(), 1);
            assert_eq!(dump(&prefix, uid + 1, 8, until).unwrap().len(), 0);
        }
        drop(held);
        assert_eq!(listed(&prefix, 8).unwrap().len(), 0);
    }

    fn in_time() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[test]
    fn parts_that_do_not_fit_end_the_list() {
        let message = [20_u32, 20, 0, 0, 7].map(u32::to_ne_bytes);
        let whole = message.as_flattened();
        assert_eq!(next(&mut &*whole), Some((20, &whole[16..])));
        for cut in 0..whole.len() {
            assert_eq!(next(&mut &whole[..cut]), None, "{cut}");
        }
        for length in [0_u32, 15, 21, u32::MAX] {
            let changed = [&length.to_ne_bytes(), &whole[4..]].concat();
            assert_eq!(next(&mut &*changed), None, "{length}");
        }
    }

    #[test]
    fn text_has_the_addresses_with_the_prefix() {
        let list =
            b"0: 2 0 10000 5 1 7 @casemate/0/a/01\n0: 2 0 10000 5 1 8 /run/x\n\xff@casemate/0/a/2";
        assert!(of_text(list, "casemate/0/a/").eq(["casemate/0/a/01"]));
    }
}
