//! One fact: what a rule looks at.

use crate::cmdline::CommandLine;
use crate::lattice::{Bytes, Endpoint, Tcb, Usage};

/// One fact. How it is written depends on the kind of its field; see the field reference.
#[derive(Debug, Clone, PartialEq)]
pub enum Fact {
    /// A number, packed version, time in seconds, index of a choice or level, or bit mask.
    Number(u64),
    /// A text, or a normalised path with a final `/`.
    Text(Box<str>),
    /// A digest or identifier.
    Bytes(Bytes),
    /// Security patch levels of a generation.
    Tcb(Tcb),
    /// A network end point: address, port, protocol.
    Endpoint(Endpoint),
    /// Counted uses, in the last second and in all.
    Usage(Usage),
    /// A kernel command line; see [`crate::Facts::command_line`].
    CommandLine(Box<CommandLine>),
    /// A list of facts that are no lists.
    List(Vec<Fact>),
    /// A value that does not fit its key, and why. No rule admits it.
    Invalid(Box<str>),
}
