//! The image of every device process. `casemate` carries it and starts it in sealed memory, see
//! `casemate_sandbox::Image`; started otherwise it ends at once.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Nobody reads what it would print: its standard output is /dev/null. A parent that is there
    // has been told.
    u8::try_from(casemate_device_process::main()).map_or(ExitCode::FAILURE, ExitCode::from)
}
