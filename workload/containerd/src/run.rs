//! The runtime of a pod, from its first call to its last.

use crate::bundle;
use crate::error::RuntimeError;
use crate::events::Events;
use crate::guest::Launcher;
use crate::invocation::Invocation;
use crate::log::Log;
use crate::pod::Pod;
use crate::task::Api;
use containerd_shim_protos::create_task;
use containerd_shim_protos::ttrpc::Server;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

/// Serves containerd on a listening socket until nothing of the pod is left.
///
/// # Errors
/// [`RuntimeError`].
pub fn run(
    call: &Invocation,
    listener: OwnedFd,
    launcher: Box<dyn Launcher>,
) -> Result<(), RuntimeError> {
    let folder = std::env::current_dir().map_err(RuntimeError::of("the bundle"))?;
    let log = Arc::new(Log::open(&folder));
    let address = std::env::var("TTRPC_ADDRESS").ok().filter(|address| !address.is_empty());
    let events = Events::new(address, &call.namespace, Arc::clone(&log));
    let pod = Arc::new(Pod::new(&call.id, launcher, events, Arc::clone(&log)));
    let methods = || create_task(Arc::new(Api(Arc::clone(&pod))));
    // Version 3 is version 2 by another name; containerd 1.6 and 1.7 ask for the old one, later
    // ones for what the answer to `start` made them believe, which was the old one as well.
    let old = methods()
        .into_iter()
        .map(|(name, method)| (name.replace("containerd.task.v3.", "containerd.task.v2."), method));
    let failed = |e: containerd_shim_protos::ttrpc::Error| RuntimeError::Guest(e.to_string());
    let mut server = Server::new()
        .add_listener(listener.as_raw_fd())
        .map_err(failed)?
        .register_service(old.collect())
        .register_service(methods());
    server.start().map_err(failed)?;
    // The server has it from here on: closed twice, it could be another's.
    std::mem::forget(listener);
    pod.wait_finished();
    // The last answer is on its way: whoever asked for the end waits for it.
    std::thread::sleep(std::time::Duration::from_millis(50));
    let _ = std::fs::remove_file(bundle::socket(&call.address, &call.namespace, &call.id));
    pod.end_guest();
    pod.events.finish();
    Ok(())
}
