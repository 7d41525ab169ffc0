//! All connections of a guest: what its packets lead to, and which packet it gets next.
//!
//! Nothing in here waits or knows a descriptor. What the guest can make it hold is made at the
//! beginning: places for connections, each with its buffer, and a list of refusals that are still
//! to be told, on whose filling up no more is taken from the guest until it takes some.

use crate::bucket::Bucket;
use crate::connection::{Connection, Phase};
use crate::packet::{HEADER, HOST, NO_RECEIVE, NO_SEND, Op, Ports, Received, STREAM, Sent};
use crate::stream::Stream;
use casemate_device_queue::{GuestMemory, Readable, Room, Writable};
use std::collections::VecDeque;
use std::io;
use std::time::Duration;

/// Refusals that wait to be told at most.
const REFUSALS: usize = 32;
/// The first port of the host's that connections come from which begin there, and how many there
/// are: none that programs choose.
const FIRST_PORT: u32 = 1 << 30;
const PORTS: u32 = 1 << 30;
/// Bytes of one packet at most: what Linux sends, too (`VIRTIO_VSOCK_MAX_PKT_BUF_SIZE`).
const MOST: u32 = 64 * 1024;
/// Connections that a guest can ask of the host: at once, and a second.
const DIALS: u32 = 256;

/// What a guest can make the device hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections, those that are not accepted yet counted.
    pub connections: u16,
    /// Bytes of a connection that its reader on the host has not taken.
    pub buffer: u32,
}

impl Limits {
    /// Those of every device.
    pub const USUAL: Self = Self { connections: 64, buffer: 128 * 1024 };
}

/// A connection that the connector is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dial {
    /// The place, to be said in the answer.
    pub place: u16,
    /// Which use of the place.
    pub turn: u32,
    /// The host's port: one of those that are named.
    pub port: u32,
}

/// What somebody on the host connects to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// The path, where the port comes with the first line.
    Path,
    /// One port of the guest.
    Port(u32),
}

/// A packet that is answered by a reset, without a connection.
#[derive(Debug, Clone, Copy)]
struct Refusal {
    cid: u64,
    ports: Ports,
    kind: u16,
}

/// The connections.
#[derive(Debug)]
pub struct Machine<S> {
    cid: u64,
    /// Ports of the host that the guest may connect to.
    ports: Vec<u32>,
    pub(crate) places: Vec<Connection<S>>,
    /// The place that is looked at first for the next packet.
    next: usize,
    next_port: u32,
    refusals: VecDeque<Refusal>,
    dials: VecDeque<Dial>,
    bucket: Bucket,
    room: Room,
}

impl<S: Stream> Machine<S> {
    /// No connection yet, of a guest with this context id, which may connect to these ports.
    #[must_use]
    pub fn new(cid: u64, ports: &[u32], limits: Limits) -> Self {
        let places = (0..limits.connections).map(|_| Connection::free(limits.buffer));
        Self {
            cid,
            ports: ports.to_vec(),
            places: places.collect(),
            next: 0,
            next_port: 0,
            refusals: VecDeque::with_capacity(REFUSALS),
            dials: VecDeque::with_capacity(limits.connections.into()),
            bucket: Bucket::full(DIALS, DIALS),
            room: Room::default(),
        }
    }

    /// Forgets every connection: whoever is on the host's side comes to an end.
    pub fn clear(&mut self) {
        self.places.iter_mut().for_each(Connection::clear);
        self.refusals.clear();
        self.dials.clear();
    }

    /// How many connections there are, those that are on their way counted.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.places.iter().filter(|place| place.phase != Phase::Free).count()
    }

    /// Whether there is a place for one more.
    #[must_use]
    pub fn has_place(&self) -> bool {
        self.places.iter().any(|place| place.phase == Phase::Free)
    }

    fn free_place(&mut self) -> Option<(u16, &mut Connection<S>)> {
        let mut places = (0..).zip(&mut self.places);
        places.find(|(_, place)| place.phase == Phase::Free)
    }

    fn known(&mut self, ports: Ports) -> Option<&mut Connection<S>> {
        self.places.iter_mut().find(|place| place.is_known() && place.ports == ports)
    }

    /// Whether a packet of the guest's can be taken: there is room for what it may have to be told.
    #[must_use]
    pub fn can_take(&self) -> bool {
        self.refusals.len() < REFUSALS
    }

    /// Takes a packet of the guest's. One that no driver sends ends its connection, or is answered
    /// by a reset where there is none; what is no packet is left.
    pub fn take<M: GuestMemory>(&mut self, mut packet: Readable<'_, M>, now: Duration) {
        let Some(header) = Received::take(&mut packet) else { return };
        // Not for another guest's address, whatever is behind it (5.10.6.4.1).
        if !header.from_cid.is(self.cid) {
            return;
        }
        let whole = header.len.is(packet.len().into());
        let has_bytes = !packet.is_empty();
        let fits = header.to_cid == HOST && header.kind == STREAM && whole;
        let Some(op) = header.op.filter(|op| fits && (*op == Op::Data || !has_bytes)) else {
            return self.refuse(&header);
        };
        match op {
            Op::Request => self.requested(&header, now),
            Op::Reset => {
                if let Some(known) = self.known(header.ports) {
                    known.clear();
                }
            }
            _ => self.on_connection(op, &header, packet, now),
        }
    }

    /// A packet that makes no sense.
    fn refuse(&mut self, header: &Received) {
        let (cid, ports, kind) = (header.to_cid, header.ports, header.kind);
        if cid == HOST
            && kind == STREAM
            && let Some(known) = self.known(ports)
        {
            return known.end();
        }
        // A reset is not answered, or two devices would do so for ever.
        if header.op != Some(Op::Reset) {
            self.refusals.push_back(Refusal { cid, ports, kind });
        }
    }

    fn requested(&mut self, header: &Received, now: Duration) {
        let ports = header.ports;
        let may = self.ports.contains(&ports.host);
        if !may || self.known(ports).is_some() || !self.has_place() || !self.bucket.take(now) {
            return self.refuse(header);
        }
        let dial = self.free_place().map(|(place, connection)| {
            connection.begin(Phase::Dialing, ports, None, now);
            // Its credit comes with it.
            let _ = connection.hear(header.credit);
            Dial { place, turn: connection.turn, port: ports.host }
        });
        self.dials.extend(dial);
    }

    fn on_connection<M: GuestMemory>(
        &mut self,
        op: Op,
        header: &Received,
        packet: Readable<'_, M>,
        now: Duration,
    ) {
        let place = self.places.iter_mut();
        let found = { place }.find(|place| place.is_known() && place.ports == header.ports);
        let Some(place) = found else { return self.refuse(header) };
        if place.hear(header.credit).is_err() {
            return place.end();
        }
        match (op, place.phase) {
            (Op::Response, Phase::Asking) => place.accepted(),
            (Op::Data, Phase::Open) => {
                if place.receive(packet, &mut self.room).is_err() {
                    place.end();
                }
            }
            // What the guest sent before it heard that nobody reads.
            (Op::Data, Phase::Closing) => {}
            (Op::Shutdown, Phase::Open | Phase::Closing) => {
                let flag = |flag: u32| header.flags.has(flag.into());
                place.shut_by_guest(flag(NO_RECEIVE), flag(NO_SEND));
                if place.guest_is_done() {
                    self.done(header.ports, now);
                }
            }
            (Op::CreditUpdate, _) => {}
            (Op::CreditRequest, Phase::Open | Phase::Closing) => place.owed.credit_update = true,
            _ => place.end(),
        }
    }

    /// The guest has said its last: it is told that all is over, and what it sent goes on its way.
    fn done(&mut self, ports: Ports, now: Duration) {
        let Some(place) = self.known(ports) else { return };
        if place.has_bytes() && place.stream.is_some() {
            place.phase = Phase::Draining;
            self.refusals.push_back(Refusal { cid: HOST, ports, kind: STREAM });
        } else {
            place.end();
        }
        self.settle(now);
    }

    /// Somebody on the host has connected; false, and the stream is closed, where there is no
    /// place.
    pub fn entered(&mut self, stream: S, entry: Entry, now: Duration) -> bool {
        let host = self.new_port();
        let Some((_, place)) = self.free_place() else { return false };
        match entry {
            Entry::Path => {
                place.begin(Phase::Greeting, Ports { guest: 0, host }, Some(stream), now);
            }
            Entry::Port(guest) => {
                place.begin(Phase::Asking, Ports { guest, host }, Some(stream), now);
            }
        }
        true
    }

    /// A port of the host's that no connection has: found after as many tries as there are
    /// connections at most.
    fn new_port(&mut self) -> u32 {
        loop {
            let port = FIRST_PORT + self.next_port;
            self.next_port = (self.next_port + 1) % PORTS;
            if self.places.iter().all(|p| p.phase == Phase::Free || p.ports.host != port) {
                return port;
            }
        }
    }

    /// The next connection that the connector is to be asked for.
    pub fn next_dial(&mut self) -> Option<Dial> {
        self.dials.pop_front()
    }

    /// What the connector answered. An answer for what is over meanwhile is dropped.
    pub fn dialed(&mut self, dial: Dial, stream: Option<S>) {
        let place = self.places.get_mut(usize::from(dial.place));
        let place = place.filter(|p| p.phase == Phase::Dialing && p.turn == dial.turn);
        match (place, stream) {
            (Some(place), Some(stream)) => place.dialed(stream),
            (Some(place), None) => place.end(),
            (None, _) => {}
        }
    }

    /// What was seen of a place's stream by polling: bytes to read, room to write, its end.
    pub fn seen(&mut self, index: usize, readable: bool, writable: bool, hung_up: bool) {
        let Some(place) = self.places.get_mut(index) else { return };
        match place.phase {
            Phase::Greeting => {
                if readable || hung_up {
                    self.greeted(index);
                }
                return;
            }
            // Whoever asked has gone.
            Phase::Asking if hung_up => return place.end(),
            _ => {}
        }
        if writable {
            place.flush();
        }
        if hung_up {
            place.hung_up = true;
            place.host_gone();
        }
        if readable || hung_up {
            // Until it is read to its end.
            place.readable = place.phase == Phase::Open;
            place.look_for_room();
        }
    }

    fn greeted(&mut self, index: usize) {
        let Some(place) = self.places.get_mut(index) else { return };
        match place.greet() {
            None => {}
            Some(Err(())) => place.clear(),
            Some(Ok(guest)) => place.ask(guest),
        }
    }

    /// Ends what takes too long, and frees what is done. Gives when it is to be called again.
    pub fn settle(&mut self, now: Duration) -> Option<Duration> {
        let mut next: Option<Duration> = None;
        for place in &mut self.places {
            if place.phase == Phase::Draining && place.stream.is_none() {
                place.clear();
            }
            let Some(deadline) = place.deadline() else { continue };
            if deadline > now {
                next = Some(next.map_or(deadline, |next| next.min(deadline)));
            } else if place.phase == Phase::Greeting {
                // The guest knows nothing of it.
                place.clear();
            } else {
                place.end();
            }
        }
        next.map(|next| next.saturating_sub(now))
    }

    /// Whether there is something for the guest.
    #[must_use]
    pub fn has_packet(&self) -> bool {
        !self.refusals.is_empty() || self.places.iter().any(|p| p.next_packet().is_some())
    }

    /// Fills a buffer of the guest's with the next packet: how many bytes of it are written. One
    /// that is too small for a packet is left empty.
    pub fn fill<M: GuestMemory>(&mut self, mut buffer: Writable<'_, M>, now: Duration) -> u32 {
        let Some(space) = buffer.len().checked_sub(HEADER) else { return 0 };
        let Some(payload) = buffer.split_last(space) else { return 0 };
        if let Some(Refusal { cid, ports, kind }) = self.refusals.pop_front() {
            return put(&buffer, &self.packet(cid, ports, kind, Op::Reset));
        }
        let count = self.places.len();
        let order = (self.next..count).chain(0..self.next.min(count));
        let owing = |index: &usize| self.places.get(*index).and_then(Connection::next_packet);
        let found = order.filter_map(|index| Some((index, owing(&index)?))).next();
        let Some((index, op)) = found else { return 0 };
        self.next = (index + 1) % count.max(1);
        self.packet_of(index, op, (buffer, payload), now).unwrap_or(0)
    }

    fn packet_of<M: GuestMemory>(
        &mut self,
        index: usize,
        op: Op,
        (header, payload): (Writable<'_, M>, Writable<'_, M>),
        now: Duration,
    ) -> Option<u32> {
        let cid = self.cid;
        let place = self.places.get_mut(index)?;
        let (mut op, mut len, mut flags) = (op, 0, 0);
        match op {
            Op::Request => place.owed.request = false,
            Op::Response => place.owed.response = false,
            Op::Data => (op, len) = data(place, payload, &mut self.room),
            Op::Shutdown => {}
            Op::CreditRequest => place.owed.credit_request = false,
            Op::CreditUpdate | Op::Reset => {}
        }
        if op == Op::Shutdown {
            flags = place.shutdown_flags();
            place.shutdown_sent(now);
        }
        let (ports, credit) = (place.ports, place.credit());
        let packet =
            Sent { from_cid: HOST, to_cid: cid, ports, len, kind: STREAM, op, flags, credit };
        let written = put(&header, &packet);
        if op == Op::Reset {
            place.clear();
        } else if written == 0 {
            // Its memory is gone, and with it what was in the packet.
            place.end();
        }
        Some(if written == 0 { 0 } else { written.saturating_add(len) })
    }

    const fn packet(&self, from_cid: u64, ports: Ports, kind: u16, op: Op) -> Sent {
        let credit = crate::packet::Credit { size: 0, taken: 0 };
        Sent { from_cid, to_cid: self.cid, ports, len: 0, kind, op, flags: 0, credit }
    }
}

fn put<M: GuestMemory>(to: &Writable<'_, M>, packet: &Sent) -> u32 {
    to.put(&packet.encode()).ok().filter(|written| *written == HEADER).unwrap_or(0)
}

/// Moves bytes of the host into a packet; which packet it is then, and how many there are.
fn data<S: Stream, M: GuestMemory>(
    place: &mut Connection<S>,
    mut payload: Writable<'_, M>,
    room: &mut Room,
) -> (Op, u32) {
    let most = payload.len().min(place.to_guest.room()).min(MOST);
    let beyond = payload.len() - most;
    let _ = payload.split_last(beyond);
    // A buffer that has a header's room only: the bytes wait for another one.
    if payload.is_empty() {
        return (Op::CreditUpdate, 0);
    }
    match place.stream.as_ref().map(|stream| stream.receive(&payload, room)) {
        Some(Ok(len)) if len > 0 => {
            place.to_guest.send(len);
            // Less than there was room for: that was all, as far as is known without asking.
            place.readable = len == payload.len() || place.hung_up;
            place.look_for_room();
            (Op::Data, len)
        }
        // The buffer is taken, so something must be in it; this can be said at any time.
        Some(Err(e)) if e.kind() == io::ErrorKind::WouldBlock => {
            place.readable = false;
            if place.hung_up {
                place.host_ended();
            }
            (Op::CreditUpdate, 0)
        }
        _ => {
            place.host_ended();
            (Op::Shutdown, 0)
        }
    }
}
