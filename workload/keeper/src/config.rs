//! `kbs.toml`: what a broker is made of. Read once, wholly checked; a key that is not known, or a
//! value that cannot be, refuses the document, and the message says which key and what to do.
//!
//! Paths in it are relative to its folder.

use casemate_attestation::report::Generation;
use casemate_broker::Lifetimes;
use casemate_foreign_text::value;
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Longest document, in bytes.
pub const MAX_DOCUMENT: u64 = 64 * 1024;
/// Most places to listen at.
const MAX_LISTEN: usize = 16;
/// Longest path of a UNIX socket (unix(7): 108 bytes with the zero).
const MAX_SOCKET: usize = 107;

/// Why a document is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ConfigError {
    /// It is no document of this kind.
    #[error("{}: {reason}", value(.name))]
    Parse {
        /// What it is called.
        name: String,
        /// Line and reason.
        reason: String,
    },
    /// A value that cannot be.
    #[error("{}: {key}: {reason}", value(.name))]
    Value {
        /// What the document is called.
        name: String,
        /// The key.
        key: &'static str,
        /// What is wrong, and what to do.
        reason: String,
    },
}

/// Where a broker listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A UNIX socket at this path.
    Unix(PathBuf),
}

impl std::fmt::Display for Listen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", value(path.display())),
        }
    }
}

/// The most connections that a front takes: `casemate_front::MAX_CONNECTIONS`, with which the
/// program is not built if it is another.
pub const MAX_CONNECTIONS: u32 = 16 * 1024;

/// What one broker bears at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once.
    pub connections: u32,
    /// Of them from one address. Clients of UNIX sockets have none: only `connections` bounds them.
    pub connections_per_address: u32,
    /// Requests a second of one address, after a burst of ten times as many.
    pub requests_per_second: u32,
    /// Threads that answer.
    pub workers: u32,
}

/// A broker's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where it listens.
    pub listen: Vec<Listen>,
    /// Its certificate for TLS, in PEM.
    pub tls_certificate: PathBuf,
    /// The key of that.
    pub tls_key: PathBuf,
    /// What challenges and sessions are authenticated by.
    pub broker_key: PathBuf,
    /// The folder of the store.
    pub store: PathBuf,
    /// The key-encryption key of the store.
    pub kek: PathBuf,
    /// The policy.
    pub policy: PathBuf,
    /// Certificates and lists, as `casemate attest certs` keeps them.
    pub certificates: Option<PathBuf>,
    /// The decision log.
    pub decision_log: PathBuf,
    /// What signs its heads.
    pub log_key: Option<PathBuf>,
    /// Where its newest head is kept, too.
    pub log_head: Option<PathBuf>,
    /// Where the owner's commands find a broker that runs.
    pub control: PathBuf,
    /// A MODEL root that is trusted: then nothing is proven about hardware.
    pub model_root: Option<PathBuf>,
    /// Generations whose root is broken and that are taken all the same.
    pub broken_roots: Vec<Generation>,
    /// How long things last.
    pub lifetimes: Lifetimes,
    /// What it bears.
    pub limits: Limits,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    listen: Vec<String>,
    tls_certificate: PathBuf,
    tls_key: PathBuf,
    broker_key: PathBuf,
    store: PathBuf,
    kek: PathBuf,
    policy: PathBuf,
    certificates: Option<PathBuf>,
    decision_log: PathBuf,
    log_key: Option<PathBuf>,
    log_head: Option<PathBuf>,
    control: Option<PathBuf>,
    accept_model_root: Option<PathBuf>,
    #[serde(default)]
    allow_broken_roots: Vec<String>,
    #[serde(default)]
    lifetimes: RawLifetimes,
    #[serde(default)]
    limits: RawLimits,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLifetimes {
    challenge: Option<u64>,
    session: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLimits {
    connections: Option<u32>,
    connections_per_address: Option<u32>,
    requests_per_second: Option<u32>,
    workers: Option<u32>,
}

impl Config {
    /// Reads a document. `name` is what messages call it, `folder` where its paths begin.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn load(text: &str, name: &str, folder: &Path) -> Result<Self, ConfigError> {
        let raw: Raw = toml::from_str(text).map_err(|error| unreadable(&error, text, name))?;
        let reader = Reader { name, folder };
        reader.config(&raw)
    }
}

fn unreadable(error: &toml::de::Error, text: &str, name: &str) -> ConfigError {
    let before = error.span().and_then(|span| text.get(..span.start));
    let place = before.map_or(String::new(), |before| {
        format!("line {}: ", before.matches('\n').count().saturating_add(1))
    });
    // It repeats keys and values as they stand.
    let what = value(error.message().replace('\n', "; ")).to_string();
    ConfigError::Parse { name: name.to_owned(), reason: format!("{place}{what}") }
}

struct Reader<'a> {
    name: &'a str,
    folder: &'a Path,
}

impl Reader<'_> {
    fn refuse(&self, key: &'static str, reason: impl Into<String>) -> ConfigError {
        ConfigError::Value { name: self.name.to_owned(), key, reason: reason.into() }
    }

    fn path(&self, key: &'static str, path: &Path) -> Result<PathBuf, ConfigError> {
        if path.as_os_str().is_empty() {
            return Err(self.refuse(key, "an empty path: name a file"));
        }
        Ok(self.folder.join(path))
    }

    fn maybe(
        &self,
        key: &'static str,
        path: Option<&PathBuf>,
    ) -> Result<Option<PathBuf>, ConfigError> {
        path.map(|path| self.path(key, path)).transpose()
    }

    fn within<T: PartialOrd + std::fmt::Display + Copy>(
        &self,
        key: &'static str,
        given: Option<T>,
        usual: T,
        (least, most): (T, T),
    ) -> Result<T, ConfigError> {
        let given = given.unwrap_or(usual);
        if given < least || given > most {
            return Err(self.refuse(key, format!("{given}: write {least} to {most}")));
        }
        Ok(given)
    }

    fn listen(&self, text: &str) -> Result<Listen, ConfigError> {
        let key = "listen";
        if let Some(path) = text.strip_prefix("unix:") {
            let path = self.path(key, Path::new(path))?;
            if path.as_os_str().len() > MAX_SOCKET {
                let why = format!(
                    "{}: longer than a socket's path can be ({MAX_SOCKET} bytes)",
                    value(text)
                );
                return Err(self.refuse(key, why));
            }
            return Ok(Listen::Unix(path));
        }
        text.parse().map(Listen::Tcp).map_err(|_| {
            let why = "no address: write IP:PORT, [IPV6]:PORT or unix:PATH";
            self.refuse(key, format!("{}: {why}", value(text)))
        })
    }

    fn config(&self, raw: &Raw) -> Result<Config, ConfigError> {
        let listen: Vec<Listen> =
            raw.listen.iter().map(|text| self.listen(text)).collect::<Result<_, _>>()?;
        if listen.is_empty() || listen.len() > MAX_LISTEN {
            return Err(self.refuse("listen", format!("write 1 to {MAX_LISTEN} addresses")));
        }
        for (at, one) in listen.iter().enumerate() {
            let twice = listen.iter().skip(at + 1).any(|other| other == one);
            // Port 0 is any free one, each time another.
            let any = matches!(one, Listen::Tcp(address) if address.port() == 0);
            if twice && !any {
                return Err(self.refuse("listen", format!("{one}: twice")));
            }
        }
        let control = raw.control.as_deref().unwrap_or(Path::new("control.sock"));
        let control = self.path("control", control)?;
        if control.as_os_str().len() > MAX_SOCKET {
            let why = format!(
                "{}: longer than a socket's path can be ({MAX_SOCKET} bytes): name a shorter one",
                value(control.display())
            );
            return Err(self.refuse("control", why));
        }
        if raw.allow_broken_roots.len() > Generation::ALL.len() {
            return Err(self.refuse("allow_broken_roots", "more than there are generations"));
        }
        let broken = raw.allow_broken_roots.iter().map(|name| self.broken(name));
        Ok(Config {
            listen,
            tls_certificate: self.path("tls_certificate", &raw.tls_certificate)?,
            tls_key: self.path("tls_key", &raw.tls_key)?,
            broker_key: self.path("broker_key", &raw.broker_key)?,
            store: self.path("store", &raw.store)?,
            kek: self.path("kek", &raw.kek)?,
            policy: self.path("policy", &raw.policy)?,
            certificates: self.maybe("certificates", raw.certificates.as_ref())?,
            decision_log: self.path("decision_log", &raw.decision_log)?,
            log_key: self.maybe("log_key", raw.log_key.as_ref())?,
            log_head: self.maybe("log_head", raw.log_head.as_ref())?,
            control,
            model_root: self.maybe("accept_model_root", raw.accept_model_root.as_ref())?,
            broken_roots: broken.collect::<Result<_, _>>()?,
            lifetimes: self.lifetimes(&raw.lifetimes)?,
            limits: self.limits(&raw.limits)?,
        })
    }

    /// A generation whose root is broken, by its name. Another has no root to allow.
    fn broken(&self, name: &str) -> Result<Generation, ConfigError> {
        let mut broken = Generation::ALL.into_iter().filter(|one| one.broken_root().is_some());
        broken.find(|one| one.name().eq_ignore_ascii_case(name)).ok_or_else(|| {
            let why = format!("{}: no generation with a broken root; milan is one", value(name));
            self.refuse("allow_broken_roots", why)
        })
    }

    fn lifetimes(&self, raw: &RawLifetimes) -> Result<Lifetimes, ConfigError> {
        // A guest that waits for its network needs some seconds; what a session may be used for
        // after a day its grants would have to say.
        let usual = Lifetimes::default();
        let bounds = (10, 86_400);
        Ok(Lifetimes {
            challenge: self.within(
                "lifetimes.challenge",
                raw.challenge,
                usual.challenge,
                bounds,
            )?,
            session: self.within("lifetimes.session", raw.session, usual.session, bounds)?,
        })
    }

    fn limits(&self, raw: &RawLimits) -> Result<Limits, ConfigError> {
        let connections =
            self.within("limits.connections", raw.connections, 1024, (1, MAX_CONNECTIONS))?;
        Ok(Limits {
            connections,
            connections_per_address: self.within(
                "limits.connections_per_address",
                raw.connections_per_address,
                connections.min(128),
                (1, connections),
            )?,
            requests_per_second: self.within(
                "limits.requests_per_second",
                raw.requests_per_second,
                100,
                (1, 1_000_000),
            )?,
            workers: self.within("limits.workers", raw.workers, 4, (1, 64))?,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::{Config, Listen};
    use crate::starter;
    use proptest::prelude::*;
    use std::path::Path;

    fn load(text: &str) -> Result<Config, String> {
        Config::load(text, "kbs.toml", Path::new("/srv/kbs")).map_err(|error| error.to_string())
    }

    #[test]
    fn the_document_of_a_new_broker_is_one() {
        let config = load(&starter()).unwrap();
        assert_eq!(config.listen, [Listen::Tcp("127.0.0.1:8443".parse().unwrap())]);
        assert_eq!(config.kek, Path::new("/srv/kbs/kek"));
        assert_eq!(config.lifetimes, casemate_broker::Lifetimes::default());
    }

    /// What the document shows as a value is what it would be without. Cannot tell whether the
    /// values are good ones.
    #[test]
    fn what_is_left_out_is_as_the_new_document_says() {
        let starter = starter();
        let (without, _) = starter.split_once("[lifetimes]").unwrap();
        assert_eq!(load(without).unwrap(), load(&starter).unwrap());
    }

    #[test]
    fn a_document_with_a_fault_names_the_key_and_what_to_do() {
        let starter = starter();
        for (from, to, says) in [
            ("listen = [\"127.0.0.1:8443\"]", "listen = []", "listen: write 1 to 16 addresses"),
            ("\"127.0.0.1:8443\"", "\"localhost\"", "listen: localhost: no address"),
            ("\"127.0.0.1:8443\"", "\"1.1.1.1:1\", \"1.1.1.1:1\"", "listen: 1.1.1.1:1: twice"),
            ("\"127.0.0.1:8443\"", "\"unix:\"", "listen: an empty path"),
            ("kek = \"kek\"", "", "missing field `kek`"),
            ("kek = \"kek\"", "kek = \"\"", "kek: an empty path"),
            ("kek = \"kek\"", "kek = 7", "invalid type"),
            ("kek = \"kek\"", "kek = \"kek\"\nkeks = 1", "unknown field `keks`"),
            ("session = 300", "session = 0", "lifetimes.session: 0: write 10 to 86400"),
            ("session = 300", "sesion = 300", "unknown field `sesion`"),
            ("workers = 4", "workers = 0", "limits.workers: 0: write 1 to 64"),
            ("connections = 1024", "connections = 2", "limits.connections_per_address: 128"),
            ("kek = \"kek\"", "kek = \"kek\"\nallow_broken_roots = [\"turin\"]", "turin: no gen"),
        ] {
            assert!(starter.contains(from), "{from}");
            let error = load(&starter.replacen(from, to, 1)).unwrap_err();
            assert!(error.starts_with("kbs.toml: ") && error.contains(says), "{to}: {error}");
            assert!(!error.contains('\n'), "{error}");
        }
        let line = load(&starter.replacen("kek = \"kek\"", "kek = 7", 1)).unwrap_err();
        let at = starter.lines().position(|line| line == "kek = \"kek\"").unwrap() + 1;
        assert!(line.contains(&format!("line {at}: ")), "{line}");
    }

    proptest! {
        #[test]
        fn any_text_is_a_configuration_or_none(text in "\\PC{0,200}") {
            let _ = load(&text);
        }
    }
}
