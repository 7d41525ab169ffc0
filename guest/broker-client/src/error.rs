//! Why a guest has not got its secrets.

use casemate_kbs::KbsError;

/// Why a guest has not got its secrets. Text of the broker's in it is escaped and bounded.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody there, or gone in the middle.
    #[error("the broker cannot be reached: {0}")]
    Unreachable(std::io::Error),
    /// It took longer than it may.
    #[error("the broker takes too long")]
    TooLong,
    /// Whoever answers does not hold a key that the image names.
    #[error("whoever answers has another public key than the image names: its SHA-256 is {0}")]
    WrongKey(String),
    /// No TLS 1.3 with us.
    #[error("no connection by TLS 1.3 with the broker: {0}")]
    Tls(rustls::Error),
    /// An answer that is none of HTTP/1.1's, or longer than it may be.
    #[error("the broker's answer is not one: {0}")]
    Http(&'static str),
    /// An answer that is none of the protocol's.
    #[error("the broker's answer is not one: {0}")]
    Protocol(#[from] KbsError),
    /// No evidence was to be had.
    #[error("no report of the security processor: {0}")]
    NoReport(std::io::Error),
    /// The broker does not believe what the guest proves.
    #[error("the broker does not believe this guest: {0}")]
    NotProven(String),
    /// The broker's policy says no.
    #[error("the broker refuses {resource}: {why}")]
    Denied {
        /// The secret's name.
        resource: String,
        /// What the broker says.
        why: String,
    },
    /// There is no such secret.
    #[error("the broker has no secret {0}")]
    NoSecret(String),
    /// A secret that is not sealed to this guest's key.
    #[error("what came as {0} is sealed to another key, or was altered")]
    NotSealedToUs(String),
    /// It is busy, also when it was asked again.
    #[error("the broker has too much to do")]
    Busy,
    /// It failed.
    #[error("the broker failed: status {status}, {why}")]
    Failed {
        /// The HTTP status.
        status: u16,
        /// What it says.
        why: String,
    },
    /// Its time is before the least that it can be, or none that a clock can be set to.
    #[error(
        "the broker's time is before the time that the image was made at, or none that a clock has"
    )]
    Clock,
    /// No random numbers.
    #[error("the kernel gives no random numbers")]
    Random,
}
