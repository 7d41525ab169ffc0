//! The host's side: what the device does with what it was told.

use std::sync::atomic::{AtomicU64, Ordering};

/// What is done with words, so that tests see it.
pub trait Host: Send + Sync + 'static {
    /// Takes the words of one request.
    fn hear(&self, words: &[u8]);
}

/// A host that counts the bytes it was told.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// How many it has heard.
    #[must_use]
    pub fn heard(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Host for Counter {
    fn hear(&self, words: &[u8]) {
        self.0.fetch_add(words.len() as u64, Ordering::Relaxed);
    }
}
