//! What the process may speculate on.
//!
//! A locked process works on bytes of a guest, and shares processors with others. Two kinds of
//! speculation can be turned off for a process alone, in force for its life
//! (`Documentation/userspace-api/spec_ctrl.rst`): that a load bypasses an older store, and that
//! indirect branches are predicted from what another process did on the same core (the kernel then
//! puts a barrier where it switches between them). The third, flushing the L1 cache at each switch,
//! costs more than a switch and needs a boot parameter: it is the host's to decide.

use super::refusal::Refusal;
use super::sys::prctl;

/// `PR_GET_SPECULATION_CTRL`, `PR_SET_SPECULATION_CTRL` and their second argument, `linux/prctl.h`:
/// crate libc has them for glibc alone.
const GET: libc::c_int = 52;
const SET: libc::c_int = 53;
const STORE_BYPASS: u64 = 0;
const INDIRECT_BRANCH: u64 = 1;
/// Answers of PR_GET_SPECULATION_CTRL.
const NOT_AFFECTED: i32 = 0;
const PER_PROCESS: i32 = 1;
const FORCE_DISABLE: u64 = 1 << 3;

/// Turns off, for good, what the processor is affected by and the host lets a process decide.
///
/// A processor that is not affected needs nothing; a host that has decided for all processes
/// (`mitigations=off`, or `spec_store_bypass_disable=on`) is not overruled. Neither is a failure:
/// the report says which it is.
pub(super) fn restrict() -> Result<String, Refusal> {
    let kinds = [("store bypass", STORE_BYPASS), ("indirect branches", INDIRECT_BRANCH)];
    let mut said = Vec::new();
    for (name, kind) in kinds {
        let now = prctl("prctl(PR_GET_SPECULATION_CTRL)", GET, kind, 0)?;
        said.push(match now {
            NOT_AFFECTED => format!("{name}: not affected"),
            now if now & PER_PROCESS == 0 => format!("{name}: the host decides"),
            _ => {
                prctl("prctl(PR_SET_SPECULATION_CTRL)", SET, kind, FORCE_DISABLE)?;
                format!("{name}: off")
            }
        });
    }
    Ok(said.join(", "))
}
