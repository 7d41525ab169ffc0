//! Why a text is no manifest.

use crate::{MAX_SIZE, VERSION};

/// Why a text is no manifest, or a manifest no text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PodError {
    /// Longer than [`MAX_SIZE`].
    #[error("a pod's manifest of {0} bytes, more than {MAX_SIZE}")]
    TooLong(usize),
    /// Not TOML, or with another key or type of value; by what the reader says.
    #[error("the pod's manifest: {0}")]
    Shape(String),
    /// Of another version.
    #[error("the pod's manifest is of version {0}, and this is a reader of version {VERSION}")]
    Version(u32),
    /// A value that no guest can start with.
    #[error("the pod's manifest: {place} {why}")]
    Value {
        /// Where, made fit to be shown.
        place: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Right in all it says, but not in its one spelling.
    #[error(
        "the pod's manifest is not in its one spelling: it was not written by `casemate pod \
         manifest`, or changed since"
    )]
    Spelling,
}

impl PodError {
    /// A value that is wrong, at a place whose text may be foreign.
    pub(crate) fn value(place: impl AsRef<str>, why: &'static str) -> Self {
        let place = casemate_foreign_text::line(place.as_ref()).at_most(160).to_string();
        Self::Value { place, why }
    }
}
