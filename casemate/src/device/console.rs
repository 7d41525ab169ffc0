//! `casemate device console`: a console that a program of this host shows.

use super::Common;
use super::serve::{Served, serve};
use crate::{Failure, Outcome};
use casemate_device_console::profile::layers;
use casemate_device_process::{DeviceKind, FrontEnd, Start};
use casemate_foreign_text::value;
use clap::Args;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Serve a virtio console: bytes between a guest's hvc0 and a UNIX socket
#[derive(Debug, Args)]
#[command(after_long_help = HELP)]
pub struct ConsoleArgs {
    #[command(flatten)]
    common: Common,
    /// A UNIX stream socket at which somebody listens, who gets the guest's output and gives its
    /// input; connected to once
    #[arg(long, value_name = "PATH")]
    path: PathBuf,
}

const HELP: &str = "\
The guest's output is what it wrote, byte for byte: whoever shows it at a
terminal has to keep from it what could act on it, as `casemate run` does.
A reader that takes nothing holds the guest back. When it has gone, output
goes nowhere, and front ends are served all the same. There is one port, and
neither a size nor an emergency write.

Exit status: 0 after a signal, or with --once after the front end; 1 when the
device failed; 2 bad use or input.

Examples:
  casemate device console --socket vhost.sock --path console.sock
";

/// Connects without waiting for who listens: one that does not accept, and whose queue is full,
/// would be waited for without end.
fn stream(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

pub(super) fn run(args: &ConsoleArgs) -> Outcome {
    let stream = stream(&args.path).map_err(|e| {
        let path = value(args.path.display());
        let e = std::io::Error::from(e);
        Failure::BadInput(format!("`--path` {path}: {e}; who reads it has to listen there first"))
    })?;
    let start =
        Start { kind: DeviceKind::Console, front_end: FrontEnd::Foreign, config: Vec::new() };
    let own = vec![stream.as_fd()];
    serve(&args.common, &Served { start, layers: layers("device"), own, helper: None })
}
