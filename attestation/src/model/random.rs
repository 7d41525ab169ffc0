//! Random numbers of the system.

use super::ModelError;
use ring::rand::{SecureRandom, SystemRandom};

/// `N` random bytes.
///
/// # Errors
/// [`ModelError::Random`] when the system gives none.
pub(super) fn random<const N: usize>() -> Result<[u8; N], ModelError> {
    let mut out = [0; N];
    SystemRandom::new().fill(&mut out).map_err(|_| ModelError::Random)?;
    Ok(out)
}
