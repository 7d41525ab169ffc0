//! `casemate device rng`: random numbers of the host.

use super::Common;
use super::serve::{Served, serve};
use crate::Outcome;
use casemate_device_process::{DeviceKind, FrontEnd, Start};
use casemate_device_rng::profile::layers;
use clap::Args;

/// Serve a virtio entropy device: random numbers of this host's kernel
#[derive(Debug, Args)]
#[command(after_long_help = HELP)]
pub struct RngArgs {
    #[command(flatten)]
    common: Common,
}

const HELP: &str = "\
A guest's buffer gets at most 4096 bytes, however long it is; nothing that a
guest was given is kept. The process has no file: its one call beyond those of
every device is getrandom.

Whoever runs this host can know every number, so this is no device for a guest
that must not trust its host: `casemate run` gives it to none unless
`trust_host` is written.

Exit status: 0 after a signal, or with --once after the front end; 1 when the
device failed; 2 bad use or input.

Examples:
  casemate device rng --socket rng.sock
  qemu-system-x86_64 -m 1G -M q35,memory-backend=m \\
      -object memory-backend-memfd,id=m,size=1G,share=on \\
      -chardev socket,id=c,path=rng.sock \\
      -device vhost-user-rng-pci,chardev=c ...
";

pub(super) fn run(args: &RngArgs) -> Outcome {
    let start = Start { kind: DeviceKind::Rng, front_end: FrontEnd::Foreign, config: Vec::new() };
    let own = Vec::new();
    serve(&args.common, &Served { start, layers: layers("device"), own, helper: None })
}
