//! Initdata on a disk of the guest's: a disk has whole sectors, so its length stands before it.
//!
//! Nothing of this is proven, nor has to be: what is proven is the document, by HOST_DATA.

use crate::{InitdataError, MAX_SIZE};

/// What a disk with initdata begins with.
const MAGIC: &[u8; 12] = b"casemate-ini";
/// Magic and length.
const HEAD: usize = 16;
/// A disk's size is a multiple of this.
const BLOCK: usize = 4096;
/// Bytes of a disk that are read, at most.
pub const MAX_DISK: usize = HEAD + MAX_SIZE;

/// The disk of a document, in whole blocks.
///
/// # Errors
/// [`InitdataError::TooLong`].
pub fn to_disk(document: &str) -> Result<Vec<u8>, InitdataError> {
    let length = u32::try_from(document.len()).ok().filter(|_| document.len() <= MAX_SIZE);
    let length = length.ok_or(InitdataError::TooLong(document.len()))?;
    let mut disk = [&MAGIC[..], &length.to_le_bytes(), document.as_bytes()].concat();
    disk.resize(disk.len().next_multiple_of(BLOCK), 0);
    Ok(disk)
}

/// The document that a disk begins with.
///
/// # Errors
/// [`InitdataError`]: of a disk that has none.
pub fn from_disk(disk: &[u8]) -> Result<&str, InitdataError> {
    let none = InitdataError::Member("the disk has none");
    let rest = disk.strip_prefix(MAGIC).ok_or(none.clone())?;
    let (length, rest) = rest.split_first_chunk().ok_or(none.clone())?;
    let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
    if length > MAX_SIZE {
        return Err(InitdataError::TooLong(length));
    }
    rest.get(..length).and_then(|text| std::str::from_utf8(text).ok()).ok_or(none)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_comes_back_and_no_other_disk_has_one() {
        for text in ["", "version = 1\n", &"x".repeat(MAX_SIZE)] {
            let disk = to_disk(text).unwrap();
            assert!(disk.len().is_multiple_of(BLOCK) && disk.len() >= HEAD + text.len());
            assert_eq!(from_disk(&disk), Ok(text));
        }
        assert!(to_disk(&"x".repeat(MAX_SIZE + 1)).is_err());
        let mut disk = to_disk("abc").unwrap();
        assert!(from_disk(&disk[..18]).is_err(), "cut off");
        disk[14] = 0xff;
        assert!(matches!(from_disk(&disk), Err(InitdataError::TooLong(_))));
        disk[0] ^= 1;
        assert!(from_disk(&disk).is_err() && from_disk(&[]).is_err());
    }
}
