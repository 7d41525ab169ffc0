//! The host's side: where random bytes come from.

use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

/// Bytes that are asked for at once. As many as the kernel gives whole or not at all: a longer call
/// can be interrupted, and come back with fewer (getrandom(2)).
pub const BLOCK: usize = 256;

/// Where random bytes come from, so that tests see what is made of them.
pub trait Source: Send + Sync + 'static {
    /// Fills a block; false where there is nothing to fill it with.
    fn fill(&self, block: &mut [u8; BLOCK]) -> bool;
}

/// The host's kernel. It is waited for until it has seeded its generator, which it has done long
/// before anybody starts a guest, and never afterwards.
#[derive(Debug, Clone, Copy, Default)]
pub struct Kernel;

impl Source for Kernel {
    fn fill(&self, block: &mut [u8; BLOCK]) -> bool {
        loop {
            match getrandom(&mut block[..], GetRandomFlags::empty()) {
                Err(Errno::INTR) => {}
                // A part of a block would leave bytes in it that are not random.
                filled => return filled == Ok(BLOCK),
            }
        }
    }
}
