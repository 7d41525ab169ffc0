//! A MODEL of the AMD security processor, in software: launches, guest messages, reports,
//! certificates.
//!
//! It proves nothing about hardware and says so: MODEL stands in every name of its certificates,
//! and verifiers refuse them unless told to accept that root. It exists so that everything above
//! the firmware can be run and tested where there is no SEV-SNP. Bytes come in, bytes go out; the
//! module does no I/O.
//!
//! - [`ModelRoot`]: the root key and the signing key of a make-believe generation.
//! - [`Processor`]: one chip with its TCB, its VCEK and, if wanted, a VLEK.
//! - [`Guest`]: the context of one guest, from launch to guest messages.
//!
//! Source: SEV-SNP firmware ABI (AMD 56860). Limits: no migration, no VM export, no page swap;
//! derived keys are stable for one processor but derived by this model's own rule.

mod guest;
mod guest_state;
mod message;
mod processor;
mod random;
mod request;
mod root;
mod rsa;
mod status;
mod x509;

pub use guest::{Finish, Guest};
pub use guest_state::GuestState;
pub use message::{Header, MESSAGE_SIZE, MessageType, open, seal};
pub use processor::{Config, Processor};
pub use request::{KeyRequest, ReportRequest};
pub use root::{ModelRoot, Signer};
pub use status::Status;
pub use x509::{Template, vek_extensions};

/// Why the model cannot be set up. Not a firmware status: those are [`Status`].
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    Random,
    /// A key that its library refuses, with what it says.
    #[error("key refused: {0}")]
    Key(String),
    /// A stored state that is none, with what is wrong.
    #[error("stored model state: {0}")]
    State(String),
}
