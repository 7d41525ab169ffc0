//! The source of random numbers, over memory that changes between two reads and goes away.
//!
//! Oracles beside those of every device: nothing of a buffer is read; a guest gets no byte that the
//! source did not give, no more than the bound, and none in a buffer that says something; nothing
//! is allocated.

use crate::devices::{Driver, NEXT, WRITE, check_taking};
use arbitrary::{Result, Unstructured};
use casemate_device_backend::{Device, Pulse, Turn};
use casemate_device_queue::Taken;
use casemate_device_rng::{BLOCK, MAX_BYTES, Rng, Source};
use std::sync::atomic::{AtomicU32, Ordering};

/// What a byte of the source is; memory has other values.
const RANDOM: u8 = 0xa7;
const BUFFER: u64 = 0x4000;

/// So many blocks, then none.
#[derive(Debug)]
struct Few(AtomicU32);

impl Source for Few {
    fn fill(&self, block: &mut [u8; BLOCK]) -> bool {
        let left = self.0.load(Ordering::Relaxed);
        if left > 0 {
            self.0.store(left - 1, Ordering::Relaxed);
            block.fill(RANDOM);
        }
        left > 0
    }
}

/// The source of random numbers: buffers of any shape.
pub fn rng(data: &[u8]) {
    let _ = rng_of(&mut Unstructured::new(data), &mut 0);
}

fn rng_of(u: &mut Unstructured, given: &mut u64) -> Result<()> {
    let (mut driver, mut queue) = Driver::new(u)?;
    let source = Few(AtomicU32::new(u.int_in_range(0..=64)?));
    let device = Rng { source };
    let mut lane = device.lane();
    for _ in 0..16 {
        if u.is_empty() {
            break;
        }
        driver.memory.shift_by(u.arbitrary()?);
        if u.ratio(1, 6)? {
            driver.memory.set_gone(u.arbitrary()?, u.arbitrary()?);
        }
        let (first, says) = buffer(u, &driver)?;
        driver.offer(0);
        let _ = driver.memory.take_record();
        let Ok(Some(taken)) = queue.take(&driver.memory) else { return Ok(()) };
        let taking = driver.memory.take_record();
        let (head, written) = match taken {
            Taken::Malformed(head, _) => (head, 0),
            Taken::Request(head, request) => {
                let (_, writable) = check_taking(&taking, driver.size);
                let (says, left) = (says && !request.readable.is_empty(), source_left(&device));
                let pulse = Pulse::default();
                let turn = Turn::new(0, &|| (), &pulse);
                let mut written = 0;
                let allocated = allocation_counter::measure(|| {
                    written = device.answer(&mut lane, &turn, request);
                });
                assert_eq!(allocated.count_total, 0, "a request allocates");
                assert!(u64::from(written) <= writable && written as usize <= MAX_BYTES);
                assert!(!says || written == 0, "a buffer that says something got bytes");
                let used = left - source_left(&device);
                assert!(written <= used * BLOCK as u32, "more than the source gave");
                assert!(used as usize * BLOCK < written as usize + 2 * BLOCK || written == 0);
                assert!(lane.iter().all(|byte| *byte == 0), "something is kept");
                if written > 0 && first >= u64::from(written) {
                    assert_eq!(driver.memory.peek(BUFFER), RANDOM, "no random byte");
                }
                let record = driver.memory.take_record();
                let reads = record
                    .iter()
                    .filter(|access| matches!(access, crate::shifting::Access::Read(..)));
                assert_eq!(reads.count(), 0, "something of a buffer was read");
                (head, written)
            }
        };
        *given += u64::from(written);
        if queue.answer(&driver.memory, head, written).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

fn source_left(device: &Rng<Few>) -> u32 {
    device.source.0.load(Ordering::Relaxed)
}

/// Writes a buffer of up to three pieces from descriptor 0 on: how long the first one is, and
/// whether any of it is for the device to read.
fn buffer(u: &mut Unstructured, driver: &Driver) -> Result<(u64, bool)> {
    let count = u.int_in_range(1..=driver.size.min(3))?;
    let (mut at, mut first, mut says) = (BUFFER, 0, false);
    for index in 0..count {
        let len: u32 = if u.ratio(15, 16)? { u.int_in_range(1..=0x800)? } else { u.arbitrary()? };
        let writes = u.ratio(15, 16)?;
        says |= !writes;
        first = if index == 0 { u64::from(len) } else { first };
        let next = if index + 1 < count { NEXT } else { 0 };
        driver.describe(index, at, len, if writes { WRITE } else { 0 } | next, index + 1);
        at += u64::from(len);
    }
    Ok((first, says))
}

#[cfg(test)]
mod tests {
    use super::rng_of;
    use arbitrary::Unstructured;

    /// Otherwise the oracles would hold for buffers that are all refused.
    #[test]
    fn buffers_are_filled() {
        let mut all = 0;
        crate::drawn::inputs((1000, 384), ("buffers", 12), |input| {
            let mut given = 0;
            let _ = rng_of(&mut Unstructured::new(input), &mut given);
            all += given;
            given > 4096
        });
        assert!(all > 100_000, "{all}");
    }
}
