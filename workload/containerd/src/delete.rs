//! `delete`: nothing of a pod is left. containerd calls it after every end, also after one that
//! nobody else saw: the runtime was killed.

use crate::bundle;
use crate::error::RuntimeError;
use crate::invocation::Invocation;
use crate::wire::now;
use containerd_shim_protos::api::DeleteResponse;
use containerd_shim_protos::protobuf::{Message, MessageField};
use std::io::Write;
use std::path::PathBuf;

/// The status of what was killed.
const KILLED: u32 = 128 + 9;

/// Ends what was noted in the bundle, and removes what is named after the pod.
///
/// # Errors
/// [`RuntimeError`].
pub fn delete(call: &Invocation, to: &mut impl Write) -> Result<(), RuntimeError> {
    let bundle = call.bundle.clone().unwrap_or_else(|| PathBuf::from("."));
    bundle::end_processes(&bundle);
    // A container of a pod has no socket of this name: it is the pod's own.
    let _ = std::fs::remove_file(bundle::socket(&call.address, &call.namespace, &call.id));
    let mut answer = DeleteResponse::new();
    answer.exit_status = KILLED;
    answer.exited_at = MessageField::some(now());
    let bytes = answer.write_to_bytes().unwrap_or_default();
    to.write_all(&bytes).and_then(|()| to.flush()).map_err(RuntimeError::of("standard output"))
}
