//! Why a device process cannot be talked to.

use super::request::Request;
use std::io;

/// What is wrong with a back end. Nothing that it sent is in here but numbers.
#[derive(Debug, thiserror::Error)]
pub enum BackEndError {
    /// Its end of the socket is gone, and with it most likely the process.
    #[error("it closed its socket")]
    Closed,
    /// It hangs, or is slower than anybody waits.
    #[error("it did not answer {0} in time")]
    Silent(Request),
    /// Its answer is that it will not.
    #[error("it refused {0}")]
    Refused(Request),
    /// It does not keep to the protocol.
    #[error("{what} in its answer to {request}")]
    Breach {
        /// What it was asked.
        request: Request,
        /// How it differs from what was asked.
        what: &'static str,
    },
    /// It speaks without being asked.
    #[error("it sent what nobody asked for")]
    Unasked,
    /// It cannot do what is needed of every back end.
    #[error("it does not offer {0}")]
    Lacks(&'static str),
    /// It is no device of the kind that it is to be.
    #[error("its configuration is that of another kind of device")]
    OtherKind,
    /// It has too few queues.
    #[error("it has {has} queues, not {wanted}")]
    Queues {
        /// As many as it says.
        has: u64,
        /// As many as are to be.
        wanted: u16,
    },
    /// The kernel refuses to send or receive.
    #[error("{request} cannot be sent or answered: {source}")]
    Socket {
        /// What it was to be asked.
        request: Request,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}
