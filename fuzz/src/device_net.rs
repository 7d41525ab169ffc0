//! The network device, over memory that changes between two reads: frames near what a driver sends
//! and far from it, buffers of any shape, and a filter that admits one end point.
//!
//! Oracles beside those of every device: what comes out is admitted, as a reading of its bytes at
//! their fixed places says, which shares no code with the parser, whatever the guest changed
//! meanwhile; its header is one that can be; no byte of a frame is read twice; a frame for the
//! guest is whole.

use crate::devices::{Driver, NEXT, WRITE};
use crate::shifting::Access;
use arbitrary::{Result, Unstructured};
use casemate_device_backend::{Limits, PolledDevice, Served};
use casemate_device_net::{Facts, HEADER, MAX_FRAME, Net, Over, Refused, Watcher, feature};
use casemate_device_queue::{Negotiating, RingAddresses, Running};
use casemate_policy::{NetworkRules, Policy};
use casemate_values::Guest;
use rustix::event::PollFlags;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use std::os::fd::OwnedFd;
use std::sync::LazyLock;

const MAC: [u8; 6] = [0x52, 0x54, 0, 0, 0, 2];
const OUT: u64 = 0x4000;
const IN: u64 = 0x8000;
/// Rings of the queue that `Driver` does not have.
const RECEIVE: RingAddresses =
    RingAddresses { descriptors: 0xc000, available: 0xd000, used: 0xe000 };
const SIZE: u16 = 4;

static RULES: LazyLock<NetworkRules> = LazyLock::new(|| {
    let text = "schema_version = 1\nmin_engine = \"0.1.0\"\nname = \"n\"\n[network]\n\
                egress = [{ cidr = \"10.0.0.1/32\", ports = 53, protocol = \"udp\" }]\n\
                rate = \"any\"\n";
    Policy::load(text, "n.toml").expect("a policy").network_rules()
});

struct Nobody;

impl Watcher for Nobody {
    fn refused(&self, _: Refused) {}
    fn over(&self, why: Over) {
        // The other end of the TAP is there, and no rate is set.
        panic!("nothing ends a guest here: {why:?}");
    }
}

/// What came of an input.
#[derive(Debug, Default)]
struct Seen {
    sent: u32,
    out: u32,
    delivered: u32,
}

/// The network device: whatever guest and network do.
pub fn net(data: &[u8]) {
    let _ = net_of(&mut Unstructured::new(data), &mut Seen::default());
}

fn net_of(u: &mut Unstructured, seen: &mut Seen) -> Result<()> {
    let (mut driver, mut transmit) = Driver::new(u)?;
    let mut receive = receive_queue(&driver);
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let pair = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None);
    let (tap, other) = pair.expect("sockets");
    let open = u.ratio(1, 4)?;
    let rules = if open { NetworkRules::any() } else { RULES.clone() };
    let limits = Limits::default();
    let facts = Facts { mac: MAC, mtu: 1500, offered: feature::OFFLOADS, limits, rules };
    let mut net = Net::new(&facts, tap, Box::new(Nobody));
    let features = if u.ratio(3, 4)? { feature::ALL } else { u.arbitrary()? };
    net.negotiated(features);
    net.started(false);
    let mut posted = 0_u16;
    for _ in 0..24 {
        if u.is_empty() {
            break;
        }
        driver.memory.shift_by(u.arbitrary()?);
        if u.ratio(1, 12)? {
            driver.memory.set_gone(u.arbitrary()?, u.ratio(1, 8)?);
        }
        match u.int_in_range(0..=5)? {
            0 => {
                let len = u.int_in_range(14..=400)?;
                let mut bytes = vec![0; HEADER + len];
                bytes[1] = *u.choose(&[0, 0, 0, 1, 5, 0x5a])?;
                let _ = rustix::io::write(&other, &bytes);
            }
            1 | 2 => post(u, &driver, &mut posted)?,
            _ => {
                frame(u, &driver)?;
                driver.offer(0);
                seen.sent += 1;
            }
        }
        let _ = driver.memory.take_record();
        let before = driver.memory.peek(RECEIVE.used + 2);
        let tell = || ();
        let mut queues = [
            Served::new(&mut receive, &driver.memory, &tell),
            Served::new(&mut transmit, &driver.memory, &tell),
        ];
        if net.turn(&mut queues, &[PollFlags::IN], &|| false).is_err() {
            return Ok(());
        }
        check_reads(&driver.memory.take_record());
        seen.delivered += u32::from(driver.memory.peek(RECEIVE.used + 2) != before);
        while let Some(out) = came_out(&other) {
            check_out(&out, open, features);
            seen.out += 1;
        }
    }
    Ok(())
}

fn receive_queue(driver: &Driver) -> Running {
    let mut queue = Negotiating::default();
    queue.set_size(Guest::new(SIZE.into())).expect("a size");
    queue.set_rings(RECEIVE);
    queue.activate(&driver.memory).expect("rings in memory")
}

/// Posts a buffer, of any size.
fn post(u: &mut Unstructured, driver: &Driver, posted: &mut u16) -> Result<()> {
    let head = *posted % SIZE;
    let at = RECEIVE.descriptors + 16 * u64::from(head);
    let len: u32 = u.int_in_range(0..=600)?;
    let gpa = IN + u64::from(head) * 0x400;
    let flags = if u.ratio(15, 16)? { WRITE } else { 0 };
    driver.memory.poke(at, &gpa.to_le_bytes());
    driver.memory.poke(at + 8, &len.to_le_bytes());
    driver.memory.poke(at + 12, &flags.to_le_bytes());
    let slot = RECEIVE.available + 4 + 2 * u64::from(head);
    driver.memory.poke(slot, &head.to_le_bytes());
    *posted = posted.wrapping_add(1);
    driver.memory.poke(RECEIVE.available + 2, &posted.to_le_bytes());
    Ok(())
}

/// A byte of a frame that its driver sends is read once; the rest is the kernel's to read.
fn check_reads(record: &[Access]) {
    let mut read = vec![false; 0x4000];
    for access in record {
        if let Access::Read(gpa, len, _) = access
            && (OUT..IN).contains(gpa)
        {
            let at = (*gpa - OUT) as usize;
            for byte in read.iter_mut().skip(at).take(*len) {
                assert!(!std::mem::replace(byte, true), "a byte of a frame was read twice");
            }
        }
    }
}

fn came_out(other: &OwnedFd) -> Option<Vec<u8>> {
    let mut bytes = vec![0; HEADER + MAX_FRAME];
    let len = rustix::io::read(other, &mut bytes[..]).ok().filter(|len| *len > 0)?;
    bytes.truncate(len);
    Some(bytes)
}

/// What comes out can be, and is admitted.
fn check_out(out: &[u8], open: bool, features: u64) {
    let (header, frame) = out.split_at(HEADER);
    assert!(frame.len() >= 14 && frame[6..12] == MAC, "another card's");
    let word = |at: usize| usize::from(u16::from_le_bytes([header[at], header[at + 1]]));
    assert!(header[0] <= 1 && (header[1] == 0 || header[0] == 1), "{header:?}");
    if header[0] == 1 {
        assert!(features & feature::CSUM != 0 && word(6) >= 14);
        assert!(word(6) + word(8) + 2 <= frame.len(), "a sum outside: {header:?}");
    }
    assert!(header[1] == 0 || word(4) > 0, "pieces of no bytes");
    let sum = (header[0] == 1).then(|| (word(6), word(8)));
    assert!(open || is_admitted(frame, sum), "came out: {header:?} {frame:x?}");
    assert!(speaks_for_itself(frame, sum), "speaks for another card: {header:?} {frame:x?}");
}

/// Whether a frame is no ARP, behind tags or not, that another card could have sent, nor becomes
/// one: of ARP no sum is made, and none is before what a frame carries.
fn speaks_for_itself(frame: &[u8], sum: Option<(usize, usize)>) -> bool {
    let mut at = 12;
    while let Some([0x81, 0] | [0x88, 0xa8]) = frame.get(at..at + 2) {
        at += 4;
    }
    let before = sum.is_some_and(|(start, _)| start < at + 2);
    match frame.get(at..at + 2) {
        Some([8, 6]) => at == 12 && sum.is_none() && frame[22..28] == MAC,
        _ => !before,
    }
}

/// Whether a frame may come out, by its bytes at the places that the standards give them, when the
/// kernel then makes this sum of it: where it starts, and where from there it is written.
fn is_admitted(frame: &[u8], sum: Option<(usize, usize)>) -> bool {
    match &frame[12..14] {
        [8, 6] => frame[22..28] == MAC,
        [8, 0] => {
            let whole = frame[14] == 0x45 && frame[20] & 0x3f == 0 && frame[21] == 0;
            let udp = frame[23] == 17;
            let port = [frame[36], frame[37]];
            let there = frame[30..34] == [10, 0, 0, 1] && port == [0, 53];
            let dhcp = frame[30..34] == [255; 4] && port == [0, 67];
            whole && udp && (there || dhcp) && matches!(sum, None | Some((34, 6)))
        }
        // No address of version 6 is admitted but those of the link.
        [0x86, 0xdd] => {
            let near =
                frame[38..40] == [0xff, 2] || (frame[38] == 0xfe && frame[39] & 0xc0 == 0x80);
            // Only of UDP, behind all that is stepped over.
            near && sum.is_none_or(|(start, field)| start >= 54 && field == 6)
        }
        _ => false,
    }
}

/// Writes a frame near what is sent, cut as the input says, from descriptor 0 on.
fn frame(u: &mut Unstructured, driver: &Driver) -> Result<()> {
    let mut bytes = vec![0; HEADER];
    match u.int_in_range(0..=3)? {
        0 => bytes[..10].copy_from_slice(&[1, 0, 0, 0, 0, 0, 34, 0, 6, 0]),
        1 => bytes[..10].copy_from_slice(&[1, 5, 42, 0, 64, 0, 34, 0, 6, 0]),
        _ => {}
    }
    if bytes[0] == 1 && u.ratio(1, 2)? {
        // Over an address, a port, the sender of ARP, the kind behind a tag.
        (bytes[6], bytes[8]) =
            *u.choose(&[(14, 16), (34, 2), (14, 8), (14, 2), (34, 16), (54, 6), (38, 6)])?;
        bytes[1] = *u.choose(&[0, 1, 4, 5])?;
    }
    bytes.extend([0x52, 0x54, 0, 0, 0, 1]);
    bytes.extend(MAC);
    for _ in 0..*u.choose(&[0, 0, 0, 0, 0, 1, 2, 3])? {
        bytes.extend([0x81, 0, 0, 7]);
    }
    match u.int_in_range(0..=3)? {
        0 => {
            bytes.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
            bytes.extend(MAC);
            bytes.extend([0; 14]);
        }
        1 => {
            bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 8]);
            bytes.extend([*u.choose(&[58, 0, 60, 17])?, *u.choose(&[255, 1])?]);
            bytes.extend([0; 16]);
            bytes.extend([*u.choose(&[0xff, 0xfe, 0x20])?, *u.choose(&[2, 0x80])?]);
            bytes.extend([0; 14]);
            bytes.extend([*u.choose(&[135, 143, 58])?, 0, 0, 0, 0, 0, 0, 0]);
        }
        _ => {
            bytes.extend([8, 0, 0x45, 0, 0, 36, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 2]);
            bytes.extend([10, 0, 0, *u.choose(&[1, 1, 3])?]);
            bytes.extend([0, 7, 0, *u.choose(&[53, 53, 54])?, 0, 16, 0, 0]);
            bytes.extend([0; 8]);
        }
    }
    let more = u.int_in_range(0..=400)?;
    bytes.resize(bytes.len() + more, 0x5a);
    if u.ratio(1, 3)? {
        let at = u.choose_index(bytes.len())?;
        bytes[at] = u.arbitrary()?;
    }
    driver.memory.poke(OUT, &bytes);
    let all = bytes.len() as u32;
    let cut = if u.ratio(1, 2)? { all } else { u.int_in_range(1..=all)? };
    let parts = [(OUT, cut), (OUT + u64::from(cut), all - cut)];
    let count = if cut == all { 1 } else { 2 };
    for (index, (gpa, len)) in (0..).zip(parts).take(count) {
        let next = if usize::from(index) + 1 < count { NEXT } else { 0 };
        driver.describe(index, gpa, len, next, index + 1);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Seen, net_of};
    use arbitrary::Unstructured;

    /// Otherwise the oracles would hold for frames that never come out. Also writes seeds, where
    /// their folder is named.
    #[test]
    fn frames_of_every_kind_come_out_and_in() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        };
        let mut all = Seen::default();
        let mut written = 0;
        for number in 0..2000 {
            let input: Vec<u8> = (0..64).flat_map(|_| next()).collect();
            let mut seen = Seen::default();
            let _ = net_of(&mut Unstructured::new(&input), &mut seen);
            let folder = std::env::var_os("CASEMATE_WRITE_SEEDS");
            let good = seen.out > 2 && seen.delivered > 0;
            if let Some(folder) = folder.filter(|_| good && written < 24) {
                let path = std::path::Path::new(&folder).join(format!("frames-{number}"));
                std::fs::write(path, &input).unwrap();
                written += 1;
            }
            all.sent += seen.sent;
            all.out += seen.out;
            all.delivered += seen.delivered;
        }
        assert!(all.sent > 2000 && all.out > 300 && all.delivered > 100, "{all:?}");
    }
}
