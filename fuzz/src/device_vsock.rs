//! The socket device's machine, over memory that changes between two reads: packets near what a
//! driver sends and far from it, buffers of any shape, hosts that do as they like.
//!
//! Oracles beside those of every device: connections stay within their limit; a packet for the
//! guest is whole, names the guest, and fits its buffer; nothing but a line's few bytes is
//! allocated; a guest that takes its packets is always listened to again.

use crate::devices::{Driver, NEXT, WRITE, check_reading, check_taking};
use arbitrary::{Result, Unstructured};
use casemate_device_queue::{GuestMemory, Readable, Room, Taken, Writable};
use casemate_device_vsock::{
    Credit, Entry, HEADER, HOST, Limits, Machine, Op, Ports, Sent, Stream,
};
use std::cell::Cell;
use std::io;
use std::time::Duration;

const CID: u64 = 42;
const LIMITS: Limits = Limits { connections: 4, buffer: 1024 };
/// What a line, and a dial that waits, may take.
const ALLOCATED: u64 = 256;
const OUT: u64 = 0x4000;
const IN: u64 = 0x8000;

/// A host that takes so many bytes and says so many.
#[derive(Debug)]
struct Noise {
    takes: Cell<u32>,
    line: Cell<&'static [u8]>,
    says: Cell<u32>,
    gone: bool,
}

impl Noise {
    fn any(u: &mut Unstructured) -> Result<Self> {
        let lines: [&[u8]; 4] = [b"CONNECT 7\n", b"CONNECT 4294967295\n", b"CONNECT x\n", b"CONN"];
        let (takes, says) = (u.int_in_range(0..=2000)?, u.int_in_range(0..=2000)?);
        let line = Cell::new(*u.choose(&lines)?);
        let gone = u.ratio(1, 8)?;
        Ok(Self { takes: Cell::new(takes), says: Cell::new(says), line, gone })
    }
}

impl Stream for Noise {
    fn send<M: GuestMemory>(&self, from: &mut Readable<'_, M>, _: &mut Room) -> io::Result<u32> {
        let mut bytes = [0; 256];
        let len = self.takes.get().min(from.len()).min(256);
        if self.gone {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if len == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        from.copy_to(&mut bytes[..len as usize]).ok_or(io::ErrorKind::InvalidInput)?;
        self.takes.set(self.takes.get() - len);
        Ok(len)
    }

    fn send_bytes(&self, bytes: &[u8]) -> io::Result<usize> {
        let len = self.takes.get().min(bytes.len() as u32);
        if self.gone {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if len == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.takes.set(self.takes.get() - len);
        Ok(len as usize)
    }

    fn receive<M: GuestMemory>(&self, to: &Writable<'_, M>, _: &mut Room) -> io::Result<u32> {
        let bytes = [0x5a; 256];
        let len = self.says.get().min(to.len()).min(256);
        if len == 0 {
            return if self.gone { Ok(0) } else { Err(io::ErrorKind::WouldBlock.into()) };
        }
        let put = to.put(&bytes[..len as usize]).map_err(|_| io::ErrorKind::InvalidInput)?;
        self.says.set(self.says.get() - put);
        Ok(put)
    }

    fn receive_byte(&self) -> io::Result<Option<u8>> {
        match self.line.get().split_first() {
            Some((byte, rest)) => {
                self.line.set(rest);
                Ok(Some(*byte))
            }
            None if self.gone => Ok(None),
            None => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn end_sending(&self) {}

    fn end_receiving(&self) {}
}

/// What came of an input.
#[derive(Debug, Default)]
struct Seen {
    sent: u32,
    data: u32,
    resets: u32,
}

/// The socket device: whatever guest and host do.
pub fn vsock(data: &[u8]) {
    let _ = vsock_of(&mut Unstructured::new(data), &mut Seen::default());
}

fn vsock_of(u: &mut Unstructured, seen: &mut Seen) -> Result<()> {
    let (mut driver, mut queue) = Driver::new(u)?;
    let mut machine: Machine<Noise> = Machine::new(CID, &[52, 53], LIMITS);
    let mut now = Duration::from_secs(1000);
    for _ in 0..48 {
        if u.is_empty() {
            break;
        }
        driver.memory.shift_by(u.arbitrary()?);
        if u.ratio(1, 12)? {
            driver.memory.set_gone(u.arbitrary()?, u.ratio(1, 8)?);
        }
        match u.int_in_range(0..=14)? {
            0 => {
                let entry = if u.arbitrary()? { Entry::Path } else { Entry::Port(7) };
                let _ = machine.entered(Noise::any(u)?, entry, now);
            }
            1..=3 => {
                let place = u.int_in_range(0..=2_usize)?;
                machine.seen(place, u.ratio(3, 4)?, u.arbitrary()?, u.ratio(1, 16)?);
            }
            4 | 5 => {
                if let Some(dial) = machine.next_dial() {
                    assert!([52, 53].contains(&dial.port), "a port that is not named");
                    let stream = if u.ratio(7, 8)? { Some(Noise::any(u)?) } else { None };
                    machine.dialed(dial, stream);
                }
            }
            6 => {
                now += Duration::from_secs(u.int_in_range(0..=12)?);
                machine.settle(now);
            }
            choice => {
                let sends = choice < 11;
                if sends && !machine.can_take() {
                    continue;
                }
                let head = if sends { packet(u, &driver)? } else { buffer(u, &driver)? };
                driver.offer(head);
                let _ = driver.memory.take_record();
                let Ok(Some(taken)) = queue.take(&driver.memory) else { return Ok(()) };
                let taking = driver.memory.take_record();
                let (head, written) = match taken {
                    Taken::Malformed(head, _) => (head, 0),
                    Taken::Request(head, request) => {
                        let (cover, writable) = check_taking(&taking, driver.size);
                        let has = machine.has_packet();
                        let mut written = 0;
                        let allocated = allocation_counter::measure(|| {
                            if sends {
                                machine.take(request.readable, now);
                            } else {
                                written = machine.fill(request.writable, now);
                            }
                        });
                        assert!(allocated.bytes_max <= ALLOCATED, "a packet allocates");
                        check_reading(&driver.memory.take_record(), cover);
                        assert!(u64::from(written) <= writable);
                        assert!(written == 0 || has && written >= HEADER);
                        (head, written)
                    }
                };
                if written > 0 {
                    check_packet(&driver, written, seen);
                }
                seen.sent += u32::from(sends);
                if queue.answer(&driver.memory, head, written).is_err() {
                    return Ok(());
                }
            }
        }
        assert!(machine.connections() <= usize::from(LIMITS.connections));
    }
    machine.clear();
    assert!(machine.connections() == 0 && machine.can_take() && !machine.has_packet());
    Ok(())
}

/// A packet for the guest, where the buffer's first descriptor has room for its header.
fn check_packet(driver: &Driver, written: u32, seen: &mut Seen) {
    let byte = |at: u64| driver.memory.peek(IN + at);
    let word = |at: u64| u32::from_le_bytes([byte(at), byte(at + 1), byte(at + 2), byte(at + 3)]);
    assert_eq!((word(8), word(12)), (CID as u32, 0), "for the guest");
    assert_eq!(word(24), written - HEADER, "a length that is a lie");
    let op = word(28) >> 16;
    assert!((1..=7).contains(&op), "no operation");
    assert!(op == 5 || written == HEADER, "bytes with an operation that has none");
    seen.data += u32::from(op == 5);
    seen.resets += u32::from(op == 3);
}

/// Writes a packet, cut as the input says, from descriptor 0 on.
fn packet(u: &mut Unstructured, driver: &Driver) -> Result<u16> {
    let near = u.ratio(9, 10)?;
    let len = u.int_in_range(0..=300)?;
    // Beginnings and bytes more often than ends.
    let likely = [Op::Request, Op::Response, Op::Response, Op::Data, Op::CreditUpdate];
    let op = if u.ratio(3, 4)? { *u.choose(&likely)? } else { *u.choose(&Op::ALL)? };
    let len = if near && op != Op::Data { 0 } else { len };
    let ports = Ports { guest: *u.choose(&[52, 1 << 30])?, host: 7 };
    let credit = Credit { size: u.int_in_range(0..=2000)?, taken: u.int_in_range(0..=3)? };
    let (flags, kind) = (u.int_in_range(0..=4)?, 1);
    let header = Sent { from_cid: CID, to_cid: HOST, ports, len, kind, op, flags, credit };
    let mut bytes = header.encode();
    if !near {
        let at = u.choose_index(bytes.len())?;
        bytes[at] = u.arbitrary()?;
    }
    driver.memory.poke(OUT, &bytes);
    let cut = u.int_in_range(1..=HEADER + len)?;
    let parts = [(OUT, cut), (OUT + u64::from(cut), HEADER + len - cut)];
    let count = if parts[1].1 == 0 { 1 } else { 2 };
    for (index, (gpa, len)) in (0..).zip(parts).take(count) {
        let next = if usize::from(index) + 1 < count { NEXT } else { 0 };
        driver.describe(index, gpa, len, next, index + 1);
    }
    Ok(0)
}

/// Writes an empty buffer: one that has room for a header in its first descriptor, and sometimes
/// one that has not.
fn buffer(u: &mut Unstructured, driver: &Driver) -> Result<u16> {
    let len =
        if u.ratio(7, 8)? { u.int_in_range(HEADER..=600)? } else { u.int_in_range(1..=HEADER)? };
    let more = u.ratio(1, 2)?;
    driver.describe(0, IN, len, WRITE | if more { NEXT } else { 0 }, 1);
    driver.describe(1, IN + u64::from(len), 100, WRITE, 0);
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::{Seen, vsock_of};
    use arbitrary::Unstructured;

    /// Otherwise the oracles would hold for connections that never open.
    #[test]
    fn packets_of_every_kind_reach_connections() {
        let mut all = Seen::default();
        crate::drawn::inputs((2000, 768), ("streams", 24), |input| {
            let mut seen = Seen::default();
            let _ = vsock_of(&mut Unstructured::new(input), &mut seen);
            all.sent += seen.sent;
            all.data += seen.data;
            all.resets += seen.resets;
            seen.data > 1
        });
        assert!(all.sent > 5000 && all.data > 50 && all.resets > 200, "{all:?}");
    }
}
