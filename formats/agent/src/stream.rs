//! Messages over a connected stream, blocking.

use crate::error::AgentError;
use crate::frame::{Message, Numbered, length};
use std::io::{ErrorKind, Read, Write};

fn failed(error: &std::io::Error) -> AgentError {
    match error.kind() {
        ErrorKind::UnexpectedEof => AgentError::Ended,
        _ => AgentError::Connection(error.to_string()),
    }
}

/// The next message; None when the other end has closed the connection between two.
///
/// # Errors
/// [`AgentError`]. The stream is of no use then: where the next message begins is not known.
pub fn receive<M: Message>(from: &mut impl Read) -> Result<Option<Numbered<M>>, AgentError> {
    let mut prefix = [0; 4];
    // One byte by itself tells an end between messages from one inside.
    let first = loop {
        match from.read(prefix.get_mut(..1).unwrap_or_default()) {
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            read => break read.map_err(|e| failed(&e))?,
        }
    };
    if first == 0 {
        return Ok(None);
    }
    from.read_exact(prefix.get_mut(1..).unwrap_or_default()).map_err(|e| failed(&e))?;
    let mut frame = vec![0; length(prefix)?];
    from.read_exact(&mut frame).map_err(|e| failed(&e))?;
    Numbered::decode(&frame).map(Some)
}

/// Sends a message, whole.
///
/// # Errors
/// [`AgentError`].
pub fn send<M: Message>(to: &mut impl Write, message: &Numbered<M>) -> Result<(), AgentError> {
    to.write_all(&message.encode()?).map_err(|e| failed(&e))
}
