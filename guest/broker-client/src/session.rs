//! What a guest asks a broker, and in which order: no input and output, and no clock.

use crate::{Answer, ClientError, Request};
use casemate_foreign_text::line;
use casemate_kbs::{
    Attestation, Challenge, ErrorInformation, InitData, OpenError, Resource, RuntimeData, Sealed,
    SessionKey, Tee, TokenAnswer, cookie_header, snp_evidence,
};
use serde_json::value::RawValue;
use std::time::Duration;
use zeroize::Zeroizing;

/// Times that a guest proves itself: a session may end in the middle, and once is enough to find
/// out that it did. More would be work for nothing.
const PROOFS: u8 = 2;
/// Times that a broker may say that it has too much to do.
const BUSY: u8 = 5;
/// Longest wait that a broker may ask for.
const MAX_WAIT: u64 = 10;

/// What is to be done next.
#[derive(Debug)]
pub enum Next {
    /// Send this, and give the answer to [`Session::answer`].
    Ask(Request),
    /// Get a report with this REPORT_DATA, and give it to [`Session::evidence`].
    Report([u8; 64]),
    /// Ask again after this.
    Wait(Duration),
    /// The secrets, in the order in which they were asked for.
    Done(Vec<Zeroizing<Vec<u8>>>),
}

#[derive(Debug)]
enum State {
    Challenge,
    Evidence(RuntimeData),
    Attest(String),
    Fetch,
}

/// A guest's session with a broker, from the first question to the last secret.
pub struct Session {
    key: SessionKey,
    initdata: Option<String>,
    wanted: Vec<Resource>,
    got: Vec<Zeroizing<Vec<u8>>>,
    state: State,
    cookie: Option<String>,
    proofs: u8,
    busy: u8,
    wait: Option<Duration>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (got, wanted) = (self.got.len(), self.wanted.len());
        write!(f, "Session in {:?} with {got} of {wanted}", self.state)
    }
}

impl Session {
    /// A session with a fresh key of the guest's, for these secrets. `initdata` is the text that
    /// HOST_DATA is of, for a broker that judges it.
    #[must_use]
    pub fn new(key: SessionKey, wanted: Vec<Resource>, initdata: Option<String>) -> Self {
        let got = Vec::with_capacity(wanted.len());
        let state = State::Challenge;
        Self { key, initdata, wanted, got, state, cookie: None, proofs: 0, busy: 0, wait: None }
    }

    /// What is to be done next. Asking twice changes nothing but that a wait is over.
    #[must_use]
    pub fn step(&mut self) -> Next {
        if let Some(wait) = self.wait.take() {
            return Next::Wait(wait);
        }
        let cookie = || self.cookie.as_deref().map(cookie_header);
        match &self.state {
            State::Challenge => Next::Ask(Request {
                path: "/kbs/v0/auth".into(),
                cookie: None,
                body: Some(casemate_kbs::Request { tee: Tee::Snp }.to_json()),
            }),
            State::Evidence(runtime) => Next::Report(runtime.report_data()),
            State::Attest(body) => Next::Ask(Request {
                path: "/kbs/v0/attest".into(),
                cookie: cookie(),
                body: Some(body.clone()),
            }),
            State::Fetch => match self.wanted.get(self.got.len()) {
                Some(resource) => {
                    Next::Ask(Request { path: resource.path(), cookie: cookie(), body: None })
                }
                None => Next::Done(std::mem::take(&mut self.got)),
            },
        }
    }

    /// Takes the report that was asked for; None in a guest that has no security processor. A
    /// broker that wants a proof refuses such a guest: that is its decision, and it is asked.
    ///
    /// # Errors
    /// [`ClientError::Protocol`] when it is no report.
    pub fn evidence(&mut self, report: Option<&[u8]>) -> Result<(), ClientError> {
        let State::Evidence(runtime) = &self.state else { return Ok(()) };
        let evidence = match report {
            Some(report) => snp_evidence(report)?,
            None => RawValue::from_string("{}".into()).map_err(|_| ClientError::Random)?,
        };
        let format = || "toml".to_owned();
        let initdata = self.initdata.clone();
        let init_data = initdata.map(|body| InitData { format: format(), body });
        let proof = Attestation { init_data, runtime: runtime.clone(), evidence };
        self.proofs = self.proofs.saturating_add(1);
        self.state = State::Attest(proof.to_json()?);
        Ok(())
    }

    /// Takes the answer to what was asked last.
    ///
    /// # Errors
    /// [`ClientError`]: the session is over then.
    pub fn answer(&mut self, answer: &Answer) -> Result<(), ClientError> {
        if let Some(session) = &answer.session {
            self.cookie = Some(session.clone());
        }
        match (answer.status, &self.state) {
            (200, State::Challenge) => {
                let Challenge { nonce } = Challenge::read(&answer.body)?;
                let runtime = RuntimeData { nonce, tee_pubkey: self.key.public() };
                self.state = State::Evidence(runtime);
                Ok(())
            }
            (200, State::Attest(_)) => {
                // The cookie stands for the session, the token for nothing more. That there is one
                // says that this is an answer of the protocol.
                TokenAnswer::read(&answer.body)?;
                self.state = State::Fetch;
                Ok(())
            }
            (200, State::Fetch) => self.take(&answer.body),
            (200, State::Evidence(_)) => Ok(()),
            (429 | 503, _) => self.busy(answer),
            (401, State::Fetch) if self.proofs < PROOFS => {
                // The session has ended. What came before is kept: it was this guest's.
                (self.state, self.cookie) = (State::Challenge, None);
                Ok(())
            }
            _ => Err(self.refused(answer)),
        }
    }

    fn take(&mut self, body: &[u8]) -> Result<(), ClientError> {
        let Some(resource) = self.wanted.get(self.got.len()) else { return Ok(()) };
        let opened = Sealed::read(body).map_err(OpenError::Format);
        match opened.and_then(|sealed| sealed.open(&self.key)) {
            Ok(secret) => {
                self.got.push(secret);
                Ok(())
            }
            Err(OpenError::Format(error)) => Err(error.into()),
            Err(OpenError::NotOurs) => Err(ClientError::NotSealedToUs(resource.to_string())),
        }
    }

    fn busy(&mut self, answer: &Answer) -> Result<(), ClientError> {
        if self.busy >= BUSY {
            return Err(ClientError::Busy);
        }
        self.busy = self.busy.saturating_add(1);
        let seconds = answer.retry_after.unwrap_or(1).clamp(1, MAX_WAIT);
        self.wait = Some(Duration::from_secs(seconds));
        Ok(())
    }

    /// What a refusal means: Trustee answers 401 to nearly all of them, ours 403 and 404.
    fn refused(&self, answer: &Answer) -> ClientError {
        let why = match ErrorInformation::read(&answer.body) {
            Ok(refusal) => line(refusal.detail).to_string(),
            Err(_) => "it does not say why".to_owned(),
        };
        let resource =
            || self.wanted.get(self.got.len()).map_or_else(String::new, ToString::to_string);
        match (answer.status, &self.state) {
            (404, State::Fetch) => ClientError::NoSecret(resource()),
            (401 | 403, State::Fetch) => ClientError::Denied { resource: resource(), why },
            (400..=403, State::Attest(_)) => ClientError::NotProven(why),
            (status, _) => ClientError::Failed { status, why },
        }
    }
}
