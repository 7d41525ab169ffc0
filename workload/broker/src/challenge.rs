//! Challenges that nobody has to remember.
//!
//! The cookie is when and which: the time, 16 random bytes, and a MAC over both. The nonce is
//! another MAC over both. So the broker finds the nonce again from the cookie, and can tell that it
//! gave it out and when; and nobody else can know the nonce of a cookie before it is given.
//!
//! A challenge can be answered more than once while it lasts, which gains nothing: every answer has
//! a report over this nonce and over the key that it opens a session for, and a session's age
//! counts from its challenge, so an answer that is sent again makes nothing younger.

use crate::answer::Refusal;
use crate::key::BrokerKey;
use crate::stores::Entropy;
use base64ct::{Base64UrlUnpadded, Encoding};
use casemate_kbs::Nonce;
use ring::hmac;

/// What tells the cookie of a challenge from a session's token.
const PREFIX: &str = "c1.";
/// Seconds since 1970, big-endian, and random bytes.
const NAMED: usize = 8 + 16;
const MAC: usize = 32;

/// A challenge.
pub(crate) struct Challenge {
    /// When it was given, in seconds since 1970.
    pub(crate) since: u64,
    pub(crate) nonce: Nonce,
}

fn of(key: &BrokerKey, named: &[u8; NAMED]) -> Challenge {
    let (since, _) = named.split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
    let mut nonce = [0; 32];
    nonce.copy_from_slice(hmac::sign(&key.nonces, named).as_ref());
    Challenge { since: u64::from_be_bytes(*since), nonce: Nonce(nonce) }
}

/// A new challenge, and its cookie.
pub(crate) fn give(
    key: &BrokerKey,
    now: u64,
    entropy: &dyn Entropy,
) -> Result<(Challenge, String), Refusal> {
    let mut all = [0; NAMED + MAC];
    let mut named = [0; NAMED];
    if let Some((since, random)) = named.split_first_chunk_mut::<8>() {
        *since = now.to_be_bytes();
        entropy.fill(random)?;
    }
    let mac = hmac::sign(&key.challenges, &named);
    let bytes = named.iter().chain(mac.as_ref());
    all.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    let cookie = format!("{PREFIX}{}", Base64UrlUnpadded::encode_string(&all));
    Ok((of(key, &named), cookie))
}

/// The challenge of a cookie, if it was given here and lasts still.
pub(crate) fn take(
    key: &BrokerKey,
    cookie: &str,
    now: u64,
    lifetime: u64,
) -> Result<Challenge, Refusal> {
    let none = || Refusal::attest_first("the cookie is of no challenge of this broker");
    let text = cookie.strip_prefix(PREFIX).ok_or_else(none)?;
    let mut all = [0; NAMED + MAC];
    let whole = Base64UrlUnpadded::decode(text, &mut all).is_ok_and(|b| b.len() == NAMED + MAC);
    let (named, mac) = all.split_first_chunk::<NAMED>().filter(|_| whole).ok_or_else(none)?;
    hmac::verify(&key.challenges, named, mac).map_err(|_| none())?;
    let challenge = of(key, named);
    // From the future it is a broker's whose clock is not ours, and nothing can be said of its age.
    match now.checked_sub(challenge.since) {
        Some(age) if age < lifetime => Ok(challenge),
        _ => Err(Refusal::attest_first("the challenge is over")),
    }
}
