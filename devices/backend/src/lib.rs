//! What every device process is around its device: a vhost-user back end.
//!
//! A front end (the vmm process, or another VMM) sends messages over a socket: guest memory, where
//! the rings are, when they run. [`Session::set_up`] takes them until the front end enables a ring
//! for the first time; by then every descriptor is there and every thread has begun, so the process
//! can lock itself, and [`Session::serve`] goes on under the lock. Nothing of a guest is read
//! before.
//!
//! ```text
//! control thread   recvmsg -> Front: checks the message -> pauses a lane, changes it, resumes it
//! a lane a queue   ppoll on its kick -> takes requests in order -> Device::answer -> call
//! ```
//!
//! A device that waits for more than its queues ([`PolledDevice`]) has one thread for all of them.
//!
//! A lane holds its own lock while it works and gives it up between two requests when the control
//! thread wants it, so a message waits for one request at most, and a ring that was stopped has
//! nothing half done.
//!
//! Messages are decoded by the `vhost` crate. What arrives is still the front end's claim: numbers
//! are checked here, regions against their files, rings against the regions. A request that cannot
//! be granted is refused with a negative acknowledgement; one that breaks the protocol ends the
//! session, and with it the process.
//!
//! What each thread is doing can be seen without waiting for it ([`Pulses`]), so that who watches
//! the process tells a hang from storage that takes long.
//!
//! How much of a device its guest gets is held back between two requests ([`Throttle`]): nothing is
//! in hand meanwhile, so a message never waits for it.
//!
//! Limits: one front end for the life of the process; at most [`MAX_QUEUES`] queues; messages of
//! 4 KiB (the `vhost` crate's bound); no dirty log, no in-flight region, no memory slots, no
//! requests by the back end. In steady state the process makes the calls that [`profile`] lists,
//! and what its device adds.
#![forbid(unsafe_code)]

mod bucket;
mod description;
mod device;
mod lane;
mod messages;
mod polled;
pub mod profile;
mod pulse;
mod session;
mod table;
mod throttle;

pub use bucket::{Buckets, Limits, MAX_RATE, Rate};
pub use description::Description;
pub use device::{Device, Turn};
pub use messages::RESUME;
pub use polled::{PolledDevice, Served};
pub use pulse::{Place, Pulse, Seen};
pub use session::{Descriptors, Ended, MAX_QUEUES, Pulses, Session, SetUpError};
pub use table::{Guard, Mode};
pub use throttle::Throttle;
