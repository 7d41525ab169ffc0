//! The supervisor's side of a recorder, until the VM runs.

use super::handover;
use super::message::{FromRecorder, LONGEST_ANSWER, ToRecorder};
use crate::vm::protocol::BadMessage;
use casemate_policy::log::{DecisionRecord, DenialsRecord};
use casemate_policy_log::{KeyFile, LogError, LogFile, LogFiles};
use casemate_sandbox::{Child, Exit, Image, Layers, SandboxError};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::net::{recv, send, socketpair};
use std::os::fd::OwnedFd;

/// That the decisions about a VM are to be logged.
#[derive(Debug)]
pub struct Logging<'a> {
    /// Where, and what is relied on. Its key is not here.
    pub file: LogFile,
    /// The file of the key, if there is one.
    pub key: Option<KeyFile>,
    /// The program of the recorder.
    pub image: &'a [u8],
}

/// A recorder that has opened its log.
#[derive(Debug)]
pub struct Recorder {
    process: Child,
    control: OwnedFd,
}

/// Why a recorder cannot log.
#[derive(Debug, thiserror::Error)]
pub enum RecorderError {
    /// A file cannot be opened.
    #[error(transparent)]
    File(#[from] LogError),
    /// The process cannot be started or confined.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// It cannot go on, and says why.
    #[error("{text}")]
    Refused {
        /// Whether what the user named is at fault; else the system is.
        bad_input: bool,
        /// Its words, made fit to be printed.
        text: String,
    },
    /// It ended without a word.
    #[error("the recorder process ended without a word: {0}")]
    Died(Exit),
    /// It said something that makes no sense.
    #[error("the recorder process was ended: {0}")]
    Nonsense(#[from] BadMessage),
    /// Its sockets cannot be made.
    #[error("cannot prepare the recorder process: {0}")]
    System(#[source] std::io::Error),
}

impl RecorderError {
    /// Whether what the user named is at fault; else the system is.
    #[must_use]
    pub fn is_bad_input(&self) -> bool {
        match self {
            Self::File(error) => error.is_bad_input(),
            Self::Refused { bad_input, .. } => *bad_input,
            _ => false,
        }
    }
}

impl From<Errno> for RecorderError {
    fn from(errno: Errno) -> Self {
        Self::System(errno.into())
    }
}

/// A recorder that was started and has not said yet that its log is open.
#[derive(Debug)]
pub struct Starting {
    recorder: Recorder,
    files: LogFiles,
}

impl Starting {
    /// Opens the files and starts a recorder with them; `before` is called before it begins.
    ///
    /// # Errors
    /// [`RecorderError`]; then nothing was changed.
    pub fn new(
        logging: Logging<'_>,
        layers: Layers,
        before: impl FnOnce(&Child),
    ) -> Result<Self, RecorderError> {
        let Logging { file, key, image } = logging;
        let image = Image::new("casemate-recorder", image)?;
        let files = file.files()?;
        match spawn(&image, layers, &files, key.as_ref(), before) {
            Ok(recorder) => Ok(Self { recorder, files }),
            Err(error) => {
                files.give_up();
                Err(error)
            }
        }
    }

    /// Waits until the recorder is locked and has vouched for the log. Gives how many bytes of a
    /// torn last line it has removed. From here on it alone has the files.
    ///
    /// # Errors
    /// [`RecorderError`]; then nothing was changed.
    pub fn opened(self) -> Result<(Recorder, u64), RecorderError> {
        let Self { mut recorder, files } = self;
        let opened = recorder.opened();
        if opened.is_err() {
            let _ = recorder.process.kill();
            files.give_up();
        }
        opened.map(|dropped| (recorder, dropped))
    }
}

fn spawn(
    image: &Image,
    layers: Layers,
    files: &LogFiles,
    key: Option<&KeyFile>,
    before: impl FnOnce(&Child),
) -> Result<Recorder, RecorderError> {
    let (kind, flags) = (SocketType::SEQPACKET, SocketFlags::CLOEXEC);
    let (control, its_control) = socketpair(AddressFamily::UNIX, kind, flags, None)?;
    let process = handover::spawn(image, layers, &its_control, files, key, before)?;
    Ok(Recorder { process, control })
}

impl Recorder {
    fn opened(&mut self) -> Result<u64, RecorderError> {
        match self.answer()? {
            FromRecorder::Opened { dropped } => {
                // It has told how it is confined before it opened the log.
                self.process.confined()?;
                Ok(dropped)
            }
            other => Err(BadMessage::of(&other.encode()).into()),
        }
    }

    /// Logs a decision; when this returns, it is in the log.
    ///
    /// # Errors
    /// [`RecorderError`]; then the decision must not be acted on.
    pub fn decision(&mut self, record: DecisionRecord) -> Result<(), RecorderError> {
        self.ask(&ToRecorder::Decision(record))
    }

    /// Says what denials of the running VM by a rule will be written as.
    ///
    /// # Errors
    /// [`RecorderError`].
    pub fn may_be_denied(&mut self, record: DenialsRecord) -> Result<(), RecorderError> {
        self.ask(&ToRecorder::MayBeDenied(record))
    }

    /// Lets others have the log: all is decided.
    ///
    /// # Errors
    /// [`RecorderError`].
    pub fn release(&mut self) -> Result<(), RecorderError> {
        self.ask(&ToRecorder::Release)
    }

    /// The process, and the socket to it.
    #[must_use]
    pub fn into_parts(self) -> (Child, OwnedFd) {
        (self.process, self.control)
    }

    fn ask(&mut self, message: &ToRecorder) -> Result<(), RecorderError> {
        let packet = message.encode();
        // Where it has ended, its answer tells.
        while send(&self.control, &packet, SendFlags::NOSIGNAL) == Err(Errno::INTR) {}
        match self.answer()? {
            FromRecorder::Done => Ok(()),
            other => Err(BadMessage::of(&other.encode()).into()),
        }
    }

    /// What it says next; a failure is an error.
    fn answer(&mut self) -> Result<FromRecorder, RecorderError> {
        let mut packet = [0; LONGEST_ANSWER + 1];
        let mut told = false;
        let len = loop {
            match recv(&self.control, &mut packet[..], RecvFlags::empty()) {
                Err(Errno::INTR) => {}
                // It ended before it read all that it was sent, which the kernel tells once, in
                // place of the next packet. Its last words come after.
                Err(Errno::CONNRESET) if !told => told = true,
                Ok((len, _)) => break len,
                Err(_) => break 0,
            }
        };
        let bytes = packet.get(..len).unwrap_or_default();
        if bytes.is_empty() {
            return Err(self.died());
        }
        match FromRecorder::decode(bytes)? {
            FromRecorder::Failed { bad_input, text } => {
                // What failed in its sandbox it has told there, too, and more exactly.
                Err(RecorderError::Refused { bad_input, text })
            }
            other => Ok(other),
        }
    }

    /// Its socket is closed.
    fn died(&mut self) -> RecorderError {
        match (self.process.confined().map(|_| ()), self.process.wait()) {
            (Err(SandboxError::Died { exit, .. }), _) | (Ok(()), Ok(exit)) => {
                RecorderError::Died(exit)
            }
            (Err(error), _) | (_, Err(error)) => error.into(),
        }
    }
}
