//! Frames: where a message begins and ends in a stream.

use crate::error::RelayError;
use crate::fields::within;

/// The bytes in front of a message's fields: length, kind, number.
pub const PREFIX: usize = 4 + 1 + 8;

/// A message of one direction.
pub trait Message<'a>: Sized {
    /// The longest frame of this direction, its length included.
    const MOST: usize;

    /// Reads a message from what stands behind its frame's length.
    ///
    /// # Errors
    /// [`RelayError`].
    fn read(after_length: &'a [u8]) -> Result<Self, RelayError>;

    /// Appends the message's frame to `out`; nothing when it is an error.
    ///
    /// # Errors
    /// [`RelayError`]: a field is not what the other end takes.
    fn write(&self, out: &mut Vec<u8>) -> Result<(), RelayError>;
}

/// The length of the frame that begins `bytes`, its own four bytes included; none while it is not
/// whole.
fn whole<'a, M: Message<'a>>(bytes: &[u8]) -> Result<Option<usize>, RelayError> {
    let Some(length) = bytes.first_chunk() else { return Ok(None) };
    let after = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
    // Told as soon as the length is there: nobody waits for, or keeps, what will be refused.
    within("a message", after.saturating_add(4), M::MOST)?;
    let frame = after + 4;
    Ok((bytes.len() >= frame).then_some(frame))
}

/// The message that begins `bytes`, and the length of its frame; none while it is not whole.
///
/// # Errors
/// [`RelayError`].
pub fn split<'a, M: Message<'a>>(bytes: &'a [u8]) -> Result<Option<(M, usize)>, RelayError> {
    let Some(frame) = whole::<M>(bytes)? else { return Ok(None) };
    let after = bytes.get(4..frame).unwrap_or_default();
    M::read(after).map(|message| Some((message, frame)))
}

/// Bytes of one direction as they come, taken as messages.
///
/// It holds at most one frame of its direction and what came with it, when it is emptied after each
/// [`Inbox::push`].
#[derive(Debug, Default)]
pub struct Inbox {
    bytes: Vec<u8>,
    taken: usize,
}

impl Inbox {
    /// Nothing came yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: Vec::new(), taken: 0 }
    }

    /// Something came.
    pub fn push(&mut self, bytes: &[u8]) {
        // What was taken goes before what comes is kept, so that memory is what is unread.
        self.bytes.drain(..self.taken);
        self.taken = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// Whether the next message is there, whole.
    ///
    /// # Errors
    /// [`RelayError::TooLong`]: it never will be.
    pub fn ready<'a, M: Message<'a>>(&self) -> Result<bool, RelayError> {
        whole::<M>(self.unread()).map(|frame| frame.is_some())
    }

    /// The next message, if it is there, whole.
    ///
    /// # Errors
    /// [`RelayError`]; the same again for whoever asks again.
    pub fn next<'a, M: Message<'a>>(&'a mut self) -> Result<Option<M>, RelayError> {
        let unread = self.bytes.get(self.taken..).unwrap_or_default();
        let Some((message, frame)) = split(unread)? else { return Ok(None) };
        self.taken += frame;
        Ok(Some(message))
    }

    /// How many bytes are there that no message was made of.
    #[must_use]
    pub fn len(&self) -> usize {
        self.unread().len()
    }

    /// Whether every byte that came was taken as part of a message.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.unread().is_empty()
    }

    fn unread(&self) -> &[u8] {
        self.bytes.get(self.taken..).unwrap_or_default()
    }
}
