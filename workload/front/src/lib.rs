//! The network side of a key broker: TLS 1.3 and HTTP/1.1 as a locked process.
//!
//! It holds no key and decides nothing. Whole requests go to the keeper, and its answers back; the
//! one signature of a handshake is the keeper's, too. So whoever takes this process over can ask
//! the keeper what the network could have asked, and can be the broker for as long as it has it,
//! and no longer.
#![forbid(unsafe_code)]

mod connection;
mod crowd;
mod error;
mod front;
pub mod http;
mod limits;
mod link;
mod peers;
mod plan;
pub mod process;
pub mod profile;
mod signer;
mod socket;
mod spawn;
mod tls;
mod wait;

pub use error::{MAX_CHAIN, MAX_CHAIN_BYTES, MAX_LISTENERS, PlanError};
pub use front::{Front, FrontError, Sockets};
pub use limits::{Limits, MAX_CALLS, MAX_CONNECTIONS, SLOWEST};
pub use plan::{Listener, Plan, Scheme};
pub use profile::layers;
pub use spawn::{Descriptors, StartError, spawn};
