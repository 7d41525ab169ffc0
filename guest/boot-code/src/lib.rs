//! The boot code as everybody has it: bytes in the repository, with their hash, whatever compiler
//! builds the rest.
//!
//! A launch digest is worth something only if anyone can compute it, and most of what a launch
//! measures is this code. Were it built together with the program, another compiler would give
//! another digest of the same commit. So the bytes are golden: the program embeds them, a test and
//! `make reproduce` build them again from the source, with the one compiler that [`recipe`]
//! accepts, and compare.

pub mod recipe;

/// A flat image, loaded at [`recipe::LOAD_ADDRESS`] and entered at its first byte.
pub const BYTES: &[u8] = include_bytes!("../boot-code.bin");

/// SHA-256 of [`BYTES`], hexadecimal: what `casemate boot-code show` prints and a release names.
pub const SHA256: &str = include_str!("../boot-code.sha256").split_at(64).0;

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};

    #[test]
    fn the_hash_beside_the_golden_bytes_is_theirs() {
        let hash = Sha256::digest(BYTES);
        let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(SHA256, hex);
    }
}
