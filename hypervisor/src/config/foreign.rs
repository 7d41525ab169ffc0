//! Devices that programs of others serve: `[[vhost_user]]`, and `--vhost-user` in one line.

use super::ConfigError;
use super::disk::{self, Disk, MAX_DISKS};
use casemate_foreign_text::value;
use serde::Deserialize;
use std::path::{Path, PathBuf};

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
    /// Queues.
    pub queues: Option<u16>,
}

/// Kinds of devices that others may serve: those that were tried with a program of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForeignKind {
    /// A disk.
    Block,
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
    /// Queues, as many as a disk of ours may have.
    pub queues: u16,
}

impl RawForeign {
    /// The back end of a flag: `socket=PATH,kind=block`, then any of `queues=N`, `name=TEXT`, with
    /// commas between.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`].
    pub fn from_flag(flag: &str) -> Result<Self, ConfigError> {
        let wrong = |part: &str| {
            let remedy = "write socket=PATH,kind=block[,queues=N][,name=TEXT]; a path with a comma \
                          goes into a [[vhost_user]] table";
            ConfigError::invalid("vhost-user", format!("\"{}\"", value(part).at_most(64)), remedy)
        };
        let mut foreign = Self::default();
        for part in flag.split(',') {
            let (key, text) = part.split_once('=').unwrap_or((part, ""));
            let first = match key {
                "socket" => foreign.socket.replace(text.into()).is_none(),
                "kind" => foreign.kind.replace(text.into()).is_none(),
                "name" => foreign.name.replace(text.into()).is_none(),
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
            Some(other) => {
                let written = format!("\"{}\"", value(other).at_most(64));
                let remedy = "\"block\" is the one kind that other programs may serve";
                return Err(ConfigError::invalid("vhost_user.kind", written, remedy));
            }
            None => {
                return Err(ConfigError::Missing {
                    field: "vhost_user.kind",
                    remedy: "say what the back end serves: \"block\"",
                });
            }
        };
        let name = self.name.unwrap_or_else(|| format!("vhost_user{index}"));
        let name = disk::name("vhost_user.name", name)?;
        let queues = disk::queues("vhost_user.queues", self.queues, vcpus)?;
        Ok(Foreign { name, socket, kind, queues })
    }
}

/// Checks all of them together, and beside the disks.
pub(super) fn check(
    raw: Vec<RawForeign>,
    vcpus: u32,
    disks: &[Disk],
) -> Result<Vec<Foreign>, ConfigError> {
    let devices = raw.len().saturating_add(disks.len());
    if devices > MAX_DISKS {
        let remedy = format!("a VM has at most {MAX_DISKS} disks, foreign ones among them");
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
        all.push(foreign);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::{Disk, ForeignKind, RawForeign, check};

    fn raw(socket: &str, name: &str) -> RawForeign {
        let kind = Some("block".into());
        RawForeign { socket: Some(socket.into()), kind, name: Some(name.into()), queues: None }
    }

    #[test]
    fn a_flag_says_what_a_table_says() {
        let flag = RawForeign::from_flag("socket=a.sock,kind=block,queues=2,name=data").unwrap();
        let table = "socket = \"a.sock\"\nkind = \"block\"\nqueues = 2\nname = \"data\"\n";
        assert_eq!(toml::from_str::<RawForeign>(table).unwrap(), flag);
        let all = check(vec![flag, raw("b.sock", "b")], 2, &[]).unwrap();
        assert_eq!((&*all[0].name, all[0].kind, all[0].queues), ("data", ForeignKind::Block, 2));
        let unnamed = RawForeign { name: None, ..raw("b.sock", "") };
        assert_eq!(check(vec![unnamed], 1, &[]).unwrap()[0].name, "vhost_user0");
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
            check(all, 1, std::slice::from_ref(&disk)).unwrap_err().to_string()
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
