//! What the test on the host and the driver in the guest both know.

/// Sectors with contents, from the first on; cases that may write do so behind
/// [`SCRATCH`].
pub const WRITTEN: u64 = 64;
/// The first sector that a case may change.
pub const SCRATCH: u64 = 8192;
/// Sectors of a disk.
pub const SECTORS: u64 = 16384;

/// What the virtio console says, and nobody else.
pub const CONSOLE: u8 = b'~';

/// The bytes of a sector that has contents: no two are alike, and none is its neighbour's, moved.
#[must_use]
pub fn contents(sector: u64) -> [u8; 512] {
    let word = |at: usize| {
        let number = (sector * 64 + at as u64 / 8).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        number.rotate_left(29).to_le_bytes()
    };
    std::array::from_fn(|at| word(at).get(at % 8).copied().unwrap_or(0))
}
