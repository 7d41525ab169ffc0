//! Why a message is none.

/// Why bytes are no message, or why something cannot be made one.
///
/// On a stream of one build's two processes none of it is an accident: who reads this ends the
/// connection, since where the next message begins can no longer be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RelayError {
    /// A frame, or a field, that is longer than it may be.
    #[error("{what} of {found} bytes, at most {most} are taken")]
    TooLong {
        /// Which.
        what: &'static str,
        /// Its length.
        found: usize,
        /// The longest that is taken.
        most: usize,
    },
    /// A frame that ends before its fields do.
    #[error("a message that ends in the middle of {0}")]
    Short(&'static str),
    /// A frame with more in it than its fields.
    #[error("a message with {0} bytes behind its last field")]
    Trailing(usize),
    /// A kind that is not one, or not one of this direction.
    #[error("a message of kind {0:#04x}, which is none of this direction")]
    UnknownKind(u8),
    /// A field of a value that it cannot have.
    #[error("{what} that {why}")]
    Value {
        /// Which.
        what: &'static str,
        /// What is wrong.
        why: &'static str,
    },
}
