//! The device: a request in, a status out.

use crate::backend::Disk;
use crate::config::{self, FLUSH};
use crate::facts::Facts;
use crate::request::{Asked, Refusal, parse};
use casemate_device_backend::{Device, Throttle, Turn};
use casemate_device_queue::{Durability, GuestMemory, Request, Room};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// `VIRTIO_BLK_S_OK`: done, and what was asked has happened.
const OK: u8 = 0;

/// A block device over an open image: requests in, status bytes out.
#[derive(Debug)]
pub struct Block<D = OwnedFd> {
    disk: D,
    facts: Facts,
    config: [u8; 60],
    throttle: Option<Arc<Throttle>>,
}

impl<D: Disk> Block<D> {
    /// A device over `disk`, of which `facts` are true.
    #[must_use]
    pub fn new(disk: D, facts: Facts) -> Self {
        Self { disk, facts, config: config::space(&facts), throttle: None }
    }

    /// The same within limits.
    #[must_use]
    pub fn throttled(self, throttle: Arc<Throttle>) -> Self {
        Self { throttle: Some(throttle), ..self }
    }

    /// What holds its bytes.
    #[must_use]
    pub const fn disk(&self) -> &D {
        &self.disk
    }

    /// Does what is asked: how many bytes were written before the status.
    fn perform<M: GuestMemory>(
        &self,
        room: &mut Room,
        turn: &Turn<'_>,
        request: Request<'_, M>,
    ) -> Result<u32, Refusal> {
        let Request { mut readable, writable } = request;
        // What a driver of a read-only disk or one without the feature may not ask, it may not ask
        // for whatever it negotiated.
        let asked = parse(&self.facts, &mut readable, writable.len())?;
        let gone = || Refusal::Failed;
        let done = match asked {
            Asked::Read(extent) => {
                let len = writable.len();
                let pieces = writable.into_pieces(room).ok_or_else(gone)?;
                turn.storing(|| self.disk.read(extent, pieces)).map(|()| len)
            }
            Asked::Write(extent) => {
                // 5.2.6.2: without FLUSH a driver has no way to ask, so each write lasts.
                let durability = if turn.has(FLUSH) {
                    Durability::Cached
                } else {
                    turn.about_to_wait();
                    Durability::Through
                };
                let pieces = readable.into_pieces(room).ok_or_else(gone)?;
                turn.storing(|| self.disk.write(extent, pieces, durability)).map(|()| 0)
            }
            Asked::Flush => {
                turn.about_to_wait();
                // Nothing of a read-only disk is waiting to be written.
                if self.facts.read_only {
                    Ok(0)
                } else {
                    turn.storing(|| self.disk.flush()).map(|()| 0)
                }
            }
            Asked::Serial => {
                return writable.put(&self.facts.serial).map_err(|_| Refusal::Failed);
            }
            Asked::Discard(extent) => {
                turn.about_to_wait();
                turn.storing(|| self.disk.zero(extent, true)).map(|()| 0)
            }
            Asked::Zero(extent, hole) => {
                turn.about_to_wait();
                turn.storing(|| self.zero(extent, hole, turn))
            }
        };
        done.map_err(|e| match e.kind() {
            io::ErrorKind::Unsupported => Refusal::Unsupported,
            _ => Refusal::Failed,
        })
    }

    fn zero(&self, extent: crate::request::Extent, hole: bool, turn: &Turn<'_>) -> io::Result<u32> {
        self.disk.zero(extent, hole)?;
        // As a write: it lasts at once where the driver cannot flush.
        if !turn.has(FLUSH) {
            self.disk.flush()?;
        }
        Ok(0)
    }
}

impl<D: Disk> Device for Block<D> {
    type Lane = Room;

    fn features(&self) -> u64 {
        config::features(&self.facts)
    }

    fn config(&self) -> &[u8] {
        &self.config
    }

    fn queues(&self) -> u16 {
        self.facts.queues
    }

    fn burst(&self) -> u16 {
        // From the page cache a request takes a microsecond or two, as long as an interrupt; past
        // it, so long that its driver should not wait for the next.
        if self.facts.direct { 1 } else { 16 }
    }

    fn throttle(&self) -> Option<&Throttle> {
        self.throttle.as_deref()
    }

    fn lane(&self) -> Room {
        Room::default()
    }

    fn answer<M: GuestMemory>(
        &self,
        room: &mut Room,
        turn: &Turn<'_>,
        mut request: Request<'_, M>,
    ) -> u32 {
        // The last byte that the device may write, wherever the driver cut (5.2.6). Without one the
        // driver cannot be told, so nothing is done either.
        let Some(status) = request.writable.split_last(1) else { return 0 };
        let len = request.writable.len();
        let (code, written) = match self.perform(room, turn, request) {
            Ok(written) => (OK, written),
            Err(refusal) => (refusal as u8, 0),
        };
        let told = status.put(&[code]).is_ok();
        // The used length counts from the first byte on, so the status is in it only where all
        // before it was written (virtio 1.2, 2.7.8.2).
        if written == len && told { written.saturating_add(1) } else { written }
    }
}
