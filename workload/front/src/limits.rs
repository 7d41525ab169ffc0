//! Within which bounds the network is served.

use crate::error::PlanError;
use std::time::Duration;

/// Bounds of a front. Every one of them is checked by [`Limits::check`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once.
    pub connections: u32,
    /// Of those, of one peer: an IPv4 address, or the 64 bits of an IPv6 address that a network
    /// gives away. Peers over sockets of the file system are not told apart, and only all of them
    /// together are bounded.
    pub per_peer: u32,
    /// Requests and connections that a peer may begin in a second, on average.
    pub rate: u32,
    /// The same at once, after a time of quiet.
    pub burst: u32,
    /// Requests that the keeper has at once.
    pub calls: u32,
    /// From a connection's beginning to the end of its TLS handshake.
    pub handshake: Duration,
    /// From a request's first byte to its last; and from the handshake to the first.
    pub request: Duration,
    /// Between two requests of a connection.
    pub idle: Duration,
    /// From a whole request to the keeper's answer, waiting for its turn included.
    pub keeper: Duration,
    /// For whoever reads an answer slowly: this, and a second more for each [`SLOWEST`] bytes.
    pub answer: Duration,
}

/// Bytes a second that a reader of answers has to take.
pub const SLOWEST: usize = 64 * 1024;

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            per_peer: 128,
            rate: 100,
            burst: 1000,
            calls: 64,
            handshake: Duration::from_secs(10),
            request: Duration::from_secs(15),
            idle: Duration::from_secs(60),
            keeper: Duration::from_secs(30),
            answer: Duration::from_secs(15),
        }
    }
}

/// Most connections that a front can be told to have. Each costs a descriptor, and address space
/// for the worst that it may send.
pub const MAX_CONNECTIONS: u32 = 16 * 1024;
/// Most calls at once: each may have a body in memory, here and at the keeper.
pub const MAX_CALLS: u32 = 256;
const MAX_RATE: u32 = 1_000_000;
const LONGEST: Duration = Duration::from_secs(3600);
const SHORTEST: Duration = Duration::from_millis(100);

impl Limits {
    /// Whether the bounds make sense.
    ///
    /// # Errors
    /// [`PlanError::Limit`] with the name of the first that does not.
    pub const fn check(&self) -> Result<(), PlanError> {
        let numbers = [
            ("connections", self.connections, MAX_CONNECTIONS),
            ("per_peer", self.per_peer, MAX_CONNECTIONS),
            ("rate", self.rate, MAX_RATE),
            ("burst", self.burst, MAX_RATE),
            ("calls", self.calls, MAX_CALLS),
        ];
        let mut rest: &[_] = &numbers;
        while let [(name, found, most), after @ ..] = rest {
            if *found == 0 || *found > *most {
                return Err(PlanError::Limit { name, least: 1, most: *most as u64, unit: "" });
            }
            rest = after;
        }
        let times = [
            ("handshake", self.handshake),
            ("request", self.request),
            ("idle", self.idle),
            ("keeper", self.keeper),
            ("answer", self.answer),
        ];
        let mut rest: &[_] = &times;
        while let [(name, found), after @ ..] = rest {
            let found = found.as_millis();
            if found < SHORTEST.as_millis() || found > LONGEST.as_millis() {
                return Err(PlanError::Limit { name, least: 100, most: 3_600_000, unit: " ms" });
            }
            rest = after;
        }
        Ok(())
    }
}
