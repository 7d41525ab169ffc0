//! A front end's session: set-up, the lock in between, and serving.

use crate::device::Device;
use crate::lane::Lane;
use crate::messages::{Front, Offer};
use crate::polled::{self, PolledDevice};
use crate::pulse::{Place, Pulse, Seen};
use crate::table::{Guard, Mode};
use rustix::process::{Resource, Rlimit, setrlimit};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Barrier, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use vhost::vhost_user::message::VhostUserVirtioFeatures;
use vhost::vhost_user::{BackendReqHandler, Error};

/// Queues of a device at most: each has a thread.
pub const MAX_QUEUES: u16 = 16;

/// Stack of a queue's thread. The deepest it goes is a few hundred bytes of locals and one call.
const STACK: usize = 64 * 1024;

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum SetUpError {
    /// More queues than threads are made for.
    #[error("{queues} queues: a device has 1 to {MAX_QUEUES}")]
    Queues {
        /// As many as the device says it has.
        queues: u16,
    },
    /// The front end went away, or broke the protocol.
    #[error("before a ring was enabled: {0}")]
    FrontEnd(Ended),
    /// The front end enabled a ring of our own VM without having sent all there is to send.
    #[error("guest memory, or a queue's kick or call, was not sent before a ring was enabled")]
    Incomplete,
    /// Something of this process could not be had.
    #[error("{what}: {source}")]
    System {
        /// The call, or what it was for.
        what: &'static str,
        /// What the kernel said to it.
        #[source]
        source: io::Error,
    },
}

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// The front end closed its socket.
    FrontEndGone,
    /// The front end broke the protocol.
    Breach(String),
}

impl Ended {
    /// The process's exit status.
    #[must_use]
    pub const fn status(&self) -> i32 {
        match self {
            Self::FrontEndGone => 0,
            Self::Breach(_) => 1,
        }
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::FrontEndGone => f.write_str("the front end closed its socket"),
            Self::Breach(what) => write!(f, "the front end broke the protocol: {what}"),
        }
    }
}

/// The descriptors that a session uses once it serves: those that a filter names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptors {
    /// The front end's socket, for messages.
    pub socket: RawFd,
    /// Kicks, calls, and what wakes a queue's thread.
    pub events: Vec<RawFd>,
}

/// What the threads of a session are doing.
#[derive(Debug, Clone)]
pub struct Pulses {
    control: Arc<Pulse>,
    lanes: Vec<Arc<Lane>>,
}

impl Pulses {
    /// What is seen of each thread: of the one that hears the front end, then of each queue's.
    /// Takes no lock.
    pub fn seen(&self) -> impl Iterator<Item = Seen> {
        let lanes = self.lanes.iter().map(|lane| lane.pulse.seen());
        std::iter::once(self.control.seen()).chain(lanes)
    }

    /// Has every queue's thread look at its ring again: what held it back is another.
    pub fn look_again(&self) {
        self.lanes.iter().for_each(|lane| lane.look_again());
    }
}

/// The feature without which no ring is enabled by a message.
const PROTOCOL_FEATURES: VhostUserVirtioFeatures = VhostUserVirtioFeatures::PROTOCOL_FEATURES;

/// A session with one front end.
///
/// Dropping it ends its threads and unmaps guest memory. A locked process must not: it ends by
/// exit_group, without destructors.
pub struct Session {
    handler: BackendReqHandler<Mutex<Front>>,
    front: Arc<Mutex<Front>>,
    lanes: Vec<Arc<Lane>>,
    threads: Vec<JoinHandle<()>>,
    /// A session whose end came before it was serving.
    ended: Option<Ended>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl Session {
    /// Takes messages until the front end has enabled or disabled a ring, then makes a thread for
    /// each queue. `guard` is called with each mapping of guest memory before anything reads it.
    ///
    /// # Errors
    /// [`SetUpError`]; the process has nothing to do then.
    pub fn set_up<D: Device>(
        socket: UnixStream,
        device: D,
        mode: Mode,
        guard: Guard,
    ) -> Result<Self, SetUpError> {
        let (features, config) = (device.features(), device.config().to_vec());
        let offer = Offer { features, config, queues: device.queues(), acks: true };
        let mut session = Self::greeted(socket, offer, mode, guard)?;
        let device = Arc::new(device);
        let threads = session.lanes.iter().map(|lane| {
            let (lane, device, kept) = (lane.clone(), device.clone(), device.lane());
            move || lane.serve(device.as_ref(), kept)
        });
        session.threads = begin(threads.collect())?;
        session.ready(mode, 0)
    }

    /// The same for a device whose queues are served together, by one thread.
    ///
    /// # Errors
    /// [`SetUpError`].
    pub fn set_up_polled<D: PolledDevice>(
        socket: UnixStream,
        device: D,
        mode: Mode,
        guard: Guard,
    ) -> Result<Self, SetUpError> {
        let (features, config) = (device.features(), device.config().to_vec());
        // To a ring that is enabled too early (`step`) no answer can be given: what is another
        // VMM's must not ask for one. It does without: it asks for something else, and waits for
        // that.
        let acks = mode == Mode::Ours;
        let offer = Offer { features, config, queues: device.queues(), acks };
        let mut session = Self::greeted(socket, offer, mode, guard)?;
        let later = device.later_descriptors();
        let lanes = session.lanes.clone();
        session.threads = begin(vec![move || polled::serve(&lanes, device)])?;
        session.ready(mode, later)
    }

    /// Takes messages until the front end has enabled or disabled a ring.
    fn greeted(
        socket: UnixStream,
        offer: Offer,
        mode: Mode,
        guard: Guard,
    ) -> Result<Self, SetUpError> {
        let queues = offer.queues;
        if queues == 0 || queues > MAX_QUEUES {
            return Err(SetUpError::Queues { queues });
        }
        let lanes: Vec<_> = (0..queues)
            .map(|_| Lane::new(mode).map(Arc::new))
            .collect::<Result<_, _>>()
            .map_err(system("eventfd"))?;
        let front = Arc::new(Mutex::new(Front::new(offer, mode, guard, lanes.clone())));
        let handler = BackendReqHandler::from_stream(socket, front.clone());
        let mut session = Self { handler, front, lanes, threads: Vec::new(), ended: None };
        while !session.front().set_up {
            session.step().map_err(SetUpError::FrontEnd)?;
        }
        if mode == Mode::Ours && !session.front().is_complete() {
            return Err(SetUpError::Incomplete);
        }
        Ok(session)
    }

    /// The last step before the lock: in a VM of ours no more descriptors come than the device
    /// opens itself.
    fn ready(self, mode: Mode, later: u16) -> Result<Self, SetUpError> {
        if mode == Mode::Ours {
            let highest = self.descriptors().events.iter().copied().max().unwrap_or(0);
            no_more_descriptors(later, highest).map_err(system("setrlimit(RLIMIT_NOFILE)"))?;
        }
        Ok(self)
    }

    /// What its threads are doing, to be looked at from another thread.
    #[must_use]
    pub fn pulses(&self) -> Pulses {
        Pulses { control: self.front().pulse.clone(), lanes: self.lanes.clone() }
    }

    /// What a filter must let it use.
    #[must_use]
    pub fn descriptors(&self) -> Descriptors {
        let events = self.lanes.iter().flat_map(|lane| lane.events()).collect();
        Descriptors { socket: self.handler.as_raw_fd(), events }
    }

    /// Serves the front end until it goes. The process is locked by now.
    pub fn serve(&mut self) -> Ended {
        self.front().locked = true;
        for lane in &self.lanes {
            let mut lane = lane.pause();
            lane.open = true;
            // A ring that was enabled already and is not where it should be: its front end has had
            // the acknowledgement, and now hears of the error.
            if lane.start().is_err() {
                lane.broken();
            }
        }
        loop {
            if let Err(ended) = self.step() {
                return ended;
            }
        }
    }

    fn front(&self) -> MutexGuard<'_, Front> {
        self.front.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for one message of the front end and answers it; the end of the session, where it was
    /// the last.
    fn step(&mut self) -> Result<(), Ended> {
        let handled = self.handler.handle_request();
        let mut front = self.front();
        front.pulse.step(Place::Waits);
        let refused = std::mem::take(&mut front.refused);
        // QEMU enables each ring of a network device before it has said which features are taken
        // (`peer_attach` of its hw/net/virtio-net.c, `vhost_net_start`), and not again afterwards.
        // It can ask for no answer (`set_up_polled`). Before that feature is negotiated rings are
        // enabled of themselves (vhost-user, "Ring states"), so that is what they are here.
        let too_early = matches!(handled, Err(Error::InactiveFeature(PROTOCOL_FEATURES)));
        if too_early && front.mode == Mode::Foreign {
            front.enabled_of_themselves();
            return Ok(());
        }
        drop(front);
        match handled {
            Ok(()) => Ok(()),
            Err(Error::Disconnected | Error::SocketBroken(_)) => Err(Ended::FrontEndGone),
            Err(_) if refused => Ok(()),
            Err(e) => Err(Ended::Breach(e.to_string())),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        for lane in &self.lanes {
            lane.pause().over = true;
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

const fn system(what: &'static str) -> impl Fn(io::Error) -> SetUpError {
    move |source| SetUpError::System { what, source }
}

/// Makes the threads, and waits until each has begun: a thread's first steps need calls that the
/// steady filter does not have.
fn begin(bodies: Vec<impl FnOnce() + Send + 'static>) -> Result<Vec<JoinHandle<()>>, SetUpError> {
    let begun = Arc::new(Barrier::new(bodies.len().saturating_add(1)));
    let mut threads = Vec::with_capacity(bodies.len());
    for body in bodies {
        let begun = begun.clone();
        let thread = std::thread::Builder::new().stack_size(STACK).spawn(move || {
            begun.wait();
            body();
        });
        threads.push(thread.map_err(system("a queue's thread"))?);
    }
    begun.wait();
    Ok(threads)
}

/// Lowers the limit on descriptors to the lowest free number: from now on none can be received,
/// whatever a message carries (unix(7), `MSG_CTRUNC`), and so none needs to be closed, which the
/// steady filter does not allow. Descriptors above stay usable. A device that opens some itself
/// has room for them behind the highest of its events, and its filter lets it close them.
fn no_more_descriptors(later: u16, highest: RawFd) -> io::Result<()> {
    let lowest = rustix::io::dup(rustix::stdio::stdin())
        .or_else(|_| rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC))?;
    let lowest = lowest.as_raw_fd();
    let limit = if later == 0 {
        lowest
    } else {
        lowest.max(highest.saturating_add(1)).saturating_add(later.into())
    };
    let limit = u64::try_from(limit).ok();
    setrlimit(Resource::Nofile, Rlimit { current: limit, maximum: limit })?;
    Ok(())
}
