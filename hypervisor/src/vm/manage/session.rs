//! The side of who asks: a connection to the supervisor of a running VM.

use super::answer::MAX_ANSWER;
use super::{Answer, BadAnswer, Ending, Facts, Page, Request};
use crate::vm::name::{NameError, Running, connect, names, patience, readable};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// How long an answer may take that is not waited for on purpose.
const ANSWERS: Duration = Duration::from_secs(5);
/// From one look at a process that is to end to the next.
const LOOK: Duration = Duration::from_millis(10);
/// How long all VMs of a user together may keep who lists them waiting, once one has not answered.
const ALL: Duration = Duration::from_secs(10);

/// Why a running VM cannot be managed.
#[derive(Debug, thiserror::Error)]
pub enum ManageError {
    /// It is not found, or not believed.
    #[error(transparent)]
    Name(NameError),
    /// Nobody answers who has its name.
    #[error("whoever holds the VM name {0:?} does not answer; {SILENT}")]
    Mute(String),
    /// Its supervisor does not answer any more.
    #[error("the supervisor of the VM {name:?} (process {pid}) does not answer; {SILENT}")]
    Silent {
        /// The VM's name.
        name: String,
        /// The supervisor's process.
        pid: u32,
    },
    /// Its supervisor has ended, or has left the connection.
    #[error("the supervisor of the VM {0:?} has closed the connection: it ends, or others ask it")]
    Closed(String),
    /// What it says is not understood.
    #[error("the supervisor of the VM {name:?} is not believed: {why}")]
    Bad {
        /// The VM's name.
        name: String,
        /// What is wrong: our own words.
        why: BadAnswer,
    },
    /// It does not do what was asked.
    #[error("the VM {name:?} refuses: {}", casemate_foreign_text::line(.why).at_most(400))]
    Refused {
        /// The VM's name.
        name: String,
        /// Its reason.
        why: String,
    },
    /// The kernel refused something.
    #[error("cannot reach the VM {name:?}: {source}")]
    System {
        /// The VM's name.
        name: String,
        /// Its reason.
        #[source]
        source: Errno,
    },
}

impl From<NameError> for ManageError {
    fn from(error: NameError) -> Self {
        match error {
            NameError::Mute(name) => Self::Mute(name),
            other => Self::Name(other),
        }
    }
}

/// What can be done about a process that does not answer.
const SILENT: &str =
    "if it was stopped, let it go on (`kill -CONT`); killed, it takes its VM with it";

/// A connection to a running VM, whose processes the kernel vouches for.
#[derive(Debug)]
pub struct Session {
    name: String,
    socket: OwnedFd,
    processes: Vec<Running>,
}

impl Session {
    /// Reaches the VM of this name.
    ///
    /// # Errors
    /// [`ManageError::Name`].
    pub fn open(name: &str) -> Result<Self, ManageError> {
        Self::within(name, patience())
    }

    fn within(name: &str, until: Instant) -> Result<Self, ManageError> {
        let (socket, processes) = connect(name, until)?;
        Ok(Self { name: name.into(), socket, processes })
    }

    /// Its processes as they were when it was reached, the supervisor first.
    #[must_use]
    pub fn processes(&self) -> &[Running] {
        &self.processes
    }

    /// What it is.
    ///
    /// # Errors
    /// [`ManageError`].
    pub fn facts(&self) -> Result<Facts, ManageError> {
        match self.ask(&Request::Facts)? {
            Answer::Facts(facts) => Ok(*facts),
            other => Err(self.unfit(other)),
        }
    }

    /// Presses its power button: how long the guest has left to switch itself off.
    ///
    /// # Errors
    /// [`ManageError`].
    pub fn stop(&self) -> Result<Duration, ManageError> {
        match self.ask(&Request::Stop)? {
            Answer::Asked(grace) => Ok(grace),
            other => Err(self.unfit(other)),
        }
    }

    /// Ends it at once.
    ///
    /// # Errors
    /// [`ManageError`].
    pub fn end(&self) -> Result<(), ManageError> {
        match self.ask(&Request::End)? {
            Answer::Ends => Ok(()),
            other => Err(self.unfit(other)),
        }
    }

    /// What happened to it, from the line with this number on: what there is.
    ///
    /// # Errors
    /// [`ManageError`].
    pub fn lines(&self, from: u64) -> Result<Page, ManageError> {
        match self.ask(&Request::Lines(from))? {
            Answer::Lines(page) => Ok(page),
            other => Err(self.unfit(other)),
        }
    }

    /// The same, as soon as there is something, however long that takes; None when the VM is over.
    ///
    /// # Errors
    /// [`ManageError`].
    pub fn next_lines(&self, from: u64) -> Result<Option<Page>, ManageError> {
        match self.say(&Request::NextLines(from)).and_then(|()| self.hear(None)) {
            Ok(Answer::Lines(page)) => Ok(Some(page)),
            Ok(other) => Err(self.unfit(other)),
            Err(ManageError::Closed(_)) if self.has_ended() => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Waits until it has ended and every process of it is gone: how it ended, where it said so.
    /// Each process that ends begins `patience` anew.
    ///
    /// # Errors
    /// [`ManageError::Silent`] when it takes longer than that.
    pub fn wait_for_end(&self, patience: Duration) -> Result<Option<Ending>, ManageError> {
        let until = Instant::now() + patience;
        let said = self.say(&Request::WaitForEnd).and_then(|()| self.hear(Some(until)));
        let how = match said {
            Ok(Answer::Ended(how)) => Some(how),
            Ok(other) => return Err(self.unfit(other)),
            Err(ManageError::Closed(_)) => None,
            Err(e) => return Err(e),
        };
        // The supervisor is not waited for: it may have to wait for a reader of the console.
        let (mut alive, mut until) = (usize::MAX, Instant::now() + patience);
        loop {
            let guest = self.processes.iter().skip(usize::from(how.is_some()));
            let now = guest.filter(|process| process.is_alive()).count();
            if now == 0 {
                return Ok(how);
            }
            if now < alive {
                (alive, until) = (now, Instant::now() + patience);
            } else if Instant::now() > until {
                return Err(self.silent());
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Whether its supervisor, which has closed the connection, has done so because it ends: the
    /// kernel closes what a process has before it tells of its end.
    fn has_ended(&self) -> bool {
        let until = Instant::now() + ANSWERS;
        while self.processes.first().is_some_and(Running::is_alive) {
            if Instant::now() > until {
                return false;
            }
            std::thread::sleep(LOOK);
        }
        true
    }

    fn ask(&self, request: &Request) -> Result<Answer, ManageError> {
        self.say(request)?;
        self.hear(Some(Instant::now() + ANSWERS))
    }

    fn say(&self, request: &Request) -> Result<(), ManageError> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        match send(&self.socket, request.to_string().as_bytes(), flags) {
            Ok(_) => Ok(()),
            Err(Errno::PIPE | Errno::CONNRESET) => Err(ManageError::Closed(self.name.clone())),
            Err(Errno::AGAIN) => Err(self.silent()),
            Err(source) => Err(ManageError::System { name: self.name.clone(), source }),
        }
    }

    fn hear(&self, until: Option<Instant>) -> Result<Answer, ManageError> {
        if !readable(&self.socket, until) {
            return Err(self.silent());
        }
        // Longer than any answer, so that one that is cut is none.
        let mut packet = vec![0; MAX_ANSWER + 1];
        let len = match recv(&self.socket, &mut packet[..], RecvFlags::DONTWAIT) {
            Ok((0, _)) | Err(Errno::CONNRESET) => {
                return Err(ManageError::Closed(self.name.clone()));
            }
            Ok((len, _)) => len,
            Err(source) => return Err(ManageError::System { name: self.name.clone(), source }),
        };
        let answer = Answer::decode(packet.get(..len).unwrap_or_default());
        answer.map_err(|why| ManageError::Bad { name: self.name.clone(), why })
    }

    fn silent(&self) -> ManageError {
        let pid = self.processes.first().map_or(0, |process| process.pid);
        ManageError::Silent { name: self.name.clone(), pid }
    }

    /// An answer that does not fit the question.
    fn unfit(&self, answer: Answer) -> ManageError {
        let name = self.name.clone();
        match answer {
            Answer::Refused(why) => ManageError::Refused { name, why },
            _ => ManageError::Bad { name, why: BadAnswer },
        }
    }
}

/// A running VM of this user, or why nothing is known of who holds that name.
pub type Found = (String, Result<Facts, ManageError>);

/// Every running VM of this user, in the order of their names.
///
/// # Errors
/// [`NameError::System`] when the kernel does not list who holds names.
pub fn all() -> Result<Vec<Found>, NameError> {
    let over = Instant::now() + ALL;
    let facts = |name: &String| Session::within(name, patience().min(over))?.facts();
    Ok(names(over)?.into_iter().map(|name| (name.clone(), facts(&name))).collect())
}
