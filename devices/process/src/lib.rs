//! Any device as a process: how it is started, locked and ended.
//!
//! One program is every device ([`main`]); its start says which ([`Start`]). What all of them have
//! is here: they are confined, make their fence, take memory and descriptors from their front end
//! under a set-up filter, and serve under a steady one that has no call by which anything more
//! could come. What a device does is its own crate's, and so is what it may do: its profiles.

mod heart;
mod run;
mod start;
mod words;

pub use casemate_device_backend::{MAX_QUEUES, Place, RESUME, Seen};
pub use run::{DONE, FAILED, Holdings, Input, body, body_with, main};
pub use start::{DeviceKind, FrontEnd, Start, spawn};
pub use words::{Beat, FromDevice, MESSAGE_SIZE, ToDevice};
