//! Why something is not of the protocol.

/// The part of the protocol that is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// The body of `POST /kbs/v0/auth`.
    Request,
    /// The answer to it.
    Challenge,
    /// The body of `POST /kbs/v0/attest`.
    Attestation,
    /// The answer to it.
    Token,
    /// The key that secrets are sealed to.
    TeePubKey,
    /// A nonce.
    Nonce,
    /// A sealed resource.
    Sealed,
    /// A refusal.
    Refusal,
    /// A path of a request, or the name of a resource.
    Path,
    /// A header of a request or an answer.
    Header,
}

impl What {
    /// The name in messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Request => "request for a challenge",
            Self::Challenge => "challenge",
            Self::Attestation => "attestation",
            Self::Token => "token",
            Self::TeePubKey => "tee-pubkey",
            Self::Nonce => "nonce",
            Self::Sealed => "sealed resource",
            Self::Refusal => "refusal",
            Self::Path => "path",
            Self::Header => "header",
        }
    }
}

impl std::fmt::Display for What {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Why something is not of the protocol: which part, and what is wrong with it. Text of the other
/// side in it is escaped and bounded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KbsError {
    /// More bytes than are read.
    #[error("{what}: {found} bytes, more than {most}")]
    TooLong {
        /// The part.
        what: What,
        /// Its bytes.
        found: usize,
        /// Those that are read.
        most: usize,
    },
    /// Lists and objects nested deeper than anything of the protocol.
    #[error("{what}: JSON of more than {most} levels")]
    TooDeep {
        /// The part.
        what: What,
        /// The levels that are read.
        most: usize,
    },
    /// Not JSON, or not of the members that it has.
    #[error("{what}: {why}")]
    Json {
        /// The part.
        what: What,
        /// What the JSON reader says.
        why: String,
    },
    /// A value that the protocol does not have, or that is not served here.
    #[error("{what}: {why}")]
    Value {
        /// The part.
        what: What,
        /// What is wrong, as a phrase.
        why: &'static str,
    },
    /// Another version of the protocol.
    #[error("protocol version {0}, and only 0.4.0 is spoken here")]
    Version(String),
    /// Another technology than SEV-SNP.
    #[error("tee {0}: only evidence of `snp` is taken{1}")]
    Tee(String, &'static str),
}

impl KbsError {
    pub(crate) const fn value(what: What, why: &'static str) -> Self {
        Self::Value { what, why }
    }
}
