//! The byte queue between the serial port, which a vCPU drives, and whoever takes its output.
//!
//! Principle: output never blocks a vCPU. The queue has a fixed size; what does not fit while the reader is
//! slow is dropped and counted, and the count is reported with the next output.

use crate::event::Event;
use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes that wait for the reader at most.
pub const QUEUE_BYTES: usize = 256 * 1024;

#[derive(Debug)]
struct State {
    bytes: VecDeque<u8>,
    dropped: u64,
}

/// A bounded queue with an event that says "there is something".
#[derive(Debug, Clone)]
pub struct ConsoleQueue {
    state: Arc<Mutex<State>>,
    ready: Event,
}

impl ConsoleQueue {
    /// An empty queue; `ready` is signalled when it stops being empty.
    #[must_use]
    pub fn new(ready: Event) -> Self {
        let state = State { bytes: VecDeque::with_capacity(QUEUE_BYTES), dropped: 0 };
        Self { state: Arc::new(Mutex::new(state)), ready }
    }

    /// Moves up to `out.len()` bytes into `out`; gives their number and how many were dropped since last time.
    pub fn take(&self, out: &mut [u8]) -> (usize, u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut moved = 0;
        for (to, byte) in out.iter_mut().zip(state.bytes.iter()) {
            *to = *byte;
            moved += 1;
        }
        state.bytes.drain(..moved);
        (moved, std::mem::take(&mut state.dropped))
    }
}

impl Write for ConsoleQueue {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let was_empty = state.bytes.is_empty();
        let room = QUEUE_BYTES.saturating_sub(state.bytes.len()).min(bytes.len());
        let (fits, lost) = bytes.split_at(room);
        state.bytes.extend(fits);
        state.dropped = state.dropped.saturating_add(lost.len() as u64);
        drop(state);
        if was_empty && room > 0 {
            self.ready.signal();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_beyond_the_queue_is_counted_and_never_blocks() {
        let ready = Event::new().unwrap();
        let mut queue = ConsoleQueue::new(ready.clone());
        for _ in 0..QUEUE_BYTES / 1024 + 1 {
            assert_eq!(queue.write(&[b'x'; 1024]).unwrap(), 1024);
        }
        assert_eq!(ready.take(), 1, "signalled once, when it stopped being empty");
        let mut out = vec![0; QUEUE_BYTES * 2];
        assert_eq!(queue.take(&mut out), (QUEUE_BYTES, 1024));
        assert_eq!(queue.take(&mut out), (0, 0));
        queue.write_all(b"y").unwrap();
        assert_eq!(ready.take(), 1, "signalled again after it was emptied");
    }
}
