//! Random bytes of the kernel.

use crate::StoreError;

/// Fills the bytes with random ones.
pub(crate) fn random(bytes: &mut [u8]) -> Result<(), StoreError> {
    let mut at = 0;
    while let Some(rest) = bytes.get_mut(at..).filter(|rest| !rest.is_empty()) {
        // Waits only while the kernel has not yet been seeded, early in its boot.
        let got = rustix::rand::getrandom(rest, rustix::rand::GetRandomFlags::empty())
            .map_err(|errno| StoreError::Random(errno.into()))?;
        at += got;
    }
    Ok(())
}
