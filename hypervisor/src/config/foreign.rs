//! Devices that programs of others serve: `[[vhost_user]]`, and `--vhost-user` in one line.

use super::disk::{self, Disk, MAX_DISKS};
use super::{ConfigError, net};
use casemate_device_net::QUEUES as NET_QUEUES;
use casemate_device_process::DeviceKind;
use casemate_device_vsock::QUEUES as VSOCK_QUEUES;
use casemate_foreign_text::value;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// The kinds, in the words of a message.
const KINDS: &str = "\"block\", \"net\" or \"vsock\"";

/// A foreign back end as written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawForeign {
    /// Where it listens.
    pub socket: Option<PathBuf>,
    /// What kind of device it serves.
    pub kind: Option<String>,
    /// What messages call it.
    pub name: Option<String>,
    /// Queues of a disk.
    pub queues: Option<u16>,
    /// The guest's address on the link of a network device.
    pub mac: Option<String>,
}

/// Kinds of devices that others may serve: those that were tried with a program of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForeignKind {
    /// A disk.
    Block,
    /// A network device, of whose address its back end knows nothing: front ends have that, by the
    /// custom of vhost-user (`net_vhost_user_init` of QEMU has no configuration to ask for).
    Net {
        /// The guest's address on the link.
        mac: [u8; 6],
    },
    /// A socket device.
    Vsock,
}

impl ForeignKind {
    /// The name that users know it by.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.device().name()
    }

    /// What the guest sees.
    #[must_use]
    pub const fn device(self) -> DeviceKind {
        match self {
            Self::Block => DeviceKind::Block,
            Self::Net { .. } => DeviceKind::Net,
            Self::Vsock => DeviceKind::Vsock,
        }
    }
}

/// A device of the guest's that a program of others serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    /// Unique among the VM's devices.
    pub name: String,
    /// Where the program listens.
    pub socket: PathBuf,
    /// What it serves there.
    pub kind: ForeignKind,
    /// Queues, as many as a device of ours may have.
    pub queues: u16,
}

impl RawForeign {
    /// The back end of a flag: `socket=PATH,kind=block|net|vsock`, then any of `queues=N`,
    /// `mac=ADDRESS`, `name=TEXT`, with commas between.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`].
    pub fn from_flag(flag: &str) -> Result<Self, ConfigError> {
        let wrong = |part: &str| {
            let remedy = "write socket=PATH,kind=block[,queues=N], kind=net[,mac=ADDRESS] or \
                          kind=vsock, then [,name=TEXT]; a path with a comma goes into a \
                          [[vhost_user]] table";
            ConfigError::invalid("vhost-user", format!("\"{}\"", value(part).at_most(64)), remedy)
        };
        let mut foreign = Self::default();
        for part in flag.split(',') {
            let (key, text) = part.split_once('=').unwrap_or((part, ""));
            let first = match key {
                "socket" => foreign.socket.replace(text.into()).is_none(),
                "kind" => foreign.kind.replace(text.into()).is_none(),
                "name" => foreign.name.replace(text.into()).is_none(),
                "mac" => foreign.mac.replace(text.into()).is_none(),
                "queues" => {
                    let queues = text.parse().map_err(|_| wrong(part))?;
                    foreign.queues.replace(queues).is_none()
                }
                _ => false,
            };
            if !first || text.is_empty() {
                return Err(wrong(part));
            }
        }
        let whole = foreign.socket.is_some() && foreign.kind.is_some();
        if whole { Ok(foreign) } else { Err(wrong(flag)) }
    }

    pub(super) fn resolve(&mut self, directory: &Path) {
        if let Some(socket) = &mut self.socket {
            *socket = directory.join(&*socket);
        }
    }

    fn check(self, index: usize, vcpus: u32) -> Result<Foreign, ConfigError> {
        let socket = self.socket.ok_or(ConfigError::Missing {
            field: "vhost_user.socket",
            remedy: "name the socket on which a vhost-user back end listens",
        })?;
        let kind = match self.kind.as_deref() {
            Some("block") => ForeignKind::Block,
            Some("net") => {
                ForeignKind::Net { mac: net::mac("vhost_user.mac", self.mac.as_deref())? }
            }
            Some("vsock") => ForeignKind::Vsock,
            Some(other) => {
                let written = format!("\"{}\"", value(other).at_most(64));
                let remedy = format!("other programs may serve {KINDS}");
                return Err(ConfigError::invalid("vhost_user.kind", written, remedy));
            }
            None => {
                return Err(ConfigError::Missing {
                    field: "vhost_user.kind",
                    remedy: "say what the back end serves: \"block\", \"net\" or \"vsock\"",
                });
            }
        };
        if self.mac.is_some() && !matches!(kind, ForeignKind::Net { .. }) {
            let remedy = format!("only kind = \"net\" has an address, this is \"{}\"", kind.name());
            return Err(ConfigError::invalid("vhost_user.mac", "given", remedy));
        }
        let name = self.name.unwrap_or_else(|| format!("vhost_user{index}"));
        let name = disk::name("vhost_user.name", name)?;
        let queues = match (kind, self.queues) {
            (ForeignKind::Block, queues) => disk::queues("vhost_user.queues", queues, vcpus)?,
            (ForeignKind::Net { .. }, None) => NET_QUEUES,
            (ForeignKind::Vsock, None) => VSOCK_QUEUES,
            (_, Some(queues)) => {
                let remedy =
                    format!("only a disk has a choice of queues, this is \"{}\"", kind.name());
                return Err(ConfigError::invalid("vhost_user.queues", queues, remedy));
            }
        };
        Ok(Foreign { name, socket, kind, queues })
    }
}

/// Checks all of them together, and beside the disks and a socket device of ours, if there is one.
/// A foreign device of any kind counts as a disk.
pub(super) fn check(
    raw: Vec<RawForeign>,
    vcpus: u32,
    disks: &[Disk],
    has_vsock: bool,
) -> Result<Vec<Foreign>, ConfigError> {
    let devices = raw.len().saturating_add(disks.len());
    if devices > MAX_DISKS {
        let remedy = format!("a VM has at most {MAX_DISKS} disks and foreign devices");
        let value = format!("{} times there, beside {} disks", raw.len(), disks.len());
        return Err(ConfigError::invalid("vhost_user", value, remedy));
    }
    let mut all: Vec<Foreign> = Vec::new();
    for (index, raw) in raw.into_iter().enumerate() {
        let foreign = raw.check(index, vcpus)?;
        let names = disks.iter().map(|disk| &disk.name).chain(all.iter().map(|other| &other.name));
        if names.into_iter().any(|name| *name == foreign.name) {
            let twice = format!("{:?} twice", foreign.name);
            let remedy = "give each device another name";
            return Err(ConfigError::invalid("vhost_user.name", twice, remedy));
        }
        if all.iter().any(|other| other.socket == foreign.socket) {
            let twice = format!("\"{}\" twice", value(foreign.socket.display()));
            let remedy = "a back end serves one device by each of its sockets";
            return Err(ConfigError::invalid("vhost_user.socket", twice, remedy));
        }
        let is_vsock = |other: &Foreign| other.kind == ForeignKind::Vsock;
        if is_vsock(&foreign) && (has_vsock || all.iter().any(is_vsock)) {
            // Linux takes the first and says nothing of the others.
            let remedy = "a guest has one socket device: leave this one or the other out";
            return Err(ConfigError::invalid("vhost_user.kind", "\"vsock\" again", remedy));
        }
        all.push(foreign);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::{Disk, ForeignKind, RawForeign, check};

    fn raw(socket: &str, name: &str) -> RawForeign {
        let kind = Some("block".into());
        let (socket, name) = (Some(socket.into()), Some(name.into()));
        RawForeign { socket, kind, name, queues: None, mac: None }
    }

    #[test]
    fn a_flag_says_what_a_table_says() {
        let flag = RawForeign::from_flag("socket=a.sock,kind=block,queues=2,name=data").unwrap();
        let table = "socket = \"a.sock\"\nkind = \"block\"\nqueues = 2\nname = \"data\"\n";
        assert_eq!(toml::from_str::<RawForeign>(table).unwrap(), flag);
        let all = check(vec![flag, raw("b.sock", "b")], 2, &[], false).unwrap();
        assert_eq!((&*all[0].name, all[0].kind, all[0].queues), ("data", ForeignKind::Block, 2));
        let unnamed = RawForeign { name: None, ..raw("b.sock", "") };
        assert_eq!(check(vec![unnamed], 1, &[], false).unwrap()[0].name, "vhost_user0");
    }

    #[test]
    fn each_kind_has_the_queues_that_its_drivers_know() {
        let of = |flag: &str| {
            let raw = RawForeign::from_flag(&format!("socket=s,{flag}")).unwrap();
            check(vec![raw], 1, &[], false).map(|mut all| all.remove(0))
        };
        let net = of("kind=net,mac=52:54:00:12:34:56").unwrap();
        let mac = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
        assert_eq!((net.kind, net.queues), (ForeignKind::Net { mac }, 2));
        let [one, other] = [(); 2].map(|()| of("kind=net").unwrap());
        assert_ne!(one.kind, other.kind, "an address is each time another");
        let vsock = of("kind=vsock").unwrap();
        assert_eq!((vsock.kind, vsock.queues), (ForeignKind::Vsock, 3));
        for (flag, key) in [
            ("kind=net,queues=2", "`vhost_user.queues` is 2"),
            ("kind=vsock,queues=3", "`vhost_user.queues` is 3"),
            ("kind=net,mac=53:54:00:12:34:56", "`vhost_user.mac` is"),
            ("kind=block,mac=52:54:00:12:34:56", "`vhost_user.mac` is"),
        ] {
            let said = of(flag).unwrap_err().to_string();
            assert!(said.starts_with(key), "{said}");
        }
        let vsocks = |sockets: &[&str], has| {
            let flag = |socket| RawForeign::from_flag(&format!("socket={socket},kind=vsock"));
            let all = sockets.iter().map(|socket| flag(*socket).unwrap()).collect();
            check(all, 1, &[], has).is_ok()
        };
        assert!(vsocks(&["a"], false) && !vsocks(&["a"], true) && !vsocks(&["a", "b"], false));
    }

    #[test]
    fn flags_that_leave_something_open_are_refused() {
        for flag in [
            "",
            "a.sock",
            "socket=a",
            "kind=block",
            "socket=,kind=block",
            "socket=a,kind=block,socket=b",
            "socket=a,kind=block,queues=x",
            "socket=a,kind=block,ro",
            "socket=a,kind=block,",
            "socket=a,kind=block,\u{1b}[2J",
        ] {
            let error = RawForeign::from_flag(flag).unwrap_err().to_string();
            let clear = error.starts_with("`vhost-user` is") && !error.contains('\u{1b}');
            assert!(clear, "{flag}: {error}");
        }
    }

    #[test]
    fn back_ends_that_cannot_be_are_refused_by_key() {
        let disk = Disk {
            name: "root".into(),
            path: "x".into(),
            read_only: false,
            direct: false,
            serial: String::new(),
            queues: 1,
            standby: true,
            on_device_death: crate::config::OnDeviceDeath::Stop,
            limits: casemate_device_process::Limits::default(),
        };
        let error = |all: Vec<RawForeign>| {
            check(all, 1, std::slice::from_ref(&disk), false).unwrap_err().to_string()
        };
        let eight = (0..8).map(|n| raw(&format!("s{n}"), &format!("a{n}"))).collect();
        for (raws, key) in [
            (vec![RawForeign::default()], "`vhost_user.socket` is missing"),
            (vec![RawForeign { kind: None, ..raw("s", "a") }], "`vhost_user.kind` is missing"),
            (vec![RawForeign { kind: Some("gpu".into()), ..raw("s", "a") }], "`vhost_user.kind`"),
            (vec![RawForeign { queues: Some(2), ..raw("s", "a") }], "`vhost_user.queues` is 2"),
            (vec![raw("s", "a b")], "`vhost_user.name` is"),
            (vec![raw("s", "root")], "`vhost_user.name` is \"root\" twice"),
            (vec![raw("s", "a"), raw("t", "a")], "`vhost_user.name` is \"a\" twice"),
            (vec![raw("s", "a"), raw("s", "b")], "`vhost_user.socket` is \"s\" twice"),
            (eight, "`vhost_user` is 8 times there"),
        ] {
            let said = error(raws);
            assert!(said.starts_with(key), "{said}");
        }
    }
}
