//! What a key broker keeps: secrets with their versions, how often each grant was used and by which
//! sessions, and the state counters of disks.
//!
//! - [`Store`]: the transactions. No `set`: counting over get and set cannot be right when two
//!   clients ask at once, so what has to be one step is one call here.
//! - [`LogStore`]: the store of one broker: two files in a folder, of which one is in use.
//! - [`Secret`], [`Kek`]: bytes that are wiped when they are dropped.
//! - [`Disk`]: the few operations on those two files, so that a test can stop between any two.
//!
//! # What holds
//!
//! An answer is given when what it rests on is on the disk: a version, a count, a counter that
//! anybody was told of is there after `kill -9` and after a power failure. A use is counted before
//! its secret leaves, so a crash between the two costs a use and never gives one back.
//!
//! Secrets are sealed with XChaCha20-Poly1305 under a key that lies in the file sealed under the
//! key-encryption key; what is authenticated with a secret is its name and version, so none can be
//! put in the place of another. Each change is a frame, sealed in the same way, and authenticated
//! with the hash of all frames before it: nobody without the key can change, move, leave out or add
//! one. Two marks, written in turn behind every group of frames, say how far the file was told to
//! be good: up to there all must be whole. Behind it a crash may have left part of a frame: that is
//! dropped, and said.
//!
//! # What does not
//!
//! A file that is put back whole to what it once was is good in itself: who can write it can give
//! counts back by an older copy. Backups are such copies. Keep the folder where only the broker
//! writes.
//!
//! Wiped are the buffers of this crate and of the cipher; what the compiler left on a stack, and
//! what a caller copied, is not.
//!
//! # Why no database
//!
//! `redb` would bring its own B-tree, locks and recovery, and sealing of values one by one would
//! leave their order to it: who can write the file could put back one old page, with an old count
//! in it that was sealed for that very key. To find that, all pages would have to be under one hash
//! again. What a broker keeps fits in memory (at most 32 MiB), so a log, a state made of it and a
//! second file for shortening it are all that is needed, and every byte read back is one that this
//! crate authenticated. No file is opened, made or renamed after the start, so the process that has
//! the key can be locked first.
#![forbid(unsafe_code)]

mod broker;
mod calls;
mod codec;
mod counter;
mod disk;
mod error;
mod file;
mod folder;
mod inner;
mod log;
mod newest;
mod random;
mod record;
mod room;
mod seal;
mod secret;
mod state;
mod store;

pub use counter::{Counter, MAX_SECRET, MAX_TEXT};
pub use disk::{Disk, Side};
pub use error::StoreError;
pub use file::MAX_FILE;
pub use folder::Folder;
pub use log::{LogStore, Opened};
pub use secret::{Kek, Secret};
pub use state::{MAX_LIVE, MAX_SESSIONS};
pub use store::{Got, Listed, Store, Take, Taken, VersionInfo, Which};
