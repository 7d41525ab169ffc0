//! Bytes of a guest that the host's side does not take yet: a ring of a fixed size, made before the
//! lock. No page of it is there before it is used.

use casemate_device_queue::{GuestMemory, Readable};

#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: Box<[u8]>,
    start: usize,
    len: usize,
}

impl Buffer {
    pub(crate) fn new(size: u32) -> Self {
        let bytes = vec![0; usize::try_from(size).unwrap_or(0)].into_boxed_slice();
        Self { bytes, start: 0, len: 0 }
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) const fn clear(&mut self) {
        (self.start, self.len) = (0, 0);
    }

    /// Where the next bytes go: in one piece, or in two.
    fn free(&mut self) -> (&mut [u8], &mut [u8]) {
        let size = self.bytes.len();
        let end = self.start.saturating_add(self.len);
        if end < size {
            let (before, behind) = self.bytes.split_at_mut_checked(end).unwrap_or_default();
            (behind, before.get_mut(..self.start).unwrap_or_default())
        } else {
            (self.bytes.get_mut(end - size..self.start).unwrap_or_default(), &mut [])
        }
    }

    /// Appends all that is left of a request; None where it does not fit, or is gone.
    pub(crate) fn push_all<M: GuestMemory>(&mut self, from: &mut Readable<'_, M>) -> Option<()> {
        let len = usize::try_from(from.len()).ok()?;
        let (first, second) = self.free();
        let in_first = len.min(first.len());
        let (first, second) = (first.get_mut(..in_first)?, second.get_mut(..len - in_first)?);
        from.copy_to(first)?;
        from.copy_to(second)?;
        self.len += len;
        Some(())
    }

    /// Appends bytes of this process; None where they do not fit.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Option<()> {
        let (first, second) = self.free();
        let (now, then) = bytes.split_at_checked(first.len()).unwrap_or((bytes, &[]));
        let places = (first.get_mut(..now.len())?, second.get_mut(..then.len())?);
        places.0.copy_from_slice(now);
        places.1.copy_from_slice(then);
        self.len += bytes.len();
        Some(())
    }

    /// The next bytes, as many as lie in one piece.
    pub(crate) fn front(&self) -> &[u8] {
        let end = self.start.saturating_add(self.len).min(self.bytes.len());
        self.bytes.get(self.start..end).unwrap_or(&[])
    }

    /// Forgets the first `len`.
    pub(crate) fn advance(&mut self, len: usize) {
        let len = len.min(self.len);
        self.len -= len;
        self.start += len;
        if self.start >= self.bytes.len() {
            self.start -= self.bytes.len();
        }
        if self.len == 0 {
            // So that pages at the beginning are used again, and the others stay untouched.
            self.start = 0;
        }
    }
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "tests count small numbers, or mean to wrap")]
mod tests {
    use super::Buffer;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    proptest! {
        #[test]
        fn bytes_come_out_as_they_went_in(
            steps in prop::collection::vec((any::<bool>(), 0_usize..40), 1..200),
        ) {
            let (mut buffer, mut model) = (Buffer::new(32), VecDeque::new());
            let mut next = 0_u8;
            for (pushes, len) in steps {
                if pushes {
                    let bytes: Vec<u8> = (0..len).map(|i| next.wrapping_add(i as u8)).collect();
                    let fits = model.len() + len <= 32;
                    prop_assert_eq!(buffer.push(&bytes).is_some(), fits);
                    if fits {
                        next = next.wrapping_add(len as u8);
                        model.extend(bytes);
                    }
                } else {
                    let front = buffer.front();
                    let len = len.min(front.len());
                    let expected: Vec<u8> = model.drain(..len).collect();
                    prop_assert_eq!(&front[..len], &expected[..]);
                    buffer.advance(len);
                }
                prop_assert_eq!(buffer.len(), model.len());
                prop_assert!(buffer.is_empty() || !buffer.front().is_empty());
            }
        }
    }
}
