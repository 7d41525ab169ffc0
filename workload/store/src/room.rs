//! Room on the disk, taken before it is needed.
//!
//! A write for which there is no room fails halfway, and then nobody can tell what of it is on the
//! disk: a store to which that happens answers nothing more. So room is taken first. A change for
//! which there is none is refused before anything of it is done, and all else goes on; when there
//! is room again, so do changes, without a new start.
//!
//! What the file system does not promise, this cannot: where it knows no `fallocate`, or writes
//! elsewhere what is written in place, a full disk is a write that failed.

use crate::{Disk, Side, StoreError};
use std::io::ErrorKind;

/// So much more is taken at once, where there is as much: one call for many changes.
pub(crate) const AHEAD: u64 = 1 << 20;

/// Takes the room between two offsets of a file, and some more: to where there is room then.
pub(crate) fn take(
    disk: &mut dyn Disk,
    side: Side,
    from: u64,
    end: u64,
) -> Result<u64, StoreError> {
    for to in [end.saturating_add(AHEAD), end] {
        match disk.reserve(side, from, to) {
            Ok(()) => return Ok(to),
            Err(error)
                if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {}
            Err(source) => return Err(StoreError::Io { side, what: "written", source }),
        }
    }
    Err(StoreError::NoRoom)
}
