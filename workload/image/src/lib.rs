//! Images of workloads: the layers of a container image, a tar stream or a folder become one tree
//! of files, and the tree becomes a read-only disk: an EROFS file system and behind it the
//! dm-verity tree that proves each of its blocks.
//!
//! Principle: the bytes depend on the input and on this crate's version, and on nothing else: not
//! on the user who builds (owners are numbers in the layers, nobody has to be root), not on the
//! order in which a folder lists its files, the clock, the file system or a tool that happens to be
//! installed. So two people who build the same input can compare two numbers.
//!
//! Principle: the input is hostile. A layer is somebody's download: nothing in it names a file of
//! this machine, since no path of it is ever opened here; lengths, depths and counts have bounds
//! ([`Limits`]); what would be guessed is refused with the entry's name.
//!
//! - [`tar`]: entries of a tar stream.
//! - [`Tree`] and [`Layer`]: what the layers come to, by the rules of the OCI image specification.
//! - [`oci`]: layouts, archives, what `docker save` and `podman save` write.
//! - [`overlay`]: one layer as a disk by itself, for pods.
//! - [`mod@folder`]: a folder of this machine.
//! - [`source`]: which of these a path is.
//! - [`build`]: all of it as an image that boots; [`process`] is what it runs, [`users`] as whom,
//!   [`launch`] the file beside it.
//! - [`mod@kernel`]: a kernel with its modules, of files or a package; [`initramfs`] of it.
//! - [`erofs`]: the file system; [`verity`]: the tree behind it.
#![forbid(unsafe_code)]

pub mod build;
mod bytes;
pub mod erofs;
mod error;
pub mod folder;
mod hashed;
pub mod initramfs;
pub mod kernel;
pub mod launch;
mod layer;
pub mod oci;
pub mod overlay;
mod path;
pub mod process;
pub mod source;
mod spool;
pub mod tar;
mod tree;
mod unpack;
pub mod users;
pub mod verity;
mod xz;

pub use error::ImageError;
pub use hashed::Digest;
pub use layer::{Dropped, Layer};
pub use path::Name;
pub use spool::{Content, Spool};
pub use tree::{Kind, Limits, Meta, Node, NodeId, Tree};
pub use unpack::unpack;
