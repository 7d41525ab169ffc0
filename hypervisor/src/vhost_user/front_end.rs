//! What is said to a back end, and when: set-up before the guest runs, then activation and reset.

use super::error::BackEndError;
use super::message::{MAX_BODY, NEED_REPLY, Patience, answer, ask};
use super::request::Request;
use crate::event::Event;
use casemate_device_process::RESUME;
use casemate_device_transport::{Activation, VERSION_1};
use casemate_values::GpaRange;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{RecvFlags, recv};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// How long a back end may take for an answer. Not for that to a reset, which comes when the
/// request in hand is done, and on slow storage takes as long as it takes.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The same for a program of others until the guest runs: its user sits and waits, and a socket
/// that leads to something else is best told soon.
pub const FIRST_PATIENCE: Duration = Duration::from_secs(10);

/// `VHOST_USER_F_PROTOCOL_FEATURES`, a feature bit between front end and back end only.
const PROTOCOL_FEATURES: u64 = 1 << 30;
/// More than one queue, and how many.
const MQ: u64 = 1 << 0;
/// Every request can be acknowledged.
const REPLY_ACK: u64 = 1 << 3;
/// The device's configuration can be asked for.
const CONFIG: u64 = 1 << 9;

/// What a device is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    /// Its queues.
    pub queues: u16,
    /// Least number of queues that its back end says it has. Others count a network device's in
    /// pairs, and one that says nothing has one (`net_vhost_user_start` of QEMU's
    /// net/vhost-user.c).
    pub least: u16,
    /// Bytes of configuration, 256 at most; 0 for a device that has none.
    pub config: usize,
}

/// What a back end says of its device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Features as it offers them, the bit for those of the protocol among them.
    pub features: u64,
    /// Configuration: as many bytes as were wished for.
    pub config: Vec<u8>,
}

/// The events of one queue, which last as long as the VM.
#[derive(Debug, Clone, Copy)]
pub struct QueueEvents<'a> {
    /// The guest rang the doorbell.
    pub kick: BorrowedFd<'a>,
    /// The device raises its interrupt.
    pub call: BorrowedFd<'a>,
}

/// The events of a queue for a back end that gets them anew whenever the queue starts.
#[derive(Debug, Clone)]
pub struct RingEvents {
    /// The guest rang the doorbell.
    pub kick: Event,
    /// The device raises its interrupt.
    pub call: Event,
}

/// A back end that has told what it is, and has not seen guest memory.
#[derive(Debug)]
pub struct Greeted {
    socket: OwnedFd,
    queues: u16,
    offered: u64,
    patience: Duration,
}

/// A back end that has guest memory, and of ours everything it will ever get: what follows are
/// numbers.
#[derive(Debug)]
pub struct BackEnd {
    socket: OwnedFd,
    /// For a back end of others: a ring that was stopped starts with a kick that is sent anew, and
    /// what it had is closed by then (vhost-user, "Starting and stopping rings"; libvhost-user's
    /// `vu_get_vring_base_exec`). Empty for ours, which keeps what it has.
    events: Vec<RingEvents>,
    /// The features that it offered: what a guest took besides them it is not told of.
    offered: u64,
    /// Whose rings were enabled, a bit each.
    enabled: u32,
    /// How long an answer may take.
    pub(super) patience: Duration,
    /// What is left of it for the answers of a back end that was told to stop.
    stopping: Patience,
}

/// Where rings begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// At their first entry.
    Anew,
    /// Where their used index says: another back end served them, and is gone. Only for device
    /// processes of ours.
    WhereUsed,
}

/// How far a back end is that was told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopping {
    /// It will answer when what it has in hand is done.
    Asked,
    /// It uses no ring any more.
    Done,
}

/// What came without having been asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// Nothing: there is silence, as there should be.
    Nothing,
    /// The end of the conversation.
    Closed,
    /// Bytes that nobody asked for.
    Unasked,
}

/// A request with a number for an answer.
fn number(socket: BorrowedFd<'_>, request: Request) -> Result<u64, BackEndError> {
    let mut value = [0; 8];
    ask(socket, request, 0, &[], &[])?;
    answer(socket, request, &mut value)?;
    Ok(u64::from_le_bytes(value))
}

/// A request that is acknowledged, with zero.
fn tell(
    socket: BorrowedFd<'_>,
    request: Request,
    body: &[u8],
    fds: &[BorrowedFd<'_>],
) -> Result<(), BackEndError> {
    tell_by(socket, request, (body, fds), |value| answer(socket, request, value))
}

/// The same, with an answer that is read by `answer`.
fn tell_by(
    socket: BorrowedFd<'_>,
    request: Request,
    (body, fds): (&[u8], &[BorrowedFd<'_>]),
    answer: impl FnOnce(&mut [u8; 8]) -> Result<(), BackEndError>,
) -> Result<(), BackEndError> {
    let mut value = [0; 8];
    ask(socket, request, NEED_REPLY, body, fds)?;
    answer(&mut value)?;
    if value == [0; 8] { Ok(()) } else { Err(BackEndError::Refused(request)) }
}

/// Words one after the other.
fn words<const N: usize, const BYTES: usize>(words: [u32; N]) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    for (to, from) in bytes.iter_mut().zip(words.iter().flat_map(|word| word.to_le_bytes())) {
        *to = from;
    }
    bytes
}

impl Greeted {
    /// Greets a back end, and asks what it is; no answer is waited for longer than `patience`.
    ///
    /// # Errors
    /// [`BackEndError`].
    pub fn greet(
        socket: OwnedFd,
        wish: Wish,
        patience: Duration,
    ) -> Result<(Self, Offer), BackEndError> {
        let s = socket.as_fd();
        set_patience(s, patience)?;
        // Not acknowledged: whether it can, is what the next messages find out.
        ask(s, Request::SetOwner, 0, &[], &[])?;
        let features = number(s, Request::GetFeatures)?;
        if features & VERSION_1 == 0 {
            return Err(BackEndError::Lacks(
                "VERSION_1: it is a device of the time before virtio 1",
            ));
        }
        if features & PROTOCOL_FEATURES == 0 {
            return Err(BackEndError::Lacks("protocol features"));
        }
        let offered = number(s, Request::GetProtocolFeatures)?;
        // Without acknowledgements what was refused would not be known.
        if offered & REPLY_ACK == 0 {
            return Err(BackEndError::Lacks("acknowledgements (REPLY_ACK)"));
        }
        let accepted = offered & (MQ | REPLY_ACK | CONFIG);
        ask(s, Request::SetProtocolFeatures, 0, &accepted.to_le_bytes(), &[])?;
        let has = if accepted & MQ == 0 { 1 } else { number(s, Request::GetQueueNum)? };
        if has < u64::from(wish.least) {
            return Err(BackEndError::Queues { has, wanted: wish.least });
        }
        let mut config = vec![0; wish.config.min(MAX_BODY - CONFIG_HEAD)];
        if !config.is_empty() {
            if accepted & CONFIG == 0 {
                return Err(BackEndError::Lacks("its configuration (CONFIG)"));
            }
            read_config(s, &mut config)?;
        }
        let queues = wish.queues;
        Ok((Self { socket, queues, offered: features, patience }, Offer { features, config }))
    }

    /// Hands memory and events over, once and for all.
    ///
    /// The addresses by which rings will be named are guest physical ones: a back end need not
    /// learn where guest memory is in this process. The last message, a ring that is disabled,
    /// changes nothing; a device process locks itself when it has answered it.
    ///
    /// # Errors
    /// [`BackEndError`].
    pub fn hand_over(
        self,
        memory: BorrowedFd<'_>,
        ranges: &[GpaRange],
        events: &[QueueEvents<'_>],
        error: BorrowedFd<'_>,
    ) -> Result<BackEnd, BackEndError> {
        let s = self.socket.as_fd();
        let features = VERSION_1 | PROTOCOL_FEATURES;
        tell(s, Request::SetFeatures, &features.to_le_bytes(), &[])?;
        give_memory(s, memory, ranges)?;
        for (index, queue) in (0_u64..self.queues.into()).zip(events) {
            let index = index.to_le_bytes();
            tell(s, Request::SetVringKick, &index, &[queue.kick])?;
            tell(s, Request::SetVringCall, &index, &[queue.call])?;
            tell(s, Request::SetVringErr, &index, &[error])?;
        }
        tell(s, Request::SetVringEnable, &[0; 8], &[])?;
        Ok(BackEnd::new(self.socket, (self.offered, Vec::new()), self.patience))
    }

    /// The same for a program of others: it gets memory now, and its events with each activation.
    /// An answer may take as long as [`PATIENCE`] from now on: there is a guest.
    ///
    /// # Errors
    /// [`BackEndError`].
    pub fn hand_over_to_others(
        self,
        memory: BorrowedFd<'_>,
        ranges: &[GpaRange],
        events: Vec<RingEvents>,
    ) -> Result<BackEnd, BackEndError> {
        give_memory(self.socket.as_fd(), memory, ranges)?;
        set_patience(self.socket.as_fd(), PATIENCE)?;
        Ok(BackEnd::new(self.socket, (self.offered, events), PATIENCE))
    }
}

/// How long each answer may take from now on.
fn set_patience(socket: BorrowedFd<'_>, patience: Duration) -> Result<(), BackEndError> {
    let request = Request::SetOwner;
    set_socket_timeout(socket, Timeout::Recv, Some(patience))
        .map_err(|e| BackEndError::Socket { request, source: e.into() })
}

/// Hands guest memory over, its ranges one after the other in one file.
fn give_memory(
    socket: BorrowedFd<'_>,
    memory: BorrowedFd<'_>,
    ranges: &[GpaRange],
) -> Result<(), BackEndError> {
    let count = u64::try_from(ranges.len()).unwrap_or(u64::MAX);
    let (mut body, mut offset) = (count.to_le_bytes().to_vec(), 0);
    for range in ranges {
        for word in [range.start(), range.size(), range.start(), offset] {
            body.extend_from_slice(&word.to_le_bytes());
        }
        offset += range.size();
    }
    tell(socket, Request::SetMemTable, &body, &vec![memory; ranges.len()])
}

/// Offset, size and flags before the bytes of a configuration.
const CONFIG_HEAD: usize = 12;

fn read_config(socket: BorrowedFd<'_>, config: &mut [u8]) -> Result<(), BackEndError> {
    let request = Request::GetConfig;
    let head: [u8; CONFIG_HEAD] = words([0, u32::try_from(config.len()).unwrap_or(0), 0]);
    let mut body = [0; MAX_BODY];
    let len = CONFIG_HEAD + config.len();
    let Some(body) = body.get_mut(..len) else { return Err(BackEndError::Refused(request)) };
    for (to, from) in body.iter_mut().zip(head) {
        *to = from;
    }
    ask(socket, request, 0, body, &[])?;
    answer(socket, request, body)?;
    // Offset and size are those of the question; the flags mean nothing in an answer.
    if body.get(..8) != head.get(..8) {
        return Err(BackEndError::Breach { request, what: "another part of the configuration" });
    }
    for (to, from) in config.iter_mut().zip(body.iter().skip(CONFIG_HEAD)) {
        *to = *from;
    }
    Ok(())
}

impl BackEnd {
    pub(super) fn new(
        socket: OwnedFd,
        (offered, events): (u64, Vec<RingEvents>),
        patience: Duration,
    ) -> Self {
        Self { socket, events, offered, enabled: 0, patience, stopping: Patience::new(patience) }
    }

    /// Waits until the back end serves: a device process answers nothing more before it is locked.
    ///
    /// # Errors
    /// [`BackEndError`].
    pub fn settle(&self) -> Result<(), BackEndError> {
        number(self.socket.as_fd(), Request::GetFeatures).map(drop)
    }

    /// Begins: the back end uses the rings from now on. All its answers together are waited for
    /// less than twice as long as one of them, however it spreads its silence.
    ///
    /// # Errors
    /// [`BackEndError`]; the back end is then in no known state.
    pub fn activate(&mut self, activation: &Activation, begin: Begin) -> Result<(), BackEndError> {
        let base = match begin {
            Begin::Anew => 0,
            Begin::WhereUsed => RESUME,
        };
        let s = self.socket.as_fd();
        let mut patience = Patience::new(self.patience);
        let mut tell = |request, body: &[u8], fds: &[BorrowedFd<'_>]| {
            tell_by(s, request, (body, fds), |value| patience.answer(s, request, value))
        };
        let features = activation.features & self.offered | PROTOCOL_FEATURES;
        tell(Request::SetFeatures, &features.to_le_bytes(), &[])?;
        for (index, ring) in (0_u32..).zip(&activation.rings) {
            let Some(ring) = ring else { continue };
            // Marked before it is told: what is not known to be off has to be stopped.
            self.enabled |= 1_u32.checked_shl(index).unwrap_or(0);
            let state = |value: u32| words::<2, 8>([index, value]);
            tell(Request::SetVringNum, &state(ring.size.into()), &[])?;
            let mut address = [0; 40];
            // Index and flags, then descriptors, used, available; no log.
            let fields = [u64::from(index), ring.descriptors, ring.used, ring.available, 0];
            let bytes = fields.iter().flat_map(|field| field.to_le_bytes());
            for (to, from) in address.iter_mut().zip(bytes) {
                *to = from;
            }
            tell(Request::SetVringAddr, &address, &[])?;
            tell(Request::SetVringBase, &state(base), &[])?;
            if let Some(events) = self.events.get(usize::try_from(index).unwrap_or(usize::MAX)) {
                let index = u64::from(index).to_le_bytes();
                // No event of errors: this process would have to read it, and whoever shares an
                // event can make its reader wait (F_SETFL without O_NONBLOCK).
                tell(Request::SetVringCall, &index, &[events.call.as_fd()])?;
                tell(Request::SetVringKick, &index, &[events.kick.as_fd()])?;
            }
            tell(Request::SetVringEnable, &state(1), &[])?;
        }
        Ok(())
    }

    /// Begins to stop it: it uses no ring any more when that is done.
    ///
    /// # Errors
    /// [`BackEndError`]; whether it uses guest memory is then not known.
    pub fn begin_to_stop(&mut self) -> Result<Stopping, BackEndError> {
        self.stopping = Patience::new(self.patience);
        self.ask_to_stop()
    }

    /// Tells it of the next ring.
    fn ask_to_stop(&self) -> Result<Stopping, BackEndError> {
        let Some(index) = self.first_enabled() else { return Ok(Stopping::Done) };
        let body = words::<2, 8>([index, 0]);
        ask(self.socket.as_fd(), Request::GetVringBase, 0, &body, &[])?;
        Ok(Stopping::Asked)
    }

    /// Whether an answer is there, or its beginning, or the end of the conversation.
    #[must_use]
    pub fn has_answer(&self) -> bool {
        let mut socket = [PollFd::new(&self.socket, PollFlags::IN)];
        matches!(poll(&mut socket, Some(&Timespec::default())), Ok(1..))
    }

    /// Takes the answer of a back end that was told to stop. One that is not there, or not all of
    /// it, is waited for; all such waits until it has stopped have one bound, as in
    /// [`BackEnd::activate`].
    ///
    /// # Errors
    /// As [`BackEnd::begin_to_stop`].
    pub fn go_on_stopping(&mut self) -> Result<Stopping, BackEndError> {
        let request = Request::GetVringBase;
        let mut state = [0; 8];
        self.stopping.answer(self.socket.as_fd(), request, &mut state)?;
        let index = self.first_enabled();
        let Some(index) = index.filter(|i| state.first_chunk() == Some(&i.to_le_bytes())) else {
            return Err(BackEndError::Breach { request, what: "another ring" });
        };
        self.enabled &= !(1 << index);
        self.ask_to_stop()
    }

    fn first_enabled(&self) -> Option<u32> {
        (self.enabled != 0).then(|| self.enabled.trailing_zeros())
    }

    /// What its socket has when nothing was asked. One byte is taken; a flood stays where it is.
    #[must_use]
    pub fn heard(&self) -> Heard {
        let mut byte = [0; 1];
        match recv(&self.socket, &mut byte[..], RecvFlags::DONTWAIT) {
            Ok((_, 0)) => Heard::Closed,
            Ok(_) => Heard::Unasked,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Heard::Nothing,
            Err(_) => Heard::Closed,
        }
    }
}

impl AsFd for BackEnd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
