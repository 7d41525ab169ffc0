//! The life of a VM, as a library: configuration, plan, processes, end.
//!
//! [`prepare`] and [`Prepared::start`] are the whole start, in the order in which it happens: open
//! the host's devices and start the vmm process ([`vmm`]), which sets the VM up and waits;
//! meanwhile read and check everything, ask the policy, take the name; then hand the plan over.
//! That gives a [`RunningVm`], a handle that tells what happens ([`Event`]) and does what it is
//! asked ([`supervisor`]). Nothing here prints, owns a signal or ends the calling process: that is
//! the program's.

pub mod decision;
pub mod engine;
pub mod handover;
pub mod image;
pub mod kind;
pub mod manage;
pub mod name;
mod nets;
pub mod profile;
pub mod protocol;
mod ready;
pub mod recorder;
pub mod supervisor;
pub mod virtio;
pub mod vmm;

mod asked;
mod begun;
mod cgroup;
mod device_thread;
mod disks;
mod dry_run;
mod engine_error;
mod error;
mod lone;
mod lone_process;
mod open;
mod open_devices;
mod open_disk;
mod open_foreign;
mod open_net;
mod open_vsock;
mod orders;
mod spawning;
mod start;
mod stop_slot;
mod vsock;

pub use asked::{WouldAsk, asked};
pub use cgroup::{CgroupError, RanOut};
pub use dry_run::{Decided, DryRun, Planned, dry_run};
pub use error::VmError;
pub use kind::ProcessKind;
pub use open::{OpenError, files as open_files, outline as open_outline};
pub use open_disk::DiskError;
pub use open_foreign::ForeignError;
pub use open_vsock::VsockError;
pub use orders::{Order, Orders};
pub use start::{Prepared, Programs, prepare, prepare_plan};
pub use supervisor::{
    Asked, End, Event, GuestMark, Hang, Happened, Loss, Moved, Outside, RunningVm, Step, Then,
    Times,
};
