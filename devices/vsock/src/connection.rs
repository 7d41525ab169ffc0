//! One connection: what each side may still send, what is owed to the guest, what waits for the
//! host.

use crate::buffer::Buffer;
use crate::credit::{FromGuest, Lie, ToGuest};
use crate::packet::{Credit, NO_RECEIVE, NO_SEND, Op, Ports};
use crate::stream::Stream;
use casemate_device_queue::{GuestMemory, Readable, Room};
use std::io;
use std::time::Duration;

/// Longest line with which a user of the path begins: `CONNECT 4294967295` is 18 bytes.
pub(crate) const LINE: usize = 32;

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// No connection: the place is free.
    Free,
    /// Somebody has connected to the path and has not said to which port.
    Greeting,
    /// The guest is asked.
    Asking,
    /// The host is asked, by the connector.
    Dialing,
    /// Bytes go.
    Open,
    /// Both directions are at their end; the guest is to say that it is done.
    Closing,
    /// It is over for the guest; what it has sent waits for the host.
    Draining,
    /// It is over: the guest has to be told, and nothing else.
    Ended,
}

/// What the guest is owed, in packets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Owed {
    pub(crate) request: bool,
    pub(crate) response: bool,
    pub(crate) shutdown: bool,
    pub(crate) credit_update: bool,
    pub(crate) credit_request: bool,
}

/// How long each phase may take.
const GREETING: Duration = Duration::from_secs(10);
const ASKING: Duration = Duration::from_secs(10);
const DIALING: Duration = Duration::from_secs(10);
/// Linux takes 8 s for the same (`VSOCK_CLOSE_TIMEOUT`).
const CLOSING: Duration = Duration::from_secs(10);

/// A place for a connection. The places are made before the lock and used again.
#[derive(Debug)]
pub(crate) struct Connection<S> {
    pub(crate) ports: Ports,
    pub(crate) phase: Phase,
    /// Which use of the place it is: an answer for one before is none for this one.
    pub(crate) turn: u32,
    since: Duration,
    pub(crate) stream: Option<S>,
    /// Somebody on the host began it by the path: it is told when the guest accepts.
    is_greeted: bool,
    line: ([u8; LINE], usize),
    pub(crate) to_guest: ToGuest,
    from_guest: FromGuest,
    buffer: Buffer,
    /// Bytes at the front of the buffer that are not the guest's.
    own: usize,
    pub(crate) owed: Owed,
    /// A credit request was sent, and room has not come since.
    asked_for_room: bool,
    guest_sends: bool,
    guest_receives: bool,
    host_sends: bool,
    host_receives: bool,
    /// There may be bytes of the host.
    pub(crate) readable: bool,
    /// The other end is closed: nothing new will be seen of it by polling.
    pub(crate) hung_up: bool,
}

impl<S> Connection<S> {
    pub(crate) fn free(size: u32) -> Self {
        Self {
            ports: Ports { guest: 0, host: 0 },
            phase: Phase::Free,
            turn: 0,
            since: Duration::ZERO,
            stream: None,
            is_greeted: false,
            line: ([0; LINE], 0),
            to_guest: ToGuest::default(),
            from_guest: FromGuest::new(size),
            buffer: Buffer::new(size),
            own: 0,
            owed: Owed::default(),
            asked_for_room: false,
            guest_sends: true,
            guest_receives: true,
            host_sends: true,
            host_receives: true,
            readable: false,
            hung_up: false,
        }
    }

    /// Empties the place.
    pub(crate) fn clear(&mut self) {
        let size = self.size();
        // All but the buffer, which stays where it is.
        let mut fresh = Self::free(0);
        std::mem::swap(&mut fresh.buffer, &mut self.buffer);
        fresh.buffer.clear();
        fresh.from_guest = FromGuest::new(size);
        fresh.turn = self.turn.wrapping_add(1);
        *self = fresh;
    }

    fn size(&mut self) -> u32 {
        self.from_guest.tell().size
    }

    /// Begins a use of the place.
    pub(crate) fn begin(&mut self, phase: Phase, ports: Ports, stream: Option<S>, now: Duration) {
        (self.ports, self.phase, self.stream, self.since) = (ports, phase, stream, now);
        self.owed.request = phase == Phase::Asking;
    }

    /// Whether the guest knows it, or is to, by its ports.
    pub(crate) const fn is_known(&self) -> bool {
        matches!(self.phase, Phase::Asking | Phase::Dialing | Phase::Open | Phase::Closing)
    }

    /// When its phase is over, if it may not last.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        let patience = match self.phase {
            Phase::Greeting => GREETING,
            Phase::Asking => ASKING,
            Phase::Dialing => DIALING,
            Phase::Closing => CLOSING,
            Phase::Free | Phase::Open | Phase::Draining | Phase::Ended => return None,
        };
        self.since.checked_add(patience)
    }

    /// What this side can take, to be said in a packet.
    pub(crate) const fn credit(&mut self) -> Credit {
        self.owed.credit_update = false;
        self.from_guest.tell()
    }

    /// Whether there is somebody for the host's bytes.
    fn can_read(&self) -> bool {
        self.phase == Phase::Open && self.host_sends && self.guest_receives
    }

    /// Which packet the guest is owed now, if any.
    pub(crate) fn next_packet(&self) -> Option<Op> {
        if self.phase == Phase::Ended {
            return Some(Op::Reset);
        }
        if !self.is_known() || self.phase == Phase::Dialing {
            return None;
        }
        let owed = self.owed;
        let first = [(owed.request, Op::Request), (owed.response, Op::Response)];
        let data = self.readable && self.can_read() && self.to_guest.room() > 0;
        let then = [
            (data, Op::Data),
            // Not before the last byte that came before it.
            (owed.shutdown && !(self.readable && self.can_read()), Op::Shutdown),
            (owed.credit_update, Op::CreditUpdate),
            (owed.credit_request, Op::CreditRequest),
        ];
        let all = first.into_iter().chain(then);
        all.into_iter().find_map(|(owed, op)| owed.then_some(op))
    }

    /// The flags of a shutdown.
    pub(crate) const fn shutdown_flags(&self) -> u32 {
        let receive = if self.host_receives { 0 } else { NO_RECEIVE };
        let send = if self.host_sends { 0 } else { NO_SEND };
        receive | send
    }

    /// The shutdown was sent.
    pub(crate) fn shutdown_sent(&mut self, now: Duration) {
        self.owed.shutdown = false;
        if !self.host_sends && !self.host_receives {
            (self.phase, self.since) = (Phase::Closing, now);
        }
    }

    /// Whether room of the guest's has to be asked for: something waits that does not fit.
    pub(crate) fn look_for_room(&mut self) {
        if self.to_guest.room() > 0 {
            self.asked_for_room = false;
        } else if self.phase == Phase::Open && self.readable && !self.asked_for_room {
            (self.asked_for_room, self.owed.credit_request) = (true, true);
        }
    }

    /// Hears what the guest can take.
    pub(crate) fn hear(&mut self, credit: Credit) -> Result<(), Lie> {
        self.to_guest.hear(credit)?;
        self.look_for_room();
        Ok(())
    }
}

impl<S: Stream> Connection<S> {
    /// The end at once: the guest is told, the host's side is closed.
    pub(crate) fn end(&mut self) {
        self.stream = None;
        self.phase = Phase::Ended;
    }

    /// What somebody who came by the path asks for: None until the line is whole, then the port, or
    /// that there is none.
    pub(crate) fn greet(&mut self) -> Option<Result<u32, ()>> {
        let stream = self.stream.as_ref()?;
        let (line, len) = &mut self.line;
        // A byte at a time, so that what comes behind the line stays in the socket.
        loop {
            match stream.receive_byte() {
                Ok(Some(b'\n')) => break,
                Ok(Some(byte)) => match line.get_mut(*len) {
                    Some(place) => {
                        *place = byte;
                        *len += 1;
                    }
                    None => return Some(Err(())),
                },
                Ok(None) => return Some(Err(())),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return None,
                Err(_) => return Some(Err(())),
            }
        }
        let line = line.get(..*len).and_then(|line| std::str::from_utf8(line).ok());
        let port = line.and_then(|line| line.strip_prefix("CONNECT "));
        let port = port.filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
        Some(port.and_then(|port| port.parse().ok()).ok_or(()))
    }

    /// The guest is asked for this port. The time that it takes counts from the greeting on.
    pub(crate) const fn ask(&mut self, guest: u32) {
        self.ports.guest = guest;
        self.phase = Phase::Asking;
        self.is_greeted = true;
        self.owed.request = true;
    }

    /// The guest has accepted.
    pub(crate) fn accepted(&mut self) {
        self.phase = Phase::Open;
        if self.is_greeted {
            let line = format!("OK {}\n", self.ports.host);
            // It fits: the buffer is empty, and larger than a line.
            if self.buffer.push(line.as_bytes()).is_some() {
                self.own = line.len();
            }
            self.flush();
        }
    }

    /// The host has: `stream` leads there.
    pub(crate) fn dialed(&mut self, stream: S) {
        (self.stream, self.phase) = (Some(stream), Phase::Open);
        self.owed.response = true;
    }

    /// Bytes of the guest: to the socket as far as it takes them, the rest into the buffer.
    pub(crate) fn receive<M: GuestMemory>(
        &mut self,
        mut from: Readable<'_, M>,
        room: &mut Room,
    ) -> Result<(), Lie> {
        if self.phase != Phase::Open || !self.guest_sends {
            return Err(Lie);
        }
        self.from_guest.receive(from.len())?;
        if !self.host_receives {
            // Sent before the guest heard of it.
            self.taken(from.len());
            return Ok(());
        }
        if self.buffer.is_empty() && !from.is_empty() {
            match self.stream.as_ref().map(|stream| stream.send(&mut from, room)) {
                Some(Ok(sent)) => self.taken(sent),
                Some(Err(e)) if e.kind() == io::ErrorKind::WouldBlock => {}
                _ => {
                    self.host_gone();
                    self.taken(from.len());
                    return Ok(());
                }
            }
        }
        if from.is_empty() {
            return Ok(());
        }
        // It fits, since it was within the credit; but its memory may be gone.
        self.buffer.push_all(&mut from).ok_or(Lie)
    }

    fn taken(&mut self, bytes: u32) {
        self.from_guest.take(bytes);
        self.owed.credit_update |= self.from_guest.is_news();
    }

    /// Sends what waits for the host, as far as it takes it.
    pub(crate) fn flush(&mut self) {
        while !self.buffer.is_empty() {
            match self.stream.as_ref().map(|stream| stream.send_bytes(self.buffer.front())) {
                Some(Ok(sent)) if sent > 0 => self.pass(sent),
                Some(Err(e)) if e.kind() == io::ErrorKind::WouldBlock => return,
                _ => return self.host_gone(),
            }
        }
        if !self.guest_sends {
            self.stream.iter().for_each(Stream::end_sending);
        }
        if self.phase == Phase::Draining {
            self.stream = None;
        }
    }

    /// So many bytes of the buffer are done with.
    fn pass(&mut self, bytes: usize) {
        self.buffer.advance(bytes);
        let own = self.own.min(bytes);
        self.own -= own;
        self.taken(u32::try_from(bytes - own).unwrap_or(u32::MAX));
    }

    /// Whether something waits for the host.
    pub(crate) const fn has_bytes(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// The host takes no more: what waits for it is done with.
    pub(crate) fn host_gone(&mut self) {
        self.pass(self.buffer.len());
        if self.phase == Phase::Draining {
            self.stream = None;
        }
        if self.host_receives {
            self.host_receives = false;
            self.owed.shutdown = true;
        }
    }

    /// The host sends no more.
    pub(crate) const fn host_ended(&mut self) {
        self.readable = false;
        if self.host_sends {
            self.host_sends = false;
            self.owed.shutdown = true;
        }
    }

    /// The guest ends one direction, or both.
    pub(crate) fn shut_by_guest(&mut self, no_receive: bool, no_send: bool) {
        if no_receive && self.guest_receives {
            self.guest_receives = false;
            self.readable = false;
            if !no_send {
                self.stream.iter().for_each(Stream::end_receiving);
            }
        }
        if no_send && self.guest_sends {
            self.guest_sends = false;
            self.flush();
        }
    }

    /// Whether the guest neither sends nor receives any more.
    pub(crate) const fn guest_is_done(&self) -> bool {
        !self.guest_sends && !self.guest_receives
    }

    /// What is wanted of the host's side, for polling: to read, to write.
    pub(crate) fn wants(&self) -> (bool, bool) {
        let reads = self.phase == Phase::Greeting || !self.readable && self.can_read();
        (reads, self.has_bytes())
    }
}
