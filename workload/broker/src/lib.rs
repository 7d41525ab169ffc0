//! A key broker's decisions: what it answers to each request of the key broker protocol 0.4.0.
//!
//! Bytes come in, bytes go out; the clock is given, and so is all that keeps something
//! ([`stores`]): certificates, secrets with their counts, randomness. Nothing here opens a
//! connection or a file.
//!
//! - **No memory of who asked.** A challenge is a text that only the broker's key can have made,
//!   and its nonce follows from that text; a session is a token of the same key with what was
//!   proven. So a flood of requests costs no memory, and brokers with one key are one broker.
//! - **What is proven** is the attestation crate's verdict, with REPORT_DATA of this session, under
//!   the isolation policy's section `attestation`.
//! - **What is released** is that policy's section `secrets`. It is asked before anybody looks
//!   whether a secret is there, and a use is counted in one transaction with taking the secret.
//! - **Secrets are sealed** to the key that was attested: who steals a session's token can make the
//!   broker say the same to the guest again, and can open nothing.
//!
//! Every answer comes with what was decided, as the decision log keeps it. Whoever sends answers
//! writes that first, and sends nothing when it cannot be written.
#![forbid(unsafe_code)]

mod answer;
mod attest;
mod broker;
mod challenge;
mod config;
mod key;
mod release;
mod session;
pub mod stores;

pub use answer::{Answer, Call, Event, Told};
pub use broker::Broker;
pub use config::{Config, Lifetimes};
pub use key::BrokerKey;
