//! State counters, and how long things may be.

/// Longest secret in bytes: 1 MiB, half of what a real broker takes as a request.
pub const MAX_SECRET: usize = 1 << 20;
/// Longest name of a grant or counter in bytes, as long as names of secrets may be.
pub const MAX_TEXT: usize = 1024;

/// A state counter: the version of something that only grows, and what it was then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counter {
    /// Grows with every step.
    pub version: u64,
    /// The digest of the state at this version.
    pub digest: [u8; 32],
}
