//! The device: its queues on one side, the TAP on the other, the filter in between.

use crate::deliver::{Delivery, Step};
use crate::facts::Facts;
use crate::filter::{Filter, Refusal, Verdict};
use crate::frame::{Frame, HEAD};
use crate::header::{Checked, HEADER, Header, MAX_FRAME, MIN_FRAME};
use crate::tally::{Over, Tally, Watcher};
use crate::tap;
use casemate_device_backend::{PolledDevice, Served, Throttle};
use casemate_device_queue::{GuestMemory, Readable, Room, Taken};
use rustix::event::PollFlags;
use rustix::io::{Errno, read};
use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Queues (virtio 1.2, 5.1.2): frames for the guest, frames of the guest.
const RECEIVE: usize = 0;
const TRANSMIT: usize = 1;
/// How many there are.
pub const QUEUES: u16 = 2;
/// Frames in each direction before who waits for the device's thread is looked at.
const BURST: u32 = 64;
/// A network device.
pub struct Net {
    tap: OwnedFd,
    /// The TAP may have a frame.
    readable: bool,
    config: Vec<u8>,
    offered: u64,
    negotiated: u64,
    filter: Filter,
    tally: Tally,
    watcher: Box<dyn Watcher>,
    delivery: Delivery,
    held: Held,
    room: Room,
    /// None where nobody may set limits.
    throttle: Option<Arc<Throttle>>,
    /// The guest has used up what its limits let it have: how long it waits for more.
    pause: Option<Duration>,
    pub(crate) began: Instant,
}

/// A frame of the guest that waits, because the policy lets the guest open so many connections a
/// second; what comes behind it waits in the guest's queue.
struct Held {
    bytes: Vec<u8>,
    header: Checked,
    /// Bytes of it with its header; 0 without one.
    len: usize,
    until: Duration,
}

impl std::fmt::Debug for Net {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Net").field("pause", &self.pause).finish_non_exhaustive()
    }
}

/// A frame of the guest as it was read: the header that goes out, the first bytes, the length.
struct Outgoing {
    frame: Frame,
    header: Checked,
    first: [u8; HEADER + HEAD],
    /// Bytes of `first`.
    copied: usize,
    /// Bytes of the frame.
    len: usize,
}

impl Outgoing {
    /// Reads a request's header and first bytes, once; what is left of it is the rest of the frame.
    fn read<M: GuestMemory>(from: &mut Readable<'_, M>, features: u64) -> Option<Self> {
        let header = Header::read(&from.take::<HEADER>()?);
        let len = from.len() as usize;
        if !(MIN_FRAME..=MAX_FRAME).contains(&len) {
            return None;
        }
        let mut first = [0; HEADER + HEAD];
        let copied = HEADER + len.min(HEAD);
        from.copy_to(first.get_mut(HEADER..copied)?)?;
        let frame = Frame::of(first.get(HEADER..copied)?).ok()?;
        let header = header.of_guest(&frame, len, features)?;
        *first.first_chunk_mut()? = *header.bytes();
        Some(Self { frame, header, first, copied, len })
    }

    /// The header and the first bytes.
    fn first(&self) -> &[u8] {
        self.first.get(..self.copied).unwrap_or(&[])
    }

    /// The first bytes alone.
    fn head(&self) -> &[u8] {
        self.first.get(HEADER..self.copied).unwrap_or(&[])
    }
}

impl Net {
    /// A device of these facts over a TAP that does not block; `watcher` is told what its guest was
    /// not let send.
    #[must_use]
    pub fn new(facts: &Facts, tap: OwnedFd, watcher: Box<dyn Watcher>) -> Self {
        Self {
            tap,
            readable: true,
            config: facts.config().to_vec(),
            offered: facts.features(),
            negotiated: 0,
            filter: Filter::new(facts.mac, &facts.rules),
            tally: Tally::default(),
            watcher,
            delivery: Delivery::new(),
            held: Held {
                bytes: vec![0; HEADER + MAX_FRAME],
                header: Checked::NOTHING,
                len: 0,
                until: Duration::ZERO,
            },
            room: Room::default(),
            throttle: None,
            pause: None,
            began: Instant::now(),
        }
    }

    /// The same, whose guest is held back by `throttle`.
    #[must_use]
    pub fn throttled(self, throttle: Arc<Throttle>) -> Self {
        Self { throttle: Some(throttle), ..self }
    }

    #[cfg(test)]
    pub(crate) fn set_throttle(&mut self, throttle: Arc<Throttle>) {
        self.throttle = Some(throttle);
    }

    #[cfg(test)]
    pub(crate) fn take_tap(&mut self, tap: OwnedFd) {
        self.tap = tap;
    }

    /// Takes note that a frame of so many bytes has gone, or was taken and goes nowhere: it has
    /// cost the host the same.
    fn spend(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.throttle.iter().for_each(|throttle| throttle.spend(bytes));
    }

    /// Reads the next frame for the guest, where there is one.
    fn hear(&mut self, now: Duration) {
        while self.readable && !self.delivery.is_some() {
            match read(&self.tap, self.delivery.room()) {
                Ok(len) if self.delivery.begin(len, self.negotiated) => {
                    self.spend(len.saturating_sub(HEADER));
                    let frame = self.delivery.frame();
                    let head = frame.get(..HEAD).unwrap_or(frame);
                    self.filter.incoming(head, frame.len(), now);
                }
                // One that the driver cannot take: the kernel was told, and it came before.
                Ok(_) => return,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => self.readable = false,
                // One packet of the host's network that the kernel cannot say the header of
                // (`tun_vnet_hdr_from_skb`: EINVAL): it is dropped, and the next one comes.
                Err(Errno::INVAL) => return,
                // `EBADFD`: its interface was removed, and no other one comes to this descriptor.
                Err(_) => {
                    self.readable = false;
                    self.watcher.over(Over::TapGone);
                }
            }
        }
    }

    /// Moves one frame to the guest; whether one was moved.
    fn give<M: GuestMemory>(
        &mut self,
        queue: &mut Served<'_, M>,
        now: Duration,
    ) -> Result<bool, usize> {
        self.hear(now);
        if !self.delivery.is_some() {
            return Ok(false);
        }
        let step = self.delivery.step(queue, self.negotiated).map_err(|_| RECEIVE)?;
        Ok(step == Step::Done)
    }

    /// Moves one frame of the guest; whether one was moved.
    fn take<M: GuestMemory>(
        &mut self,
        queue: &mut Served<'_, M>,
        now: Duration,
    ) -> Result<bool, usize> {
        if self.held.len > 0 && !self.release(now) {
            return Ok(false);
        }
        let head = match queue.take().map_err(|_| TRANSMIT)? {
            None => return Ok(false),
            Some(Taken::Malformed(head, _)) => {
                self.spend(0);
                head
            }
            Some(Taken::Request(head, request)) => {
                let mut rest = request.readable;
                self.spend((rest.len() as usize).saturating_sub(HEADER));
                if let Some(frame) = Outgoing::read(&mut rest, self.negotiated) {
                    self.send(&frame, rest, now);
                }
                head
            }
        };
        queue.answer(head, 0).map_err(|_| TRANSMIT)?;
        Ok(true)
    }

    fn send<M: GuestMemory>(&mut self, frame: &Outgoing, rest: Readable<'_, M>, now: Duration) {
        let looked_at = (frame.head(), frame.len);
        match self.filter.outgoing(&frame.frame, &frame.header, looked_at, now) {
            // What the kernel does not take is lost, as on any wire.
            Verdict::Sent => {
                let _ = rest.write_behind(frame.first(), &self.tap, &mut self.room);
            }
            Verdict::Refused(why) => self.refuse(why),
            Verdict::Waits(until) => self.hold(frame, rest, until),
            Verdict::Ends => self.watcher.over(Over::Rate),
        }
    }

    fn refuse(&mut self, why: Refusal) {
        if let Some(refused) = self.tally.add(why) {
            self.watcher.refused(refused);
        }
    }

    /// Copies a frame that is to wait. Where its memory is gone meanwhile it is lost.
    fn hold<M: GuestMemory>(
        &mut self,
        frame: &Outgoing,
        mut rest: Readable<'_, M>,
        until: Duration,
    ) {
        let first = frame.first();
        let len = HEADER.saturating_add(frame.len);
        let Some((to, behind)) = self
            .held
            .bytes
            .get_mut(..len)
            .and_then(|bytes| bytes.split_at_mut_checked(first.len()))
        else {
            return;
        };
        to.copy_from_slice(first);
        if rest.copy_to(behind).is_some() {
            (self.held.len, self.held.header, self.held.until) = (len, frame.header, until);
        }
    }

    /// Asks again about the frame that waits; whether it waits no more.
    fn release(&mut self, now: Duration) -> bool {
        if now < self.held.until {
            return false;
        }
        let whole = self.held.bytes.get(..self.held.len).unwrap_or(&[]);
        let bytes = whole.get(HEADER..).unwrap_or(&[]);
        let head = bytes.get(..HEAD).unwrap_or(bytes);
        let verdict = Frame::of(head).map_or(Verdict::Refused(Refusal::Unread), |frame| {
            self.filter.outgoing(&frame, &self.held.header, (head, bytes.len()), now)
        });
        match verdict {
            Verdict::Sent => {
                let _ = rustix::io::writev(&self.tap, &[IoSlice::new(whole)]);
            }
            Verdict::Refused(why) => self.refuse(why),
            Verdict::Ends => self.watcher.over(Over::Rate),
            Verdict::Waits(until) => {
                self.held.until = until;
                return false;
            }
        }
        self.held.len = 0;
        true
    }
}

impl PolledDevice for Net {
    fn features(&self) -> u64 {
        self.offered
    }

    fn config(&self) -> &[u8] {
        &self.config
    }

    fn queues(&self) -> u16 {
        QUEUES
    }

    fn needed(&self) -> usize {
        QUEUES.into()
    }

    fn later_descriptors(&self) -> u16 {
        0
    }

    fn negotiated(&mut self, features: u64) {
        self.negotiated = features;
        // Where it fails, and of frames that came before, as another driver took them: what this
        // one cannot take is dropped when it comes.
        let _ = tap::set_offload(&self.tap, features);
    }

    fn started(&mut self, _: bool) {
        self.readable = true;
    }

    fn stopped(&mut self) {
        self.delivery.stopped();
        self.held.len = 0;
    }

    fn wait_for<'a>(&'a self, add: &mut dyn FnMut(BorrowedFd<'a>, PollFlags)) -> Option<Duration> {
        // A frame in hand is enough: the others wait in the kernel.
        if self.pause.is_none() && !self.delivery.is_some() {
            add(self.tap.as_fd(), PollFlags::IN);
        }
        let held = self.held.len > 0;
        let until = held.then(|| self.held.until.saturating_sub(self.began.elapsed()));
        // Nothing goes before the limits let it, a frame that a rule holds back neither.
        self.pause.or(until)
    }

    fn turn<M: GuestMemory>(
        &mut self,
        queues: &mut [Served<'_, M>],
        seen: &[PollFlags],
        wanted: &dyn Fn() -> bool,
    ) -> Result<bool, usize> {
        let [receive, transmit, ..] = queues else { return Ok(false) };
        self.readable |= seen.first().is_some_and(|came| !came.is_empty());
        let now = self.began.elapsed();
        let mut left = BURST;
        let mut more = loop {
            self.pause = self.throttle.as_ref().and_then(|throttle| throttle.wait());
            if self.pause.is_some() {
                break false;
            }
            let gave = self.give(receive, now)?;
            let took = self.take(transmit, now)?;
            if !gave && !took {
                break false;
            }
            left = left.saturating_sub(1);
            if left == 0 || wanted() {
                break true;
            }
        };
        receive.tell().map_err(|_| RECEIVE)?;
        transmit.tell().map_err(|_| TRANSMIT)?;
        if !more {
            // Buffers are waited for only when there is a frame for them, frames only when none
            // waits already, and nothing while the limits let nothing go.
            let goes = self.pause.is_none();
            more |= receive.listen_while(goes && self.delivery.is_some()).map_err(|_| RECEIVE)?;
            more |= transmit.listen_while(goes && self.held.len == 0).map_err(|_| TRANSMIT)?;
        }
        Ok(more)
    }
}
