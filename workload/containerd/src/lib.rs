//! A runtime of containerd whose pods are guests.
//!
//! containerd starts the program `containerd-shim-NAME-v2` for each pod, asks it for an address,
//! and then speaks ttrpc there: create, start, wait, kill, delete. What a pod runs is asked of the
//! agent in a guest; this crate knows neither VMs nor processes of the host, but [`Launcher`] and
//! [`Guest`].
//!
//! - [`invocation`]: how the program was called; [`start`], [`delete`], [`run()`] are its three
//!   acts; [`spec`], [`initdata`]: what a container is to be, as containerd has it.
//! - `task`: containerd's task API; `pod`: what it is about; `connection`: the agent; `stdio`:
//!   between FIFOs and the guest's streams; `events`: what containerd is told by itself.
//!
//! What comes from containerd is bounded and taken for hostile, as what comes from the guest is:
//! the runtime of one pod must not be the way into others.
#![forbid(unsafe_code)]

mod bundle;
mod capabilities;
mod connection;
pub mod delete;
mod error;
mod events;
mod files;
mod guest;
pub mod initdata;
pub mod invocation;
mod log;
mod pod;
mod process;
mod run;
pub mod spec;
pub mod start;
mod stats;
mod stdio;
mod task;
mod wire;

pub use error::RuntimeError;
pub use guest::{Guest, Launch, Launcher, Root};
pub use invocation::{Action, Invocation};
pub use run::run;
