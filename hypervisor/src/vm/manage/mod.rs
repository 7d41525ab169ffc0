//! Managing a running VM: what its user can ask the supervisor that holds its name, and what that
//! answers.
//!
//! It goes through the socket that holds the name ([`super::name`]), so whoever asks and whoever
//! answers are known to each other by the kernel's word. A supervisor tells who connects which
//! processes the VM has; then it takes requests. Both directions are packets of a socket that keeps
//! their bounds (SOCK_SEQPACKET), so there is no half of one, and each is text in one spelling:
//! what is parsed says the same when it is written again.
//!
//! A supervisor has other things to do. It never waits for who asks: a packet that finds no room is
//! not sent again, its asker is left. In one round of its loop it takes one packet of each asker,
//! of which there are few; one more takes the place of the one that has been there longest.

mod answer;
mod clients;
mod facts;
mod lines;
mod request;
mod session;

pub use answer::{Answer, BadAnswer, Ending};
pub use facts::{CgroupFact, DiskFact, Facts, ForeignFact, LimitsFact, NetFact, ProcessFact};
pub use facts::{RefusedFact, State, VmFacts, VsockFact};
pub use lines::{Line, Page};
pub use request::Request;
pub use session::{Found, ManageError, Session, all};

pub(super) use clients::{Clients, Waits};
pub(super) use facts::millis;
pub(super) use lines::Lines;
