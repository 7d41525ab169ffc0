//! Connections for standard streams: the host makes them, by number, before it names them.

use casemate_agent::{Code, Refusal};
use std::collections::HashMap;
use std::fs::File;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Most connections that wait to be named. One more is closed.
pub const MAX_STREAMS: usize = 256;
/// How long a connection may come later than the message that names it: they go different ways.
const LATER: Duration = Duration::from_secs(10);

/// Connections that no process has yet.
#[derive(Debug, Default)]
pub struct Streams {
    waiting: Mutex<HashMap<u32, File>>,
    came: Condvar,
}

impl Streams {
    /// A connection came and said its number. One that is taken, or no number, closes it: a stream
    /// cannot be put in another's place.
    pub fn add(&self, number: u32, connection: File) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if number != 0 && waiting.len() < MAX_STREAMS && !waiting.contains_key(&number) {
            waiting.insert(number, connection);
            self.came.notify_all();
        }
    }

    /// The connection of this number; None for 0.
    pub(crate) fn take(&self, number: u32) -> Result<Option<File>, Refusal> {
        if number == 0 {
            return Ok(None);
        }
        let end = Instant::now() + LATER;
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(connection) = waiting.remove(&number) {
                return Ok(Some(connection));
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let sentence = format!("no connection came for stream {number}");
                return Err(Refusal::new(Code::Failed, sentence));
            }
            let woken = self.came.wait_timeout(waiting, left);
            waiting = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
