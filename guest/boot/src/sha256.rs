//! SHA-256 (FIPS 180-4), in software and with the processor's SHA instructions.

use core::fmt;

/// With which instructions blocks are hashed; the hash is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// General registers only, which every processor has.
    Software,
    /// The SHA extensions, with the proof that they may be used.
    Extensions(Extensions),
}

/// Proof that SHA extensions may be used: the processor has them, and CR4.OSFXSR is set.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Extensions(());

impl fmt::Debug for Extensions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Extensions")
    }
}

impl Extensions {
    /// Promises that SHA, SSSE3 and SSE4.1 instructions work.
    ///
    /// # Safety
    /// They must: an undefined instruction ends the guest.
    #[allow(unsafe_code, reason = "the promise is about instructions")]
    #[must_use]
    pub const unsafe fn promise() -> Self {
        Self(())
    }
}

const BLOCK: usize = 64;
const INITIAL: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// A hash of bytes that come in parts.
#[derive(Debug)]
pub struct Hash {
    engine: Engine,
    state: [u32; 8],
    blocks: u64,
}

impl Hash {
    /// The initial state of FIPS 180-4, 5.3.3: a hash of nothing yet.
    #[must_use]
    pub const fn new(engine: Engine) -> Self {
        Self { engine, state: INITIAL, blocks: 0 }
    }

    /// Takes in all whole blocks of 64 bytes; gives the rest, which only the last part may have.
    pub fn take<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (blocks, rest) = bytes.as_chunks::<BLOCK>();
        self.blocks = self.blocks.wrapping_add(blocks.len() as u64);
        compress(self.engine, &mut self.state, blocks);
        rest
    }

    /// The hash, with the rest of the last part, which is less than a block.
    #[must_use]
    pub fn finish(mut self, rest: &[u8]) -> [u8; 32] {
        // The rest, a one bit, zeros, and the length in bits: one block or two.
        let mut last = [[0; BLOCK]; 2];
        let tail = last.as_flattened_mut();
        for (to, from) in tail.iter_mut().zip(rest.iter().chain(&[0x80])) {
            *to = *from;
        }
        let padded = if rest.len() < BLOCK - 8 { 1 } else { 2 };
        let bytes = self.blocks.wrapping_mul(BLOCK as u64).wrapping_add(rest.len() as u64);
        let used = last.get_mut(..padded).unwrap_or(&mut []);
        if let Some(end) = used.as_flattened_mut().last_chunk_mut() {
            *end = bytes.wrapping_mul(8).to_be_bytes();
        }
        compress(self.engine, &mut self.state, used);
        let mut hash = [0; 32];
        for (to, word) in hash.as_chunks_mut::<4>().0.iter_mut().zip(self.state) {
            *to = word.to_be_bytes();
        }
        hash
    }
}

/// The hash of `bytes`.
#[must_use]
pub fn sha256(engine: Engine, bytes: &[u8]) -> [u8; 32] {
    let mut hash = Hash::new(engine);
    let rest = hash.take(bytes);
    hash.finish(rest)
}

fn compress(engine: Engine, state: &mut [u32; 8], blocks: &[[u8; BLOCK]]) {
    match engine {
        Engine::Software => software::compress(state, blocks),
        Engine::Extensions(extensions) => hardware::compress(extensions, state, blocks),
    }
}

mod hardware;
mod software;
