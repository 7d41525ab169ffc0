//! `[resources]` and `[devices]`: guests that take the host, or reach into it.
//!
//! The bounds are what no host has: a ceiling above them ends nothing, whatever its number is.

use super::{Lint, lint};
use crate::audit::Level::Warning;
use crate::audit::danger::{Ask, Bad, Witness};
use crate::audit::strangers;

const UNLIMITED: &str = "the ceiling is above what any host has, so that it limits nothing";
const COUNT: &str = "the number of devices has no ceiling that matters";
const ROOTS: &str = "files that are the host's own, or anyone's, can be behind the device";
const FOREIGN: &str = "a back end without our sandbox profile is admitted";

/// More processors than a host has: two sockets of today's largest have 768 threads.
const PROCESSORS: u64 = 1024;
/// More memory than a host has, 16 TiB: two sockets hold 12.
const MEMORY_MIB: u64 = 16 << 20;
/// More disk than a guest has use for, 256 TiB.
const DISK_MIB: u64 = 256 << 20;
/// A queue costs two event descriptors; a process has 1024 descriptors unless somebody raised that.
const QUEUES: u64 = 1024;
/// One below the kernel's least `pid_max`: a guest that may have as many takes every process number
/// there is.
const PIDS: u64 = 32_767;
/// More than any guest of ours has room for on its bus.
const DEVICES: u64 = 64;
/// Queues of one device; a multi-queue network card has one or two for each vCPU.
const DEVICE_QUEUES: u64 = 256;

fn devices(ask: &Ask<'_>) -> Option<Witness> {
    ask.own(Bad::above(DEVICES))
}

fn queues(ask: &Ask<'_>) -> Option<Witness> {
    ask.own(Bad::above(DEVICE_QUEUES))
}

fn roots(ask: &Ask<'_>) -> Option<Witness> {
    ask.own(strangers::host_file(ask))
}

fn foreign(ask: &Ask<'_>) -> Option<Witness> {
    ask.own(Bad::index(1))
}

fn disk(ask: &Ask<'_>) -> Option<Witness> {
    ask.own(Bad::above(DISK_MIB))
}

fn memory(ask: &Ask<'_>) -> Option<Witness> {
    ask.own(Bad::above(MEMORY_MIB))
}

pub(super) const LINTS: &[Lint] = &[
    lint("CM030", Warning, "resources.vcpus", |ask| ask.own(Bad::above(PROCESSORS)), UNLIMITED),
    lint("CM030", Warning, "resources.memory_mib", memory, UNLIMITED),
    lint("CM030", Warning, "resources.disk_mib", disk, UNLIMITED),
    lint("CM030", Warning, "resources.disk_total_mib", disk, UNLIMITED),
    lint("CM030", Warning, "resources.queues", |ask| ask.own(Bad::above(QUEUES)), UNLIMITED),
    lint(
        "CM030",
        Warning,
        "resources.cpu_percent",
        |ask| ask.own(Bad::above(100 * PROCESSORS)),
        UNLIMITED,
    ),
    lint("CM030", Warning, "resources.cgroup_memory_mib", memory, UNLIMITED),
    lint("CM030", Warning, "resources.pids", |ask| ask.own(Bad::above(PIDS)), UNLIMITED),
    lint("CM031", Warning, "devices.block.count", devices, COUNT),
    lint("CM031", Warning, "devices.fs.count", devices, COUNT),
    lint("CM031", Warning, "devices.net.count", devices, COUNT),
    lint("CM031", Warning, "devices.console.count", devices, COUNT),
    lint("CM031", Warning, "devices.vsock.count", devices, COUNT),
    lint("CM031", Warning, "devices.rng.count", devices, COUNT),
    lint("CM032", Warning, "devices.block.roots", roots, ROOTS),
    lint("CM032", Warning, "devices.fs.roots", roots, ROOTS),
    lint("CM033", Warning, "devices.block.foreign", foreign, FOREIGN),
    lint("CM033", Warning, "devices.fs.foreign", foreign, FOREIGN),
    lint("CM033", Warning, "devices.net.foreign", foreign, FOREIGN),
    lint("CM033", Warning, "devices.console.foreign", foreign, FOREIGN),
    lint("CM033", Warning, "devices.vsock.foreign", foreign, FOREIGN),
    lint("CM033", Warning, "devices.rng.foreign", foreign, FOREIGN),
    lint("CM034", Warning, "devices.block.queues", queues, UNLIMITED),
    lint("CM034", Warning, "devices.fs.queues", queues, UNLIMITED),
    lint("CM034", Warning, "devices.net.queues", queues, UNLIMITED),
    lint("CM034", Warning, "devices.console.queues", queues, UNLIMITED),
    lint("CM034", Warning, "devices.vsock.queues", queues, UNLIMITED),
    lint("CM034", Warning, "devices.rng.queues", queues, UNLIMITED),
];
