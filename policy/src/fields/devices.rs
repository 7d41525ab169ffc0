//! `[devices]`: which devices a guest may have, and what is behind them.

use super::{ANY, Enforcer, Field, Key, Kind, field};

const BY: &str = Enforcer::Devices.text();
const SURFACE: &str = "Every device is attack surface of the host, and a channel out of the guest.";
const ESCAPE: &str = "A guest's configuration names any file of the host as its disk.";
const WRITE: &str = "The guest changes data it only has to read.";
const FOREIGN: &str = "A program without our sandbox profile serves the guest.";
const QUEUES: &str = "Each queue costs event descriptors and memory of the host.";

/// What a policy calls the disk of a guest's initdata, which has no path: who states it has looked
/// at every byte of the disk.
pub const INITDATA_DISK: &str = "initdata";

pub(super) const DEVICES: &[Field] = &[
    field(
        "devices.count",
        Key::DevicesCount,
        Kind::Ceiling,
        [
            ANY,
            "Greatest number of devices of all kinds; the kinds have ceilings of their own.",
            BY,
            SURFACE,
        ],
    ),
    field(
        "devices.block.count",
        Key::BlockCount,
        Kind::Ceiling,
        ["0", "Greatest number of `block` devices (disk).", BY, SURFACE],
    ),
    field(
        "devices.block.roots",
        Key::BlockPath,
        Kind::Roots(&[INITDATA_DISK]),
        [
            "[]",
            "Directories in which the file or socket behind each `block` device must lie. \
             `initdata` admits the disk by which `casemate run` hands a guest its initdata: in \
             memory that nobody can change, and of a confidential guest the text whose SHA-256 is \
             HOST_DATA.",
            BY,
            ESCAPE,
        ],
    ),
    field(
        "devices.block.read_only",
        Key::BlockReadOnly,
        Kind::FlagEach,
        ["\"required\"", "Whether each `block` device is read-only.", BY, WRITE],
    ),
    field(
        "devices.block.foreign",
        Key::BlockForeign,
        Kind::FlagEach,
        [
            "\"forbidden\"",
            "Whether each `block` device is served by a vhost-user program that is not ours.",
            BY,
            FOREIGN,
        ],
    ),
    field(
        "devices.block.queues",
        Key::BlockQueues,
        Kind::CeilingEach,
        ["1", "Greatest number of queues of each `block` device.", BY, QUEUES],
    ),
    field(
        "devices.fs.count",
        Key::FsCount,
        Kind::Ceiling,
        ["0", "Greatest number of `fs` devices (shared directory).", BY, SURFACE],
    ),
    field(
        "devices.fs.roots",
        Key::FsPath,
        Kind::Roots(&[]),
        [
            "[]",
            "Directories in which the file or socket behind each `fs` device must lie.",
            BY,
            ESCAPE,
        ],
    ),
    field(
        "devices.fs.read_only",
        Key::FsReadOnly,
        Kind::FlagEach,
        ["\"required\"", "Whether each `fs` device is read-only.", BY, WRITE],
    ),
    field(
        "devices.fs.foreign",
        Key::FsForeign,
        Kind::FlagEach,
        [
            "\"forbidden\"",
            "Whether each `fs` device is served by a vhost-user program that is not ours.",
            BY,
            FOREIGN,
        ],
    ),
    field(
        "devices.fs.queues",
        Key::FsQueues,
        Kind::CeilingEach,
        ["1", "Greatest number of queues of each `fs` device.", BY, QUEUES],
    ),
    field(
        "devices.net.count",
        Key::NetCount,
        Kind::Ceiling,
        ["0", "Greatest number of `net` devices (network interface).", BY, SURFACE],
    ),
    field(
        "devices.net.foreign",
        Key::NetForeign,
        Kind::FlagEach,
        [
            "\"forbidden\"",
            "Whether each `net` device is served by a vhost-user program that is not ours.",
            BY,
            FOREIGN,
        ],
    ),
    field(
        "devices.net.queues",
        Key::NetQueues,
        Kind::CeilingEach,
        ["1", "Greatest number of queues of each `net` device.", BY, QUEUES],
    ),
    field(
        "devices.console.count",
        Key::ConsoleCount,
        Kind::Ceiling,
        ["0", "Greatest number of `console` devices (console).", BY, SURFACE],
    ),
    field(
        "devices.console.foreign",
        Key::ConsoleForeign,
        Kind::FlagEach,
        [
            "\"forbidden\"",
            "Whether each `console` device is served by a vhost-user program that is not ours.",
            BY,
            FOREIGN,
        ],
    ),
    field(
        "devices.console.queues",
        Key::ConsoleQueues,
        Kind::CeilingEach,
        ["1", "Greatest number of queues of each `console` device.", BY, QUEUES],
    ),
    field(
        "devices.vsock.count",
        Key::VsockCount,
        Kind::Ceiling,
        ["0", "Greatest number of `vsock` devices (socket to the host).", BY, SURFACE],
    ),
    field(
        "devices.vsock.foreign",
        Key::VsockForeign,
        Kind::FlagEach,
        [
            "\"forbidden\"",
            "Whether each `vsock` device is served by a vhost-user program that is not ours.",
            BY,
            FOREIGN,
        ],
    ),
    field(
        "devices.vsock.queues",
        Key::VsockQueues,
        Kind::CeilingEach,
        ["1", "Greatest number of queues of each `vsock` device.", BY, QUEUES],
    ),
    field(
        "devices.rng.count",
        Key::RngCount,
        Kind::Ceiling,
        ["0", "Greatest number of `rng` devices (random number source).", BY, SURFACE],
    ),
    field(
        "devices.rng.foreign",
        Key::RngForeign,
        Kind::FlagEach,
        [
            "\"forbidden\"",
            "Whether each `rng` device is served by a vhost-user program that is not ours.",
            BY,
            FOREIGN,
        ],
    ),
    field(
        "devices.rng.queues",
        Key::RngQueues,
        Kind::CeilingEach,
        ["1", "Greatest number of queues of each `rng` device.", BY, QUEUES],
    ),
];
