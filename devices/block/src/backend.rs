//! The host's side: an image, and what is done to it.

use crate::request::Extent;
use casemate_device_queue::{Durability, Pieces, read_file, write_file};
use rustix::fs::{FallocateFlags, fallocate, fdatasync};
use rustix::io::Errno;
use std::io;
use std::os::fd::OwnedFd;

/// What holds a disk's bytes. A trait, so that tests see what would be done.
pub trait Disk: Send + Sync + 'static {
    /// Fills guest memory from the extent.
    ///
    /// # Errors
    /// The kernel's; some of the memory may be written.
    fn read(&self, extent: Extent, to: Pieces<'_>) -> io::Result<()>;

    /// Writes guest memory to the extent.
    ///
    /// # Errors
    /// The kernel's; some of it may be written.
    fn write(&self, extent: Extent, from: Pieces<'_>, durability: Durability) -> io::Result<()>;

    /// Makes all that was written last.
    ///
    /// # Errors
    /// The kernel's: then it is not known what lasts.
    fn flush(&self) -> io::Result<()>;

    /// Makes the extent zero, or with `hole` forgets it, which reads as zero, too.
    ///
    /// # Errors
    /// The kernel's; `Unsupported` where the device cannot.
    fn zero(&self, extent: Extent, hole: bool) -> io::Result<()>;
}

impl Disk for OwnedFd {
    fn read(&self, extent: Extent, to: Pieces<'_>) -> io::Result<()> {
        read_file(self, extent.offset(), to)
    }

    fn write(&self, extent: Extent, from: Pieces<'_>, durability: Durability) -> io::Result<()> {
        write_file(self, extent.offset(), from, durability)
    }

    fn flush(&self) -> io::Result<()> {
        loop {
            match fdatasync(self) {
                Err(Errno::INTR) => {}
                other => return Ok(other?),
            }
        }
    }

    fn zero(&self, extent: Extent, hole: bool) -> io::Result<()> {
        let what = if hole { FallocateFlags::PUNCH_HOLE } else { FallocateFlags::ZERO_RANGE };
        loop {
            let (offset, len) = (extent.offset(), extent.len());
            match fallocate(self, what | FallocateFlags::KEEP_SIZE, offset, len) {
                Err(Errno::INTR) => {}
                Err(Errno::OPNOTSUPP) => return Err(io::ErrorKind::Unsupported.into()),
                other => return Ok(other?),
            }
        }
    }
}
