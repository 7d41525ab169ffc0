//! The root disk as the kernel command line names it: one word, the only place from which the guest
//! takes a parameter of its dm-verity target.
//!
//! Everything else about the disk is fixed: SHA-256, blocks of 4 KiB, no salt to choose, the tree
//! right behind the data. A superblock would be the host's to write, and is neither there nor
//! looked for.

use crate::hash::bytes_of;
use std::fmt;

/// Bytes of a block of data, and of a block of digests.
pub const BLOCK: u64 = 4096;
/// Salt of the tree. None is needed, since nobody chooses two roots to have the same hash; fixed,
/// since a random one would make two images of one input.
pub const SALT: [u8; 32] = [0; 32];
/// Serial number by which the guest finds the disk. It is the host's word and proves nothing: any
/// disk may have it, and none but the right one has the root hash.
pub const SERIAL: &str = "casemate-root";
/// Serial number of the disk by which inputs come in and sealed results go out: the host's word,
/// too.
pub const EXCHANGE_SERIAL: &str = "casemate-results";
/// Serial number of the disk that initdata is on: the host's word, and its bytes are proven by
/// HOST_DATA of the guest's report.
pub const INITDATA_SERIAL: &str = "casemate-initdata";
/// The word that an image built for debugging has on its command line, so that a launch policy can
/// forbid it (`cmdline_forbid`) without knowing the manifest.
pub const DEBUG_WORD: &str = "casemate.debug";

const NAME: &str = "casemate.root=";
/// Sectors of 512 bytes are counted with 64 bits, and a device-mapper table with signed ones.
const MOST_BLOCKS: u64 = 1 << 50;

/// A root disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RootDisk {
    /// Blocks of the file system, which are also the number of the first block of its tree.
    pub data_blocks: u64,
    /// What proves all of them.
    pub hash: [u8; 32],
}

/// A command line that names no root disk, or not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RootError {
    /// No word of it.
    #[error("the kernel command line has no word casemate.root=")]
    Missing,
    /// Two words, of which two readers would take different ones.
    #[error("the kernel command line has casemate.root= more than once")]
    Twice,
    /// Not a number of blocks and a hash.
    #[error("casemate.root= on the kernel command line is not BLOCKS:HASH")]
    Malformed,
}

impl RootDisk {
    /// The disk that a kernel command line names: the one word `casemate.root=BLOCKS:HASH`, in the
    /// only spelling that [`RootDisk`]'s `Display` writes.
    ///
    /// # Errors
    /// [`RootError`].
    pub fn from_cmdline(cmdline: &str) -> Result<Self, RootError> {
        let mut words = cmdline.split_ascii_whitespace().filter_map(|word| word.strip_prefix(NAME));
        let word = words.next().ok_or(RootError::Missing)?;
        if words.next().is_some() {
            return Err(RootError::Twice);
        }
        let disk = Self::parse(word).ok_or(RootError::Malformed)?;
        // One disk has one spelling: no leading zero, no sign, no capitals.
        if disk.to_string().strip_prefix(NAME) == Some(word) {
            Ok(disk)
        } else {
            Err(RootError::Malformed)
        }
    }

    fn parse(word: &str) -> Option<Self> {
        let (blocks, hash) = word.split_once(':')?;
        let data_blocks = blocks.parse().ok()?;
        if !(1..=MOST_BLOCKS).contains(&data_blocks) {
            return None;
        }
        Some(Self { data_blocks, hash: bytes_of(hash)? })
    }

    /// Parameters of the kernel's verity target for the disk `device`, a `major:minor` or a path
    /// (Linux Documentation/admin-guide/device-mapper/verity.rst). With `panic`, errors of the disk
    /// and blocks that are not the proven ones end the guest: with an error for an answer the host
    /// could switch off single files (`panic_on_error` is of Linux 6.12).
    #[must_use]
    pub fn verity(&self, device: &str, panic: bool) -> String {
        let Self { data_blocks, hash } = self;
        let options = if panic { " 2 panic_on_corruption panic_on_error" } else { "" };
        format!(
            "1 {device} {device} {BLOCK} {BLOCK} {data_blocks} {data_blocks} sha256 {} {}{options}",
            Hex(hash),
            Hex(&SALT)
        )
    }

    /// Sectors of 512 bytes of the file system.
    #[must_use]
    pub const fn sectors(&self) -> u64 {
        self.data_blocks.saturating_mul(BLOCK / 512)
    }
}

impl fmt::Display for RootDisk {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{NAME}{}:{}", self.data_blocks, Hex(&self.hash))
    }
}

struct Hex<'b>(&'b [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(to, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Protects the one spelling: what is written is read back, among other words.
        #[test]
        fn what_is_written_is_read_back(data_blocks in 1..=MOST_BLOCKS, hash: [u8; 32]) {
            let disk = RootDisk { data_blocks, hash };
            let line = format!("quiet {disk} panic=-1\n");
            prop_assert_eq!(RootDisk::from_cmdline(&line), Ok(disk));
        }
    }

    #[test]
    fn a_second_spelling_or_a_second_word_is_refused() {
        let hash = "ab".repeat(32);
        let read = |line: &str| RootDisk::from_cmdline(line);
        assert!(read(&format!("casemate.root=1:{hash}")).is_ok());
        for line in [
            format!("casemate.root=01:{hash}"),
            format!("casemate.root=+1:{hash}"),
            format!("casemate.root=0:{hash}"),
            format!("casemate.root=1:{}", "AB".repeat(32)),
            format!("casemate.root=1:{hash}0"),
            format!("casemate.root=1:+{}", &hash[1..]),
            format!("casemate.root=18446744073709551615:{hash}"),
            "casemate.root=".into(),
            "casemate.root=1".into(),
        ] {
            assert_eq!(read(&line), Err(RootError::Malformed), "{line}");
        }
        let twice = format!("casemate.root=1:{hash} casemate.root=1:{hash}");
        assert_eq!(read(&twice), Err(RootError::Twice));
        assert_eq!(read("xcasemate.root=1:2 root=/dev/vda"), Err(RootError::Missing));
    }

    #[test]
    fn the_table_has_the_kernels_words() {
        let disk = RootDisk { data_blocks: 3, hash: [0xab; 32] };
        let (hash, salt) = ("ab".repeat(32), "00".repeat(32));
        let plain = format!("1 254:0 254:0 4096 4096 3 3 sha256 {hash} {salt}");
        assert_eq!(disk.verity("254:0", false), plain);
        let panics = format!("{plain} 2 panic_on_corruption panic_on_error");
        assert_eq!(disk.verity("254:0", true), panics);
        assert_eq!(disk.sectors(), 24);
    }
}
