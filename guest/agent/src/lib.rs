//! The agent in a pod's guest: it binds the pod to the manifest that the guest was launched with,
//! and runs of it what the host asks for, in the manifest's order and as the manifest says.
//!
//! - [`state`]: what may be asked when, as types; decisions, nothing else.
//! - [`compare`]: what the host wishes, against what the manifest says.
//! - [`given`]: files of the host; [`names`]: files that say names, as the manifest has them.
//! - [`serve()`]: the loop around both, for PID 1 of a guest. What a guest is made of, its report
//!   and its disks, is behind [`World`].
//!
//! The host is hostile. It can ask for nothing that the manifest does not list, and everything it
//! is refused is named in an answer.

pub mod compare;
pub mod given;
pub mod names;
mod output;
mod process;
mod serve;
pub mod state;
mod streams;
mod usage;
mod world;

pub use serve::serve;
pub use streams::{MAX_STREAMS, Streams};
pub use world::World;
