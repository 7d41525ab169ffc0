//! `casemate device net`: a network interface.

use super::Common;
use super::serve::{Served, serve};
use crate::policy::files::read_policy;
use crate::{Failure, Outcome};
use casemate_device_net::{Facts, MAX_MTU, MIN_MTU, Tap, Wanted, layers, parse_mac};
use casemate_device_process::{DeviceKind, FrontEnd, Limits, Start};
use casemate_policy::NetworkRules;
use clap::{ArgGroup, Args};
use std::os::fd::AsFd;
use std::path::PathBuf;

/// Serve a TAP as a virtio network device
#[derive(Debug, Args)]
#[command(after_long_help = HELP, group = ArgGroup::new("which").required(true),
          override_usage = "casemate device net --socket <PATH> --mac <ADDRESS> [OPTIONS]\n       \
                            <--tap <NAME>|--fd <N>>")]
pub struct NetArgs {
    #[command(flatten)]
    common: Common,
    /// Name of a TAP
    #[arg(long, value_name = "NAME", group = "which")]
    tap: Option<String>,
    /// A TAP that is open already, by the number of its descriptor
    #[arg(long, value_name = "N", group = "which",
          value_parser = clap::value_parser!(i32).range(3..))]
    fd: Option<i32>,
    /// Make the TAP of that name; it is gone with this program
    #[arg(long, requires = "tap")]
    create: bool,
    /// The guest's address: what it sends from another one is dropped
    #[arg(long, value_name = "ADDRESS", value_parser = mac)]
    mac: [u8; 6],
    /// Largest packet that the guest is told to send
    #[arg(long, value_name = "N", default_value_t = 1500,
          value_parser = clap::value_parser!(u16).range(i64::from(MIN_MTU)..=i64::from(MAX_MTU)))]
    mtu: u16,
    /// Policy whose `network.egress`, `network.rate` and `network.on_rate` say what the guest may
    /// reach [default: everything]
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
}

const HELP: &str = "\
The front end is any VMM that speaks vhost-user and shares its guest's memory
as a file in memory. Each one that connects is served by a process of its own,
which ends with it; the next waits until then. The process is locked as those
of `casemate run` are, and has one descriptor that leads out: the TAP.

There is one pair of queues, and no control queue: a front end that has
features of its own for a guest must not offer those (QEMU: as below; its 7.2
without KVM ends unless vectors=0 is added). The guest's address is the front
end's to tell it; say the same one here.

Without --policy a guest reaches what is behind the TAP. With one it opens the
connections that this admits, and answers those that others open; a frame that
cannot be read, a fragment, and one from another address are dropped.
Address resolution, neighbour discovery and a question for an address by DHCP
are let through always.

Exit status: 0 after a signal, or with --once after the front end; 1 when the
device failed; 2 bad use or input.

Examples:
  casemate device net --socket net.sock --tap tap0 --mac 52:54:00:12:34:56
  casemate device net --socket net.sock --tap vm0 --create \\
      --mac 52:54:00:12:34:56 --policy policy.toml
  qemu-system-x86_64 -m 1G -M q35,memory-backend=m \\
      -object memory-backend-memfd,id=m,size=1G,share=on \\
      -chardev socket,id=c,path=net.sock -netdev vhost-user,id=n,chardev=c \\
      -device virtio-net-pci,netdev=n,mac=52:54:00:12:34:56,mq=off,\\
ctrl_vq=off,ctrl_rx=off,ctrl_rx_extra=off,ctrl_vlan=off,ctrl_mac_addr=off,\\
guest_announce=off ...
";

fn mac(text: &str) -> Result<[u8; 6], String> {
    parse_mac(text).ok_or_else(|| {
        "use six pairs of hexadecimal digits, the first even, such as 52:54:00:12:34:56".into()
    })
}

pub(super) fn run(args: &NetArgs) -> Outcome {
    let wanted = match (&args.tap, args.fd) {
        (Some(name), _) if args.create => Wanted::New { name: name.clone(), mtu: args.mtu },
        (Some(name), _) => Wanted::Existing(name.clone()),
        (None, Some(fd)) => Wanted::Descriptor(fd),
        (None, None) => return Err(Failure::BadInput("`--tap` or `--fd` is missing".into())),
    };
    let rules = match &args.policy {
        Some(path) => read_policy(path)?.network_rules(),
        None => NetworkRules::any(),
    };
    let tap = Tap::open(&wanted).map_err(|e| Failure::BadInput(e.to_string()))?;
    let (offered, limits) = (tap.offered(), Limits::default());
    let facts = Facts { mac: args.mac, mtu: args.mtu, offered, limits, rules };
    let (kind, front_end) = (DeviceKind::Net, FrontEnd::Foreign);
    let start = Start { kind, front_end, config: facts.encode() };
    let own = vec![tap.file().as_fd()];
    serve(&args.common, &Served { start, layers: layers("device"), own, helper: None })
}
