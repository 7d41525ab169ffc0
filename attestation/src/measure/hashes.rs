//! The table of kernel, initrd and command line hashes that QEMU writes for OVMF.
//!
//! Source: QEMU target/i386/sev.c `build_kernel_loader_hashes`.

use crate::digest::PAGE_SIZE;
use ring::digest::{SHA256, digest};

const TABLE: [u8; 16] = *b"\x06\xd6\x38\x94\x22\x4f\xc9\x4c\xb4\x79\xa7\x93\xd4\x11\xfd\x21";
/// GUIDs as they lie in memory, the first three parts little-endian: the table, then its entries.
const KERNEL: [u8; 16] = *b"\x37\x94\xe7\x4d\xd2\xab\x7f\x42\xb8\x35\xd5\xb1\x72\xd2\x04\x5b";
const INITRD: [u8; 16] = *b"\x31\xf7\xba\x44\x2f\x3a\xd7\x4b\x9a\xf1\x41\xe2\x91\x69\x78\x1d";
const COMMAND_LINE: [u8; 16] = *b"\xd8\x2d\xd0\x97\x20\xbd\x94\x4c\xaa\x78\xe7\x71\x4d\x36\xab\x2a";
/// Bytes of an entry: GUID (16), length (2), SHA-256 (32).
const ENTRY: u16 = 50;
/// Bytes of the table: GUID (16), length (2), three entries.
const TABLE_LENGTH: u16 = 168;

/// The three hashes that OVMF holds what it loads against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KernelHashes {
    kernel: [u8; 32],
    initrd: [u8; 32],
    command_line: [u8; 32],
}

impl KernelHashes {
    /// Hashes the images; an absent initrd is an empty one. The command line gets its terminating
    /// zero.
    #[must_use]
    pub fn new(kernel: &[u8], initrd: &[u8], command_line: &str) -> Self {
        let mut line = command_line.as_bytes().to_vec();
        line.push(0);
        Self { kernel: sha256(kernel), initrd: sha256(initrd), command_line: sha256(&line) }
    }

    /// The page with the table at `offset`; none when it does not fit there.
    #[must_use]
    pub fn page(&self, offset: usize) -> Option<[u8; PAGE_SIZE]> {
        // The order is QEMU's: command line, initrd, kernel. The length of the table counts its own
        // header and not the padding behind it (QEMU pads to 16 bytes with zeros, as the page is
        // here).
        let mut table = TABLE.to_vec();
        table.extend(TABLE_LENGTH.to_le_bytes());
        for (guid, hash) in
            [(COMMAND_LINE, self.command_line), (INITRD, self.initrd), (KERNEL, self.kernel)]
        {
            table.extend(guid);
            table.extend(ENTRY.to_le_bytes());
            table.extend(hash);
        }
        let mut page = [0; PAGE_SIZE];
        page.get_mut(offset..offset.checked_add(table.len())?)?.copy_from_slice(&table);
        Some(page)
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}
