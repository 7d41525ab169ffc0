//! Compressed files, which are named and not unpacked: what comes out of one has no bound.

/// How to unpack bytes that begin as a compressed file does.
pub(crate) fn how_to_unpack(bytes: &[u8]) -> Option<&'static str> {
    let kinds: [(&[u8], &str); 5] = [
        (b"\x1f\x8b", "compressed; unpack it with `gzip -d`"),
        (b"\xfd7zXZ\0", "compressed; unpack it with `xz -d`"),
        (b"\x28\xb5\x2f\xfd", "compressed; unpack it with `zstd -d`"),
        (b"BZh", "compressed; unpack it with `bzip2 -d`"),
        (b"PK\x03\x04", "a ZIP archive; give the file that is in it"),
    ];
    kinds.into_iter().find_map(|(magic, how)| bytes.starts_with(magic).then_some(how))
}
