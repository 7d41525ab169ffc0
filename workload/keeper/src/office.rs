//! What a keeper's threads share, and what each of them does.

use crate::hand_over::taken;
use crate::journal::Journal;
use crate::owner::{Ask, perform};
use crate::queue::Queue;
use crate::tls::TlsKey;
use crate::wire::Wire;
use crate::words::Word;
use casemate_attestation::store::Snapshot;
use casemate_attestation::time::now;
use casemate_broker::stores::Stores;
use casemate_broker::{Answer, Broker, Call, Event, Told};
use casemate_relay::{Answer as Relayed, Inbox, Message, ToFront, ToKeeper, stream};
use casemate_store::LogStore;
use ring::rand::SystemRandom;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};

/// A request, owned by the thread that will answer it.
#[derive(Debug)]
pub(crate) struct Request {
    id: u64,
    method: String,
    path: String,
    cookie: Option<Vec<u8>>,
    authorization: Option<Vec<u8>>,
    body: Vec<u8>,
}

/// All that answers rest on.
pub(crate) struct Desk {
    pub(crate) broker: Broker,
    pub(crate) store: LogStore,
    pub(crate) certificates: Snapshot,
    pub(crate) journal: Journal,
    pub(crate) tls_key: TlsKey,
}

/// What the threads share.
pub(crate) struct Office {
    /// There when the process is locked, and its files are read.
    desk: OnceLock<Desk>,
    opened: Mutex<usize>,
    open: Condvar,
    pub(crate) requests: Queue<Request>,
    answers: Mutex<Wire>,
    control: OwnedFd,
    /// When the last trouble was told, in seconds since 1970.
    troubled: AtomicU64,
}

impl Office {
    /// One that is not open yet; `calls` is where answers go.
    pub(crate) fn new(calls: OwnedFd, control: OwnedFd) -> Self {
        Self {
            desk: OnceLock::new(),
            opened: Mutex::new(0),
            open: Condvar::new(),
            requests: Queue::new(),
            answers: Mutex::new(Wire(calls)),
            control,
            troubled: AtomicU64::new(0),
        }
    }

    /// Lets the threads begin.
    pub(crate) fn begin(&self, desk: Desk) {
        let guard = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = self.desk.set(desk);
        drop(guard);
        self.open.notify_all();
    }

    /// A thread is there, and waits until it may begin.
    fn wait(&self) -> &Desk {
        let mut there = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        *there += 1;
        self.open.notify_all();
        loop {
            if let Some(desk) = self.desk.get() {
                return desk;
            }
            there = self.open.wait(there).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits until so many threads are there: what they do to begin is done before the lock.
    pub(crate) fn gathered(&self, threads: usize) {
        let mut there = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        while *there < threads {
            there = self.open.wait(there).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The desk, if the office is open.
    pub(crate) fn desk(&self) -> Option<&Desk> {
        self.desk.get()
    }

    /// Says the supervisor something.
    pub(crate) fn say(&self, word: &Word) {
        word.tell(&self.control, true);
    }

    /// Tells of what failed, at most once a second: what fails may fail for every request.
    fn trouble(&self, what: &str) {
        let now = now();
        if self.troubled.swap(now, Ordering::Relaxed) != now {
            let what = casemate_foreign_text::line(what).to_string();
            Word::Trouble(what).tell(&self.control, false);
        }
    }

    /// A thread that answers requests.
    pub(crate) fn answer_requests(&self) -> ! {
        let desk = self.wait();
        let entropy = SystemRandom::new();
        let stores =
            Stores { certificates: &desk.certificates, secrets: &desk.store, entropy: &entropy };
        self.requests.serve(|request| {
            let answer = self.answer(desk, &request, &stores);
            self.send(request.id, &answer);
        })
    }

    fn answer(&self, desk: &Desk, request: &Request, stores: &Stores<'_>) -> Answer {
        let call = Call {
            method: &request.method,
            path: &request.path,
            cookie: request.cookie.as_deref(),
            authorization: request.authorization.as_deref(),
            body: &request.body,
        };
        let answer = desk.broker.answer(&call, now(), stores);
        let Told { decisions, event } = &answer.told;
        if let Event::Refused { failure: Some(why), .. } = event {
            self.trouble(why);
        }
        if decisions.is_empty() {
            return answer;
        }
        match desk.journal.write(decisions.clone()) {
            Ok(()) => answer,
            // A use may have been counted: asking again costs this session no other.
            Err(why) => {
                self.trouble(&why);
                Answer::failed(why)
            }
        }
    }

    fn send(&self, id: u64, answer: &Answer) {
        let mut frame = Vec::new();
        let relayed = |answer: &Answer, frame: &mut Vec<u8>| {
            let headers = answer.headers.iter().map(|(name, value)| (*name, value.as_str()));
            let (headers, body) = (headers.collect(), answer.body.as_slice());
            let answer = Relayed { status: answer.status, headers, body };
            ToFront::Answer { id, answer }.write(frame)
        };
        if let Err(error) = relayed(answer, &mut frame) {
            self.trouble(&format!("an answer that cannot be sent: {error}"));
            let _ = relayed(&Answer::failed("it cannot be sent"), &mut frame);
        }
        // A front that is gone has no use for it; the thread that reads sees its end.
        let _ = self.answers.lock().unwrap_or_else(PoisonError::into_inner).write_all(&frame);
    }

    /// Takes requests until the front is gone. An error is a front that talks nonsense.
    pub(crate) fn take_requests(&self, calls: &mut Wire) -> std::io::Result<()> {
        let mut inbox = Inbox::new();
        while stream::wait::<ToKeeper<'_>>(&mut inbox, calls)? {
            match inbox.next().map_err(std::io::Error::other)? {
                Some(ToKeeper::Call { id, call }) => self.requests.put(Request {
                    id,
                    method: call.method.to_owned(),
                    path: call.path.to_owned(),
                    cookie: call.cookie.map(<[u8]>::to_vec),
                    authorization: call.authorization.map(<[u8]>::to_vec),
                    body: call.body.to_vec(),
                }),
                Some(ToKeeper::Sign { .. }) => {
                    return Err(std::io::Error::other("a signature where there are requests"));
                }
                None => {}
            }
        }
        Ok(())
    }

    /// The thread that signs handshakes, one after the other: the front waits for each.
    pub(crate) fn sign(&self, mut wire: Wire) -> ! {
        let desk = self.wait();
        let mut inbox = Inbox::new();
        while let Ok(true) = stream::wait::<ToKeeper<'_>>(&mut inbox, &mut wire) {
            let Ok(Some(ToKeeper::Sign { id, transcript })) = inbox.next() else { break };
            let signature = desk.tls_key.sign(&transcript);
            let answer = ToFront::Signature { id, signature: signature.as_deref() };
            if stream::send(&answer, &mut wire).is_err() {
                break;
            }
        }
        park()
    }

    /// The thread that does what the owner asks, one connection after the other.
    pub(crate) fn serve_owner(&self, owner: &OwnedFd) -> ! {
        let desk = self.wait();
        while let Some(connection) = taken(owner) {
            let mut wire = Wire(connection);
            // Whoever is slow, or talks nonsense, is not waited for: the supervisor has set how
            // long each piece may take.
            while let Ok(Some(ask)) = Ask::read(&mut wire) {
                let done =
                    perform(&desk.store, ask, now(), &mut |said| wire.write_all(&said.encode()));
                if done.is_err() {
                    break;
                }
            }
        }
        park()
    }
}

/// Does nothing, for ever: a thread that ends makes system calls that a locked process may not.
fn park() -> ! {
    let (never, lock) = (Condvar::new(), Mutex::new(()));
    let mut guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        guard = never.wait(guard).unwrap_or_else(PoisonError::into_inner);
    }
}
