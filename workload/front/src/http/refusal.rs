//! Why a request is answered without asking the keeper.

use casemate_kbs::{ErrorInformation, Kind};

/// Why a request is answered without asking the keeper. The connection ends with it: where the next
/// request would begin is not known, or not worth waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// 400 and up.
    pub status: u16,
    /// What is wrong and what would do, as one plain line.
    pub detail: &'static str,
    /// Its request was one of `HEAD`, whose answer has no body (RFC 9110, section 9.3.2).
    pub bodiless: bool,
    /// After how many seconds to ask again.
    pub retry_after: Option<u32>,
}

impl Refusal {
    pub(crate) const fn new(status: u16, detail: &'static str) -> Self {
        Self { status, detail, bodiless: false, retry_after: None }
    }

    /// The request did not come to its end in time.
    pub const TOO_SLOW: Self = Self::new(408, "the request took too long to arrive");

    /// Nobody is there in time to answer.
    pub const BUSY: Self = Self {
        retry_after: Some(5),
        ..Self::new(503, "the broker is busy: ask again in some seconds")
    };

    /// Somebody asks too often.
    #[must_use]
    pub const fn too_often(seconds: u32) -> Self {
        let refusal = Self::new(429, "too many requests from this address: ask again later");
        Self { retry_after: Some(seconds), ..refusal }
    }

    /// The body that clients of the key broker protocol read.
    pub(crate) fn body(&self) -> String {
        let kind = match self.status {
            429 => Kind::RateLimited,
            405 | 414 => Kind::InvalidRequestPath,
            500.. => Kind::PluginInternalError,
            _ => Kind::ProtocolVersion,
        };
        ErrorInformation::new(kind, self.detail).to_json()
    }
}
