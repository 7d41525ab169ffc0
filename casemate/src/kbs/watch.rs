//! What a broker's supervisor does while it runs: it waits for the end of one of its processes, or
//! for a signal, and takes its owner's connections.

use super::broker::say_opened;
use crate::diagnostics::Log;
use crate::out::errln;
use crate::{Failure, Outcome};
use casemate_foreign_text::line;
use casemate_keeper::profile::{CHILD, CONTROLS, DOOR, OUTPUTS, OWNER, SIGNALS};
use casemate_keeper::{MAX_WORD, Word, hand_over};
use casemate_relay::Word as FrontWord;
use casemate_sandbox::{Child, Exit, FdTable, peer};
use casemate_store::Opened;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{RecvFlags, SendFlags, SocketFlags, accept_with, recv, send};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long requests that are there may take when a signal came, and the keeper's log after that.
const GRACE: Duration = Duration::from_secs(40);
/// How long who asks about the store may take for each piece.
const PATIENCE: Duration = Duration::from_secs(10);

/// A process, and what it says.
struct Process {
    name: &'static str,
    child: Child,
    control: OwnedFd,
    /// Why it ended, in its own words, and whether the user's input is at fault.
    last: Option<(bool, String)>,
    exit: Option<Exit>,
    /// It says nothing any more.
    is_silent: bool,
}

/// The two processes of a broker.
pub(super) struct Watch {
    front: Process,
    keeper: Process,
    /// Where the owner's connections go.
    owner: OwnedFd,
    /// Whose broker it is.
    user: u32,
    front_serves: bool,
    keeper_serves: bool,
    opened: Option<(Opened, u64)>,
}

impl Process {
    fn new(name: &'static str, (child, control): (Child, OwnedFd)) -> Self {
        Self { name, child, control, last: None, exit: None, is_silent: false }
    }

    /// Its next packet; None when there is none now, an empty one at the end.
    fn packet(&self) -> Option<Vec<u8>> {
        let mut packet = [0; MAX_WORD + 1];
        match recv(&self.control, &mut packet[..], RecvFlags::DONTWAIT) {
            Ok((length, _)) => Some(packet.get(..length).unwrap_or_default().to_vec()),
            Err(Errno::AGAIN | Errno::INTR) => None,
            Err(_) => Some(Vec::new()),
        }
    }

    /// It has closed its socket, or says what makes no sense: whoever it is by now, it is ended.
    fn silence(&mut self) {
        self.is_silent = true;
        let _ = self.child.kill();
    }

    /// How it ended, once it has.
    fn ended(&mut self) -> Option<Exit> {
        if self.exit.is_none() {
            self.exit = self.child.wait_at_most(0).ok().flatten();
        }
        self.exit
    }

    /// What is said of its end.
    fn failure(&mut self) -> Failure {
        match (self.last.take(), self.exit) {
            (Some((true, why)), _) => Failure::BadInput(why),
            (Some((false, why)), _) => Failure::Failed(format!("the {}: {why}", self.name)),
            (None, Some(exit)) => {
                Failure::Failed(format!("the {} ended without a word: {exit}", self.name))
            }
            (None, None) => Failure::Failed(format!("the {} does not end", self.name)),
        }
    }
}

impl Watch {
    pub(super) fn new(front: (Child, OwnedFd), keeper: (Child, OwnedFd), owner: OwnedFd) -> Self {
        Self {
            front: Process::new("process on the network", front),
            keeper: Process::new("keeper", keeper),
            owner,
            user: rustix::process::geteuid().as_raw(),
            front_serves: false,
            keeper_serves: false,
            opened: None,
        }
    }

    /// Waits until both say that they are locked and serve.
    pub(super) fn wait_until_ready(
        &mut self,
        signals: &UnixStream,
        door: &OwnedFd,
        store: &Path,
    ) -> Outcome {
        let confined = |process: &mut Process| -> Outcome {
            let report = process.child.confined();
            let report = report.map_err(|error| Failure::Failed(error.to_string()))?;
            for (layer, why) in report.missing() {
                let name = process.name;
                errln!("casemate: the {name} runs without the sandbox layer {layer}: {why}");
            }
            Ok(())
        };
        confined(&mut self.keeper)?;
        confined(&mut self.front)?;
        while !(self.front_serves && self.keeper_serves) {
            if self.turn(signals, door, None)? {
                return Err(Failure::Failed("a signal came before the broker was ready".into()));
            }
            if self.front.ended().is_some() || self.keeper.ended().is_some() {
                return Err(self.fault(signals, door));
            }
        }
        if let Some((opened, torn)) = self.opened {
            say_opened(store, opened);
            if torn > 0 {
                errln!("casemate: the decision log: a torn last line of {torn} bytes was removed");
            }
        }
        Ok(())
    }

    /// What the filter of this process lets it use.
    pub(super) fn slots(
        &self,
        signals: &UnixStream,
        door: &OwnedFd,
        words: BorrowedFd<'_>,
        log: &Log,
    ) -> FdTable {
        let outputs = [1, 2, words.as_raw_fd()].into_iter();
        let outputs = outputs.chain(log.fd().map(|fd| fd.as_raw_fd()));
        FdTable::new()
            .with(SIGNALS, signals)
            .with_raw(OUTPUTS, outputs)
            .with(CONTROLS, &self.front.control)
            .with(CONTROLS, &self.keeper.control)
            .with(OWNER, &self.owner)
            .with(DOOR, door)
            .with(CHILD, &self.front.child)
            .with(CHILD, &self.keeper.child)
    }

    /// Waits for whatever comes next, and does what is to be done; whether a signal came.
    fn turn(
        &mut self,
        signals: &UnixStream,
        door: &OwnedFd,
        until: Option<Instant>,
    ) -> Result<bool, Failure> {
        let timeout = until.map(|until| {
            Timespec::try_from(until.saturating_duration_since(Instant::now())).unwrap_or_default()
        });
        let mut fds: Vec<PollFd<'_>> =
            vec![PollFd::new(signals, PollFlags::IN), PollFd::new(door, PollFlags::IN)];
        for process in [&self.front, &self.keeper] {
            // An end is heard for ever.
            if process.exit.is_none() {
                fds.push(PollFd::new(&process.child, PollFlags::IN));
            }
            if !process.is_silent {
                fds.push(PollFd::new(&process.control, PollFlags::IN));
            }
        }
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(Failure::Failed(format!("ppoll: {errno}"))),
        }
        let came = |at: usize| fds.get(at).is_some_and(|fd| !fd.revents().is_empty());
        let (signal, owner) = (came(0), came(1));
        self.hear();
        if signal {
            let mut bytes = [0; 64];
            let _ = recv(signals, &mut bytes[..], RecvFlags::DONTWAIT);
        }
        if owner {
            self.take_owner(door);
        }
        Ok(signal)
    }

    /// Takes what both say, of each so many words in a turn: one that was taken over and speaks
    /// without end keeps neither signals nor the owner waiting.
    fn hear(&mut self) {
        const AT_ONCE: usize = 16;
        for _ in 0..AT_ONCE {
            if self.keeper.is_silent {
                break;
            }
            let Some(packet) = self.keeper.packet() else { break };
            match Word::decode(&packet) {
                Some(Word::Ready { untold, dropped, torn }) => {
                    self.keeper_serves = true;
                    self.opened = Some((Opened { untold, dropped }, torn));
                }
                Some(Word::Trouble(what)) => errln!("casemate: the broker: {}", line(what)),
                Some(Word::Failed { bad_input, why }) => {
                    self.keeper.last = Some((bad_input, line(why).to_string()));
                }
                None => self.keeper.silence(),
            }
        }
        for _ in 0..AT_ONCE {
            if self.front.is_silent {
                break;
            }
            let Some(packet) = self.front.packet() else { break };
            match FrontWord::decode(&packet) {
                Some(FrontWord::Locked) => self.front_serves = true,
                Some(FrontWord::Ended(_)) => {}
                Some(FrontWord::Failed(why)) => self.front.last = Some((false, why)),
                None => self.front.silence(),
            }
        }
    }

    /// Waits for a signal, or for the end of a process.
    pub(super) fn watch(&mut self, signals: &UnixStream, door: &OwnedFd) -> Outcome {
        loop {
            if self.turn(signals, door, None)? {
                // Both in order: no more connections, answers to what was asked, the log.
                let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
                let _ = send(&self.front.control, &[0], flags);
                self.wait_for_ends(signals, door);
                return match (self.front.exit, self.keeper.exit) {
                    (Some(Exit::Code(0)), Some(Exit::Code(0))) => Ok(()),
                    _ => Err(self.fault(signals, door)),
                };
            }
            if self.front.ended().is_some() || self.keeper.ended().is_some() {
                return Err(self.fault(signals, door));
            }
        }
    }

    /// Why the broker ends, when one of them has. With the keeper the front ends, and with the
    /// front the keeper, which closes its log and says that all is well: so whoever says otherwise
    /// is at fault, the keeper first.
    fn fault(&mut self, signals: &UnixStream, door: &OwnedFd) -> Failure {
        self.wait_for_ends(signals, door);
        match self.keeper.exit {
            Some(Exit::Code(0)) => self.front.failure(),
            _ => self.keeper.failure(),
        }
    }

    /// Waits until both have ended, no longer than [`GRACE`], and not after another signal.
    fn wait_for_ends(&mut self, signals: &UnixStream, door: &OwnedFd) {
        let until = Instant::now() + GRACE;
        while self.front.ended().is_none() || self.keeper.ended().is_none() {
            let signal = self.turn(signals, door, Some(until));
            if !matches!(signal, Ok(false)) || Instant::now() >= until {
                break;
            }
        }
        self.hear();
    }

    /// Takes a connection, and gives it to the keeper if it is the owner's.
    fn take_owner(&self, door: &OwnedFd) {
        let flags = SocketFlags::CLOEXEC;
        let Ok(connection) = accept_with(door, flags) else { return };
        let of = |uid: u32| uid == self.user || uid == 0;
        let is_owner = peer(&connection).is_ok_and(|peer| of(peer.uid));
        if !is_owner {
            return;
        }
        let slow = [Timeout::Recv, Timeout::Send]
            .map(|which| set_socket_timeout(&connection, which, Some(PATIENCE)));
        if slow.iter().all(Result::is_ok) {
            // One that cannot be taken now is closed: who asks is told, and asks again.
            let _ = hand_over(&self.owner, &connection);
        }
    }
}
