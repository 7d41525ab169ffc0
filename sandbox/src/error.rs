//! Why a process could not be spawned or locked.

use super::layer::Layer;
use std::io;

/// Why a process could not be spawned, locked or looked at.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The host cannot give a layer that is required.
    #[error("sandbox layer {layer}: {call}: {source}; {}, or name the layer optional", layer.remedy())]
    Layer {
        /// The layer that cannot be had.
        layer: Layer,
        /// The call that failed, and on what.
        call: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A system call outside any layer failed.
    #[error("{call}: {source}")]
    System {
        /// The system call that failed.
        call: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Only a process with one thread can be copied or confined: other threads would escape.
    #[error("the process has {0} threads where it must have one")]
    Threads(u64),
    /// The child ended before it was confined.
    #[error("process {name} ended before it was confined: {exit}")]
    Died {
        /// Its profile's or its own name.
        name: String,
        /// How the process ended, without a word.
        exit: super::Exit,
    },
    /// A process was not started as an image is.
    #[error("this process cannot begin: {0}")]
    Start(&'static str),
    /// The child said something that is not a report.
    #[error("process {0} sent a report that makes no sense")]
    BadReport(String),
    /// A profile is wrong: a flaw of the program.
    #[error("profile {profile}: rule for {syscall}: {what}")]
    Profile {
        /// The profile that the rule is in.
        profile: &'static str,
        /// The rule's system call.
        syscall: &'static str,
        /// What is wrong with the rule.
        what: String,
    },
    /// A profile does not compile to a filter.
    #[error("profile {profile} does not compile: {source}")]
    Compile {
        /// The profile that the rule is in.
        profile: &'static str,
        /// What seccompiler said.
        #[source]
        source: seccompiler::BackendError,
    },
}

impl SandboxError {
    pub(super) fn layer(
        layer: Layer,
        call: impl Into<String>,
        source: impl Into<io::Error>,
    ) -> Self {
        Self::Layer { layer, call: call.into(), source: source.into() }
    }

    pub(super) fn system(call: &'static str, source: impl Into<io::Error>) -> Self {
        Self::System { call, source: source.into() }
    }
}
