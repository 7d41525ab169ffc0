//! Sessions that nobody has to remember: a token says what was proven, and by whom.
//!
//! A JSON Web Token (RFC 7519) with a MAC of the broker's key. It goes out as the token of the
//! protocol and, again, as the cookie's new value: the real client comes back with the cookie. It
//! is for this broker alone: nobody else can check it, and of it the real client reads only when it
//! ends.

use crate::answer::Refusal;
use crate::key::BrokerKey;
use crate::stores::SessionId;
use base64ct::{Base64UrlUnpadded, Encoding};
use casemate_kbs::{MAX_CREDENTIAL, TeePubKey};
use casemate_policy::fields::GRANT_FIELDS;
use casemate_policy::{Facts, Input};
use ring::hmac;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The only header that is written, and the only one that is taken.
const HEADER: &str = "{\"alg\":\"HS256\",\"typ\":\"JWT\"}";
const ISSUER: &str = "casemate";

/// A session: who, since when, and what was proven.
pub(crate) struct Session {
    /// The key that was attested.
    pub(crate) key: TeePubKey,
    /// When its challenge was given, in seconds since 1970.
    pub(crate) since: u64,
    /// When it ends.
    pub(crate) until: u64,
    /// Whether the policy's section `attestation` admits the report.
    pub(crate) admitted: bool,
    /// What the report says, as far as grants ask for it.
    pub(crate) facts: Facts,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Claims {
    iss: String,
    iat: u64,
    exp: u64,
    /// SHA-256 of the policy that admitted it, in base64url.
    policy: String,
    admitted: bool,
    tee_pubkey: Box<RawValue>,
    facts: Box<RawValue>,
}

impl Session {
    /// The facts that grants can ask a report for, out of all that it says.
    pub(crate) fn facts_for_grants(all: &Facts) -> Facts {
        let mut facts = Facts::new();
        for (key, fact) in all.iter() {
            if GRANT_FIELDS.iter().any(|field| field.key == key) {
                facts.set(key, fact.clone());
            }
        }
        facts
    }

    pub(crate) fn id(&self) -> SessionId {
        SessionId(self.key.thumbprint())
    }

    /// The token.
    pub(crate) fn token(&self, key: &BrokerKey, policy: &[u8; 32]) -> Result<String, Refusal> {
        let facts = Input { point: None, facts: self.facts.clone() }.to_json();
        let raw = |json: String| RawValue::from_string(json).map_err(|e| unwritable(&e));
        let claims = Claims {
            iss: ISSUER.to_owned(),
            iat: self.since,
            exp: self.until,
            policy: Base64UrlUnpadded::encode_string(policy),
            admitted: self.admitted,
            tee_pubkey: raw(self.key.to_json())?,
            facts: raw(facts)?,
        };
        let claims = serde_json::to_vec(&claims).map_err(|error| unwritable(&error))?;
        let text = Base64UrlUnpadded::encode_string;
        let signed = format!("{}.{}", text(HEADER.as_bytes()), text(&claims));
        let mac = hmac::sign(&key.sessions, signed.as_bytes());
        let token = format!("{signed}.{}", text(mac.as_ref()));
        if token.len() > MAX_CREDENTIAL {
            return Err(Refusal::failed("a session's token is longer than a cookie can be"));
        }
        Ok(token)
    }

    /// The session of a token, if it was made here, under this policy, and lasts still.
    pub(crate) fn read(
        token: &str,
        key: &BrokerKey,
        policy: &[u8; 32],
        now: u64,
    ) -> Result<Self, Refusal> {
        let none = || Refusal::attest_first("the token is of no session of this broker");
        // The MAC first, over the text as it came; nothing in it is looked at before.
        let (signed, mac) = token.rsplit_once('.').ok_or_else(none)?;
        let mac = Base64UrlUnpadded::decode_vec(mac).map_err(|_| none())?;
        hmac::verify(&key.sessions, signed.as_bytes(), &mac).map_err(|_| none())?;
        let (header, claims) = signed.split_once('.').ok_or_else(none)?;
        if header != Base64UrlUnpadded::encode_string(HEADER.as_bytes()) {
            return Err(none());
        }
        // From here on it is our own word, of this version or an earlier one.
        let claims = Base64UrlUnpadded::decode_vec(claims).map_err(|_| none())?;
        let claims: Claims = serde_json::from_slice(&claims).map_err(|_| none())?;
        if claims.iss != ISSUER {
            return Err(none());
        }
        if !(claims.iat..claims.exp).contains(&now) {
            return Err(Refusal::attest_first("the session is over"));
        }
        // What another policy's section `attestation` said is nothing that this one's grants may
        // rest on. The real client attests again by itself.
        if claims.policy != Base64UrlUnpadded::encode_string(policy) {
            return Err(Refusal::attest_first("the policy is another one than the session's"));
        }
        let input = Input::load(claims.facts.get(), "session").map_err(|_| none())?;
        Ok(Self {
            key: TeePubKey::read(claims.tee_pubkey.get().as_bytes()).map_err(|_| none())?,
            since: claims.iat,
            until: claims.exp,
            admitted: claims.admitted,
            facts: input.facts,
        })
    }
}

fn unwritable(error: &serde_json::Error) -> Refusal {
    Refusal::failed(format!("a session's token cannot be written: {error}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use casemate_kbs::SessionKey;
    use casemate_policy::Key;
    use proptest::prelude::*;

    fn kept(facts: &Facts) -> Session {
        let key = SessionKey::new(&[3; 32]).unwrap().public();
        let facts = Session::facts_for_grants(facts);
        Session { key, since: 10, until: 20, admitted: true, facts }
    }

    proptest! {
        /// A fact that came back as another, or not at all, would be decided on as what it is not.
        /// Cannot tell that grants ask for the right facts: the table of the policy's fields does.
        #[test]
        fn what_a_report_says_comes_back_from_a_token_as_it_was(
            bytes in any::<[u8; 48]>(), host_data in any::<[u8; 32]>(), image in any::<[u8; 16]>(),
            svn in any::<u32>(), vmpl in 0u64..=u64::from(u32::MAX),
            generation in "milan|genoa|turin|venice|of-tomorrow", signer in "vcek|vlek|of-tomorrow",
            context in "\\PC{0,20}",
        ) {
            let all = Facts::new()
                .bytes(Key::ReportMeasurement, &bytes)
                .bytes(Key::ReportIdKey, &bytes)
                .bytes(Key::ReportHostData, &host_data)
                .bytes(Key::ReportImage, &image)
                .number(Key::ReportGuestSvn, svn.into())
                .number(Key::ReportVmpl, vmpl)
                .text(Key::ReportGeneration, &generation)
                .text(Key::ReportSigner, &signer)
                .text(Key::ReportContext, &context)
                .number(Key::ReportVersion, 5);
            let session = kept(&all);
            let (key, policy) = (BrokerKey::new(&[7; 32]), [9; 32]);
            let token = session.token(&key, &policy).unwrap();
            let back = Session::read(&token, &key, &policy, 15).unwrap();
            prop_assert_eq!(&back.facts, &session.facts);
            prop_assert_eq!(back.facts.get(Key::ReportVersion), None);
            prop_assert_eq!(back.facts.iter().count(), all.iter().count() - 1);
            prop_assert_eq!(back.key, session.key);
            prop_assert_eq!((back.since, back.until, back.admitted), (10, 20, true));
        }
    }
}
