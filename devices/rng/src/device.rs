//! The device: empty buffers in, random bytes out.

use crate::backend::{BLOCK, Source};
use casemate_device_backend::{Device, Turn};
use casemate_device_queue::{GuestMemory, Request};

/// Bytes that one buffer gets at most. Linux asks for 64; the standard lets a device give fewer
/// than there is room for (virtio 1.2, 5.4.6.2), so a buffer of gigabytes costs no more than this.
pub const MAX_BYTES: usize = 4096;
/// How many queues there are.
pub const QUEUES: u16 = 1;

/// A device that gives what its source has.
#[derive(Debug, Default)]
pub struct Rng<S> {
    /// Where the bytes come from.
    pub source: S,
}

impl<S: Source> Device for Rng<S> {
    type Lane = Box<[u8; MAX_BYTES]>;

    fn features(&self) -> u64 {
        // There are none (5.4.3).
        0
    }

    fn config(&self) -> &[u8] {
        // Nor a configuration (5.4.4).
        &[]
    }

    fn queues(&self) -> u16 {
        QUEUES
    }

    fn burst(&self) -> u16 {
        // A driver has one buffer on its way, and waits for it.
        1
    }

    fn lane(&self) -> Self::Lane {
        Box::new([0; MAX_BYTES])
    }

    fn answer<M: GuestMemory>(
        &self,
        lane: &mut Self::Lane,
        _: &Turn<'_>,
        request: Request<'_, M>,
    ) -> u32 {
        // "The driver MUST NOT place device-readable buffers into the queue" (5.4.6.1).
        if !request.readable.is_empty() {
            return 0;
        }
        let wanted = usize::try_from(request.writable.len()).unwrap_or(MAX_BYTES).min(MAX_BYTES);
        let (blocks, _) = lane.as_chunks_mut::<BLOCK>();
        // What could not be filled is not given: a guest takes every byte for random.
        let mut needed = blocks.iter_mut().take(wanted.div_ceil(BLOCK));
        let filled = needed.position(|block| !self.source.fill(block));
        let filled = filled.unwrap_or(wanted.div_ceil(BLOCK));
        let given = lane.get(..wanted.min(filled.saturating_mul(BLOCK))).unwrap_or(&[]);
        let written = request.writable.put(given).unwrap_or(0);
        // What a guest's keys are made of is nobody's who takes the process over later.
        lane.fill(0);
        written
    }
}
