//! The guest's side of the key broker protocol of Trustee, version 0.4.0: how PID 1 gets the
//! secrets that its image names.
//!
//! [`Session`] is what is asked, and in which order: a challenge, a proof, a secret after the
//! other. It does no input and output and has no clock, so that every order of answers can be
//! tried. [`Answer`] reads what comes back over HTTP/1.1, [`pinned`] is TLS 1.3 to a broker that
//! is known by the hash of its public key and by nothing else, and [`fetch`] joins the three over
//! any connection.
//!
//! The broker is whoever holds the pinned key; the way to it is the host's. So nothing is believed
//! before the handshake, every wait has a bound, and what a broker says is read within bounds,
//! too: it may be one that was taken over.
#![forbid(unsafe_code)]

mod connection;
mod date;
mod error;
mod http;
mod session;
mod tls;

pub use connection::{Around, Bounds, Connect, fetch};
pub use date::seconds_of as seconds_of_date;
pub use error::ClientError;
pub use http::{Answer, Reader, Request};
pub use session::{Next, Session};
pub use tls::{hash_of_key, pinned};
