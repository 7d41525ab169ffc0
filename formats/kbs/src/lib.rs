//! The key broker protocol of Trustee, version 0.4.0, as both its sides see it.
//!
//! A guest asks for a challenge ([`Request`], answered by [`Challenge`]), proves what it is
//! ([`Attestation`], answered by a [`TokenAnswer`]), and asks for secrets by [`Resource`], each
//! of which comes back as a [`Sealed`] to the guest's [`TeePubKey`]. A refusal is an
//! [`ErrorInformation`].
//!
//! Decoders and encoders, without input and output and without a clock: a broker, a guest's
//! PID 1 and the fuzzer have the same ones. All that comes in is read once, within a bound, into
//! typed values; the order of members and their spelling in JSON make no difference.
//!
//! What is not of the protocol is refused, but for what real guests and brokers send, or leave out,
//! and nothing follows from: the value of `extra-params` in both directions, `init-data` that is
//! not there, cookies of other names, and what stands behind a cookie's value in `Set-Cookie`.
#![forbid(unsafe_code)]

mod attest;
mod auth;
mod cookie;
mod error;
mod jwe;
mod key;
mod read;
mod refusal;
mod resource;
mod snp;

pub use attest::{Attestation, InitData, RuntimeData, TokenAnswer};
pub use auth::{Challenge, Nonce, Request, Tee, VERSION};
pub use cookie::{
    MAX_CREDENTIAL, MAX_HEADER, bearer, bearer_header, cookie_header, session_cookie, set_cookie,
    set_cookie_session,
};
pub use error::{KbsError, What};
pub use jwe::{Draws, MAX_SECRET, OpenError, Sealed};
pub use key::{SessionKey, TeePubKey};
pub use read::{MAX_BODY, MAX_DEPTH};
pub use refusal::{ErrorInformation, Kind};
pub use resource::{MAX_PATH, Resource, Route};
pub use snp::snp_evidence;
