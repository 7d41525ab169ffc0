//! Inputs that are drawn, for tests that ask whether a target's body gets anywhere, and its seeds.

/// Calls `body` with `count` inputs of `len` bytes, the same ones each time. Those that it says are
/// worth keeping are written as seeds called `name` and a number, at most so many, where the
/// variable `CASEMATE_WRITE_SEEDS` names a folder.
pub(crate) fn inputs(
    (count, len): (usize, usize),
    (name, most): (&str, usize),
    mut body: impl FnMut(&[u8]) -> bool,
) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let folder = std::env::var_os("CASEMATE_WRITE_SEEDS");
    let mut written = 0;
    for number in 0..count {
        let input: Vec<u8> = (0..len / 8).flat_map(|_| next()).collect();
        if body(&input)
            && written < most
            && let Some(folder) = &folder
        {
            let path = std::path::Path::new(folder).join(format!("{name}-{number}"));
            std::fs::write(path, &input).unwrap();
            written += 1;
        }
    }
}
