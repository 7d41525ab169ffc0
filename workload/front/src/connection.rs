//! One connection: TLS around HTTP, one request at a time.

use crate::http::{self, CONTINUE, Reader, Refusal, Request, Step};
use crate::limits::{Limits, SLOWEST};
use crate::socket::{Socket, at_once};
use casemate_relay::{Answer, Call};
use rustix::event::PollFlags;
use rustls::{ServerConfig, ServerConnection};
use std::io::{ErrorKind, Read, Write};
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// Bytes that are taken from, or given to, TLS at once.
const AT_ONCE: usize = 16 * 1024;
/// Times that a connection is read before the others have their turn.
const TURNS: usize = 4;
/// Bytes of a handshake: one message, which even with a certificate nobody asked for has fewer.
const MAX_HANDSHAKE: usize = 32 * 1024;
/// For the end of a connection to be seen at its other side.
const LAST: Duration = Duration::from_secs(2);
/// Bytes that are thrown away then: what was under way when a request was refused.
const MAX_LEFT: usize = 256 * 1024;

/// What a connection is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The TLS handshake.
    Handshake,
    /// The first byte of the next request.
    Idle,
    /// The rest of it.
    Reading,
    /// A request is whole, and has not been given to the keeper.
    Queued,
    /// The keeper has it, under this number.
    Asked(u64),
    /// The answer is on its way.
    Answering,
    /// It is over, and the other side is to see it.
    Closing,
}

/// What is to become of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It waits for its socket, or for the keeper.
    Stays,
    /// It has a request for the keeper.
    Asks,
    /// It is over.
    Gone,
}

/// The connection is over.
#[derive(Debug)]
struct Gone;

impl From<std::io::Error> for Gone {
    fn from(_: std::io::Error) -> Self {
        // Whoever is at the other side is gone, or is not to be understood: nobody to tell.
        Self
    }
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: Socket,
    pub(crate) peer: Option<IpAddr>,
    tls: ServerConnection,
    reader: Reader,
    phase: Phase,
    /// When the phase began that is not done.
    since: Instant,
    until: Instant,
    answer: Vec<u8>,
    sent: usize,
    /// The connection ends with the answer.
    ends: bool,
    /// Nothing more comes from the other side.
    is_over: bool,
    /// The other side was told to go on with its body.
    was_told: bool,
    /// Nothing more goes to the other side.
    is_shut: bool,
    /// Bytes of the handshake, and at the end bytes that were thrown away.
    count: usize,
}

impl Connection {
    /// A connection that has just begun; None when there is no memory for its TLS.
    pub(crate) fn new(
        socket: Socket,
        peer: Option<IpAddr>,
        config: &Arc<ServerConfig>,
        limits: &Limits,
        now: Instant,
    ) -> Option<Self> {
        let mut tls = ServerConnection::new(config.clone()).ok()?;
        tls.set_buffer_limit(Some(AT_ONCE * 2));
        Some(Self {
            socket,
            peer,
            tls,
            reader: Reader::new(),
            phase: Phase::Handshake,
            since: now,
            until: now + limits.handshake,
            answer: Vec::new(),
            sent: 0,
            ends: false,
            is_over: false,
            was_told: false,
            is_shut: false,
            count: 0,
        })
    }

    pub(crate) const fn phase(&self) -> Phase {
        self.phase
    }

    pub(crate) const fn since(&self) -> Instant {
        self.since
    }

    pub(crate) const fn until(&self) -> Instant {
        self.until
    }

    /// Bytes of memory that the request takes, and those that the answer takes.
    pub(crate) fn held(&self) -> (usize, usize) {
        (self.reader.held(), self.answer.capacity())
    }

    /// The request, when it is whole.
    pub(crate) fn request(&self) -> Option<Call<'_>> {
        let Step::Whole(request) = self.reader.step() else { return None };
        let Request { method, path, cookie, authorization, body, .. } = request;
        let (peer, method) = (self.peer, method.name());
        Some(Call { peer, method, path, cookie, authorization, body })
    }

    /// What its socket is waited for. That the other side is gone is always told.
    pub(crate) fn interest(&self) -> PollFlags {
        let reads = match self.phase {
            Phase::Handshake | Phase::Idle | Phase::Reading => self.tls.wants_read(),
            Phase::Closing => self.is_shut,
            Phase::Queued | Phase::Asked(_) | Phase::Answering => false,
        };
        let writes = self.tls.wants_write() || self.phase == Phase::Answering;
        let flag = |wanted, flag| if wanted { flag } else { PollFlags::empty() };
        flag(reads, PollFlags::IN) | flag(writes, PollFlags::OUT)
    }

    /// Goes on as far as it comes without waiting.
    pub(crate) fn go_on(&mut self, ready: PollFlags, limits: &Limits, now: Instant) -> Turn {
        let gone = ready.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL);
        let readable = gone || ready.contains(PollFlags::IN);
        let turn = match self.phase {
            Phase::Handshake | Phase::Idle | Phase::Reading => self.reading(readable, limits, now),
            // Whoever is gone altogether takes no answer.
            Phase::Queued | Phase::Asked(_) if gone => Err(Gone),
            Phase::Queued | Phase::Asked(_) => self.flush().map(|_| Turn::Stays),
            Phase::Answering => self.answering(limits, now),
            Phase::Closing => self.closing(readable),
        };
        turn.unwrap_or(Turn::Gone)
    }

    /// The keeper has its request.
    pub(crate) const fn was_asked(&mut self, id: u64) {
        self.phase = Phase::Asked(id);
    }

    /// The keeper has answered. With `last` the connection ends with it.
    pub(crate) fn answered(
        &mut self,
        answer: &Answer<'_>,
        last: bool,
        limits: &Limits,
        now: Instant,
    ) -> Turn {
        let close = matches!(self.reader.step(), Step::Whole(request) if request.close);
        let close = close || last || self.is_over;
        let bytes = http::answer(answer, close, seconds());
        self.answer(bytes, close, limits, now)
    }

    /// Answers a request without the keeper. The connection ends with it.
    pub(crate) fn refuse(&mut self, refusal: &Refusal, limits: &Limits, now: Instant) -> Turn {
        self.answer(http::refuse(refusal, seconds()), true, limits, now)
    }

    /// What becomes of it when its time is over.
    pub(crate) fn expire(&mut self, limits: &Limits, now: Instant) -> Turn {
        match self.phase {
            Phase::Reading => self.refuse(&Refusal::TOO_SLOW, limits, now),
            Phase::Queued | Phase::Asked(_) => self.refuse(&Refusal::BUSY, limits, now),
            Phase::Handshake | Phase::Idle | Phase::Answering | Phase::Closing => Turn::Gone,
        }
    }

    /// Says that it ends, if that can be said at once. Not within an answer: who reads it is to see
    /// that it was cut off.
    pub(crate) fn let_go(&mut self) {
        if self.phase == Phase::Answering {
            return;
        }
        self.tls.send_close_notify();
        let _ = self.flush();
    }

    fn begin(&mut self, phase: Phase, lasts: Duration, now: Instant) {
        (self.phase, self.since, self.until) = (phase, now, now + lasts);
    }

    fn reading(&mut self, readable: bool, limits: &Limits, now: Instant) -> Result<Turn, Gone> {
        if readable && !self.read()? {
            // What is wrong has been told, as TLS tells it.
            self.begin(Phase::Closing, LAST, now);
            return self.closing(false);
        }
        self.flush()?;
        self.advance(limits, now)
    }

    /// Takes what has come; false when it is not TLS.
    fn read(&mut self) -> Result<bool, Gone> {
        for _ in 0..TURNS {
            if !self.tls.wants_read() || self.is_over {
                break;
            }
            let Some(length) = at_once(self.tls.read_tls(&mut &self.socket))? else { break };
            self.is_over = length == 0;
            if self.tls.is_handshaking() {
                self.count += length;
                if self.count > MAX_HANDSHAKE {
                    return Err(Gone);
                }
            }
            match self.tls.process_new_packets() {
                Ok(state) => self.is_over |= state.peer_has_closed(),
                Err(_) => return Ok(false),
            }
            self.take()?;
        }
        Ok(true)
    }

    /// Gives the reader what it has room for.
    fn take(&mut self) -> Result<(), Gone> {
        let mut buffer = [0; AT_ONCE];
        loop {
            let room = self.reader.room().min(AT_ONCE);
            let Some(place) = buffer.get_mut(..room).filter(|place| !place.is_empty()) else {
                return Ok(());
            };
            match self.tls.reader().read(place) {
                Ok(0) => return Ok(()),
                Ok(length) => drop(self.reader.push(place.get(..length).unwrap_or_default())),
                // Without its last word: what came before it is whole, or is not.
                Err(e) if e.kind() == ErrorKind::UnexpectedEof => return Ok(()),
                other => return at_once(other).map(drop).map_err(Gone::from),
            }
        }
    }

    /// Does what follows from what was read.
    fn advance(&mut self, limits: &Limits, now: Instant) -> Result<Turn, Gone> {
        if self.tls.is_handshaking() {
            return if self.is_over { Err(Gone) } else { Ok(Turn::Stays) };
        }
        if self.phase == Phase::Handshake {
            self.begin(Phase::Idle, limits.request, now);
        }
        self.take()?;
        let (begun, waits) = match self.reader.step() {
            Step::Refused(refusal) => return Ok(self.refuse(&refusal, limits, now)),
            Step::Whole(_) => {
                self.begin(Phase::Queued, limits.keeper, now);
                return Ok(Turn::Asks);
            }
            Step::Nothing => (false, false),
            Step::Begun { waits } => (true, waits),
        };
        if self.is_over {
            return Err(Gone);
        }
        if begun && self.phase == Phase::Idle {
            self.begin(Phase::Reading, limits.request, now);
        }
        if waits && !self.was_told {
            self.was_told = true;
            self.tls.writer().write_all(CONTINUE)?;
            self.flush()?;
        }
        Ok(Turn::Stays)
    }

    fn answer(&mut self, bytes: Vec<u8>, ends: bool, limits: &Limits, now: Instant) -> Turn {
        let more = u64::try_from(bytes.len() / SLOWEST).unwrap_or(0);
        self.begin(Phase::Answering, limits.answer + Duration::from_secs(more), now);
        // The request has been answered: its memory is not kept while somebody reads slowly.
        if ends {
            self.reader = Reader::new();
        } else {
            self.reader.next();
        }
        (self.answer, self.sent, self.ends) = (bytes, 0, ends);
        self.answering(limits, now).unwrap_or(Turn::Gone)
    }

    /// Sends of the answer what can be sent, a record at a time: what is encrypted is not kept
    /// beside what is to be.
    fn answering(&mut self, limits: &Limits, now: Instant) -> Result<Turn, Gone> {
        while self.flush()? {
            let rest = self.answer.get(self.sent..).unwrap_or_default();
            if rest.is_empty() {
                return self.answer_is_sent(limits, now);
            }
            let next = rest.get(..AT_ONCE).unwrap_or(rest);
            self.sent += self.tls.writer().write(next)?;
        }
        Ok(Turn::Stays)
    }

    fn answer_is_sent(&mut self, limits: &Limits, now: Instant) -> Result<Turn, Gone> {
        (self.answer, self.sent) = (Vec::new(), 0);
        if self.ends {
            self.tls.send_close_notify();
            self.count = 0;
            self.begin(Phase::Closing, LAST, now);
            return self.closing(false);
        }
        self.was_told = false;
        self.begin(Phase::Idle, limits.idle, now);
        self.advance(limits, now)
    }

    /// Closes this side, and waits for the other: a connection that is dropped while bytes come
    /// takes away the answer, too, before it is read (RFC 9112, section 9.6).
    fn closing(&mut self, readable: bool) -> Result<Turn, Gone> {
        if !self.flush()? {
            return Ok(Turn::Stays);
        }
        if !self.is_shut {
            self.socket.end();
            self.is_shut = true;
        }
        let mut buffer = [0; AT_ONCE];
        let turns = if readable { TURNS } else { 0 };
        for _ in 0..turns {
            match at_once((&self.socket).read(&mut buffer))? {
                None => break,
                Some(0) => return Err(Gone),
                Some(length) => self.count += length,
            }
            if self.count > MAX_LEFT {
                return Err(Gone);
            }
        }
        Ok(Turn::Stays)
    }

    /// Sends what TLS has to send; false when the socket takes no more now.
    fn flush(&mut self) -> Result<bool, Gone> {
        while self.tls.wants_write() {
            match at_once(self.tls.write_tls(&mut &self.socket))? {
                None => return Ok(false),
                Some(0) => return Err(Gone),
                Some(_) => {}
            }
        }
        Ok(true)
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn seconds() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, |passed| passed.as_secs())
}
