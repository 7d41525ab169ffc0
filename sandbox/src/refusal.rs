//! A call that the kernel refused: which one, and why.

use std::io;

/// The kernel refused a call that a layer needs.
#[derive(Debug, thiserror::Error)]
#[error("{call}: {source}")]
pub(super) struct Refusal {
    pub(super) call: String,
    #[source]
    pub(super) source: io::Error,
}

impl Refusal {
    pub(super) fn new(call: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self { call: call.into(), source: source.into() }
    }

    /// The call that has just failed.
    pub(super) fn last(call: impl Into<String>) -> Self {
        Self::new(call, io::Error::last_os_error())
    }
}

/// Names the call in an error.
pub(super) fn refused<E: Into<io::Error>>(call: &'static str) -> impl FnOnce(E) -> Refusal {
    move |source| Refusal::new(call, source)
}
