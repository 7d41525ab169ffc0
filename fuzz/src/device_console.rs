//! A console's port, over memory that changes between two reads and goes away: buffers of any
//! shape, a host that does as it likes.
//!
//! Oracles beside those of every device: what waits is bounded; nothing is taken while something
//! waits, or while the stream has not said that there is room; bytes for the guest stay inside its
//! buffer; no buffer allocates; a host that is gone is waited for no more.

use crate::devices::{Driver, NEXT, WRITE, check_reading, check_taking};
use arbitrary::{Result, Unstructured};
use casemate_device_console::{LEFT, Port, Stream};
use casemate_device_queue::{GuestMemory, Readable, Room, Taken, Writable};
use std::cell::Cell;
use std::io;

const OUT: u64 = 0x4000;
const IN: u64 = 0x9000;

/// A host that takes so many bytes and says so many, until it is gone.
#[derive(Debug, Default)]
struct Noise {
    takes: Cell<u32>,
    says: Cell<u32>,
    gone: Cell<bool>,
    moved: Cell<u64>,
}

impl Noise {
    fn taken(&self, wanted: u32) -> io::Result<u32> {
        if self.gone.get() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let len = self.takes.get().min(wanted);
        if len == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.takes.set(self.takes.get() - len);
        self.moved.set(self.moved.get() + u64::from(len));
        Ok(len)
    }
}

impl Stream for Noise {
    fn send<M: GuestMemory>(&self, from: &mut Readable<'_, M>, _: &mut Room) -> io::Result<u32> {
        let mut bytes = [0; 512];
        let len = self.taken(from.len().min(512))?;
        from.copy_to(&mut bytes[..len as usize]).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(len)
    }

    fn send_bytes(&self, bytes: &[u8]) -> io::Result<usize> {
        self.taken(bytes.len().min(512) as u32).map(|len| len as usize)
    }

    fn receive<M: GuestMemory>(&self, to: &Writable<'_, M>, _: &mut Room) -> io::Result<u32> {
        let len = self.says.get().min(to.len()).min(512);
        if len == 0 {
            return if self.gone.get() { Ok(0) } else { Err(io::ErrorKind::WouldBlock.into()) };
        }
        let put = to.put(&[0x5a; 512][..len as usize]).map_err(|_| io::ErrorKind::InvalidInput)?;
        self.says.set(self.says.get() - put);
        self.moved.set(self.moved.get() + u64::from(put));
        Ok(put)
    }
}

/// A console's port: whatever guest and host do.
pub fn console(data: &[u8]) {
    let _ = console_of(&mut Unstructured::new(data), &mut 0);
}

fn console_of(u: &mut Unstructured, moved: &mut u64) -> Result<()> {
    let (mut driver, mut queue) = Driver::new(u)?;
    let mut port = Port::new(Noise::default());
    for _ in 0..48 {
        if u.is_empty() {
            break;
        }
        driver.memory.shift_by(u.arbitrary()?);
        if u.ratio(1, 12)? {
            driver.memory.set_gone(u.arbitrary()?, u.ratio(1, 8)?);
        }
        match u.int_in_range(0..=9)? {
            0 => port.stream().takes.set(u.int_in_range(0..=3000)?),
            1 => port.stream().says.set(u.int_in_range(0..=3000)?),
            2 if u.ratio(1, 8)? => port.stream().gone.set(true),
            2..=4 => {
                let (reads, writes) = port.wants();
                port.seen(reads && u.arbitrary()?, writes && u.arbitrary()?);
            }
            choice => {
                let sends = choice < 8;
                if sends && !port.can_take() {
                    continue;
                }
                assert!(!sends || port.waiting() == 0, "taken while something waits");
                let head = buffer(u, &driver, sends)?;
                driver.offer(head);
                let _ = driver.memory.take_record();
                let Ok(Some(taken)) = queue.take(&driver.memory) else { return Ok(()) };
                let taking = driver.memory.take_record();
                let (head, written) = match taken {
                    Taken::Malformed(head, _) => (head, 0),
                    Taken::Request(head, request) => {
                        let (cover, writable) = check_taking(&taking, driver.size);
                        let mut written = 0;
                        let allocated = allocation_counter::measure(|| {
                            if sends {
                                port.take(request.readable);
                            } else if port.has_input() {
                                written = port.give(&request.writable);
                            }
                        });
                        assert_eq!(allocated.count_total, 0, "a buffer allocates");
                        check_reading(&driver.memory.take_record(), cover);
                        assert!(u64::from(written) <= writable);
                        (head, written)
                    }
                };
                if queue.answer(&driver.memory, head, written).is_err() {
                    return Ok(());
                }
            }
        }
        assert!(port.waiting() <= LEFT);
    }
    // A host that is gone takes nothing and says nothing: neither is waited for, soon.
    port.stream().gone.set(true);
    port.stream().says.set(0);
    port.seen(port.wants().0, port.wants().1);
    assert!(port.waiting() == 0, "bytes wait for nobody");
    *moved += port.stream().moved.get();
    Ok(())
}

/// Writes a buffer of one or two pieces from descriptor 0 on.
fn buffer(u: &mut Unstructured, driver: &Driver, sends: bool) -> Result<u16> {
    let way = if sends == u.ratio(15, 16)? { 0 } else { WRITE };
    let at = if sends { OUT } else { IN };
    let len: u32 = if u.ratio(15, 16)? { u.int_in_range(1..=0x1000)? } else { u.arbitrary()? };
    let more = driver.size > 1 && u.ratio(1, 2)?;
    driver.describe(0, at, len, way | if more { NEXT } else { 0 }, 1);
    driver.describe(1, at + u64::from(len), 100, way, 0);
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::console_of;
    use arbitrary::Unstructured;

    /// Otherwise the oracles would hold for buffers that move nothing.
    #[test]
    fn bytes_go_both_ways() {
        let mut all = 0;
        crate::drawn::inputs((2000, 512), ("port", 12), |input| {
            let mut moved = 0;
            let _ = console_of(&mut Unstructured::new(input), &mut moved);
            all += moved;
            moved > 2000
        });
        assert!(all > 100_000, "{all}");
    }
}
