//! The bytes of one part of a plan: its own, or a stretch of a sealed file.
//!
//! A kernel or initrd can be hundreds of MiB. The process that launches it takes it as it lies in
//! the file that its supervisor handed over, and copies it once, into guest memory.

use crate::memory::SealedBytes;
use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;

/// Bytes that do not change any more. Two are equal when their bytes are.
#[derive(Clone)]
pub struct Contents(Source);

#[derive(Clone)]
enum Source {
    Own(Vec<u8>),
    Sealed(Arc<SealedBytes>, Range<usize>),
}

impl Contents {
    /// Filled up to `size` with zeros, or cut.
    #[must_use]
    pub(super) fn resized(self, size: usize) -> Self {
        if self.len() == size {
            return self;
        }
        let mut bytes = match self.0 {
            Source::Own(bytes) => bytes,
            Source::Sealed(..) => self.to_vec(),
        };
        bytes.resize(size, 0);
        bytes.into()
    }

    /// The bytes of `file` in `range`; none of them where it does not have that range.
    #[must_use]
    pub(super) fn part(file: &Arc<SealedBytes>, range: Range<usize>) -> Self {
        Self(Source::Sealed(file.clone(), range))
    }
}

impl From<Vec<u8>> for Contents {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Source::Own(bytes))
    }
}

impl Deref for Contents {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Source::Own(bytes) => bytes,
            Source::Sealed(file, range) => file.get(range.clone()).unwrap_or(&[]),
        }
    }
}

impl PartialEq for Contents {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}
impl Eq for Contents {}

/// How many, not which: a plan is shown in messages of tests, and an initrd may hold secrets.
impl fmt::Debug for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}
