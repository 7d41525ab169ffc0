//! Why a plan is none.

/// Most sockets to listen on.
pub const MAX_LISTENERS: usize = 16;
/// Most certificates in a chain.
pub const MAX_CHAIN: usize = 8;
/// Longest chain of certificates, in bytes: a start packet has 64 KiB.
pub const MAX_CHAIN_BYTES: usize = 48 * 1024;

/// Why a plan is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A bound out of bounds.
    #[error("{name} is not {least}{unit} to {most}{unit}")]
    Limit {
        /// Which, as [`crate::Limits`] names it.
        name: &'static str,
        /// The least that it can be.
        least: u64,
        /// The most.
        most: u64,
        /// Of what.
        unit: &'static str,
    },
    /// No certificate, or too many, or too long ones.
    #[error("the chain is not 1 to {MAX_CHAIN} certificates of {MAX_CHAIN_BYTES} bytes in all")]
    Chain,
    /// Nothing to listen on, or too much.
    #[error("there are not 1 to {MAX_LISTENERS} sockets to listen on")]
    Listeners,
    /// Bytes that are no plan of this version.
    #[error("the start makes no sense")]
    Nonsense,
}
