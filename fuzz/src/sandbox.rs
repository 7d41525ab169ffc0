//! Bodies of the targets about the lock.

/// A packet between a parent and its confined child: decoded totally, in either direction, with
/// bounded memory.
pub fn packet(data: &[u8]) {
    let allocated = allocation_counter::measure(|| {
        let _ = casemate_sandbox::decode_packet(data);
    });
    // Twice over, escaped: ten bytes for a character at most.
    assert!(allocated.bytes_max < 64 * 1024 + 64 * data.len() as u64, "{allocated:?}");
}
