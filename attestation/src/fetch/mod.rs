//! Asking a key server for certificates and revocation lists.
//!
//! Principle: only when asked, one thing at a time, and politely. The server is no authority: what
//! it sends is parsed and kept like any file, and verified when it is used. AMD's server allows a
//! chip about one request in ten seconds and answers 429 beyond that, so a refusal is followed by a
//! wait: what the server says in `Retry-After`, else twice the wait before. Limit: answers of at
//! most 256 KiB, no redirects, 30 seconds for one request.

mod supply;

pub use supply::{Fetched, SupplyError, supply};

use crate::kds::KEY_SERVER;
use std::io::Read;
use std::time::Duration;

/// Longest answer in bytes; certificates and lists are much smaller.
const MAX_ANSWER: u64 = 256 * 1024;
/// One request, from the look-up of the name to the last byte.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How long to wait after a refusal, and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackOff {
    /// Requests in all, the first included.
    pub tries: u32,
    /// The wait after the first refusal that does not say one; twice as long after each further
    /// one.
    pub first: Duration,
    /// The longest wait, whatever the server says.
    pub longest: Duration,
}
/// What keeps the requests to the server polite.
impl Default for BackOff {
    fn default() -> Self {
        Self { tries: 5, first: Duration::from_secs(10), longest: Duration::from_secs(120) }
    }
}

/// Why something could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The server does not have it.
    #[error("{url}: the key server has no such thing (404): check chip and TCB of the report")]
    Missing {
        /// The address that was asked.
        url: String,
    },
    /// The server refused, to the end.
    #[error("{url}: refused with status {status} after {tries} tries; try again later")]
    Refused {
        /// The address that was asked.
        url: String,
        /// The last HTTP status.
        status: u16,
        /// Requests made, the first included.
        tries: u32,
    },
    /// The server cannot be reached, to the end, or its answer was cut off.
    #[error("{url}: {why}")]
    Unreachable {
        /// The address that was asked.
        url: String,
        /// What failed, in the words of the HTTP client.
        why: String,
    },
    /// The answer is larger than 256 KiB.
    #[error("{url}: the answer is larger than 256 KiB")]
    TooLong {
        /// The address that was asked.
        url: String,
    },
}

/// Asks one key server.
#[derive(Debug)]
pub struct Fetcher {
    agent: ureq::Agent,
    base: String,
    back_off: BackOff,
    wait: fn(Duration),
}

/// What one request came to.
enum Answer {
    Bytes(Vec<u8>),
    /// Try again after this time, when the server said one.
    Later(Option<Duration>, FetchError),
    Never(FetchError),
}

impl Fetcher {
    /// Asks the server at `base`, such as `http://127.0.0.1:8080`; AMD's when there is none.
    #[must_use]
    pub fn new(base: Option<&str>) -> Self {
        // The time limit is on the whole of a request: a server that sends a byte a minute keeps
        // nobody waiting. Redirects are not followed, as the server that was named is the one to
        // ask; the status codes are told apart below.
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .user_agent(concat!("casemate/", env!("CARGO_PKG_VERSION")))
            .build();
        Self {
            agent: config.into(),
            base: base.unwrap_or(KEY_SERVER).trim_end_matches('/').to_owned(),
            back_off: BackOff::default(),
            wait: std::thread::sleep,
        }
    }

    /// With other waits; `wait` does the waiting.
    #[must_use]
    pub fn with_back_off(mut self, back_off: BackOff, wait: fn(Duration)) -> Self {
        self.back_off = back_off;
        self.wait = wait;
        self
    }

    /// The whole address of a path.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// Fetches a path, waiting and trying again when the server is busy or cannot be reached.
    ///
    /// # Errors
    /// [`FetchError`] with the address and what to do.
    pub fn get(&self, path: &str) -> Result<Vec<u8>, FetchError> {
        let url = self.url(path);
        let mut pause = self.back_off.first;
        for tries in 1.. {
            let (said, error) = match self.once(&url, tries) {
                Answer::Bytes(bytes) => return Ok(bytes),
                Answer::Never(error) => return Err(error),
                Answer::Later(said, error) => (said, error),
            };
            if tries >= self.back_off.tries {
                return Err(error);
            }
            // What the server asked for counts more than our own doubling, but never more than the
            // longest wait: its answer is not trusted to stop the program.
            (self.wait)(said.unwrap_or(pause).min(self.back_off.longest));
            pause = pause.saturating_mul(2);
        }
        Err(FetchError::Unreachable { url, why: "no request was allowed".to_owned() })
    }

    fn once(&self, url: &str, tries: u32) -> Answer {
        let unreachable = |why: String| FetchError::Unreachable { url: url.to_owned(), why };
        // An address that is none will not become one; all else that keeps a request from being
        // answered may pass.
        let mut response = match self.agent.get(url).call() {
            Ok(response) => response,
            Err(error @ (ureq::Error::BadUri(_) | ureq::Error::RequireHttpsOnly(_))) => {
                return Answer::Never(unreachable(error.to_string()));
            }
            Err(error) => return Answer::Later(None, unreachable(error.to_string())),
        };
        let url = url.to_owned();
        match response.status().as_u16() {
            200 => {
                let mut bytes = Vec::new();
                let body = response.body_mut().as_reader();
                // One byte more than is allowed, to tell an answer of exactly the limit from a
                // longer one.
                match body.take(MAX_ANSWER.saturating_add(1)).read_to_end(&mut bytes) {
                    Err(error) => Answer::Later(None, unreachable(error.to_string())),
                    Ok(_) if u64::try_from(bytes.len()).is_ok_and(|n| n <= MAX_ANSWER) => {
                        Answer::Bytes(bytes)
                    }
                    Ok(_) => Answer::Never(FetchError::TooLong { url }),
                }
            }
            404 => Answer::Never(FetchError::Missing { url }),
            // 429 is what AMD's server answers to a chip that asks too often. `Retry-After` in
            // seconds only: the form with a date (RFC 9110, 10.2.3) counts as not given.
            status @ (429 | 500..=599) => {
                let said = response.headers().get("retry-after");
                let seconds = said.and_then(|value| value.to_str().ok()?.trim().parse().ok());
                let error = FetchError::Refused { url, status, tries };
                Answer::Later(seconds.map(Duration::from_secs), error)
            }
            status => Answer::Never(FetchError::Refused { url, status, tries }),
        }
    }
}
