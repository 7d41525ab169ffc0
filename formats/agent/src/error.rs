//! Why bytes are no message.

/// Bytes that are no message of this direction, or a message that fits no frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AgentError {
    /// A frame of more than [`crate::MAX_FRAME`] bytes.
    #[error("a message of {0} bytes, and the longest has {most}", most = crate::MAX_FRAME)]
    TooLong(usize),
    /// The frame ends before its fields do.
    #[error("a message that ends in the middle of a field")]
    Cut,
    /// The frame goes on behind its last field.
    #[error("{0} bytes behind the last field of a message")]
    Trailing(usize),
    /// A kind that this direction does not have.
    #[error("a message of kind {0}, which is none")]
    UnknownKind(u8),
    /// A text that is not UTF-8 or has a NUL byte, which no argument, name or path can have.
    #[error("a text that is not UTF-8, or has a NUL byte")]
    Text,
    /// A value that its field cannot have.
    #[error("a field that says {0}, which means nothing")]
    Value(u64),
    /// Nothing came for the rest of a message: the other end is gone.
    #[error("the connection ended in the middle of a message")]
    Ended,
    /// The connection itself failed; by what the system says.
    #[error("the connection: {0}")]
    Connection(String),
}
