//! The life of a device process, from its first instruction to its end.

use crate::heart::Heart;
use crate::kind::DeviceKind;
use crate::start::{FrontEnd, Start};
use crate::status::{DONE, FAILED};
use crate::words::{FromDevice, refused_packet, send};
use crate::{connector, group_janitor, janitor};
use casemate_device_backend::profile::{CONTROL, EVENTS, FENCE, LATER, set_up_slots, slots};
use casemate_device_backend::{Ended, Guard, Limits, Mode, Session, SetUpError, Throttle};
use casemate_device_block::profile as block_profile;
use casemate_device_block::{Block, Facts};
use casemate_device_console::Console;
use casemate_device_console::profile as console_profile;
use casemate_device_net::profile as net_profile;
use casemate_device_net::{Facts as NetFacts, Net, Over, Refused, Watcher};
use casemate_device_rng::{Kernel, Rng};
use casemate_device_vsock::profile as vsock_profile;
use casemate_device_vsock::{Facts as VsockFacts, Limits as VsockLimits, Vsock};
use casemate_sandbox::{Action, Born, FdTable, Fence, Given, Setup, exit, freeze_heap};
use rustix::io::{DupFlags, Errno, dup3};
use rustix::net::sockopt::socket_acceptconn;
use rustix::net::{SocketFlags, accept_with};
use std::fmt::Display;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};

/// Heap beyond what is used when the process is confined: what messages need, one at a time.
const HEAP: usize = 64 * 1024;

/// What a device process is given.
#[derive(Debug)]
pub struct Input {
    /// Which device, for whom.
    pub start: Start,
    /// Leads to the front end, or is where the one front end of this process will connect.
    pub socket: OwnedFd,
    /// Leads to whoever watches the process.
    pub control: OwnedFd,
    /// What its kind has of its own: for a disk its image, and for one that stands by then that
    /// with the image's lock; for a console its stream; for a socket device what it listens on and
    /// its connector; for a network device its TAP.
    pub own: Vec<OwnedFd>,
}

impl Input {
    /// What the image was given; None when its supervisor is another version, or none of ours.
    fn of(mut given: Given) -> Option<Self> {
        let start = Start::decode(&given.start)?;
        let (socket, control) = (given.descriptor()?, given.descriptor()?);
        let own = std::iter::from_fn(|| given.descriptor()).collect();
        Some(Self { start, socket, control, own })
    }
}

/// What an attacker would find in the process, for tests that are one.
#[derive(Debug, Clone)]
pub struct Holdings {
    /// Where guest memory is mapped, and how large each mapping is.
    pub memory: Vec<(usize, usize)>,
    /// The fence's descriptor, if there is one.
    pub fence: Option<RawFd>,
    /// The device's own descriptors.
    pub own: Vec<RawFd>,
    /// The front end's socket.
    pub socket: RawFd,
}

/// The whole process: what the image's `main` does. Gives the exit status, where the process has
/// not exited before.
///
/// A process that no supervisor of this version started has nobody to tell, and ends.
#[must_use]
pub fn main() -> i32 {
    let Ok((born, given)) = Born::of_image() else { return FAILED };
    match given.start.first() {
        Some(&connector::START) => connector::main(given, born),
        Some(&janitor::START) => janitor::main(given, born),
        Some(&group_janitor::START) => group_janitor::main(given, born),
        _ => match Input::of(given) {
            Some(input) => body(input, born),
            None => FAILED,
        },
    }
}

/// The body of the process.
pub fn body(input: Input, born: Born) -> i32 {
    body_with(input, born, |_| ())
}

/// The same, with something more that is done once the steady filter is in force. For tests: what
/// an attacker who took over the process would try.
pub fn body_with(input: Input, born: Born, once_locked: impl FnOnce(&Holdings)) -> i32 {
    // Its parent hears of it by the report.
    let Ok(setup) = born.confine() else { return FAILED };
    let Input { start, socket, control, own } = input;
    let control = Arc::new(control);
    let Start { kind, front_end, config } = start;
    let raw: Vec<RawFd> = own.iter().map(AsRawFd::as_raw_fd).collect();
    // Made before the heap is frozen: what a device keeps is mapped by itself.
    let made = match kind {
        DeviceKind::Block => block(&config, own, front_end),
        DeviceKind::Console => console(&config, own),
        DeviceKind::Rng => rng(&config, &own),
        DeviceKind::Vsock => vsock(&config, own),
        DeviceKind::Net => net(&config, own, (front_end, control.clone())),
    };
    let served = made.ok_or_else(|| "its start makes no sense".to_owned());
    let served = served.and_then(|made| {
        let process = Process { setup, kind, front_end, socket, control: &control };
        process.serve(made, raw, once_locked)
    });
    let (words, status) = match served {
        Ok(words) => (FromDevice::Ended(words), DONE),
        Err(why) => (FromDevice::Failed(why), FAILED),
    };
    words.tell(&control);
    // No destructors: they would close and unmap, against the filter.
    exit(status)
}

/// A device that is made, and has not met its front end.
struct Made {
    /// Slots of its own.
    fds: FdTable,
    begin: Begin,
    /// What holds its guest back, where somebody may set limits.
    throttle: Option<Arc<Throttle>>,
}

/// Takes the front end's first messages for it.
type Begin = Box<dyn FnOnce(UnixStream, Mode, Guard) -> Result<Session, SetUpError>>;

/// A disk: what it begins with are the facts of its image, and behind them its limits, if any.
fn block(config: &[u8], own: Vec<OwnedFd>, front_end: FrontEnd) -> Option<Made> {
    let (facts, limits) = config.split_at_checked(Facts::BYTES)?;
    let (facts, mut own) = (Facts::decode(facts)?, own.into_iter());
    let limits = if limits.is_empty() { Limits::default() } else { Limits::decode(limits)? };
    let (image, held) = (own.next()?, own.next());
    if own.next().is_some() {
        return None;
    }
    let fds = block_profile::own_slots(image.as_raw_fd(), held.as_ref().map(AsRawFd::as_raw_fd));
    // Nothing is done with it: the lock that is on it lasts as long as it is open.
    std::mem::forget(held);
    let mut device = Block::new(image, facts);
    let (mut throttle, mut fds) = (None, fds);
    // Nobody watches a device of another VMM, which has limits of its own.
    if front_end == FrontEnd::Ours {
        let made = Arc::new(Throttle::new(limits).ok()?);
        fds = fds.with_raw(EVENTS, [made.descriptor()]);
        device = device.throttled(made.clone());
        throttle = Some(made);
    }
    let begin = move |socket, mode, guard| Session::set_up(socket, device, mode, guard);
    Some(Made { fds, begin: Box::new(begin), throttle })
}

fn console(config: &[u8], own: Vec<OwnedFd>) -> Option<Made> {
    let [stream] = <[OwnedFd; 1]>::try_from(own).ok().filter(|_| config.is_empty())?;
    let fds = console_profile::own_slots(stream.as_raw_fd());
    let begin = move |socket, mode, guard| {
        Session::set_up_polled(socket, Console::new(stream), mode, guard)
    };
    Some(Made { fds, begin: Box::new(begin), throttle: None })
}

fn rng(config: &[u8], own: &[OwnedFd]) -> Option<Made> {
    if !config.is_empty() || !own.is_empty() {
        return None;
    }
    let begin = |socket, mode, guard| Session::set_up(socket, Rng { source: Kernel }, mode, guard);
    Some(Made { fds: FdTable::new(), begin: Box::new(begin), throttle: None })
}

fn vsock(config: &[u8], own: Vec<OwnedFd>) -> Option<Made> {
    let facts = VsockFacts::decode(config)?;
    let (listeners, connector) = own.split_at_checked(facts.entries.len())?;
    let listeners: Vec<RawFd> = listeners.iter().map(AsRawFd::as_raw_fd).collect();
    let connector = connector.first().map(AsRawFd::as_raw_fd);
    let fds = vsock_profile::own_slots(&listeners, connector);
    let device = Vsock::new(&facts, own, VsockLimits::USUAL)?;
    let begin = move |socket, mode, guard| Session::set_up_polled(socket, device, mode, guard);
    Some(Made { fds, begin: Box::new(begin), throttle: None })
}

fn net(config: &[u8], own: Vec<OwnedFd>, (of, control): (FrontEnd, Arc<OwnedFd>)) -> Option<Made> {
    let facts = NetFacts::decode(config)?;
    let [tap]: [OwnedFd; 1] = own.try_into().ok()?;
    let fds = net_profile::own_slots(tap.as_raw_fd());
    let device = Net::new(&facts, tap, Box::new(Told(control)));
    let (fds, device, throttle) = match of {
        FrontEnd::Ours => {
            let made = Arc::new(Throttle::new(facts.limits).ok()?);
            let fds = fds.with_raw(EVENTS, [made.descriptor()]);
            (fds, device.throttled(made.clone()), Some(made))
        }
        // Nobody watches a device of another VMM, which has limits of its own.
        FrontEnd::Foreign => (fds, device, None),
    };
    let begin = move |socket, mode, guard| Session::set_up_polled(socket, device, mode, guard);
    Some(Made { fds, begin: Box::new(begin), throttle })
}

/// What is said of a TAP under which the host took its interface away.
const TAP_GONE: &str = "its TAP was removed";

/// Whoever watches a network device's process.
struct Told(Arc<OwnedFd>);

impl Watcher for Told {
    /// Told on the device's own thread, so nothing is allocated.
    fn refused(&self, refused: Refused) {
        let (packet, len) = refused_packet(refused);
        send(&self.0, packet.get(..len).unwrap_or(&[]));
    }

    fn over(&self, why: Over) {
        let words = match why {
            Over::Rate => FromDevice::OverRate,
            Over::TapGone => FromDevice::Failed(TAP_GONE.into()),
        };
        words.tell(&self.0);
        exit(FAILED)
    }
}

/// A confined process that has not met its front end.
struct Process<'a> {
    setup: Setup,
    kind: DeviceKind,
    front_end: FrontEnd,
    socket: OwnedFd,
    control: &'a Arc<OwnedFd>,
}

impl Process<'_> {
    /// Locks it, serves the front end, and tells how that ended.
    fn serve(
        self,
        made: Made,
        own: Vec<RawFd>,
        once_locked: impl FnOnce(&Holdings),
    ) -> Result<String, String> {
        fn text(error: impl Display) -> String {
            error.to_string()
        }
        let Self { setup, kind, front_end, socket, control } = self;
        let is_watched = front_end == FrontEnd::Ours && kind.is_watched();
        let kind = kind.description();
        freeze_heap(HEAP).map_err(text)?;
        let fence = setup.fence().map_err(text)?;
        let holdings = Holdings {
            memory: Vec::new(),
            fence: fence.descriptor().next(),
            own,
            socket: socket.as_raw_fd(),
        };
        // What comes from here on has higher numbers than all of these.
        let fds = set_up_slots(made.fds, socket.as_raw_fd())
            .with(CONTROL, control)
            .with_raw(FENCE, fence.descriptor());
        let later = setup.first_free(&fds).map_err(text)?;
        let fds = fds.with_raw(LATER, [later]);
        let ready = setup.ready_to_lock(kind.set_up, &fds, Action::Kill).map_err(text)?;
        let socket = connected(socket).map_err(text)?;
        let locked = ready.lock().map_err(text)?;
        let (mode, profile) = match front_end {
            FrontEnd::Ours => (Mode::Ours, kind.steady),
            FrontEnd::Foreign => (Mode::Foreign, kind.foreign),
        };
        let memory = Arc::new(Mutex::new(Vec::new()));
        let guard = guard(fence, memory.clone());
        let mut session = match (made.begin)(UnixStream::from(socket), mode, guard) {
            Ok(session) => session,
            // It has looked, and gone again.
            Err(SetUpError::FrontEnd(gone @ Ended::FrontEndGone)) => return Ok(text(gone)),
            Err(e) => return Err(text(e)),
        };
        let fds = slots(fds, &session.descriptors());
        // Nobody watches what serves another VMM.
        if is_watched {
            Heart::begin(control.clone(), session.pulses(), made.throttle).map_err(text)?;
        }
        locked.narrow(profile, &fds, Action::Kill).map_err(text)?;
        FromDevice::Locked.tell(control);
        let memory = memory.lock().unwrap_or_else(PoisonError::into_inner).clone();
        once_locked(&Holdings { memory, ..holdings });
        let ended = session.serve();
        // Its destructor would join threads and unmap memory.
        std::mem::forget(session);
        match ended {
            Ended::FrontEndGone => Ok(ended.to_string()),
            Ended::Breach(_) => Err(ended.to_string()),
        }
    }
}

/// The front end's socket. Where that is one that listens, its front end is still to come, and is
/// waited for: so all that takes long is done before it is there. No byte of it is read here, which
/// is the filter's to come before.
///
/// It has the number of the socket that listened, for which the filter is made; and that one is
/// closed, so that nobody who takes the process over gets another VM's front end.
fn connected(socket: OwnedFd) -> rustix::io::Result<OwnedFd> {
    if !socket_acceptconn(&socket)? {
        return Ok(socket);
    }
    let front_end = loop {
        match accept_with(&socket, SocketFlags::CLOEXEC) {
            Err(Errno::INTR | Errno::CONNABORTED) => {}
            other => break other?,
        }
    };
    let mut socket = socket;
    dup3(&front_end, &mut socket, DupFlags::CLOEXEC)?;
    Ok(socket)
}

/// Puts each mapping of guest memory behind the fence, before anything reads it, and takes it down.
fn guard(fence: Fence, mapped: Arc<Mutex<Vec<(usize, usize)>>>) -> Guard {
    Box::new(move |start, len| {
        let start = start.addr().get();
        fence.cover(start, len).map_err(std::io::Error::other)?;
        mapped.lock().unwrap_or_else(PoisonError::into_inner).push((start, len));
        Ok(())
    })
}
