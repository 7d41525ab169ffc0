//! Any device as a process: how it is started, locked and ended.
//!
//! One program is every device ([`main`]); its start says which ([`Start`]). What all of them have
//! is here: they are confined, make their fence, take memory and descriptors from their front end
//! under a set-up filter, and serve under a steady one that has no call by which anything more
//! could come. What a device does is its own crate's, and so is what it may do: its profiles.
//!
//! The same program is what helps devices and has no front end: the connector of a socket device
//! ([`spawn_connector`]), and the janitors of what a VM has in the file system ([`spawn_janitor`])
//! and of its control groups ([`spawn_group_janitor`]).

mod connector;
mod group_janitor;
mod heart;
mod janitor;
mod kind;
mod limits_met;
mod path_socket;
mod run;
mod start;
mod status;
mod words;

pub use casemate_device_backend::{
    Limits, MAX_QUEUES, MAX_RATE, Place as ThreadPlace, RESUME, Rate, Seen,
};
pub use connector::{ConnectorInput, connector_body, connector_layers, spawn_connector};
pub use group_janitor::{
    GROUP_JANITOR, GroupEvents, GroupPlaces, MAX_GROUPS, group_janitor_body, group_janitor_layers,
    spawn_group_janitor,
};
pub use janitor::{JANITOR, Place, janitor_body, janitor_layers, spawn_janitor};
pub use kind::DeviceKind;
pub use limits_met::LimitsMet;
pub use path_socket::{PathSocket, SocketError};
pub use run::{Holdings, Input, body, body_with, main};
pub use start::{FrontEnd, Start, spawn};
pub use status::{DONE, FAILED};
pub use words::{Beat, FromDevice, MESSAGE_SIZE, ToDevice};
