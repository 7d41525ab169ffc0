//! What a VM that does not start is to the user: whose fault it is decides the exit status.

use crate::Failure;
use casemate_hypervisor::vm::VmError;

/// Bad input, or a failure of the host or a denial, in the words of the library.
#[allow(clippy::needless_pass_by_value, reason = "it is what an error is made into")]
pub fn failure(error: VmError) -> Failure {
    let text = error.to_string();
    if error.is_bad_input() { Failure::BadInput(text) } else { Failure::Failed(text) }
}
