//! Messages over a stream that blocks: for whoever has a thread to wait with.

use crate::error::RelayError;
use crate::frame::{Inbox, Message};
use std::io::{self, Read, Write};

/// Bytes taken from a stream at once.
const AT_ONCE: usize = 16 * 1024;

/// Waits until the next message is there, whole; false when the stream ended before one began.
///
/// [`Inbox::next`] then gives it. Apart from that, since a message is borrowed from its inbox.
///
/// # Errors
/// What the stream fails by; [`io::ErrorKind::UnexpectedEof`] when it ends within a message;
/// [`io::ErrorKind::InvalidData`] with a [`RelayError`] in it.
pub fn wait<'a, M: Message<'a>>(inbox: &mut Inbox, stream: &mut impl Read) -> io::Result<bool> {
    let mut buffer = vec![0; AT_ONCE];
    loop {
        if inbox.ready::<M>().map_err(invalid)? {
            return Ok(true);
        }
        let length = match stream.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        if length == 0 {
            return if inbox.is_empty() {
                Ok(false)
            } else {
                Err(io::ErrorKind::UnexpectedEof.into())
            };
        }
        inbox.push(buffer.get(..length).unwrap_or_default());
    }
}

/// Sends a message whole.
///
/// # Errors
/// What the stream fails by; [`io::ErrorKind::InvalidData`] with a [`RelayError`] in it.
pub fn send<'a>(message: &impl Message<'a>, stream: &mut impl Write) -> io::Result<()> {
    let mut frame = Vec::new();
    message.write(&mut frame).map_err(invalid)?;
    stream.write_all(&frame)
}

fn invalid(error: RelayError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
