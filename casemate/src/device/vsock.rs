//! `casemate device vsock`: streams between a guest and sockets of the host.

use super::Common;
use super::serve::{Helper, Served, serve};
use crate::{Failure, Outcome};
use casemate_device_process::{
    DeviceKind, FrontEnd, PathSocket, SocketError, Start, connector_layers, spawn_connector,
};
use casemate_device_vsock::profile::layers;
use casemate_device_vsock::{
    Connects, Entry, Facts, MAX_CID, MAX_FORWARDS, MAX_PORTS, MIN_CID, PORT_ROOM,
};
use casemate_sandbox::{Child, Image, Layers, SandboxError};
use clap::Args;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Serve a virtio socket device: streams between the guest's ports and UNIX sockets
#[derive(Debug, Args)]
#[command(after_long_help = HELP)]
pub struct VsockArgs {
    #[command(flatten)]
    common: Common,
    /// The guest's context id
    #[arg(long, value_name = "N", default_value_t = MIN_CID,
          value_parser = clap::value_parser!(u64).range(MIN_CID..=MAX_CID))]
    cid: u64,
    /// Where programs connect and say `CONNECT PORT`: a socket that is made here, for this user
    /// only, and removed at the end
    #[arg(long, value_name = "PATH")]
    path: Option<PathBuf>,
    /// A port of the host that the guest may connect to: what listens at `PATH_PORT`; can be
    /// repeated
    #[arg(long = "port", value_name = "PORT", requires = "path")]
    ports: Vec<u32>,
    /// A socket for one port of the guest, without a word before: `PORT=PATH`; can be repeated
    #[arg(long = "forward", value_name = "PORT=PATH", value_parser = forward)]
    forwards: Vec<(u32, PathBuf)>,
}

const HELP: &str = "\
A program on the host connects to --path, writes `CONNECT 1024` and a newline,
and reads `OK N` and a newline when the guest has accepted on its port 1024;
from then on it is connected to it. When the guest connects to port 52 of the
host (context id 2), and --port 52 was given, it is connected to who listens
at the path with `_52` behind it.

What waits is bounded: 64 connections, of each 128 KiB that its reader has not
taken. The device's process has no path; where ports are named, a second
process connects to them, which sees their folder only. When this program is
root's, that one is user 65534: the folder must let it in (`chmod o+x`), and
the sockets let it write (`chmod o+w`).

Exit status: 0 after a signal, or with --once after the front end; 1 when the
device failed; 2 bad use or input.

Examples:
  casemate device vsock --socket vhost.sock --path vm.sock --port 52
  casemate device vsock --socket vhost.sock --cid 7 --forward 22=ssh.sock
  qemu-system-x86_64 -m 1G -M q35,memory-backend=m \\
      -object memory-backend-memfd,id=m,size=1G,share=on \\
      -chardev socket,id=c,path=vhost.sock \\
      -device vhost-user-vsock-pci,chardev=c ...
";

fn forward(text: &str) -> Result<(u32, PathBuf), String> {
    let wrong = || "write PORT=PATH".to_owned();
    let (port, path) = text.split_once('=').ok_or_else(wrong)?;
    let port = port.parse().map_err(|_| wrong())?;
    if path.is_empty() { Err(wrong()) } else { Ok((port, path.into())) }
}

pub(super) fn run(args: &VsockArgs) -> Outcome {
    let bad = |text: &str| Err(Failure::BadInput(text.to_owned()));
    if args.path.is_none() && args.forwards.is_empty() {
        return bad(
            "`--path` or `--forward` is missing: nothing of the host would reach the guest",
        );
    }
    if args.ports.len() > MAX_PORTS || args.forwards.len() > MAX_FORWARDS {
        return bad("`--port` or `--forward` is given too often");
    }
    let failed = |e: SocketError| Failure::BadInput(e.to_string());
    let room = if args.ports.is_empty() { 0 } else { PORT_ROOM };
    let path = args.path.as_deref();
    let path = path.map(|path| PathSocket::with_room("--path", path, room));
    let mut sockets: Vec<_> = path.transpose().map_err(failed)?.into_iter().collect();
    let mut entries = vec![Entry::Path; sockets.len()];
    for (port, path) in &args.forwards {
        sockets.push(PathSocket::at("--forward", path).map_err(failed)?);
        entries.push(Entry::Port(*port));
    }
    let polled = sockets.iter().map(PathSocket::polled).collect::<Result<Vec<_>, _>>();
    let polled = polled.map_err(|e| Failure::Failed(e.to_string()))?;
    let facts = Facts { cid: args.cid, entries, ports: args.ports.clone() };
    let start =
        Start { kind: DeviceKind::Vsock, front_end: FrontEnd::Foreign, config: facts.encode() };
    let own = polled.iter().map(AsFd::as_fd).collect();
    let connector = args.path.as_deref().filter(|_| !args.ports.is_empty());
    let connector = connector.map(|path| Connector::of(path, &args.ports)).transpose()?;
    let helper = connector.as_ref().map(|connector| connector as &dyn Helper);
    serve(&args.common, &Served { start, layers: layers("device"), own, helper })
}

/// The connector that each device process gets.
struct Connector {
    directory: PathBuf,
    connects: Connects,
}

impl Connector {
    fn of(path: &Path, ports: &[u32]) -> Result<Self, Failure> {
        let name = path.file_name().map(|name| name.as_bytes().to_vec());
        let name = name.ok_or_else(|| Failure::BadInput("`--path` names no file".into()))?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = parent.unwrap_or(Path::new(".")).to_owned();
        Ok(Self { directory, connects: Connects { name, ports: ports.to_vec(), named: None } })
    }
}

impl Helper for Connector {
    fn start(
        &self,
        image: &Image,
        lacking: &dyn Fn(Layers) -> Layers,
        channel: &OwnedFd,
        control: &OwnedFd,
    ) -> Result<Child, SandboxError> {
        let layers = lacking(connector_layers(&self.directory));
        spawn_connector(image, layers, &self.connects, channel, control, |_| ())
    }
}
