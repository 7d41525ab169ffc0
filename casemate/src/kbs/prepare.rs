//! All that a broker is made of, read and opened: what the user wrote is looked at before anything
//! is started.

use super::broker::{identity, key_failure, store_failure};
use crate::log_read::failure as log_failure;
use crate::{Failure, Outcome};
use casemate_attestation::cert::{builtin, certificates_in};
use casemate_attestation::store::{Snapshot, Store};
use casemate_device_process::PathSocket;
use casemate_files::Apart;
use casemate_foreign_text::value;
use casemate_keeper::{Config, Identity, KeyFile, Listen, Names, Plan};
use casemate_policy::Policy;
use casemate_policy::document::MAX_DOCUMENT;
use casemate_policy_log::{KeyFile as LogKeyFile, LogFile, LogFiles, lock_path, open_key};
use casemate_store::Folder;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::Path;

/// Longest file of a MODEL root, in bytes.
const MAX_ROOT: u64 = 1 << 20;

/// A broker whose files are open, and that is not started.
pub(super) struct Prepared {
    pub(super) config: Config,
    pub(super) identity: Identity,
    pub(super) plan: Plan,
    pub(super) store: Folder,
    pub(super) log: LogFiles,
    pub(super) log_key: Option<LogKeyFile>,
    pub(super) tls_key: KeyFile,
    pub(super) broker_key: KeyFile,
    pub(super) kek: KeyFile,
}

impl Prepared {
    /// Reads and opens everything but sockets.
    pub(super) fn new(config: Config, adopt: bool) -> Result<Self, Failure> {
        apart(&config)?;
        let identity = identity(&config)?;
        let policy = policy(&config.policy)?;
        let model_roots = config.model_root.as_deref().map(model_roots).transpose()?;
        let certificates = certificates(&config)?;
        let key = |path: &Path| KeyFile::open(path).map_err(|error| key_failure(&error));
        let (tls_key, broker_key, kek) =
            (key(&config.tls_key)?, key(&config.broker_key)?, key(&config.kek)?);
        let log_key = config.log_key.as_deref().map(open_key).transpose();
        let log_key = log_key.map_err(|error| log_failure(&error))?;
        let store =
            Folder::open(&config.store).map_err(|error| store_failure(&config.store, &error))?;
        let place =
            LogFile { head: config.log_head.clone(), adopt, ..LogFile::new(&config.decision_log) };
        let log = place.files().map_err(|error| log_failure(&error))?;
        let name = |path: &Path| path.display().to_string();
        let plan = Plan {
            policy,
            certificates,
            model_roots: model_roots.unwrap_or_default(),
            broken_roots: config.broken_roots.clone(),
            lifetimes: config.lifetimes,
            workers: config.limits.workers,
            spki: identity.spki.clone(),
            names: Names {
                store: name(&config.store),
                log: name(&config.decision_log),
                log_head: config.log_head.as_deref().map(name),
                log_key: config.log_key.as_deref().map(name),
                adopt,
                tls_key: name(&config.tls_key),
                broker_key: name(&config.broker_key),
                kek: name(&config.kek),
            },
        };
        Ok(Self { config, identity, plan, store, log, log_key, tls_key, broker_key, kek })
    }
}

/// Refuses a configuration in which a file that is written is another one, too.
fn apart(config: &Config) -> Outcome {
    let mut apart = Apart::new();
    let mut name = || {
        apart.read("tls_certificate", &config.tls_certificate)?;
        apart.read("tls_key", &config.tls_key)?;
        apart.read("broker_key", &config.broker_key)?;
        apart.read("kek", &config.kek)?;
        apart.read("policy", &config.policy)?;
        for (key, path) in [("log_key", &config.log_key), ("accept_model_root", &config.model_root)]
        {
            path.as_ref().map_or(Ok(()), |path| apart.read(key, path))?;
        }
        apart.written("decision_log", &config.decision_log)?;
        apart.written("the lock beside decision_log", &lock_path(&config.decision_log))?;
        config.log_head.as_ref().map_or(Ok(()), |path| apart.written("log_head", path))
    };
    name().map_err(|error: casemate_files::SameFile| Failure::BadInput(error.to_string()))
}

/// The policy's name and text, which is one and grants something.
fn policy(path: &Path) -> Result<(String, String), Failure> {
    let limit = u64::try_from(MAX_DOCUMENT).unwrap_or(u64::MAX);
    let text = casemate_files::read_text(path, limit)
        .map_err(|error| Failure::BadInput(error.to_string()))?;
    let name = value(path.display()).to_string();
    let policy =
        Policy::load(&text, &name).map_err(|error| Failure::BadInput(error.to_string()))?;
    if policy.grants().is_empty() {
        let text = "it grants no secret to anybody: write a section [secrets.\"NAME\"], see \
                    `casemate image show --policy`";
        return Err(Failure::BadInput(format!("{name}: {text}")));
    }
    Ok((name, text))
}

fn model_roots(path: &Path) -> Result<Vec<Vec<u8>>, Failure> {
    let bad = |error: &dyn std::fmt::Display| {
        Failure::BadInput(format!("accept_model_root: {}: {error}", value(path.display())))
    };
    let text = casemate_files::read(path, MAX_ROOT).map_err(|error| bad(&error))?;
    let bundle = certificates_in(&text).map_err(|error| bad(&error))?;
    let ders = bundle.iter().map(|one| one.der().to_vec()).collect();
    builtin().accept_model(bundle).map_err(|error| bad(&error))?;
    Ok(ders)
}

fn certificates(config: &Config) -> Result<Snapshot, Failure> {
    let Some(path) = &config.certificates else { return Ok(Snapshot::default()) };
    if !path.is_dir() {
        let text = "certificates: not a directory; `casemate attest certs --dir` makes one";
        return Err(Failure::BadInput(format!("{}: {text}", value(path.display()))));
    }
    let mut roots = builtin();
    if let Some(path) = &config.model_root {
        // It was read before, and is one.
        let text = casemate_files::read(path, MAX_ROOT);
        let bundle = text.ok().and_then(|text| certificates_in(&text).ok()).unwrap_or_default();
        let _ = roots.accept_model(bundle);
    }
    Store::under(path, roots)
        .snapshot()
        .map_err(|error| Failure::BadInput(format!("certificates: {error}")))
}

/// A socket that listens, and where.
pub(super) struct Door {
    /// As guests and users write it.
    pub(super) url: String,
    pub(super) socket: OwnedFd,
    pub(super) is_unix: bool,
    /// What is in the file system.
    pub(super) path: Option<PathSocket>,
}

/// Opens what the configuration listens at.
pub(super) fn doors(config: &Config) -> Result<Vec<Door>, Failure> {
    config.listen.iter().map(door).collect()
}

fn door(listen: &Listen) -> Result<Door, Failure> {
    let failed = |error: std::io::Error| Failure::Failed(format!("listen: {listen}: {error}"));
    match listen {
        Listen::Tcp(address) => {
            let listener = TcpListener::bind(address).map_err(failed)?;
            listener.set_nonblocking(true).map_err(failed)?;
            let at = listener.local_addr().map_err(failed)?;
            let url = format!("https://{at}");
            Ok(Door { url, socket: listener.into(), is_unix: false, path: None })
        }
        Listen::Unix(path) => {
            let made = PathSocket::at("listen", path);
            let made = made.map_err(|error| Failure::BadInput(error.to_string()))?;
            // As for a port, whoever gets there is heard, and gets what they prove: guests come by
            // processes of other users (root's connector is nobody).
            made.open_to_all("listen").map_err(|error| Failure::Failed(error.to_string()))?;
            let socket = made.polled().map_err(failed)?;
            Ok(Door { url: listen.to_string(), socket, is_unix: true, path: Some(made) })
        }
    }
}
