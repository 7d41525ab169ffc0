//! The life of a device process, from its first instruction to its end.

use crate::heart::Heart;
use crate::start::{DeviceKind, FrontEnd, Start};
use crate::words::FromDevice;
use casemate_device_backend::{Device, Ended, Guard, Mode, Session, SetUpError};
use casemate_device_block::profile::{CONTROL, FENCE, LATER, set_up_slots, slots};
use casemate_device_block::{Block, Facts};
use casemate_sandbox::{Action, Born, Fence, Given, Setup, exit, freeze_heap};
use std::fmt::Display;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};

/// Exit status of a process that ended as it should.
pub const DONE: i32 = 0;
/// Exit status of one that could not go on, after telling why.
pub const FAILED: i32 = 1;

/// Heap beyond what is used when the process is confined: what messages need, one at a time.
const HEAP: usize = 64 * 1024;

/// What a device process is given.
#[derive(Debug)]
pub struct Input {
    /// Which device, for whom.
    pub start: Start,
    /// Leads to the front end.
    pub socket: OwnedFd,
    /// Leads to whoever watches the process.
    pub control: OwnedFd,
    /// What its kind has of its own: for a disk its image.
    pub own: OwnedFd,
}

impl Input {
    /// What the image was given; None when its supervisor is another version, or none of ours.
    fn of(mut given: Given) -> Option<Self> {
        let start = Start::decode(&given.start)?;
        let (socket, control) = (given.descriptor()?, given.descriptor()?);
        Some(Self { start, socket, control, own: given.descriptor()? })
    }
}

/// What an attacker would find in the process, for tests that are one.
#[derive(Debug, Clone)]
pub struct Holdings {
    /// Where guest memory is mapped, and how large each mapping is.
    pub memory: Vec<(usize, usize)>,
    /// The fence's descriptor, if there is one.
    pub fence: Option<RawFd>,
    /// The device's own descriptor.
    pub own: RawFd,
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
    match Input::of(given) {
        Some(input) => body(input, born),
        None => FAILED,
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
    let served = match start.kind {
        DeviceKind::Block => Facts::decode(&start.config)
            .ok_or_else(|| "its start makes no sense".to_owned())
            .and_then(|facts| {
                let own = (own.as_raw_fd(), Block::new(own, facts));
                let Start { kind, front_end, .. } = start;
                let process = Process { setup, kind, front_end, socket, control: &control };
                process.serve(own, once_locked)
            }),
    };
    let (words, status) = match served {
        Ok(words) => (FromDevice::Ended(words), DONE),
        Err(why) => (FromDevice::Failed(why), FAILED),
    };
    words.tell(&control);
    // No destructors: they would close and unmap, against the filter.
    exit(status)
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
    fn serve<D: Device>(
        self,
        (own, device): (RawFd, D),
        once_locked: impl FnOnce(&Holdings),
    ) -> Result<String, String> {
        fn text(error: impl Display) -> String {
            error.to_string()
        }
        let Self { setup, kind, front_end, socket, control } = self;
        freeze_heap(HEAP).map_err(text)?;
        let fence = setup.fence().map_err(text)?;
        let holdings = Holdings {
            memory: Vec::new(),
            fence: fence.descriptor().next(),
            own,
            socket: socket.as_raw_fd(),
        };
        // What comes from here on has higher numbers than all of these.
        let fds = set_up_slots(socket.as_raw_fd(), own)
            .with(CONTROL, control)
            .with_raw(FENCE, fence.descriptor());
        let later = setup.first_free(&fds).map_err(text)?;
        let fds = fds.with_raw(LATER, [later]);
        let locked = setup.lock(kind.set_up(), &fds, Action::Kill).map_err(text)?;
        let (mode, profile) = match front_end {
            FrontEnd::Ours => (Mode::Ours, kind.steady()),
            FrontEnd::Foreign => (Mode::Foreign, kind.foreign()),
        };
        let memory = Arc::new(Mutex::new(Vec::new()));
        let guard = guard(fence, memory.clone());
        let mut session = match Session::set_up(UnixStream::from(socket), device, mode, guard) {
            Ok(session) => session,
            // It has looked, and gone again.
            Err(SetUpError::FrontEnd(gone @ Ended::FrontEndGone)) => return Ok(text(gone)),
            Err(e) => return Err(text(e)),
        };
        let fds = slots(fds, &session.descriptors());
        // Another VMM's process is watched by nobody who could put another in its place.
        if front_end == FrontEnd::Ours {
            Heart::begin(control.clone(), session.pulses()).map_err(text)?;
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

/// Puts each mapping of guest memory behind the fence, before anything reads it, and takes it down.
fn guard(fence: Fence, mapped: Arc<Mutex<Vec<(usize, usize)>>>) -> Guard {
    Box::new(move |start, len| {
        let start = start.addr().get();
        fence.cover(start, len).map_err(std::io::Error::other)?;
        mapped.lock().unwrap_or_else(PoisonError::into_inner).push((start, len));
        Ok(())
    })
}
