//! Waiting for whoever speaks next.

use crate::crowd::Crowd;
use crate::plan::Listener;
use crate::socket::Socket;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// Who may speak.
#[derive(Debug)]
pub(crate) struct Waited<'a> {
    pub(crate) keeper: &'a Socket,
    /// Something is left to be sent to the keeper.
    pub(crate) is_behind: bool,
    pub(crate) control: Option<&'a OwnedFd>,
    pub(crate) listeners: &'a [(OwnedFd, Listener)],
    pub(crate) crowd: &'a Crowd,
}

/// Who has spoken.
#[derive(Debug, Default)]
pub(crate) struct Ready {
    pub(crate) keeper: bool,
    pub(crate) control: bool,
    pub(crate) listeners: Vec<usize>,
    pub(crate) connections: Vec<(u64, PollFlags)>,
}

/// Waits no longer than `most`; for ever without.
pub(crate) fn wait(waited: &Waited<'_>, most: Option<Duration>) -> Result<Ready, Errno> {
    let Waited { keeper, is_behind, control, listeners, crowd } = waited;
    let behind = if *is_behind { PollFlags::OUT } else { PollFlags::empty() };
    let mut fds = vec![PollFd::new(*keeper, PollFlags::IN | behind)];
    fds.extend(control.map(|control| PollFd::new(control, PollFlags::IN)));
    fds.extend(listeners.iter().map(|(listener, _)| PollFd::new(listener, PollFlags::IN)));
    fds.extend(crowd.iter().map(|(_, connection)| PollFd::new(connection, connection.interest())));
    // A wait that is longer than can be said is one for ever.
    let most = most.and_then(|most| Timespec::try_from(most).ok());
    match poll(&mut fds, most.as_ref()) {
        Ok(_) => {}
        Err(Errno::INTR) => return Ok(Ready::default()),
        Err(other) => return Err(other),
    }
    let mut told = fds.iter().map(PollFd::revents);
    let mut next = || told.next().unwrap_or(PollFlags::empty());
    Ok(Ready {
        keeper: !next().is_empty(),
        control: control.is_some() && !next().is_empty(),
        listeners: (0..listeners.len()).filter(|_| !next().is_empty()).collect(),
        connections: crowd
            .iter()
            .map(|(number, _)| (number, next()))
            .filter(|(_, flags)| !flags.is_empty())
            .collect(),
    })
}
