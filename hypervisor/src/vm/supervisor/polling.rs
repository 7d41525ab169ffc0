//! What the supervisor waits for, all of it at once, and what it does in each round.

use super::RunningVm;
use super::children::{Member, POLLED, Stirred};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

/// What can be done now without waiting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// Of the guest's console.
    pub console: PollFlags,
    /// Of each descriptor that was given, in their order.
    pub outside: Vec<PollFlags>,
}

/// What was seen in one round of polling.
struct Seen {
    ready: Ready,
    stirred: Vec<Stirred>,
    /// Whether somebody connects who wants to ask.
    one_more: bool,
    /// Whether each of those who have connected has asked something, or is gone.
    askers: Vec<bool>,
}

impl RunningVm {
    /// Waits until something has happened to the VM, a descriptor of `outside` or the guest's
    /// console is ready for what it is wanted for, or `until` has come; then deals with the VM.
    ///
    /// # Errors
    /// The errno of `ppoll`.
    pub fn wait(
        &mut self,
        console: PollFlags,
        outside: &[(BorrowedFd<'_>, PollFlags)],
        until: Option<Instant>,
    ) -> Result<Ready, Errno> {
        // What happened before comes first: nobody waits with an event in the hand.
        let until = if self.events.is_empty() { until } else { Some(Instant::now()) };
        let Seen { ready, stirred, one_more, askers } = self.poll(console, outside, until)?;
        for (index, stirred) in stirred.into_iter().enumerate() {
            self.serve(index, stirred);
        }
        self.look_after_devices();
        self.check_times();
        self.serve_askers(&askers, one_more);
        Ok(ready)
    }

    fn poll(
        &self,
        console: PollFlags,
        outside: &[(BorrowedFd<'_>, PollFlags)],
        until: Option<Instant>,
    ) -> Result<Seen, Errno> {
        let guest = self.console.polled(console);
        let wished = guest.len();
        let own = guest.into_iter().chain([(self.name.as_fd(), PollFlags::IN)]);
        let own = own.chain(self.askers.sockets().map(|asker| (asker, PollFlags::IN)));
        let live = |member: &&Member| !self.ended && !member.gone;
        let children = self.children.iter().filter(live).flat_map(Member::poll);
        let mut fds: Vec<_> = (own.chain(children).chain(outside.iter().copied()))
            .map(|(fd, events)| PollFd::from_borrowed_fd(fd, events))
            .collect();
        let devices = self.devices_until();
        let times =
            [self.run_over, self.grace_over, devices].map(|time| time.filter(|_| !self.ended));
        let until = times.into_iter().chain([until]).flatten().min();
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut fds, left.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
        let mut seen = fds.iter().map(PollFd::revents);
        let console = seen.by_ref().take(wished).fold(PollFlags::empty(), |all, one| all | one);
        let one_more = seen.next().is_some_and(readable);
        // One that was closed is told of by other flags.
        let askers = seen.by_ref().take(self.askers.len()).map(|flags| !flags.is_empty());
        let askers = askers.collect();
        let mut stirred = Vec::new();
        for member in self.children.iter().filter(|_| !self.ended) {
            // By place: one that is gone has its own, and stirs no more.
            let mut next = || live(&member).then(|| seen.next()).flatten();
            let flags: [PollFlags; POLLED] =
                std::array::from_fn(|_| next().unwrap_or(PollFlags::empty()));
            let [control, died] = flags.map(readable);
            stirred.push(Stirred { control, died });
        }
        let ready = Ready { console, outside: seen.collect() };
        Ok(Seen { ready, stirred, one_more, askers })
    }
}

/// Readable, or with nothing to come any more, which reading tells.
fn readable(events: PollFlags) -> bool {
    events.intersects(PollFlags::IN)
}
