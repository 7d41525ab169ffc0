//! A request and its answer, as far as the protocol sees them.

use crate::stores::{SessionId, Unavailable};
use casemate_kbs::{ErrorInformation, KbsError, Kind, Resource};
use casemate_policy::Decision;
use casemate_policy::log::DecisionRecord;

/// A request, whatever carried it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Call<'a> {
    /// `GET`, `POST`.
    pub method: &'a str,
    /// The path as it stands in the request's first line, nothing decoded.
    pub path: &'a str,
    /// The `Cookie` header. A carrier that finds two joins them as RFC 9110 says, or refuses.
    pub cookie: Option<&'a [u8]>,
    /// The `Authorization` header.
    pub authorization: Option<&'a [u8]>,
    /// The body.
    pub body: &'a [u8],
}

/// An answer: a status, headers beside those of whatever carries it, a body in JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// 200; 400 not of the protocol, 401 attest first, 403 refused, 404 not there, 429 slow down,
    /// 500 the broker failed. The real client attests again after 401 only.
    pub status: u16,
    /// Names and values. All are printable ASCII.
    pub headers: Vec<(&'static str, String)>,
    /// JSON.
    pub body: Vec<u8>,
    /// What is to be kept of it, before it is sent.
    pub told: Told,
}

/// What was decided, for the decision log, and what happened, for an operator's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Every decision of the policy that led to this answer, in order.
    pub decisions: Vec<DecisionRecord>,
    /// What happened.
    pub event: Event,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A challenge was given. Nothing is known of who asked.
    Challenged,
    /// A guest proved what it is.
    Attested {
        /// Its session.
        session: SessionId,
        /// Whether the policy's section `attestation` admits it. Without, only grants that say so
        /// give it something.
        admitted: bool,
    },
    /// A secret was sealed to a guest's key.
    Released {
        /// The secret.
        resource: Resource,
        /// The grant that admitted it.
        grant: String,
        /// To whom.
        session: SessionId,
        /// The secret's version.
        version: u64,
        /// The uses of the grant, this one included.
        uses: u64,
    },
    /// Nothing was given.
    Refused {
        /// What was told to who asked: one plain line.
        detail: String,
        /// What was not: why the broker failed.
        failure: Option<String>,
    },
}

impl Answer {
    pub(crate) fn given(body: String, event: Event) -> Self {
        let told = Told { decisions: Vec::new(), event };
        Self { status: 200, headers: Vec::new(), body: body.into_bytes(), told }
    }

    pub(crate) fn with(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(crate) fn decided(mut self, decisions: Vec<DecisionRecord>) -> Self {
        self.told.decisions = decisions;
        self
    }

    /// The answer to who asks too much at once: after so many seconds it may ask again. For the
    /// carrier, which counts connections and requests.
    #[must_use]
    pub fn slow_down(seconds: u64) -> Self {
        Refusal::busy(seconds).into()
    }

    /// The answer in place of one that cannot be given, for a carrier that failed. Who asked is not
    /// told why.
    #[must_use]
    pub fn failed(why: impl Into<String>) -> Self {
        Refusal::failed(why).into()
    }
}

/// Why a request is refused, on its way out.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: u16,
    kind: Kind,
    detail: String,
    retry_after: Option<u64>,
    failure: Option<String>,
    decisions: Vec<DecisionRecord>,
}

impl Refusal {
    fn new(status: u16, kind: Kind, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self { status, kind, detail, retry_after: None, failure: None, decisions: Vec::new() }
    }

    /// There is no session, or none that counts.
    pub(crate) fn attest_first(why: &str) -> Self {
        Self::new(401, Kind::TokenNotFound, format!("attest first: {why}"))
    }

    /// What a guest proves does not hold.
    pub(crate) fn not_proven(why: impl Into<String>) -> Self {
        Self::new(403, Kind::AttestationError, why)
    }

    /// The policy says no.
    pub(crate) fn denied(decision: &Decision, record: DecisionRecord) -> Self {
        Self::new(403, Kind::PolicyDeny, decision.to_string()).decided(record)
    }

    /// The refusal, with what the policy had decided before it.
    pub(crate) fn decided(mut self, record: DecisionRecord) -> Self {
        self.decisions.push(record);
        self
    }

    pub(crate) fn no_such_secret(resource: &Resource) -> Self {
        Self::new(404, Kind::PluginInternalError, format!("there is no secret {resource}"))
    }

    pub(crate) fn no_such_path(why: impl Into<String>) -> Self {
        Self::new(404, Kind::InvalidRequestPath, why)
    }

    pub(crate) fn busy(seconds: u64) -> Self {
        let detail = format!("too much at once: ask again in {seconds} s");
        let refusal = Self::new(429, Kind::RateLimited, detail);
        Self { retry_after: Some(seconds), ..refusal }
    }

    /// The broker failed. Who asked is not told why: it may be a path, or another tenant's name.
    pub(crate) fn failed(why: impl Into<String>) -> Self {
        let refusal =
            Self::new(500, Kind::PluginInternalError, "the broker failed; its own log says why");
        Self { failure: Some(why.into()), ..refusal }
    }
}

impl From<KbsError> for Refusal {
    fn from(error: KbsError) -> Self {
        Self::new(400, Kind::ProtocolVersion, error.to_string())
    }
}

impl From<Unavailable> for Refusal {
    fn from(error: Unavailable) -> Self {
        match error {
            Unavailable::Busy(seconds) => Self::busy(seconds),
            Unavailable::Failed(why) => Self::failed(why),
        }
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        let Refusal { status, kind, detail, retry_after, failure, decisions } = refusal;
        // Values of evidence and names of resources are in it, and it goes to a guest's console and
        // to the operator's log.
        let detail = casemate_foreign_text::line(detail).to_string();
        let failure = failure.map(|why| casemate_foreign_text::line(why).to_string());
        let body = ErrorInformation::new(kind, &detail).to_json();
        let told = Told { decisions, event: Event::Refused { detail, failure } };
        let answer = Self { status, headers: Vec::new(), body: body.into_bytes(), told };
        // Every 401 says how one authenticates (RFC 9110, section 15.5.2).
        match (status, retry_after) {
            (401, _) => answer.with("WWW-Authenticate", "Bearer".to_owned()),
            (_, Some(seconds)) => answer.with("Retry-After", seconds.to_string()),
            (_, None) => answer,
        }
    }
}
