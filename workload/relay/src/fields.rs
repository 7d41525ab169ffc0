//! The fields of a message: written, and read totally from front to back.

use crate::error::RelayError;

/// A message being written: a frame whose length is not known yet.
#[derive(Debug)]
pub(crate) struct Writer<'a> {
    out: &'a mut Vec<u8>,
    begins: usize,
}

impl<'a> Writer<'a> {
    pub(crate) fn begin(out: &'a mut Vec<u8>, kind: u8, id: u64) -> Self {
        let begins = out.len();
        out.extend_from_slice(&[0; 4]);
        out.push(kind);
        out.extend_from_slice(&id.to_le_bytes());
        Self { out, begins }
    }

    pub(crate) fn fixed(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// A field of bytes. Callers have checked that it is within its bound, which is far below what
    /// four bytes can say.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.out.extend_from_slice(&length.to_le_bytes());
        self.out.extend_from_slice(bytes);
    }

    pub(crate) fn maybe<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        match value {
            None => self.fixed(&[0]),
            Some(value) => {
                self.fixed(&[1]);
                write(self, value);
            }
        }
    }

    /// The frame is whole: its length goes where four bytes were left for it.
    pub(crate) fn end(self) {
        let after = self.out.len() - self.begins - 4;
        let length = u32::try_from(after).unwrap_or(u32::MAX).to_le_bytes();
        if let Some(place) = self.out.get_mut(self.begins..self.begins + 4) {
            place.copy_from_slice(&length);
        }
    }
}

/// What is left of a message being read.
#[derive(Debug)]
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn fixed<const N: usize>(
        &mut self,
        what: &'static str,
    ) -> Result<[u8; N], RelayError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(RelayError::Short(what))?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(crate) fn bytes(
        &mut self,
        what: &'static str,
        most: usize,
    ) -> Result<&'a [u8], RelayError> {
        let length = u32::from_le_bytes(self.fixed(what)?);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        within(what, length, most)?;
        let (taken, rest) = self.0.split_at_checked(length).ok_or(RelayError::Short(what))?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn maybe<T>(
        &mut self,
        what: &'static str,
        read: impl FnOnce(&mut Self) -> Result<T, RelayError>,
    ) -> Result<Option<T>, RelayError> {
        match self.fixed(what)? {
            [0] => Ok(None),
            [1] => read(self).map(Some),
            // Two ways to say one thing would be two messages that are read alike.
            _ => Err(RelayError::Value { what, why: "is neither there nor missing" }),
        }
    }

    /// Nothing may be left.
    pub(crate) const fn end(self) -> Result<(), RelayError> {
        match self.0.len() {
            0 => Ok(()),
            more => Err(RelayError::Trailing(more)),
        }
    }
}

/// That something is not longer than it may be.
pub(crate) const fn within(
    what: &'static str,
    found: usize,
    most: usize,
) -> Result<(), RelayError> {
    if found > most { Err(RelayError::TooLong { what, found, most }) } else { Ok(()) }
}
