//! The device: its queues on one side, the host's sockets on the other, the machine in between.

use crate::connector::{Answer, answer, ask};
use crate::facts::Facts;
use crate::machine::{Entry, Limits, Machine};
use casemate_device_backend::{PolledDevice, Served};
use casemate_device_queue::{GuestMemory, Taken};
use rustix::event::PollFlags;
use rustix::net::{SocketFlags, accept_with};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// Queues (virtio 1.2, 5.10.2): packets for the guest, packets of the guest, events.
const RECEIVE: usize = 0;
const TRANSMIT: usize = 1;
const EVENTS: usize = 2;
/// How many there are.
pub const QUEUES: u16 = 3;
/// Bytes of an event; all zeros it is a transport reset (5.10.6.7).
const TRANSPORT_RESET: [u8; 4] = [0; 4];
/// Packets that are moved before who waits for the device's thread is looked at.
const BURST: u32 = 64;
/// Connections that are accepted, and answers that are heard, in one round.
const AT_ONCE: usize = 16;

/// A socket device.
#[derive(Debug)]
pub struct Vsock {
    machine: Machine<OwnedFd>,
    config: [u8; 8],
    listeners: Vec<(OwnedFd, Entry)>,
    connector: Option<OwnedFd>,
    limits: Limits,
    began: Instant,
    /// When something of the machine's is over at the latest.
    patience: Option<Duration>,
    /// The driver does not know that its connections are gone.
    reset_owed: bool,
}

impl Vsock {
    /// A device of these facts; `descriptors` are its own: first the listening sockets, which do
    /// not block, then the connector's. None where they are not as many.
    #[must_use]
    pub fn new(facts: &Facts, descriptors: Vec<OwnedFd>, limits: Limits) -> Option<Self> {
        if descriptors.len() != facts.descriptors() {
            return None;
        }
        let mut descriptors = descriptors.into_iter();
        let listeners = descriptors.by_ref().zip(facts.entries.iter().copied());
        let listeners = listeners.take(facts.entries.len()).collect();
        Some(Self {
            machine: Machine::new(facts.cid, &facts.ports, limits),
            config: facts.cid.to_le_bytes(),
            listeners,
            connector: descriptors.next(),
            limits,
            began: Instant::now(),
            patience: None,
            reset_owed: false,
        })
    }

    /// Places whose streams are polled, in their order, and for what.
    fn polled(&self) -> impl Iterator<Item = (usize, BorrowedFd<'_>, PollFlags)> {
        self.machine.places.iter().enumerate().filter_map(|(index, place)| {
            let stream = place.stream.as_ref().filter(|_| !place.hung_up)?;
            let (reads, writes) = place.wants();
            let mut events = PollFlags::empty();
            events.set(PollFlags::IN, reads);
            events.set(PollFlags::OUT, writes);
            Some((index, stream.as_fd(), events))
        })
    }

    /// Hears what has come of the host's side.
    fn hear(&mut self, seen: &[PollFlags], now: Duration) {
        let mut seen = seen.iter().copied();
        let polled: Vec<usize> = self.polled().map(|(index, ..)| index).collect();
        let accepting = self.machine.has_place();
        for index in polled {
            let came = seen.next().unwrap_or(PollFlags::empty());
            let over = came.intersects(PollFlags::HUP | PollFlags::ERR);
            let (readable, writable) =
                (came.contains(PollFlags::IN), came.contains(PollFlags::OUT));
            if !came.is_empty() {
                self.machine.seen(index, readable, writable, over);
            }
        }
        if self.connector.is_some() && seen.next().is_some_and(|came| !came.is_empty()) {
            self.hear_connector();
        }
        if accepting {
            for index in 0..self.listeners.len() {
                if seen.next().is_some_and(|came| !came.is_empty()) {
                    self.accept(index, now);
                }
            }
        }
    }

    fn accept(&mut self, index: usize, now: Duration) {
        let Some((listener, entry)) = self.listeners.get(index) else { return };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        for _ in 0..AT_ONCE {
            if !self.machine.has_place() {
                return;
            }
            let Ok(stream) = accept_with(listener, flags) else { return };
            self.machine.entered(stream, *entry, now);
        }
    }

    fn hear_connector(&mut self) {
        for _ in 0..AT_ONCE {
            let Some(connector) = &self.connector else { return };
            match answer(connector) {
                Answer::NotYet => return,
                Answer::Dialed(dial, stream) => self.machine.dialed(dial, stream),
                // Its supervisor sees that, too. Who waits for it runs into a deadline. It stays
                // open: it was there before the lock, and the filter lets only later ones close.
                Answer::Gone => std::mem::forget(self.connector.take()),
            }
        }
    }

    fn dial(&mut self) {
        while let Some(dial) = self.machine.next_dial() {
            let asked = self.connector.as_ref().is_some_and(|connector| ask(connector, dial));
            if !asked {
                self.machine.dialed(dial, None);
            }
        }
    }

    /// Moves one packet for the guest; whether one was moved.
    fn give<M: GuestMemory>(
        &mut self,
        queue: &mut Served<'_, M>,
        now: Duration,
    ) -> Result<bool, usize> {
        if !self.machine.has_packet() {
            return Ok(false);
        }
        let (head, written) = match queue.take().map_err(|_| RECEIVE)? {
            None => return Ok(false),
            Some(Taken::Malformed(head, _)) => (head, 0),
            Some(Taken::Request(head, buffer)) => (head, self.machine.fill(buffer.writable, now)),
        };
        queue.answer(head, written).map_err(|_| RECEIVE)?;
        Ok(true)
    }

    /// Moves one packet of the guest; whether one was moved.
    fn take<M: GuestMemory>(
        &mut self,
        queue: &mut Served<'_, M>,
        now: Duration,
    ) -> Result<bool, usize> {
        if !self.machine.can_take() {
            return Ok(false);
        }
        let head = match queue.take().map_err(|_| TRANSMIT)? {
            None => return Ok(false),
            Some(Taken::Malformed(head, _)) => head,
            Some(Taken::Request(head, packet)) => {
                self.machine.take(packet.readable, now);
                head
            }
        };
        queue.answer(head, 0).map_err(|_| TRANSMIT)?;
        self.dial();
        Ok(true)
    }

    /// Tells the driver that its connections are gone, when it has given a buffer for that.
    fn tell_of_reset<M: GuestMemory>(&mut self, queue: &mut Served<'_, M>) -> Result<(), usize> {
        if !self.reset_owed {
            return Ok(());
        }
        let (head, written) = match queue.take().map_err(|_| EVENTS)? {
            None => return Ok(()),
            Some(Taken::Malformed(head, _)) => (head, 0),
            Some(Taken::Request(head, buffer)) => {
                (head, buffer.writable.put(&TRANSPORT_RESET).unwrap_or(0))
            }
        };
        self.reset_owed = written < 4;
        queue.answer(head, written).map_err(|_| EVENTS)
    }
}

impl PolledDevice for Vsock {
    fn features(&self) -> u64 {
        // Streams only (5.10.3): neither SEQPACKET nor NO_IMPLIED_STREAM.
        0
    }

    fn config(&self) -> &[u8] {
        &self.config
    }

    fn queues(&self) -> u16 {
        QUEUES
    }

    fn needed(&self) -> usize {
        // A driver without events hears of no reset, which is its VMM's business then.
        EVENTS
    }

    fn later_descriptors(&self) -> u16 {
        // One for each place, and one that is on its way.
        self.limits.connections.saturating_add(1)
    }

    fn started(&mut self, resumed: bool) {
        self.reset_owed |= resumed;
    }

    fn stopped(&mut self) {
        self.machine.clear();
    }

    fn wait_for<'a>(&'a self, add: &mut dyn FnMut(BorrowedFd<'a>, PollFlags)) -> Option<Duration> {
        self.polled().for_each(|(_, stream, events)| add(stream, events));
        self.connector.iter().for_each(|connector| add(connector.as_fd(), PollFlags::IN));
        // Those who come while there is no place wait in the kernel.
        if self.machine.has_place() {
            self.listeners.iter().for_each(|(listener, _)| add(listener.as_fd(), PollFlags::IN));
        }
        self.patience
    }

    fn turn<M: GuestMemory>(
        &mut self,
        queues: &mut [Served<'_, M>],
        seen: &[PollFlags],
        wanted: &dyn Fn() -> bool,
    ) -> Result<bool, usize> {
        let [receive, transmit, events @ ..] = queues else { return Ok(false) };
        let mut events = events.first_mut();
        let now = self.began.elapsed();
        self.hear(seen, now);
        if let Some(events) = &mut events {
            self.tell_of_reset(events)?;
        }
        let mut left = BURST;
        let mut more = loop {
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
        self.patience = self.machine.settle(now);
        receive.tell().map_err(|_| RECEIVE)?;
        transmit.tell().map_err(|_| TRANSMIT)?;
        if let Some(events) = &mut events {
            events.tell().map_err(|_| EVENTS)?;
        }
        if !more {
            // Buffers are waited for only when there is something for them, packets only when they
            // can be taken.
            more |= receive.listen_while(self.machine.has_packet()).map_err(|_| RECEIVE)?;
            more |= transmit.listen_while(self.machine.can_take()).map_err(|_| TRANSMIT)?;
            if let Some(events) = events {
                more |= events.listen_while(self.reset_owed).map_err(|_| EVENTS)?;
            }
        }
        Ok(more)
    }
}
