//! The broker: one request, one answer.

use crate::answer::{Answer, Call, Event, Refusal};
use crate::config::{Basis, Config};
use crate::stores::Stores;
use crate::{attest, challenge, release};
use casemate_kbs::{
    Challenge, KbsError, MAX_BODY, Request, Route, bearer, session_cookie, set_cookie,
};

/// A broker.
#[derive(Debug)]
pub struct Broker(Basis);

impl Broker {
    /// The longest body that is read. A carrier that finds a longer one announced need not read it.
    pub const MAX_BODY: usize = MAX_BODY;

    /// A broker of this configuration.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self(Basis::from(config))
    }

    /// Answers a request at a time, in seconds since 1970.
    #[must_use]
    pub fn answer(&self, call: &Call<'_>, now: u64, stores: &Stores<'_>) -> Answer {
        self.try_answer(call, now, stores).unwrap_or_else(Answer::from)
    }

    fn try_answer(
        &self,
        call: &Call<'_>,
        now: u64,
        stores: &Stores<'_>,
    ) -> Result<Answer, Refusal> {
        let route = Route::read(call.path).map_err(|e| Refusal::no_such_path(e.to_string()))?;
        match (call.method, route) {
            ("POST", Route::Auth) => self.challenge(call.body, now, stores),
            ("POST", Route::Attest) => {
                let cookie = cookie(call)?;
                let cookie = cookie.ok_or(Refusal::attest_first("ask for a challenge first"))?;
                // A session is as old as its challenge, so one that had ended is not begun.
                let lifetime = self.0.lifetimes.challenge.min(self.0.lifetimes.session);
                let challenge = challenge::take(&self.0.key, cookie, now, lifetime)?;
                // Looked at when the cookie holds: reading evidence is the dearer part.
                attest::attest(&self.0, &challenge, call.body, now, stores)
            }
            ("GET", Route::Resource(resource)) => {
                let token = credential(call)?;
                let token = token.ok_or(Refusal::attest_first("there is no session"))?;
                release::release(&self.0, token, &resource, now, stores)
            }
            (_, Route::Auth | Route::Attest) => {
                Err(Refusal::no_such_path("challenges and sessions are asked for by POST"))
            }
            // Trustee's administrators write secrets by POST. Here nobody does over this protocol.
            (_, Route::Resource(_)) => {
                Err(Refusal::no_such_path("secrets can only be asked for here, by GET"))
            }
        }
    }

    fn challenge(&self, body: &[u8], now: u64, stores: &Stores<'_>) -> Result<Answer, Refusal> {
        Request::read(body)?;
        let (challenge, cookie) = challenge::give(&self.0.key, now, stores.entropy)?;
        let body = Challenge { nonce: challenge.nonce }.to_json();
        let cookie = set_cookie(&cookie, self.0.lifetimes.challenge);
        Ok(Answer::given(body, Event::Challenged).with("Set-Cookie", cookie))
    }
}

fn cookie<'a>(call: &Call<'a>) -> Result<Option<&'a str>, KbsError> {
    call.cookie.map_or(Ok(None), session_cookie)
}

/// The cookie, or else the token. A cookie that does not hold is not passed over for a token that
/// does: as for Trustee, the cookie is what the client means.
fn credential<'a>(call: &Call<'a>) -> Result<Option<&'a str>, KbsError> {
    match cookie(call)? {
        Some(cookie) => Ok(Some(cookie)),
        None => call.authorization.map(bearer).transpose(),
    }
}
