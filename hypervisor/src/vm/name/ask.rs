//! Asking who runs a VM.

use super::NameError;
use super::answer::{BadAnswer, MAX_ANSWER, Told, parse};
use super::seek::{self, Holder};
use crate::vm::kind::ProcessKind;
use casemate_sandbox::Layer;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvFlags, recv};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::os::fd::OwnedFd;
use std::time::Instant;

/// A process of a running VM: the kernel says that it is the supervisor, or a child of it.
#[derive(Debug)]
pub struct Running {
    /// Its kind, as its supervisor says.
    pub kind: ProcessKind,
    /// Its number here.
    pub pid: u32,
    /// The optional layers that it runs without, as its supervisor says.
    pub without: Vec<Layer>,
    handle: OwnedFd,
}

impl Running {
    /// Whether it still lives: then its number was its own since it was found.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        let mut fds = [PollFd::new(&self.handle, PollFlags::IN)];
        matches!(poll(&mut fds, Some(&Timespec::default())), Ok(0))
    }
}

/// Asks a running VM for its processes, the supervisor first.
///
/// # Errors
/// [`NameError`].
pub fn ask(name: &str) -> Result<Vec<Running>, NameError> {
    connect(name, seek::patience()).map(|(_, processes)| processes)
}

/// The same, with the connection to the supervisor, which takes requests.
pub(in crate::vm) fn connect(
    name: &str,
    until: Instant,
) -> Result<(OwnedFd, Vec<Running>), NameError> {
    let wrong = |e: std::io::Error| NameError::System { name: name.into(), source: e };
    let mut error = NameError::NotFound(name.into());
    for address in seek::addresses(name, until).map_err(wrong)? {
        match seek::reach(&address, until).map_err(|e| wrong(e.into()))? {
            Holder::Foreign | Holder::Gone => {}
            Holder::Mute => error = NameError::Mute(name.into()),
            Holder::Ours(socket, pid) => match question(&socket, pid, name, until) {
                // A supervisor that ends just now: another one may have the name.
                Err(NameError::NotFound(_)) => {}
                other => return other.map(|processes| (socket, processes)),
            },
        }
    }
    Err(error)
}

fn question(
    socket: &OwnedFd,
    peer: Option<u32>,
    name: &str,
    until: Instant,
) -> Result<Vec<Running>, NameError> {
    let not_believed = |why| NameError::NotBelieved { name: name.into(), why };
    let mut answer = [0; MAX_ANSWER];
    if !seek::readable(socket, Some(until)) {
        return Err(NameError::Mute(name.into()));
    }
    let len = match recv(socket, &mut answer[..], RecvFlags::DONTWAIT) {
        Ok((len, _)) => len,
        Err(_) => return Err(NameError::NotFound(name.into())),
    };
    let said = parse(answer.get(..len).unwrap_or(&[])).map_err(not_believed)?;
    let peer = peer.ok_or(not_believed(BadAnswer::Unseen))?;
    believed(&said, peer).map_err(not_believed)
}

/// The processes that were named, if each is the one who answered or a child of it. The handle
/// comes first: what is read of a number afterwards is of that process as long as it lives.
fn believed(said: &[Told], peer: u32) -> Result<Vec<Running>, BadAnswer> {
    let mut running = Vec::new();
    for (index, Told { kind, pid, without, .. }) in said.iter().enumerate() {
        let pid = *pid;
        let wrong = if index == 0 { BadAnswer::NotItself } else { BadAnswer::NotItsChild(pid) };
        let raw = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(wrong)?;
        let handle = pidfd_open(raw, PidfdFlags::empty()).map_err(|_| wrong)?;
        let right = if index == 0 { pid == peer } else { parent(pid) == Some(peer) };
        let one = Running { kind: *kind, pid, without: without.clone(), handle };
        if !right || !one.is_alive() {
            return Err(wrong);
        }
        running.push(one);
    }
    Ok(running)
}

/// The parent of a process, as the kernel says.
fn parent(pid: u32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}
