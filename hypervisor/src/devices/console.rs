//! The byte queue between the serial port, which vCPUs drive, and whoever takes its output.
//!
//! Principle: no byte is lost here. A full queue makes the vCPU that wrote to it wait, at the place
//! where it holds no device ([`ConsoleQueue::wait_for_room`]): its thread stands still as if the
//! line were slow, while the guest's other vCPUs run on. The alternative, a transmitter that says
//! it is busy, loses bytes with Linux: its console waits for a busy transmitter for 10 ms only and
//! writes then all the same (drivers/tty/serial/8250/8250_port.c, `wait_for_lsr`).
//!
//! The wait has no limit here: the supervisor has a clock, and takes and discards the bytes when
//! their reader has made it wait too long.

use crate::event::Event;
use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// Bytes from which on vCPUs wait.
pub const QUEUE_BYTES: usize = 64 * 1024;
/// What one vCPU can write before it is asked to wait: an exit has a page of port data at most
/// (arch/x86/kvm/x86.c: `pio_data` is one page), and each element is one byte here.
const ONE_EXIT: usize = 4096;

#[derive(Debug)]
struct State {
    bytes: VecDeque<u8>,
    limit: usize,
    /// The VM has stopped: what its other vCPUs still write is after its end.
    closed: bool,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Whether somebody has to look at the state before going on: what every exit costs.
    full: AtomicBool,
    room: Condvar,
}

/// A bounded queue with an event that says "there is something".
#[derive(Debug, Clone)]
pub struct ConsoleQueue {
    shared: Arc<Shared>,
    ready: Event,
}

impl ConsoleQueue {
    /// An empty queue for `vcpus` writers; `ready` is signalled when it stops being empty.
    #[must_use]
    pub fn new(ready: Event, vcpus: u32) -> Self {
        let vcpus = usize::try_from(vcpus).unwrap_or(usize::MAX);
        // All of it now: the heap does not grow after the lock.
        let limit = ONE_EXIT.saturating_mul(vcpus).saturating_add(QUEUE_BYTES);
        let state = State { bytes: VecDeque::with_capacity(limit), limit, closed: false };
        let (state, full) = (Mutex::new(state), AtomicBool::new(false));
        Self { shared: Arc::new(Shared { state, full, room: Condvar::new() }), ready }
    }

    /// Moves up to `out.len()` bytes into `out`; gives their number.
    pub fn take(&self, out: &mut [u8]) -> usize {
        let mut state = self.state();
        let mut moved = 0;
        for (to, byte) in out.iter_mut().zip(state.bytes.iter()) {
            *to = *byte;
            moved += 1;
        }
        state.bytes.drain(..moved);
        if !state.closed && state.bytes.len() < QUEUE_BYTES {
            self.shared.full.store(false, Ordering::Release);
            self.shared.room.notify_all();
        }
        moved
    }

    /// Waits while the queue is full; a vCPU calls it after each exit, when it holds no lock. A VM
    /// that has stopped stays here.
    pub fn wait_for_room(&self) {
        if !self.shared.full.load(Ordering::Acquire) {
            return;
        }
        let mut state = self.state();
        while state.closed || state.bytes.len() >= QUEUE_BYTES {
            state = self.shared.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes no more bytes, and lets no vCPU go on: without it a VM of several vCPUs, one of which
    /// has stopped it, could write without end while its last bytes are sent.
    pub fn close(&self) {
        self.state().closed = true;
        self.shared.full.store(true, Ordering::Release);
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for ConsoleQueue {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.state();
        if state.closed {
            return Ok(bytes.len());
        }
        let was_empty = state.bytes.is_empty();
        let room = state.limit.saturating_sub(state.bytes.len()).min(bytes.len());
        // More than fits would be a vCPU that writes without having waited; memory stays bounded
        // even then.
        state.bytes.extend(bytes.iter().take(room));
        if state.bytes.len() >= QUEUE_BYTES {
            self.shared.full.store(true, Ordering::Release);
        }
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

    /// Protects the guest's output: no byte is lost however slow the reader is. Cannot tell what
    /// becomes of them behind the queue.
    #[test]
    fn a_writer_faster_than_the_reader_waits_and_loses_nothing() {
        let ready = Event::new().unwrap();
        let queue = ConsoleQueue::new(ready.clone(), 1);
        let mut writer = queue.clone();
        let bytes: Vec<u8> = (0..=250).cycle().take(QUEUE_BYTES * 3).collect();
        let sent = bytes.clone();
        let thread = std::thread::spawn(move || {
            for exit in sent.chunks(ONE_EXIT) {
                writer.write_all(exit).unwrap();
                writer.wait_for_room();
            }
        });
        let (mut got, mut chunk) = (Vec::new(), [0; 1000]);
        while got.len() < bytes.len() {
            let taken = queue.take(&mut chunk);
            got.extend_from_slice(&chunk[..taken]);
            assert!(taken > 0 || !got.ends_with(&bytes));
        }
        thread.join().unwrap();
        assert!(got == bytes);
        assert!(ready.take() > 0);
    }

    /// Protects the end of a VM: what other vCPUs write after it neither arrives nor delays it.
    #[test]
    fn nothing_is_taken_after_the_vm_has_stopped() {
        let queue = ConsoleQueue::new(Event::new().unwrap(), 1);
        let mut writer = queue.clone();
        writer.write_all(b"last").unwrap();
        queue.close();
        writer.write_all(b"more").unwrap();
        let mut out = [0; 16];
        assert_eq!((queue.take(&mut out), queue.take(&mut [0; 16])), (4, 0));
        assert_eq!(&out[..4], b"last");
    }
}
