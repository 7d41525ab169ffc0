//! Reading exactly so many bytes, and numbers of them: all little-endian.

use crate::ResultError;
use std::io::{self, Read};

/// Reads `N` bytes of what `of` names.
pub(crate) fn bytes<const N: usize>(
    from: &mut impl Read,
    of: &'static str,
) -> Result<[u8; N], ResultError> {
    let mut bytes = [0; N];
    exactly(from, &mut bytes, of)?;
    Ok(bytes)
}

/// Fills `into` with bytes of what `of` names.
pub(crate) fn exactly(
    from: &mut impl Read,
    into: &mut [u8],
    of: &'static str,
) -> Result<(), ResultError> {
    from.read_exact(into).map_err(|e| match e.kind() {
        io::ErrorKind::UnexpectedEof => ResultError::CutOff(of),
        _ => crate::error::unwrap(e),
    })
}

/// Whether a stream is at its end.
pub(crate) fn is_at_end(from: &mut impl Read) -> Result<bool, ResultError> {
    let mut byte = [0];
    loop {
        match from.read(&mut byte) {
            Ok(got) => return Ok(got == 0),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(crate::error::unwrap(e)),
        }
    }
}
