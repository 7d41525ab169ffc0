//! Which broker a command is about: its configuration, and the way to its store.

use crate::Failure;
use crate::files::bad_input;
use casemate_foreign_text::value;
use casemate_keeper::owner::{Ask, OwnerError, Said, perform};
use casemate_keeper::{Config, Identity, KeyError, KeyFile, MAX_DOCUMENT};
use casemate_store::{Folder, Kek, LogStore, Opened, StoreError};
use clap::Args;
use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longest certificate file, in bytes.
const MAX_CERTIFICATE: u64 = 64 * 1024;
/// How long a broker that runs may take for one thing.
const PATIENCE: Duration = Duration::from_secs(30);

/// Which broker.
#[derive(Debug, Args)]
pub(super) struct Broker {
    /// The broker's configuration, or the folder that it is in
    #[arg(long, short, value_name = "FILE", default_value = "kbs.toml")]
    config: PathBuf,
}

impl Broker {
    /// The configuration, wholly checked.
    pub(super) fn config(&self) -> Result<Config, Failure> {
        let path = match self.config.is_dir() {
            true => self.config.join("kbs.toml"),
            false => self.config.clone(),
        };
        let text = casemate_files::read_text(&path, MAX_DOCUMENT).map_err(|error| {
            let new = match path.exists() {
                true => "",
                false => ": --config names it, and `casemate kbs init` makes a new broker",
            };
            Failure::BadInput(format!("{error}{new}"))
        })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        Config::load(&text, &path.display().to_string(), folder)
            .map_err(|error| Failure::BadInput(error.to_string()))
    }
}

/// What the user sees of a file with a key.
pub(super) fn key_failure(error: &KeyError) -> Failure {
    Failure::BadInput(error.to_string())
}

/// The broker's certificate and what guests know it by.
pub(super) fn identity(config: &Config) -> Result<Identity, Failure> {
    let path = &config.tls_certificate;
    let text = casemate_files::read(path, MAX_CERTIFICATE).map_err(|error| bad_input(&error))?;
    Identity::from_pem(&text)
        .map_err(|error| Failure::BadInput(format!("{}: {error}", value(path.display()))))
}

/// What the user sees of a store.
pub(super) fn store_failure(path: &Path, error: &StoreError) -> Failure {
    let text = match error {
        // These name their place themselves.
        StoreError::Open { .. } | StoreError::Place { .. } | StoreError::Busy { .. } => {
            error.to_string()
        }
        _ => format!("{}: {error}", value(path.display())),
    };
    match error {
        StoreError::Io { .. } | StoreError::Failed(_) | StoreError::Full | StoreError::NoRoom => {
            Failure::Failed(text)
        }
        _ => Failure::BadInput(text),
    }
}

/// Says what was found behind the last change that anybody was told of.
pub(super) fn say_opened(path: &Path, opened: Opened) {
    let store = value(path.display());
    if opened.untold > 0 {
        crate::out::errln!(
            "casemate: {store}: {} changes were kept that nobody may have been told of",
            opened.untold
        );
    }
    if opened.dropped > 0 {
        crate::out::errln!(
            "casemate: {store}: {} bytes of an unfinished change were removed",
            opened.dropped
        );
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    casemate_attestation::time::now()
}

/// Asks the store, by the broker that has it when one runs.
pub(super) fn ask(
    config: &Config,
    ask: Ask,
    say: &mut dyn FnMut(Said) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let failed = |error: StoreError| store_failure(&config.store, &error);
    let folder = match Folder::open(&config.store) {
        Ok(folder) => folder,
        Err(busy @ StoreError::Busy { .. }) => return ask_running(config, &ask, &busy, say),
        Err(error) => return Err(failed(error)),
    };
    let kek = KeyFile::open(&config.kek).and_then(KeyFile::read_32);
    let kek = Kek::new(kek.map_err(|error| key_failure(&error))?);
    let (store, opened) = LogStore::open(Box::new(folder), kek).map_err(failed)?;
    say_opened(&config.store, opened);
    perform(&store, ask, now(), say)
}

/// Asks the broker that runs.
fn ask_running(
    config: &Config,
    ask: &Ask,
    busy: &StoreError,
    say: &mut dyn FnMut(Said) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut stream = match UnixStream::connect(&config.control) {
        Ok(stream) => stream,
        // Another command may have the store, for a moment.
        Err(error)
            if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) =>
        {
            return Err(Failure::Failed(busy.to_string()));
        }
        Err(error) => {
            let socket = value(config.control.display());
            return Err(Failure::Failed(format!("{busy}; its socket {socket}: {error}")));
        }
    };
    let failed = |error: std::io::Error| Failure::from(OwnerError::Io(error));
    // Whoever can make a socket there could take what is put: the broker is this user's.
    let peer = casemate_sandbox::peer(&stream).map_err(failed)?;
    if peer.uid != rustix::process::geteuid().as_raw() {
        let socket = value(config.control.display());
        return Err(Failure::BadInput(format!("{socket}: user {} listens there", peer.uid)));
    }
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(failed)?;
    ask.send(&mut stream, say)
}

impl From<OwnerError> for Failure {
    fn from(error: OwnerError) -> Self {
        Self::Failed(error.to_string())
    }
}
