//! `start`: a runtime for a pod, or the one that it has; its address on standard output.
//!
//! containerd up to 2.2 takes the bare address, and nothing else is understood by all of them; from
//! 2.3 on a message comes on standard input, and one goes out. Standard output and standard error
//! are one to containerd 1.6, so nothing is said beside.

use crate::bundle;
use crate::error::RuntimeError;
use crate::invocation::Invocation;
use crate::spec::{Part, Spec};
use containerd_shim_protos::bootstrap_api::{BootstrapParams, BootstrapResult};
use containerd_shim_protos::protobuf::Message;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Longest message on standard input.
const MAX_PARAMETERS: u64 = 1024 * 1024;

/// What was asked on standard input: nothing before containerd 2.3.
///
/// # Errors
/// [`RuntimeError::Use`] of a message that is none.
pub fn parameters(from: &mut impl Read) -> Result<Option<BootstrapParams>, RuntimeError> {
    let mut bytes = Vec::new();
    let read = from.take(MAX_PARAMETERS + 1).read_to_end(&mut bytes);
    match read {
        // Standard input may be closed.
        Ok(0) | Err(_) => Ok(None),
        Ok(length) if length as u64 > MAX_PARAMETERS => {
            Err(RuntimeError::Use("the message on standard input is longer than 1 MiB".into()))
        }
        Ok(_) => BootstrapParams::parse_from_bytes(&bytes)
            .map(Some)
            .map_err(|e| RuntimeError::Use(format!("standard input is no BootstrapParams: {e}"))),
    }
}

/// What is printed: bare, or as the message that answers one.
#[must_use]
pub fn answer(url: &str, asked: Option<&BootstrapParams>) -> Vec<u8> {
    if asked.is_none() {
        return url.as_bytes().to_vec();
    }
    let mut result = BootstrapResult::new();
    // The version of the task API, by which containerd picks the names of calls; both are served.
    result.version = 3;
    result.address = url.into();
    result.protocol = "ttrpc".into();
    result.write_to_bytes().unwrap_or_default()
}

/// Finds or starts the pod's runtime, and says where it is.
///
/// # Errors
/// [`RuntimeError`].
pub fn start(call: &Invocation, to: &mut impl Write) -> Result<(), RuntimeError> {
    let asked = parameters(&mut std::io::stdin().lock())?;
    let folder = std::env::current_dir().map_err(RuntimeError::of("the bundle"))?;
    let spec = Spec::of(&folder)?;
    let socket = |group: &str| bundle::socket(&call.address, &call.namespace, group);
    let path = match spec.part()? {
        Part::Of(sandbox) if sandbox != call.id => {
            let path = socket(&sandbox);
            UnixStream::connect(&path)
                .map_err(RuntimeError::of(format!("the runtime of pod {sandbox}")))?;
            path
        }
        _ => {
            let path = socket(&call.id);
            serve(call, &folder, &path, asked.as_ref())?;
            path
        }
    };
    let url = format!("unix://{}", path.display());
    bundle::write_address(&folder, &url)?;
    to.write_all(&answer(&url, asked.as_ref()))
        .and_then(|()| to.flush())
        .map_err(RuntimeError::of("standard output"))
}

/// Starts a runtime. Its socket listens before it begins, so that whoever is told of it can connect
/// at once, and it inherits nothing else.
fn serve(
    call: &Invocation,
    folder: &Path,
    path: &PathBuf,
    asked: Option<&BootstrapParams>,
) -> Result<(), RuntimeError> {
    bundle::make_socket_folder()?;
    let failed = || RuntimeError::at("cannot listen at", path);
    let listener = match UnixListener::bind(path) {
        Err(e) if e.kind() == ErrorKind::AddrInUse && UnixStream::connect(path).is_err() => {
            // Left by a runtime that was killed: nobody listens there.
            std::fs::remove_file(path).and_then(|()| UnixListener::bind(path)).map_err(failed())?
        }
        bound => bound.map_err(failed())?,
    };
    let program = std::env::current_exe().map_err(RuntimeError::of("this program"))?;
    let mut command = Command::new(program);
    // Under the name that it was called by: that is what says what it is.
    command.arg0(std::env::args_os().next().unwrap_or_default());
    command.args(["-namespace", &call.namespace, "-id", &call.id, "-address", &call.address]);
    command.arg("serve").stdin(OwnedFd::from(listener));
    command.stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    if let Some(asked) = asked {
        command.env("TTRPC_ADDRESS", &asked.containerd_ttrpc_address);
    }
    let started = command.spawn().map_err(RuntimeError::of("the runtime of the pod"));
    let noted = started.and_then(|mut child| {
        bundle::note_process(folder, child.id()).inspect_err(|_| {
            // Nobody would find it again.
            let _ = child.kill();
            let _ = child.wait();
        })
    });
    noted.inspect_err(|_| drop(std::fs::remove_file(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_on_standard_input_is_answered_by_the_bare_address() {
        let none = parameters(&mut &[][..]).unwrap();
        assert!(none.is_none());
        assert_eq!(answer("unix:///run/x", None), b"unix:///run/x");
    }

    #[test]
    fn parameters_are_answered_by_a_result() {
        let mut asked = BootstrapParams::new();
        asked.instance_id = "i".into();
        asked.containerd_ttrpc_address = "unix:///run/c".into();
        let bytes = asked.write_to_bytes().unwrap();
        let read = parameters(&mut &bytes[..]).unwrap().unwrap();
        assert_eq!(read.containerd_ttrpc_address, "unix:///run/c");
        let result = BootstrapResult::parse_from_bytes(&answer("unix:///x", Some(&read))).unwrap();
        assert_eq!((result.version, result.address.as_str()), (3, "unix:///x"));
        assert!(parameters(&mut &b"\x0a\xff"[..]).is_err());
    }
}
