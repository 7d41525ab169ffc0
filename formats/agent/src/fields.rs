//! Fields: how each type of value stands in a message, and is read back.

use crate::error::AgentError;

/// What of a message is not read yet.
pub struct Unread<'a>(&'a [u8]);

impl<'a> Unread<'a> {
    /// All of it.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], AgentError> {
        let (head, rest) = self.0.split_at_checked(length).ok_or(AgentError::Cut)?;
        self.0 = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], AgentError> {
        let (head, rest) = self.0.split_first_chunk().ok_or(AgentError::Cut)?;
        self.0 = rest;
        Ok(*head)
    }

    /// A count or a length. What it counts has at least a byte each, so that a count of more than
    /// is left is refused before anything is made for it.
    fn count(&mut self) -> Result<usize, AgentError> {
        let count = usize::try_from(u32::read(self)?).map_err(|_| AgentError::Cut)?;
        if count > self.0.len() { Err(AgentError::Cut) } else { Ok(count) }
    }

    /// Nothing may be left.
    pub const fn end(self) -> Result<(), AgentError> {
        if self.0.is_empty() { Ok(()) } else { Err(AgentError::Trailing(self.0.len())) }
    }
}

/// A type of values that stand in messages: one spelling for each value.
pub trait Field: Sized {
    /// Appends it.
    fn write(&self, out: &mut Vec<u8>);
    /// Reads it.
    fn read(unread: &mut Unread<'_>) -> Result<Self, AgentError>;
}

macro_rules! number {
    ($($number:ty),*) => {$(
        impl Field for $number {
            fn write(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
            fn read(unread: &mut Unread<'_>) -> Result<Self, AgentError> {
                Ok(Self::from_le_bytes(unread.array()?))
            }
        }
    )*};
}
number!(u8, u16, u32, u64);

impl Field for bool {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn read(unread: &mut Unread<'_>) -> Result<Self, AgentError> {
        match u8::read(unread)? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(AgentError::Value(other.into())),
        }
    }
}

impl<const N: usize> Field for [u8; N] {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }

    fn read(unread: &mut Unread<'_>) -> Result<Self, AgentError> {
        unread.array()
    }
}

impl Field for String {
    fn write(&self, out: &mut Vec<u8>) {
        count(self.len(), out);
        out.extend_from_slice(self.as_bytes());
    }

    fn read(unread: &mut Unread<'_>) -> Result<Self, AgentError> {
        let length = unread.count()?;
        let text = std::str::from_utf8(unread.take(length)?).map_err(|_| AgentError::Text)?;
        if text.contains('\0') { Err(AgentError::Text) } else { Ok(text.to_owned()) }
    }
}

impl<T: Field> Field for Vec<T> {
    fn write(&self, out: &mut Vec<u8>) {
        count(self.len(), out);
        for item in self {
            item.write(out);
        }
    }

    fn read(unread: &mut Unread<'_>) -> Result<Self, AgentError> {
        // Not reserved: an item may have more bytes in memory than in the message, and what is
        // held is bounded by what has been read, not by what the count says.
        let mut items = Self::new();
        for _ in 0..unread.count()? {
            items.push(T::read(unread)?);
        }
        Ok(items)
    }
}

/// A length that fits no u32 is that of a message that fits no frame: what it is written as is
/// never sent.
fn count(length: usize, out: &mut Vec<u8>) {
    u32::try_from(length).unwrap_or(u32::MAX).write(out);
}
