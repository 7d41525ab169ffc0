//! The life of a VM: configuration, plan, processes, end.
//!
//! [`run`] is the whole of it, in the order in which it happens: read and check everything, take the name, open
//! everything, spawn the vmm process ([`vmm`]), watch it ([`supervisor`]).

pub mod console;
pub mod decision;
pub mod engine;
pub mod name;
pub mod profile;
pub mod protocol;
pub mod supervisor;
pub mod timeline;
pub mod vmm;

mod open;
mod start;

pub use open::{OpenError, files as open_files, outline as open_outline};
pub use start::{VmError, run, run_plan};
pub use supervisor::End;

/// A line for the user on standard error. Unlike `eprintln!` it does not end the program when nobody reads it.
fn say(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "casemate: {text}");
}
