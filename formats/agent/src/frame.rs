//! Frames: where a message begins and ends in a stream.

use crate::MAX_FRAME;
use crate::error::AgentError;
use crate::fields::{Field, Unread};

/// The bytes in front of a message's fields, without the frame's length: number, kind.
const PREFIX: usize = 4 + 1;

/// A message of one direction.
pub trait Message: Sized {
    /// Its kind, by which the other end knows its fields.
    fn kind(&self) -> u8;
    /// Appends its fields.
    fn write_fields(&self, out: &mut Vec<u8>);
    /// Reads the fields of a message of this kind, and nothing behind them.
    ///
    /// # Errors
    /// [`AgentError`].
    fn read_fields(kind: u8, fields: &[u8]) -> Result<Self, AgentError>;
}

/// A message with its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Numbered<M> {
    /// That of the question, and of its answer; 0 of what the guest says by itself.
    pub number: u32,
    /// What is said.
    pub message: M,
}

impl<M: Message> Numbered<M> {
    /// Its frame, whole.
    ///
    /// # Errors
    /// [`AgentError::TooLong`].
    pub fn encode(&self) -> Result<Vec<u8>, AgentError> {
        let mut frame = vec![0; 4];
        self.number.write(&mut frame);
        frame.push(self.message.kind());
        self.message.write_fields(&mut frame);
        let length = frame.len() - 4;
        if length > MAX_FRAME {
            return Err(AgentError::TooLong(length));
        }
        let prefix = u32::try_from(length).map_err(|_| AgentError::TooLong(length))?;
        if let Some(head) = frame.first_chunk_mut() {
            *head = prefix.to_le_bytes();
        }
        Ok(frame)
    }

    /// Reads what stands behind a frame's length.
    ///
    /// # Errors
    /// [`AgentError`].
    pub fn decode(after_length: &[u8]) -> Result<Self, AgentError> {
        let (prefix, fields) = after_length.split_first_chunk::<PREFIX>().ok_or(AgentError::Cut)?;
        let [number @ .., kind] = *prefix;
        let message = M::read_fields(kind, fields)?;
        Ok(Self { number: u32::from_le_bytes(number), message })
    }
}

/// How many bytes follow a frame's length. Told as soon as the length is there: nobody waits for,
/// or keeps, what will be refused.
///
/// # Errors
/// [`AgentError::TooLong`], and [`AgentError::Cut`] of a frame that has no room for a kind.
pub fn length(prefix: [u8; 4]) -> Result<usize, AgentError> {
    let length = usize::try_from(u32::from_le_bytes(prefix)).unwrap_or(usize::MAX);
    match length {
        0..PREFIX => Err(AgentError::Cut),
        PREFIX..=MAX_FRAME => Ok(length),
        _ => Err(AgentError::TooLong(length)),
    }
}

/// The message that begins `bytes`, and the bytes that it takes; none while it is not whole.
///
/// # Errors
/// [`AgentError`].
pub fn split<M: Message>(bytes: &[u8]) -> Result<Option<(Numbered<M>, usize)>, AgentError> {
    let Some((prefix, rest)) = bytes.split_first_chunk::<4>() else { return Ok(None) };
    let length = length(*prefix)?;
    let Some(frame) = rest.get(..length) else { return Ok(None) };
    Numbered::decode(frame).map(|message| Some((message, length + 4)))
}

/// Everything that a message's fields have, and nothing else.
pub(crate) fn whole<T>(
    fields: &[u8],
    read: impl FnOnce(&mut Unread<'_>) -> Result<T, AgentError>,
) -> Result<T, AgentError> {
    let mut unread = Unread::new(fields);
    let message = read(&mut unread)?;
    unread.end()?;
    Ok(message)
}
