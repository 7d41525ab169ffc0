//! The connection to the agent in a guest: questions of many threads, answers in any order, and
//! what the guest says by itself.

use crate::error::RuntimeError;
use casemate_agent::{AgentError, MAX_PART, Numbered, Process, ToGuest, ToHost, VERSION, stream};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{Shutdown, shutdown};
use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long an answer may take: a guest has that much to boot as well.
const ANSWER: Duration = Duration::from_secs(60);
/// How long a guest may let a question stand before it reads it. It is one of a few that nobody has
/// read then, so the guest stands still, and whoever asks next would, too.
const TAKEN: Duration = Duration::from_secs(10);
/// Most questions that wait for their answers.
const MAX_WAITING: usize = 1024;

/// What a guest says by itself.
#[derive(Debug)]
pub enum Said {
    /// A process has ended.
    Exited(Process, u32),
    /// A line for the log.
    Log(String),
    /// It says nothing any more.
    Gone(String),
}

/// Questions without their answers yet; none any more when the guest is gone.
type Waiting = Arc<Mutex<Option<HashMap<u32, SyncSender<ToHost>>>>>;

/// A connection to an agent.
#[derive(Debug)]
pub struct Connection {
    writer: Mutex<File>,
    waiting: Waiting,
    next: AtomicU32,
}

impl Connection {
    /// Speaks over a stream; what the guest says by itself goes to `said`.
    ///
    /// # Errors
    /// [`RuntimeError::System`].
    pub fn new(stream: File, said: SyncSender<Said>) -> Result<Self, RuntimeError> {
        let failed = || RuntimeError::of("the connection to the guest");
        let reader = stream.try_clone().map_err(failed())?;
        set_socket_timeout(&stream, Timeout::Send, Some(TAKEN)).map_err(|e| failed()(e.into()))?;
        let waiting: Waiting = Arc::new(Mutex::new(Some(HashMap::new())));
        let answers = Arc::clone(&waiting);
        std::thread::Builder::new()
            .name("guest".into())
            .spawn(move || {
                let why = read(reader, &answers, &said);
                answers.lock().unwrap_or_else(PoisonError::into_inner).take();
                let _ = said.send(Said::Gone(why));
            })
            .map_err(failed())?;
        Ok(Self { writer: Mutex::new(stream), waiting, next: AtomicU32::new(1) })
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// [`RuntimeError::Refused`]; [`RuntimeError::Guest`] where the guest is gone or stands still.
    pub fn ask(&self, message: ToGuest) -> Result<ToHost, RuntimeError> {
        self.ask_within(message, ANSWER)
    }

    /// Asks, and waits for the answer no longer than so.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub fn ask_within(&self, message: ToGuest, most: Duration) -> Result<ToHost, RuntimeError> {
        let gone = || RuntimeError::Guest("it is gone".into());
        let number = self.next.fetch_add(1, Ordering::Relaxed).max(1);
        let (answer, answered) = sync_channel(1);
        {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let waiting = waiting.as_mut().ok_or_else(gone)?;
            if waiting.len() >= MAX_WAITING {
                return Err(RuntimeError::Guest("too many questions wait for it".into()));
            }
            waiting.insert(number, answer);
        }
        let asked = {
            // What fits no frame is no fault of the connection.
            let frame = Numbered { number, message }.encode();
            let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
            frame.and_then(|frame| {
                writer.write_all(&frame).map_err(|e| {
                    // A part of a question may have gone: nothing can be asked behind it. Who
                    // reads hears of the end, and ends the guest.
                    let _ = shutdown(&*writer, Shutdown::Both);
                    AgentError::Connection(e.to_string())
                })
            })
        };
        let answer = asked.map_err(RuntimeError::from).and_then(|()| {
            use std::sync::mpsc::RecvTimeoutError::{Disconnected, Timeout};
            answered.recv_timeout(most).map_err(|why| match why {
                Disconnected => gone(),
                Timeout => RuntimeError::Guest(format!(
                    "it has not answered for {} seconds",
                    most.as_secs()
                )),
            })
        });
        if let Some(waiting) = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).as_mut()
        {
            waiting.remove(&number);
        }
        match answer? {
            ToHost::Refused { refusal } => Err(refusal.into()),
            answer => Ok(answer),
        }
    }

    /// Asks for something that is done or not.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub fn done(&self, message: ToGuest) -> Result<(), RuntimeError> {
        match self.ask(message)? {
            ToHost::Done {} => Ok(()),
            _ => Err(RuntimeError::Guest("another answer than to what was asked".into())),
        }
    }

    /// Greets the guest and binds it to initdata: whether it is a MODEL.
    ///
    /// # Errors
    /// As [`Self::ask`]; the guest may refuse initdata, and says why.
    pub fn bind(&self, initdata: &str, host_data: &[u8; 32]) -> Result<bool, RuntimeError> {
        let other = || RuntimeError::Guest("another answer than to what was asked".into());
        let hello = self.ask(ToGuest::Hello { version: VERSION })?;
        let ToHost::Hello { version: VERSION, model } = hello else { return Err(other()) };
        let mut parts = initdata.as_bytes().chunks(MAX_PART).peekable();
        while let Some(part) = parts.next() {
            let last = parts.peek().is_none();
            match self.ask(ToGuest::Initdata { last, part: part.to_vec() })? {
                ToHost::Ready { host_data: theirs, .. } if last && theirs == *host_data => {}
                ToHost::Done {} if !last => {}
                _ => return Err(other()),
            }
        }
        Ok(model)
    }
}

/// Reads until the guest is gone: why it is.
fn read(mut from: File, waiting: &Waiting, said: &SyncSender<Said>) -> String {
    loop {
        let Numbered { number, message } = match stream::receive::<ToHost>(&mut from) {
            Ok(Some(message)) => message,
            Ok(None) => return "it closed the connection".into(),
            Err(error) => return error.to_string(),
        };
        let by_itself = match (number, message) {
            (0, ToHost::Exited { process, status }) => Said::Exited(process, status),
            (0, ToHost::Log { line }) => Said::Log(line),
            (0, ToHost::Refused { refusal }) => return refusal.to_string(),
            (0, _) => return "an answer to no question".into(),
            (number, answer) => {
                let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
                let asked = waiting.as_mut().and_then(|waiting| waiting.remove(&number));
                // One that nobody waits for came too late: who asked has been told so.
                if let Some(asked) = asked {
                    let _ = asked.try_send(answer);
                }
                continue;
            }
        };
        if said.send(by_itself).is_err() {
            return "nobody listens".into();
        }
    }
}
