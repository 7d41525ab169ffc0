//! The socket device: `[vsock]` and `[[vsock.forward]]`, and their flags.

use super::ConfigError;
use casemate_device_vsock::{MAX_CID, MAX_FORWARDS, MAX_PORTS, MIN_CID};
use casemate_foreign_text::value;
use casemate_layout::ports::BROKER_VSOCK_PORT;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// What `--vsock` looks like.
const FLAG: &str = "write path=SOCKET[,cid=N][,ports=N+N…]; a path with a comma goes into a [vsock] \
                    table";
/// What `--vsock-forward` looks like.
const FORWARD_FLAG: &str = "write port=N,path=SOCKET";

/// The `[vsock]` table as written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawVsock {
    /// The guest's context id.
    pub cid: Option<u64>,
    /// Where programs of the host connect and say to which port.
    pub path: Option<PathBuf>,
    /// Ports of the host that the guest may connect to.
    #[serde(default)]
    pub ports: Vec<u32>,
    /// Sockets for single ports of the guest.
    #[serde(default)]
    pub forward: Vec<RawForward>,
    /// The socket of a key broker, to which one port of the host leads: no key of the file, since
    /// it belongs to a run of an image.
    #[serde(skip)]
    pub broker: Option<PathBuf>,
}

/// A `[[vsock.forward]]` table as written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawForward {
    /// Where programs of the host connect.
    pub path: Option<PathBuf>,
    /// The guest's port that they are connected to.
    pub port: Option<u32>,
}

/// A socket device as it will be given to the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vsock {
    /// The guest's context id.
    pub cid: u64,
    /// Where programs of the host connect and say to which port.
    pub path: Option<PathBuf>,
    /// Ports of the host that the guest may connect to: what listens at the path with `_PORT`
    /// behind it.
    pub ports: Vec<u32>,
    /// Sockets for single ports of the guest.
    pub forwards: Vec<(u32, PathBuf)>,
    /// Where a key broker listens, to which [`BROKER_VSOCK_PORT`] leads.
    pub broker: Option<PathBuf>,
    /// The directory of all of them.
    pub directory: PathBuf,
}

impl Vsock {
    /// Whether the guest reaches any port of the host, for which there is a connector.
    #[must_use]
    pub const fn connects(&self) -> bool {
        !self.ports.is_empty() || self.broker.is_some()
    }

    /// Whether any socket is made in the file system, which a janitor removes.
    #[must_use]
    pub const fn listens(&self) -> bool {
        self.path.is_some() || !self.forwards.is_empty()
    }
}

/// The parts of a flag, each with what is behind its `=`.
fn parts(flag: &str) -> impl Iterator<Item = (&str, &str)> {
    flag.split(',').map(|part| part.split_once('=').unwrap_or((part, "")))
}

impl RawVsock {
    /// The device of a flag: `path=SOCKET`, then any of `cid=N` and `ports=N+N…`, with commas
    /// between.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`].
    pub fn from_flag(flag: &str) -> Result<Self, ConfigError> {
        let wrong =
            || ConfigError::invalid("vsock", format!("\"{}\"", value(flag).at_most(64)), FLAG);
        let mut vsock = Self::default();
        for (key, text) in parts(flag) {
            match key {
                "path" if vsock.path.is_none() && !text.is_empty() => {
                    vsock.path = Some(text.into());
                }
                "cid" if vsock.cid.is_none() => {
                    vsock.cid = Some(text.parse().map_err(|_| wrong())?);
                }
                "ports" if vsock.ports.is_empty() => {
                    let ports = text.split('+').map(str::parse).collect::<Result<_, _>>();
                    vsock.ports = ports.map_err(|_| wrong())?;
                }
                _ => return Err(wrong()),
            }
        }
        if vsock.path.is_none() { Err(wrong()) } else { Ok(vsock) }
    }

    pub(super) fn resolve(&mut self, directory: &Path) {
        let forwards = self.forward.iter_mut().map(|forward| &mut forward.path);
        for path in std::iter::once(&mut self.path).chain(forwards).flatten() {
            *path = directory.join(&*path);
        }
    }

    /// Checks all of it.
    pub(super) fn check(self) -> Result<Vsock, ConfigError> {
        let cid = self.cid.unwrap_or(MIN_CID);
        if !(MIN_CID..=MAX_CID).contains(&cid) {
            let remedy = format!("use {MIN_CID} to {MAX_CID}; {MIN_CID} is the default");
            return Err(ConfigError::invalid("vsock.cid", cid, remedy));
        }
        let others = !self.forward.is_empty() || self.broker.is_some();
        if self.path.is_none() && (!others || !self.ports.is_empty()) {
            return Err(ConfigError::Missing {
                field: "vsock.path",
                remedy: "name a socket to be made; what the guest connects to is named after it",
            });
        }
        check_ports(&self.ports, self.broker.is_some())?;
        if self.broker.is_some() && self.ports.contains(&BROKER_VSOCK_PORT) {
            let remedy = "that port leads to the key broker: use another one";
            return Err(ConfigError::invalid("vsock.ports", BROKER_VSOCK_PORT, remedy));
        }
        let forwards = self.forward.into_iter().map(RawForward::check);
        let forwards = forwards.collect::<Result<Vec<_>, _>>()?;
        if forwards.len() > MAX_FORWARDS {
            let remedy = format!("a VM has at most {MAX_FORWARDS}");
            let times = format!("{} times there", forwards.len());
            return Err(ConfigError::invalid("vsock.forward", times, remedy));
        }
        let paths = self.path.iter().chain(forwards.iter().map(|(_, path)| path));
        let paths: Vec<_> = paths.chain(&self.broker).collect();
        let directory = one_directory(&paths)?;
        let Self { path, ports, broker, .. } = self;
        Ok(Vsock { cid, path, ports, forwards, broker, directory })
    }
}

impl RawForward {
    /// The socket of a flag: `port=N,path=SOCKET`.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`].
    pub fn from_flag(flag: &str) -> Result<Self, ConfigError> {
        let shown = || format!("\"{}\"", value(flag).at_most(64));
        let wrong = || ConfigError::invalid("vsock-forward", shown(), FORWARD_FLAG);
        let mut forward = Self::default();
        for (key, text) in parts(flag) {
            match key {
                "path" if forward.path.is_none() && !text.is_empty() => {
                    forward.path = Some(text.into());
                }
                "port" if forward.port.is_none() => {
                    forward.port = Some(text.parse().map_err(|_| wrong())?);
                }
                _ => return Err(wrong()),
            }
        }
        let whole = forward.path.is_some() && forward.port.is_some();
        if whole { Ok(forward) } else { Err(wrong()) }
    }

    fn check(self) -> Result<(u32, PathBuf), ConfigError> {
        let missing = |field| ConfigError::Missing {
            field,
            remedy: "each [[vsock.forward]] has a `port` of the guest and a `path`",
        };
        let port = self.port.ok_or_else(|| missing("vsock.forward.port"))?;
        Ok((port, self.path.ok_or_else(|| missing("vsock.forward.path"))?))
    }
}

fn check_ports(ports: &[u32], broker: bool) -> Result<(), ConfigError> {
    let most = MAX_PORTS - usize::from(broker);
    if ports.len() > most {
        let remedy = format!("a guest is let connect to at most {most}");
        return Err(ConfigError::invalid("vsock.ports", format!("{} ports", ports.len()), remedy));
    }
    let twice =
        ports.iter().enumerate().find(|(at, port)| ports.iter().take(*at).any(|p| p == *port));
    match twice {
        None => Ok(()),
        Some((_, port)) => {
            let remedy = "name each port once";
            Err(ConfigError::invalid("vsock.ports", format!("{port} twice"), remedy))
        }
    }
}

/// The directory of all paths. One, since the process that connects for the guest, and the one that
/// removes them at the end, see one.
fn one_directory(paths: &[&PathBuf]) -> Result<PathBuf, ConfigError> {
    let parent = |path: &Path| match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let invalid = |path: &Path, remedy: &str| {
        let shown = format!("\"{}\"", value(path.display()));
        ConfigError::invalid("vsock.path", shown, remedy)
    };
    let first = paths.first().map(|path| parent(path)).unwrap_or_default();
    for path in paths {
        if path.file_name().is_none() {
            return Err(invalid(path, "name a socket, not a directory"));
        }
        if parent(path) != first {
            return Err(invalid(path, "all sockets of a VM are in one directory"));
        }
        if paths.iter().filter(|other| *other == path).count() > 1 {
            return Err(invalid(path, "give each socket another path"));
        }
    }
    Ok(first)
}

#[cfg(test)]
mod tests {
    use super::{RawForward, RawVsock};

    #[test]
    fn flags_say_what_tables_say() {
        let mut vsock = RawVsock::from_flag("path=d/v,cid=7,ports=52+53").unwrap();
        vsock.forward.push(RawForward::from_flag("port=22,path=d/ssh").unwrap());
        let table = "cid = 7\npath = \"d/v\"\nports = [52, 53]\n\
                     [[forward]]\npath = \"d/ssh\"\nport = 22\n";
        assert_eq!(toml::from_str::<RawVsock>(table).unwrap(), vsock);
        let checked = vsock.check().unwrap();
        assert_eq!((checked.cid, checked.directory.to_str()), (7, Some("d")));
        let least = RawVsock::from_flag("path=v").unwrap().check().unwrap();
        assert_eq!((least.cid, least.directory.to_str()), (3, Some(".")));
    }

    #[test]
    fn flags_that_leave_something_open_are_refused() {
        for flag in ["", "path=", "cid=3", "path=a,path=b", "path=a,cid=x", "path=a,ports=", "v"] {
            let error = RawVsock::from_flag(flag).unwrap_err().to_string();
            assert!(error.starts_with("`vsock` is"), "{flag}: {error}");
        }
        for flag in ["", "port=1", "path=a", "port=1,path=a,x", "port=-1,path=a"] {
            let error = RawForward::from_flag(flag).unwrap_err().to_string();
            assert!(error.starts_with("`vsock-forward` is"), "{flag}: {error}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused_by_key() {
        let error = |table: &str| {
            let raw: RawVsock = toml::from_str(table).unwrap();
            raw.check().unwrap_err().to_string()
        };
        for (table, key) in [
            ("", "`vsock.path` is missing"),
            ("ports = [1]\n[[forward]]\nport = 1\npath = \"a\"", "`vsock.path` is missing"),
            ("path = \"a\"\ncid = 2", "`vsock.cid` is 2"),
            ("path = \"a\"\ncid = 4294967295", "`vsock.cid` is"),
            ("path = \"a\"\nports = [1, 2, 1]", "`vsock.ports` is 1 twice"),
            ("path = \"..\"", "`vsock.path` is"),
            ("path = \"a\"\n[[forward]]\nport = 1\npath = \"b/a\"", "`vsock.path` is"),
            ("path = \"a\"\n[[forward]]\nport = 1\npath = \"a\"", "`vsock.path` is"),
            ("[[forward]]\nport = 1", "`vsock.forward.path` is missing"),
            ("[[forward]]\npath = \"a\"", "`vsock.forward.port` is missing"),
        ] {
            assert!(error(table).starts_with(key), "{table}: {}", error(table));
        }
        let mut broker: RawVsock = toml::from_str("").unwrap();
        broker.broker = Some("d/kbs".into());
        assert_eq!(broker.clone().check().unwrap().directory.to_str(), Some("d"));
        let elsewhere = RawVsock { path: Some("e/v".into()), ..broker.clone() };
        assert!(elsewhere.check().unwrap_err().to_string().contains("in one directory"));
        let path = Some("d/v".into());
        let own = RawVsock { path: path.clone(), ports: vec![0x6b_6273], ..broker.clone() };
        assert!(own.check().unwrap_err().to_string().contains("leads to the key broker"));
        let full = RawVsock { path, ports: (0..64).collect(), ..broker };
        assert!(full.check().unwrap_err().to_string().contains("at most 63"));
        let many = format!("path = \"a\"\nports = {:?}", (0..65).collect::<Vec<u32>>());
        assert!(error(&many).starts_with("`vsock.ports` is 65 ports"));
    }
}
