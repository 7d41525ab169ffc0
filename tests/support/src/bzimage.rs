//! A kernel image for tests (Linux, Documentation/arch/x86/boot.rst): the header fields that a
//! launch looks at.

/// A bzImage with a 64-bit entry and an EFI stub, its fields then changed by `edits`; the code is
/// zeros.
pub fn bzimage(edits: &[(usize, &[u8])]) -> Vec<u8> {
    let mut file = vec![0_u8; 0x2000];
    let good: [(usize, &[u8]); 10] = [
        (0, b"MZ"),
        (0x1f1, &[1]),
        (0x1fe, &[0x55, 0xaa, 0xeb, 0x6a]),
        (0x202, b"HdrS\x0f\x02"),
        (0x211, &[1]),
        (0x22c, &[0xff, 0xff, 0xff, 0x7f]),
        (0x230, &[0, 0, 0x20, 0]),
        (0x234, &[1, 21, 1, 0]),
        (0x258, &[0, 0, 0, 1]),
        (0x260, &[0, 0, 0x20, 0]),
    ];
    for (at, bytes) in good.iter().chain(edits) {
        for (to, from) in file.iter_mut().skip(*at).zip(*bytes) {
            *to = *from;
        }
    }
    file
}
