//! Why something is not done, and what containerd is told of it.

use casemate_agent::{AgentError, Code, Refusal};
use casemate_foreign_text::line;
use containerd_shim_protos::ttrpc;
use std::path::Path;

/// Something is not done. What it says reaches whoever asked for the pod, by `ctr`'s error or the
/// pod's events.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// How the program was called.
    #[error("{0}")]
    Use(String),
    /// The pod cannot be one: what it asks for a guest cannot have, or nothing binds it.
    #[error("casemate: {0}")]
    Pod(String),
    /// The guest refuses.
    #[error("casemate: the guest refuses: {0}")]
    Refused(#[from] Refusal),
    /// No such container or process, or it has ended.
    #[error("casemate: {0}")]
    NotFound(String),
    /// It is there already.
    #[error("casemate: {0} is there already")]
    Exists(String),
    /// What a guest cannot do.
    #[error("casemate: {0}")]
    Unimplemented(&'static str),
    /// The guest is gone, or says what is no answer.
    #[error("casemate: the guest: {0}")]
    Guest(String),
    /// The system could not do it.
    #[error("casemate: {what}: {error}")]
    System {
        /// What was to be done.
        what: String,
        /// Why it could not.
        error: std::io::Error,
    },
}

impl RuntimeError {
    /// What failed on which path.
    pub(crate) fn at(what: &str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let what = format!("{what} {}", path.display());
        move |error| Self::System { what, error }
    }

    /// What failed.
    pub(crate) fn of(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |error| Self::System { what, error }
    }

    const fn code(&self) -> ttrpc::Code {
        match self {
            Self::Use(_) => ttrpc::Code::INVALID_ARGUMENT,
            Self::Pod(_) => ttrpc::Code::FAILED_PRECONDITION,
            Self::NotFound(_) => ttrpc::Code::NOT_FOUND,
            Self::Exists(_) => ttrpc::Code::ALREADY_EXISTS,
            Self::Unimplemented(_) => ttrpc::Code::UNIMPLEMENTED,
            Self::Guest(_) | Self::System { .. } => ttrpc::Code::INTERNAL,
            Self::Refused(refusal) => match refusal.code {
                // containerd passes over these: what is to be killed or deleted has ended.
                Code::NotFound => ttrpc::Code::NOT_FOUND,
                Code::Again => ttrpc::Code::ALREADY_EXISTS,
                Code::Bounds => ttrpc::Code::RESOURCE_EXHAUSTED,
                _ => ttrpc::Code::FAILED_PRECONDITION,
            },
        }
    }
}

impl From<AgentError> for RuntimeError {
    fn from(error: AgentError) -> Self {
        Self::Guest(error.to_string())
    }
}

impl From<RuntimeError> for ttrpc::Error {
    fn from(error: RuntimeError) -> Self {
        // Parts of it are containerd's own or the guest's: escaped, bounded, one line.
        Self::RpcStatus(ttrpc::get_status(error.code(), line(&error).to_string()))
    }
}
