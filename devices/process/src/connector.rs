//! The connector of a socket device as a process: it sees the directory of the device's path and
//! nothing else, and locks itself before the first question.

use crate::status::{DONE, FAILED};
use crate::words::FromDevice;
use casemate_device_backend::profile::{CONTROL, LATER};
use casemate_device_vsock::Connects;
use casemate_device_vsock::profile::{CHANNEL, CONNECT};
use casemate_sandbox::{
    Action, Born, Child, FdTable, Given, Image, InDirectory, Layers, Limits, SandboxError, Setup,
    exit, freeze_heap, spawn_image_with,
};
use rustix::net::sockopt::set_socket_send_buffer_size;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// First byte of a connector's start, where devices have the number of their kind.
pub(crate) const START: u8 = 0x81;
/// Heap beyond what is used when the process is confined.
const HEAP: usize = 16 * 1024;

/// Descriptors of its user that may be on their way between processes when it sends one more
/// (`too_many_unix_fds` in Linux: sendmsg(2) fails with `ETOOMANYREFS` when they are more than
/// RLIMIT_NOFILE). An attacker that has it can have as many under way and one message more, 253.
/// That is less than the 1024 that other programs of the user have by default: they can still send.
const OPEN_FILES: u64 = 512;

/// What a connector is given.
#[derive(Debug)]
pub struct ConnectorInput {
    /// Which ports there are.
    pub connects: Connects,
    /// Leads to the device (SEQPACKET).
    pub channel: OwnedFd,
    /// Leads to whoever watches the process.
    pub control: OwnedFd,
}

/// The layers of a connector's process, whose root is `directory`: all of them, and no file grows.
#[must_use]
pub fn connector_layers(directory: &Path) -> Layers {
    let limits = Limits { file_size: Some(0), open_files: Some(OPEN_FILES), ..Limits::NO_CORE };
    Layers::new("connector").limits(limits).in_directory(directory, InDirectory::Connect)
}

/// Starts a connector: `channel` leads to its device, `control` to whoever watches it.
///
/// # Errors
/// [`SandboxError`].
pub fn spawn_connector(
    image: &Image,
    layers: Layers,
    connects: &Connects,
    channel: &impl AsFd,
    control: &impl AsFd,
    before: impl FnOnce(&Child),
) -> Result<Child, SandboxError> {
    let start = [&[START], &connects.encode()[..]].concat();
    spawn_image_with(layers.keep(channel).keep(control), image, &start, before)
}

pub(crate) fn main(mut given: Given, born: Born) -> i32 {
    let connects = given.start.get(1..).and_then(Connects::decode);
    let input = connects.zip(given.descriptor()).zip(given.descriptor());
    let Some(((connects, channel), control)) = input else { return FAILED };
    connector_body(&ConnectorInput { connects, channel, control }, born, || ())
}

/// The body of the process, with something more that is done once it is locked. For tests: what an
/// attacker who took over the process would try.
pub fn connector_body(input: &ConnectorInput, born: Born, once_locked: impl FnOnce()) -> i32 {
    let Ok(setup) = born.confine() else { return FAILED };
    let (words, status) = match lock(setup, input) {
        Err(why) => (FromDevice::Failed(why), FAILED),
        Ok(()) => {
            FromDevice::Locked.tell(&input.control);
            once_locked();
            input.connects.serve(&input.channel);
            (FromDevice::Ended("its device is gone".into()), DONE)
        }
    };
    words.tell(&input.control);
    exit(status)
}

fn lock(setup: Setup, input: &ConnectorInput) -> Result<(), String> {
    // A device that takes no answers soon gets none: each has a descriptor, which counts for all
    // programs of the user as long as it is on its way. The kernel makes it as small as it can be.
    set_socket_send_buffer_size(&input.channel, 1)
        .map_err(|e| format!("the channel to its device cannot be made small: {e}"))?;
    let locked = (|| {
        freeze_heap(HEAP)?;
        let fds = FdTable::new().with(CHANNEL, &input.channel).with(CONTROL, &input.control);
        let later = setup.first_free(&fds)?;
        setup.lock(&CONNECT, &fds.with_raw(LATER, [later]), Action::Kill)
    })();
    locked.map(drop).map_err(|e: SandboxError| e.to_string())
}
