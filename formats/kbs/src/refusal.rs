//! A refusal: `ErrorInformation`, the body of every answer that is not 200.

use crate::read::{self, MAX_BODY};
use crate::{KbsError, What};
use serde::{Deserialize, Serialize};

const TYPES: &str = "https://github.com/confidential-containers/kbs/errors/";

/// Kinds of refusals. Those that Trustee has, too, have its names; it answers nearly all of them
/// with 401.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Evidence, or what came with it, does not hold.
    AttestationError,
    /// No session, or none that counts: attest first.
    TokenNotFound,
    /// The policy says no.
    PolicyDeny,
    /// No such path.
    InvalidRequestPath,
    /// No such resource, or the store of resources failed.
    PluginInternalError,
    /// A body or a header that is not of the protocol.
    ProtocolVersion,
    /// Too much at once.
    RateLimited,
}

impl Kind {
    /// The last part of the type's address.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AttestationError => "AttestationError",
            Self::TokenNotFound => "TokenNotFound",
            Self::PolicyDeny => "PolicyDeny",
            Self::InvalidRequestPath => "InvalidRequestPath",
            Self::PluginInternalError => "PluginInternalError",
            Self::ProtocolVersion => "ProtocolVersion",
            Self::RateLimited => "RateLimited",
        }
    }
}

/// Why a request is refused, for programs and for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErrorInformation {
    /// An address that names the kind of refusal.
    #[serde(rename = "type")]
    pub error_type: String,
    /// The reason. The other side's text, when it is read: print it as such.
    pub detail: String,
}

impl ErrorInformation {
    /// A refusal of this kind.
    #[must_use]
    pub fn new(kind: Kind, detail: &str) -> Self {
        Self { error_type: format!("{TYPES}{}", kind.name()), detail: detail.to_owned() }
    }

    /// Reads the body of a refusal.
    ///
    /// # Errors
    /// [`KbsError`].
    pub fn read(body: &[u8]) -> Result<Self, KbsError> {
        read::json(What::Refusal, body, MAX_BODY)
    }

    /// The body.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::json!({ "type": self.error_type, "detail": self.detail }).to_string()
    }

    /// The name of its kind; none when the address is not one of Trustee's.
    #[must_use]
    pub fn kind_name(&self) -> Option<&str> {
        self.error_type.strip_prefix(TYPES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The longest line of foreign text, each of its characters escaped twice over, is a refusal
    /// that our own guests still read.
    #[test]
    fn the_longest_reason_is_read() {
        for hostile in ["\u{1b}", "\\", "\"", "\u{202e}", "\u{10ffff}", "\0", "x"] {
            let detail = casemate_foreign_text::line(hostile.repeat(100_000)).to_string();
            let refusal = ErrorInformation::new(Kind::PolicyDeny, &detail);
            let read = ErrorInformation::read(refusal.to_json().as_bytes());
            assert_eq!(read, Ok(refusal), "{hostile:?}");
            assert_eq!(read.as_ref().ok().and_then(|r| r.kind_name()), Some("PolicyDeny"));
        }
    }
}
