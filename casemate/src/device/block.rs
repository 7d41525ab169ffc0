//! `casemate device block`: a disk.

use super::Common;
use super::serve::{Served, serve};
use crate::{Failure, Outcome};
use casemate_device_block::{Image, Options, layers};
use casemate_device_process::{DeviceKind, FrontEnd, MAX_QUEUES, Start};
use clap::Args;
use std::os::fd::AsFd;
use std::path::PathBuf;

/// Serve a raw image or block device as a virtio disk
#[derive(Debug, Args)]
#[command(after_long_help = HELP)]
pub struct BlockArgs {
    #[command(flatten)]
    common: Common,
    /// Raw image or block device; locked against a second VM
    #[arg(long, value_name = "IMG")]
    file: PathBuf,
    /// Never write to it; it is opened so, too
    #[arg(long)]
    read_only: bool,
    /// Leave the host's page cache out (O_DIRECT)
    #[arg(long)]
    direct: bool,
    /// What the guest sees as the serial number, at most 20 bytes
    #[arg(long, value_name = "S")]
    serial: Option<String>,
    /// Queues, each served by a thread of its own
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u16).range(1..=i64::from(MAX_QUEUES)))]
    queues: u16,
}

const HELP: &str = "\
The front end is any VMM that speaks vhost-user and shares its guest's memory
as a file in memory. Each one that connects is served by a process of its own,
which ends with it; the next waits until then. The process is locked as those
of `casemate run` are: namespaces, an empty root, no capability, landlock, a
filter. Its filter lets it map memory, to read and write only, since a VMM of
others sends its memory anew whenever it changes; see `casemate sandbox
profiles`.

With --fence a page that the guest does not hold is an error for a request,
and never makes the host hold one more. It is for confidential guests: others
post pages that they have not touched yet, and would get errors for them. A
process that an attacker has taken over can map memory anew without the fence:
here it protects from accidents. Under `casemate run` it protects from both.

Exit status: 0 after a signal, or with --once after the front end; 1 when the
device failed; 2 bad use or input.

Examples:
  casemate device block --socket disk.sock --file disk.img
  casemate device block --socket disk.sock --file disk.img --read-only \\
      --serial data-1 --queues 2
  qemu-system-x86_64 -smp 2 -m 1G -M q35,memory-backend=m \\
      -object memory-backend-memfd,id=m,size=1G,share=on \\
      -chardev socket,id=c,path=disk.sock \\
      -device vhost-user-blk-pci,chardev=c,num-queues=2,disable-legacy=on ...
QEMU's num-queues is at most --queues, and is of use up to the number of its
processors.
";

pub(super) fn run(args: &BlockArgs) -> Outcome {
    let options = Options {
        read_only: args.read_only,
        direct: args.direct,
        serial: args.serial.clone().unwrap_or_default(),
        queues: args.queues,
    };
    let image = Image::open(&args.file, &options).map_err(|e| Failure::BadInput(e.to_string()))?;
    let start = Start {
        kind: DeviceKind::Block,
        front_end: FrontEnd::Foreign,
        config: image.facts().encode().to_vec(),
    };
    let layers = layers("device", image.facts());
    let own = vec![image.file().as_fd()];
    serve(&args.common, &Served { start, layers, own, helper: None })
}
