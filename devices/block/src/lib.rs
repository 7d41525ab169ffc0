//! A virtio block device (virtio 1.2, 5.2) over a raw image, as a process of its own.
//!
//! What it is: a thread for each queue; requests in order, each finished before the next is looked
//! at, so that the used index alone says what is done; bytes move between the file and guest
//! memory in the kernel and never pass through here. Reads, writes, flush (fdatasync), discard (a
//! hole) and write-zeroes, the serial number. A driver that did not take FLUSH gets every write
//! through to the disk.
//!
//! What it is not: no image format but raw, so no header of a guest's making is ever believed; no
//! SCSI, no zones, no lifetime, no write cache to be switched.
//!
//! Limits: an image of 1 to 2^54 sectors of 512 bytes, which does not grow: the check, the
//! process's RLIMIT_FSIZE ([`layers`]) and the descriptor's access mode each say so. One segment in
//! a discard or write-zeroes, of [`MAX_SECTORS`] at most. Every request whose status byte is there
//! has it written.
//!
//! In the order of a life: [`Image::open`] in the supervisor, [`Facts`] as its description,
//! [`Block`] in the process, [`profile`] for its lock.

mod backend;
mod config;
mod description;
mod device;
mod facts;
mod image;
mod lock;
pub mod profile;
mod request;

pub use backend::Disk;
pub use description::DESCRIPTION;
pub use device::Block;
pub use facts::{Facts, SERIAL};
pub use image::{Image, ImageError, Options, layers, serial};
pub use request::{Extent, MAX_SECTORS};
