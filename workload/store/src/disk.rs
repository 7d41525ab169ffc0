//! The two files that a store lives in, as the few operations that are done to them.

use std::io;

/// One of the two files. One is in use; a shorter one is written into the other, and takes over
/// when it is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The file `a`.
    A,
    /// The file `b`.
    B,
}

impl Side {
    /// The two of them.
    pub const BOTH: [Self; 2] = [Self::A, Self::B];

    /// The file's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }

    pub(crate) const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// Two files that are open. What is written is durable after [`Disk::sync`] of its file, and may be
/// lost or partly there before, in any order; 512 bytes at a multiple of 512 are there or not.
pub trait Disk: Send {
    /// All of a file, if it is not longer than `most`.
    ///
    /// # Errors
    /// Of the system; [`io::ErrorKind::FileTooLarge`] when it is longer.
    fn read(&mut self, side: Side, most: u64) -> io::Result<Vec<u8>>;

    /// Writes all these bytes from offset `at` on; what was never written reads as zeros.
    ///
    /// # Errors
    /// Of the system. Some of the bytes may have been written.
    fn write(&mut self, side: Side, at: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes sure that writes between these offsets find room. Nothing that is read is changed. A
    /// disk that cannot promise that says nothing: its writes may fail for want of room.
    ///
    /// # Errors
    /// Of the system; [`io::ErrorKind::StorageFull`] or [`io::ErrorKind::QuotaExceeded`] when there
    /// is no room.
    fn reserve(&mut self, side: Side, from: u64, to: u64) -> io::Result<()>;

    /// Makes the file empty, and gives its room back.
    ///
    /// # Errors
    /// Of the system.
    fn cut(&mut self, side: Side) -> io::Result<()>;

    /// Waits until all that was done to the file is on the disk.
    ///
    /// # Errors
    /// Of the system. What was written since the last success may be lost.
    fn sync(&mut self, side: Side) -> io::Result<()>;
}
