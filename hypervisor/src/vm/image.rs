//! The vmm process from its first instruction, where it begins from an image.

use super::{handover, vmm};
use casemate_sandbox::Born;

/// The whole process: what the image's `main` does. Gives the exit status, where the process has
/// not exited before.
///
/// A process that no supervisor of this version started has nobody to tell, and ends.
#[must_use]
pub fn main() -> i32 {
    let Ok((born, given)) = Born::of_image() else { return vmm::FAILED };
    match handover::take(given) {
        Some(input) => vmm::body(input, born),
        None => vmm::FAILED,
    }
}
