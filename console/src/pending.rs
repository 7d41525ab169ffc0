//! Bytes on their way.

/// Bytes that are moved at a time: what a pipe takes without waiting once it polls as writable
/// (PIPE_BUF).
pub(crate) const CHUNK: usize = 4096;

/// A buffer that is filled when it is empty.
#[derive(Debug)]
pub(crate) struct Pending {
    bytes: [u8; CHUNK],
    start: usize,
    end: usize,
}

impl Pending {
    pub(crate) const EMPTY: Self = Self { bytes: [0; CHUNK], start: 0, end: 0 };

    pub(crate) const fn is_empty(&self) -> bool {
        self.start == self.end
    }

    pub(crate) fn waiting(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or(&[])
    }

    /// Adds a byte; false when there is no room, which callers have seen to.
    pub(crate) fn push(&mut self, byte: u8) -> bool {
        if self.is_empty() {
            (self.start, self.end) = (0, 0);
        }
        let Some(to) = self.bytes.get_mut(self.end) else { return false };
        *to = byte;
        self.end += 1;
        true
    }

    pub(crate) fn gone(&mut self, len: usize) {
        self.start = self.start.saturating_add(len).min(self.end);
    }

    /// Gives up what waits; how many bytes.
    pub(crate) const fn clear(&mut self) -> usize {
        let len = self.end - self.start;
        (self.start, self.end) = (0, 0);
        len
    }
}

#[cfg(test)]
mod tests {
    use super::{CHUNK, Pending};

    #[test]
    fn bytes_leave_in_the_order_in_which_they_came() {
        let mut pending = Pending::EMPTY;
        assert!((0..=255).cycle().take(CHUNK).all(|byte| pending.push(byte)));
        assert!(!pending.push(0));
        pending.gone(4090);
        assert_eq!(pending.waiting(), [250, 251, 252, 253, 254, 255]);
        assert_eq!(pending.clear(), 6);
        assert!(pending.is_empty() && pending.push(7));
        assert_eq!(pending.waiting(), [7]);
    }
}
