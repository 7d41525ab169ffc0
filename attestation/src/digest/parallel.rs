//! Hashing pages on all cores while the serial chain is folded.
//!
//! The hashes are independent, only the chain of 112-byte PAGE_INFO structures is serial. The
//! calling thread folds every block that is ready, and hashes a block itself when none is, so no
//! core waits.

use super::{Digest384, PAGE_SIZE, sha384};
use std::num::NonZero;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Pages in a block: 256 KiB, small against a cache, large against the cost of a hand-over.
const BLOCK: usize = 64;
/// More threads than this gain nothing: the serial chain takes 1/15 of the time of hashes one by
/// one, and a quarter of the time of hashes in eight lanes.
const MAX_THREADS: usize = 16;

/// Hashes `pages` and calls `fold(index, hash)` for each, in order, on the calling thread.
pub(super) fn hash_in_order(pages: &[[u8; PAGE_SIZE]], mut fold: impl FnMut(u64, &Digest384)) {
    // A machine that does not say how many cores it has is taken to have one: the same digest,
    // later.
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get).min(MAX_THREADS);
    let blocks: Vec<&[[u8; PAGE_SIZE]]> = pages.chunks(BLOCK).collect();
    let done: Vec<OnceLock<Vec<Digest384>>> = blocks.iter().map(|_| OnceLock::new()).collect();
    let next = AtomicUsize::new(0);
    // Takes one block and hashes it; false when none is left.
    let hash_one = || {
        // Relaxed is enough: the counter hands out numbers and orders nothing. The hashes
        // themselves are published by the `OnceLock` of their block.
        let at = next.fetch_add(1, Ordering::Relaxed);
        let (Some(block), Some(slot)) = (blocks.get(at), done.get(at)) else { return false };
        slot.set(sha384_pages(block)).is_ok()
    };
    std::thread::scope(|scope| {
        // The calling thread hashes too, so one thread fewer than cores is spawned, and none for
        // one block.
        for _ in 1..cores.min(blocks.len()) {
            scope.spawn(|| while hash_one() {});
        }
        let mut index = 0u64;
        // In order, because the chain is: each fold needs the digest of the one before.
        for slot in &done {
            let hashes = loop {
                if let Some(hashes) = slot.get() {
                    break hashes;
                }
                if !hash_one() {
                    // Another thread holds this block; it hashes it whatever happens here.
                    std::thread::yield_now();
                }
            };
            for hash in hashes {
                fold(index, hash);
                index = index.wrapping_add(1);
            }
        }
    });
}

fn sha384_pages(pages: &[[u8; PAGE_SIZE]]) -> Vec<Digest384> {
    #[cfg(target_arch = "x86_64")]
    if let Some(digests) = super::lanes::sha384_pages(pages) {
        return digests;
    }
    pages.iter().map(|page| sha384(page)).collect()
}
