//! The image of the recorder. `casemate` carries it and starts it in sealed memory, see
//! `casemate_sandbox::Image`; started otherwise it ends at once.

use casemate_hypervisor::vm::recorder;
use casemate_sandbox::Heap;
use std::process::ExitCode;

#[global_allocator]
static HEAP: Heap = Heap::new();

fn main() -> ExitCode {
    // Nobody reads what it would print: its standard output is /dev/null. A parent that is there
    // has been told.
    u8::try_from(recorder::main()).map_or(ExitCode::FAILURE, ExitCode::from)
}
