//! The key of the broker's certificate, as the front has it: a socket to who has it.

use crate::plan::Scheme;
use crate::socket::{Socket, at_once};
use casemate_relay::{Inbox, Message, ToFront, ToKeeper, Transcript};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustls::sign::{Signer, SigningKey};
use rustls::{Error, SignatureAlgorithm, SignatureScheme};
use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A signature takes some tens of microseconds. A keeper that needs so long is none, and everybody
/// waits meanwhile.
const LONGEST: Duration = Duration::from_secs(5);
/// The first may come while the keeper still opens its store, which it may have to write anew.
const FIRST: Duration = Duration::from_secs(300);

/// The way to the keeper's key.
#[derive(Debug, Clone)]
pub(crate) struct RemoteKey {
    scheme: Scheme,
    line: Arc<Line>,
}

#[derive(Debug)]
struct Line {
    socket: Socket,
    state: Mutex<(Inbox, u64)>,
    broken: AtomicBool,
}

impl RemoteKey {
    pub(crate) fn new(scheme: Scheme, socket: Socket) -> Self {
        let (state, broken) = (Mutex::new((Inbox::new(), 1)), AtomicBool::new(false));
        Self { scheme, line: Arc::new(Line { socket, state, broken }) }
    }

    /// Whether the keeper did not answer, or not as it must: nobody will be served any more.
    pub(crate) fn is_broken(&self) -> bool {
        self.line.broken.load(Ordering::Relaxed)
    }

    const fn of_tls(&self) -> SignatureScheme {
        match self.scheme {
            Scheme::P256 => SignatureScheme::ECDSA_NISTP256_SHA256,
            Scheme::P384 => SignatureScheme::ECDSA_NISTP384_SHA384,
        }
    }
}

impl SigningKey for RemoteKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered.contains(&self.of_tls()).then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl Signer for RemoteKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let wrong = Error::General("not a server's CertificateVerify".into());
        let transcript = Transcript::of_content(message).ok_or(wrong)?;
        match self.line.ask(transcript) {
            Some(Some(signature)) => Ok(signature),
            Some(None) => Err(Error::General("the keeper does not sign".into())),
            None => {
                self.line.broken.store(true, Ordering::Relaxed);
                Err(Error::General("the keeper is gone".into()))
            }
        }
    }

    fn scheme(&self) -> SignatureScheme {
        self.of_tls()
    }
}

impl Line {
    /// The signature, or that there is none; None when the keeper is not there, or not a keeper.
    fn ask(&self, transcript: Transcript) -> Option<Option<Vec<u8>>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (inbox, next) = &mut *state;
        let asked = *next;
        *next += 1;
        let until = Instant::now() + if asked == 1 { FIRST } else { LONGEST };
        let mut frame = Vec::new();
        ToKeeper::Sign { id: asked, transcript }.write(&mut frame).ok()?;
        let mut rest = &frame[..];
        while !rest.is_empty() {
            match at_once((&self.socket).write(rest)).ok()? {
                Some(sent) => rest = rest.get(sent..)?,
                None => self.wait(PollFlags::OUT, until)?,
            }
        }
        let mut buffer = [0; 1024];
        loop {
            match inbox.next().ok()? {
                Some(ToFront::Signature { id, signature }) if id == asked => {
                    return Some(signature.map(<[u8]>::to_vec));
                }
                Some(_) => return None,
                None => {}
            }
            match at_once((&self.socket).read(&mut buffer)).ok()? {
                Some(0) => return None,
                Some(length) => inbox.push(buffer.get(..length)?),
                None => self.wait(PollFlags::IN, until)?,
            }
        }
    }

    fn wait(&self, what: PollFlags, until: Instant) -> Option<()> {
        let left = until.checked_duration_since(Instant::now())?;
        let mut fds = [PollFd::new(&self.socket, what)];
        match poll(&mut fds, Timespec::try_from(left).ok().as_ref()) {
            Ok(_) | Err(Errno::INTR) => Some(()),
            Err(_) => None,
        }
    }
}
