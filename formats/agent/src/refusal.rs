//! Refusals: what is not done, and why.

use crate::error::AgentError;
use crate::fields::{Field, Unread};

/// Longest sentence, in bytes: it becomes a line of an event that an operator reads.
pub const MAX_SENTENCE: usize = 1024;

/// The kind of a refusal, for programs; people read its sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Code {
    /// The other end speaks another version.
    Version,
    /// Bytes that are no message.
    Malformed,
    /// A message that does not belong here: before the pod was bound, or after its end began.
    State,
    /// Initdata is not what the guest was launched with, or has no manifest.
    Initdata,
    /// The manifest cannot be read, or asks for what this guest does not have.
    Manifest,
    /// The manifest names no such container, command or signal.
    Unlisted,
    /// A container before one that must come first.
    Order,
    /// The host asks for something else than the manifest says.
    Differs,
    /// A second start.
    Again,
    /// No such container or process, or it has ended.
    NotFound,
    /// More than there is room for.
    Bounds,
    /// It was allowed, and the system could not do it.
    Failed,
}

const CODES: [Code; 12] = [
    Code::Version,
    Code::Malformed,
    Code::State,
    Code::Initdata,
    Code::Manifest,
    Code::Unlisted,
    Code::Order,
    Code::Differs,
    Code::Again,
    Code::NotFound,
    Code::Bounds,
    Code::Failed,
];

impl Code {
    /// The word for it, as it stands in front of a sentence.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Version => "version",
            Self::Malformed => "malformed",
            Self::State => "state",
            Self::Initdata => "initdata",
            Self::Manifest => "manifest",
            Self::Unlisted => "unlisted",
            Self::Order => "order",
            Self::Differs => "differs",
            Self::Again => "again",
            Self::NotFound => "not-found",
            Self::Bounds => "bounds",
            Self::Failed => "failed",
        }
    }
}

impl Field for Code {
    fn write(&self, out: &mut Vec<u8>) {
        let at = CODES.iter().position(|code| code == self);
        out.push(at.and_then(|at| u8::try_from(at).ok()).unwrap_or(u8::MAX));
    }

    fn read(unread: &mut Unread<'_>) -> Result<Self, AgentError> {
        let number = u8::read(unread)?;
        CODES.get(usize::from(number)).copied().ok_or(AgentError::Value(number.into()))
    }
}

/// Something is not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {sentence}", code.name())]
pub struct Refusal {
    /// Of which kind.
    pub code: Code,
    /// For people: one line, escaped, of at most [`MAX_SENTENCE`] bytes.
    pub sentence: String,
}

impl Refusal {
    /// With a sentence that may have foreign text in it: it is escaped and bounded here.
    #[must_use]
    pub fn new(code: Code, sentence: impl std::fmt::Display) -> Self {
        // A character takes at most 4 bytes: a quarter of them fits, with what says that it was
        // cut.
        let shown = casemate_foreign_text::line(sentence).at_most(MAX_SENTENCE / 4 - 16);
        Self { code, sentence: shown.to_string() }
    }
}
