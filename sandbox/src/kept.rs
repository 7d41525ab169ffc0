//! Where an image finds the descriptors that it was given.

use std::os::fd::RawFd;

/// The channel's descriptor in an image.
pub(super) const CHANNEL: RawFd = 3;
/// The first kept descriptor in an image; the others follow.
pub(super) const FIRST: RawFd = 4;
/// Kept descriptors at most.
pub(super) const MAX_KEPT: usize = 64;

/// The keep list of an image with so many kept descriptors.
pub(super) fn kept_in_image(count: usize) -> Vec<RawFd> {
    (FIRST..).take(count.min(MAX_KEPT)).collect()
}
