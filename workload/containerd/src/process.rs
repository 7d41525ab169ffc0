//! What containerd calls a process: the pod itself, a container, or an exec, from its making to its
//! deletion.

use crate::stdio::{Copies, Paths};
use casemate_agent::{Process, Wish};
use containerd_shim_protos::protobuf::well_known_types::timestamp::Timestamp;
use std::path::PathBuf;
use std::sync::Arc;

/// A container's id, and an exec's; the latter is empty for the container itself.
pub type Key = (String, String);

/// What a process is to the guest.
#[derive(Debug, Clone)]
pub enum Kind {
    /// The guest as a whole.
    Sandbox,
    /// A process of a container in it.
    In(Process),
}

/// How far a process is.
#[derive(Debug, Clone)]
pub enum Progress {
    /// Made, not started; an exec with what it is to run, which the guest is asked at its start.
    Created(Option<Box<Wish>>),
    /// The guest is asked to start it.
    Starting,
    /// Started.
    Running,
    /// Ended, with this status, then.
    Ended(u32, Timestamp),
}

/// A process of a pod.
#[derive(Debug)]
pub struct Entry {
    /// What it is to the guest.
    pub kind: Kind,
    /// How far it is.
    pub progress: Progress,
    /// The bundle; of the container, for an exec.
    pub bundle: PathBuf,
    /// Its FIFOs.
    pub paths: Paths,
    /// Whether it has a terminal.
    pub terminal: bool,
    /// The copies of its streams, once they are there.
    pub copies: Option<Arc<Copies>>,
    /// Nothing more comes by its input; said before there are copies it holds for them.
    pub input_ended: bool,
    /// The guest has said that it ended. It says so once.
    pub ending: bool,
}

impl Entry {
    /// One that was made.
    pub const fn new(kind: Kind, wish: Option<Box<Wish>>, bundle: PathBuf, paths: Paths) -> Self {
        Self {
            kind,
            progress: Progress::Created(wish),
            bundle,
            paths,
            terminal: false,
            copies: None,
            input_ended: false,
            ending: false,
        }
    }

    /// Its status and when it ended; None before that.
    pub const fn ended(&self) -> Option<(u32, &Timestamp)> {
        match &self.progress {
            Progress::Ended(status, when) => Some((*status, when)),
            _ => None,
        }
    }
}
