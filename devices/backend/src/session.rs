//! A front end's session: set-up, the lock in between, and serving.

use crate::device::Device;
use crate::lane::Lane;
use crate::messages::Front;
use crate::pulse::{Place, Pulse, Seen};
use crate::table::{Guard, Mode};
use rustix::process::{Resource, Rlimit, setrlimit};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Barrier, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
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
        /// How many.
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
        /// What.
        what: &'static str,
        /// The kernel's reason.
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
    /// Messages.
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
    /// What is seen of each thread: of the one that hears the front end, then of each queue's. Takes
    /// no lock.
    pub fn seen(&self) -> impl Iterator<Item = Seen> {
        let lanes = self.lanes.iter().map(|lane| lane.pulse.seen());
        std::iter::once(self.control.seen()).chain(lanes)
    }
}

/// A session with one front end.
///
/// Dropping it ends its threads and unmaps guest memory. A locked process must not: it ends by
/// exit_group, without destructors.
pub struct Session<D: Device> {
    handler: BackendReqHandler<Mutex<Front<D>>>,
    front: Arc<Mutex<Front<D>>>,
    lanes: Vec<Arc<Lane>>,
    threads: Vec<JoinHandle<()>>,
    /// A session whose end came before it was serving.
    ended: Option<Ended>,
}

impl<D: Device> std::fmt::Debug for Session<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl<D: Device> Session<D> {
    /// Takes messages until the front end has enabled or disabled a ring, then makes the threads.
    /// `guard` is called with each mapping of guest memory before anything reads it.
    ///
    /// # Errors
    /// [`SetUpError`]; the process has nothing to do then.
    pub fn set_up(
        socket: UnixStream,
        device: D,
        mode: Mode,
        guard: Guard,
    ) -> Result<Self, SetUpError> {
        let system = |what| move |source| SetUpError::System { what, source };
        let queues = device.queues();
        if queues == 0 || queues > MAX_QUEUES {
            return Err(SetUpError::Queues { queues });
        }
        let device = Arc::new(device);
        let lanes: Vec<_> = (0..queues)
            .map(|_| Lane::new().map(Arc::new))
            .collect::<Result<_, _>>()
            .map_err(system("eventfd"))?;
        let front = Front::new(device.clone(), mode, guard, lanes.clone());
        let front = Arc::new(Mutex::new(front));
        let handler = BackendReqHandler::from_stream(socket, front.clone());
        let mut session =
            Self { handler, front, lanes, threads: Vec::with_capacity(queues.into()), ended: None };
        while !session.front().set_up {
            session.step().map_err(SetUpError::FrontEnd)?;
        }
        if mode == Mode::Ours && !session.front().is_complete() {
            return Err(SetUpError::Incomplete);
        }
        session.begin_threads(&device).map_err(system("a queue's thread"))?;
        if mode == Mode::Ours {
            no_more_descriptors().map_err(system("setrlimit(RLIMIT_NOFILE)"))?;
        }
        Ok(session)
    }

    /// Makes the threads, and waits until each has begun: a thread's first steps need calls that
    /// the steady filter does not have.
    fn begin_threads(&mut self, device: &Arc<D>) -> io::Result<()> {
        let begun = Arc::new(Barrier::new(self.lanes.len().saturating_add(1)));
        for lane in &self.lanes {
            let (lane, device, begun) = (lane.clone(), device.clone(), begun.clone());
            let kept = device.lane();
            let thread = std::thread::Builder::new().stack_size(STACK).spawn(move || {
                begun.wait();
                lane.serve(device.as_ref(), kept);
            })?;
            self.threads.push(thread);
        }
        begun.wait();
        Ok(())
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

    fn front(&self) -> MutexGuard<'_, Front<D>> {
        self.front.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Handles one message.
    fn step(&mut self) -> Result<(), Ended> {
        let handled = self.handler.handle_request();
        let mut front = self.front();
        front.pulse.step(Place::Waits);
        let refused = std::mem::take(&mut front.refused);
        drop(front);
        match handled {
            Ok(()) => Ok(()),
            Err(Error::Disconnected | Error::SocketBroken(_)) => Err(Ended::FrontEndGone),
            Err(_) if refused => Ok(()),
            Err(e) => Err(Ended::Breach(e.to_string())),
        }
    }
}

impl<D: Device> Drop for Session<D> {
    fn drop(&mut self) {
        for lane in &self.lanes {
            lane.pause().over = true;
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Lowers the limit on descriptors to the lowest free number: from now on none can be received,
/// whatever a message carries (unix(7), `MSG_CTRUNC`), and so none needs to be closed, which the
/// steady filter does not allow. Descriptors above stay usable.
fn no_more_descriptors() -> io::Result<()> {
    let lowest = rustix::io::dup(rustix::stdio::stdin())
        .or_else(|_| rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC))?;
    let limit = u64::try_from(lowest.as_raw_fd()).ok();
    setrlimit(Resource::Nofile, Rlimit { current: limit, maximum: limit })?;
    Ok(())
}
