//! Serving front ends, one after the other, each by a process of its own.
//!
//! A device process maps a front end's memory and ends with it: the next one, which may be another
//! VM's, gets a process that has seen nothing of the one before. It is there and confined before
//! that front end comes, and takes its connection itself, so a front end waits for little more than
//! answers. This process only waits: no byte of a front end reaches it.

use super::Common;
use crate::out::{attended, errln};
use crate::{Failure, Outcome};
use casemate_device_process::{FromDevice, MESSAGE_SIZE, PathSocket, Start, spawn};
use casemate_sandbox::{Child, Exit, Image, Layer, Layers, SandboxError};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, recv, socketpair};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// The program of device processes, which build.rs has built.
pub static PROGRAM: &[u8] = include_bytes!(env!("CASEMATE_DEVICE_IMAGE"));

/// A device to serve.
pub(super) struct Served<'a> {
    /// Which, and what it says of itself.
    pub(super) start: Start,
    /// Its process's layers.
    pub(super) layers: Layers,
    /// Its own descriptors.
    pub(super) own: Vec<BorrowedFd<'a>>,
    /// A process that each device process has beside it.
    pub(super) helper: Option<&'a dyn Helper>,
}

/// A process that a device's has beside it, and that ends with it.
pub(super) trait Helper {
    /// Starts one: `channel` leads to the device, `control` here; `lacking` says which layers this
    /// host may lack.
    ///
    /// # Errors
    /// [`SandboxError`].
    fn start(
        &self,
        image: &Image,
        lacking: &dyn Fn(Layers) -> Layers,
        channel: &OwnedFd,
        control: &OwnedFd,
    ) -> Result<Child, SandboxError>;
}

/// Serves front ends until a signal comes, or the first one is gone.
pub(super) fn serve(common: &Common, served: &Served<'_>) -> Outcome {
    let failed = |what: &str, e: std::io::Error| Failure::Failed(format!("{what}: {e}"));
    let signals = signals().map_err(|e| failed("signals", e))?;
    // A front end that breaks the protocol again and again fills it: who waits for its reader
    // serves nobody, and no signal ends it.
    attended::begin().map_err(|e| failed("standard error", e))?;
    let image =
        Image::new("casemate-device", PROGRAM).map_err(|e| Failure::Failed(e.to_string()))?;
    let socket =
        PathSocket::at("--socket", &common.socket).map_err(|e| Failure::BadInput(e.to_string()))?;
    let kind = served.start.kind.name();
    loop {
        let mut process = Process::start(&image, common, served, &socket)?;
        let Some(end) = process.until_its_end(&signals)? else { return Ok(()) };
        match end {
            Ok(()) if common.once => return Ok(()),
            Ok(()) => {}
            Err(why) if common.once => {
                return Err(Failure::Failed(format!("the {kind} process ended: {why}")));
            }
            Err(why) => {
                errln!("casemate: the {kind} process ended: {why}");
                // What failed may fail again without any front end: not before there is one.
                if wait([signals.as_fd(), socket.as_fd()])?[0] {
                    return Ok(());
                }
            }
        }
    }
}

/// One device process.
struct Process {
    child: Child,
    control: OwnedFd,
    /// Its last words.
    said: Option<FromDevice>,
    /// The process beside it, and what that says.
    _helper: Option<(Child, OwnedFd)>,
}

impl Process {
    fn start(
        image: &Image,
        common: &Common,
        served: &Served<'_>,
        socket: &PathSocket,
    ) -> Result<Self, Failure> {
        let failed = |e: &dyn std::fmt::Display| Failure::Failed(e.to_string());
        let kind = SocketType::SEQPACKET;
        let pair = || socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None);
        let (control, theirs) = pair().map_err(|e| failed(&e))?;
        let mut layers = served.layers.clone();
        if common.fence {
            layers = layers.with(Layer::MemoryFence);
        }
        let lacking = |all| common.optional.iter().copied().fold(all, Layers::may_lack);
        let (mut own, mut helper, mut channel) = (served.own.clone(), None, None);
        if let Some(wanted) = served.helper {
            let (ours, its) = pair().map_err(|e| failed(&e))?;
            let (said, its_control) = pair().map_err(|e| failed(&e))?;
            let started = wanted.start(image, &lacking, &its, &its_control);
            let mut started = started.map_err(|e| failed(&e))?;
            started.confined().map_err(|e| failed(&e))?;
            (helper, channel) = (Some((started, said)), Some(ours));
        }
        own.extend(channel.iter().map(AsFd::as_fd));
        let (start, layers) = (&served.start, lacking(layers));
        let child = spawn(image, layers, start, socket, &theirs, &own, |_| ());
        let mut child = child.map_err(|e| failed(&e))?;
        let report = child.confined().map_err(|e| failed(&e))?;
        for (layer, why) in report.missing() {
            errln!("casemate: the device runs without the sandbox layer {layer}: {why}");
        }
        Ok(Self { child, control, said: None, _helper: helper })
    }

    /// Waits for its end, and tells whether and why it is a failure; None when a signal came
    /// before. Dropping it ends it.
    fn until_its_end(
        &mut self,
        signals: &UnixStream,
    ) -> Result<Option<Result<(), String>>, Failure> {
        loop {
            let [signal, said, ended] =
                wait([signals.as_fd(), self.control.as_fd(), self.child.as_fd()])?;
            if signal {
                return Ok(None);
            }
            // What it said before its end is there before the end is seen.
            if said && self.hear() {
                continue;
            }
            if ended || said {
                let exit = self.child.wait().map_err(|e| Failure::Failed(e.to_string()))?;
                return Ok(Some(self.verdict(exit)));
            }
        }
    }

    /// Takes one message; false when there will be no more.
    fn hear(&mut self) -> bool {
        let mut packet = [0; MESSAGE_SIZE + 1];
        match recv(&self.control, &mut packet[..], RecvFlags::DONTWAIT) {
            Ok((0, _)) => false,
            Ok((len, _)) => {
                let said = packet.get(..len).and_then(FromDevice::decode);
                // What a guest was not let send is no word about the end.
                let said = said.filter(|said| !matches!(said, FromDevice::Refused(_)));
                self.said = said.or_else(|| self.said.take());
                true
            }
            Err(Errno::INTR | Errno::AGAIN) => true,
            Err(_) => false,
        }
    }

    fn verdict(&mut self, exit: Exit) -> Result<(), String> {
        match (self.said.take(), exit) {
            (Some(FromDevice::Ended(_)), Exit::Code(0)) => Ok(()),
            (Some(FromDevice::Failed(why)), _) => Err(why),
            (Some(FromDevice::OverRate), _) => {
                Err("its guest opened more connections than `network.rate` admits".to_owned())
            }
            (_, Exit::Signal(SIGBUS)) => {
                Err("the guest took back memory that the device was using".to_owned())
            }
            (_, exit) => Err(exit.to_string()),
        }
    }
}

/// What a device gets that touches a page which is not there.
const SIGBUS: i32 = rustix::process::Signal::BUS.as_raw();

/// The signals that end this program, as something to poll.
pub(crate) fn signals() -> std::io::Result<UnixStream> {
    let (came, handlers) = UnixStream::pair()?;
    for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM] {
        signal_hook::low_level::pipe::register(signal, handlers.try_clone()?)?;
    }
    Ok(came)
}

/// Waits until one of these can be read or has ended.
fn wait<const N: usize>(fds: [BorrowedFd<'_>; N]) -> Result<[bool; N], Failure> {
    let mut polled = fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
    match poll(&mut polled, None) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(e) => return Err(Failure::Failed(format!("ppoll: {e}"))),
    }
    Ok(polled.map(|fd| !fd.revents().is_empty()))
}
