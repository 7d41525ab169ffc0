//! What a keeper is given: sockets, files that are open, a plan.

use crate::key_file::{KeyError, KeyFile};
use crate::plan::{MAX_PLAN, Plan, Raw};
use casemate_policy_log::{KeyFile as LogKeyFile, LogError, LogFile, LogFiles};
use casemate_sandbox::{Child, Given, Image, Layers, SandboxError, spawn_image_with};
use casemate_store::{Folder, Kek};
use rustix::fs::{MemfdFlags, memfd_create};
use std::fs::File;
use std::io::Read;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use zeroize::Zeroizing;

/// What a supervisor gives a keeper.
#[derive(Debug)]
pub struct Descriptors<'a> {
    /// Leads to the supervisor (SEQPACKET): the keeper says [`crate::Word`]s.
    pub control: BorrowedFd<'a>,
    /// Leads to the front (STREAM): calls and answers. Its end is the keeper's.
    pub calls: BorrowedFd<'a>,
    /// Leads to the front (STREAM): what is to be signed, and signatures.
    pub signer: BorrowedFd<'a>,
    /// Leads to the supervisor (SEQPACKET): connections of the owner, see [`crate::hand_over`].
    pub owner: BorrowedFd<'a>,
    /// The store, taken.
    pub store: &'a Folder,
    /// The decision log, open and locked.
    pub log: &'a LogFiles,
    /// What signs its heads.
    pub log_key: Option<&'a LogKeyFile>,
    /// The TLS key.
    pub tls_key: &'a KeyFile,
    /// What challenges and sessions are authenticated by.
    pub broker_key: &'a KeyFile,
    /// The key-encryption key of the store.
    pub kek: &'a KeyFile,
}

/// Why a keeper cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// What it would be told is too much.
    #[error("policy and certificates have more than {MAX_PLAN} bytes together")]
    TooMuch,
    /// The system says no.
    #[error("the keeper cannot be told its plan: {0}")]
    System(#[from] std::io::Error),
    /// It cannot be started or locked.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
}

/// Flags of a start, its one byte: which descriptors come behind the others.
const HEAD: u8 = 1;
const LOG_KEY: u8 = 2;

/// Starts a keeper with `layers` (see [`crate::profile::layers`]). `before` is called before it
/// begins, see [`spawn_image_with`].
///
/// # Errors
/// [`StartError`].
pub fn spawn(
    image: &Image,
    layers: Layers,
    plan: &Plan,
    given: &Descriptors<'_>,
    before: impl FnOnce(&Child),
) -> Result<Child, StartError> {
    let text = plan.encode();
    if u64::try_from(text.len()).map_or(true, |length| length > MAX_PLAN) {
        return Err(StartError::TooMuch);
    }
    let file =
        memfd_create("casemate-keeper-plan", MemfdFlags::CLOEXEC).map_err(std::io::Error::from)?;
    let file = File::from(file);
    // At its place: the offset, which the keeper shares, stays at the start.
    file.write_all_at(&text, 0)?;
    let [a, b, lock] = given.store.descriptors();
    let mut layers = layers
        .keep(&given.control)
        .keep(&given.calls)
        .keep(&given.signer)
        .keep(&given.owner)
        .keep(&file)
        .keep(&a)
        .keep(&b)
        .keep(&lock)
        .keep(&given.log.log())
        .keep(&given.log.lock())
        .keep(given.tls_key)
        .keep(given.broker_key)
        .keep(given.kek);
    let mut flags = 0;
    if let Some(head) = given.log.head() {
        layers = layers.keep(&head);
        flags |= HEAD;
    }
    if let Some(key) = given.log_key {
        layers = layers.keep(key);
        flags |= LOG_KEY;
    }
    Ok(spawn_image_with(layers, image, &[flags], before)?)
}

/// Why what was given is of no use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GivenError {
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("its plan makes no sense")]
    Plan,
}

/// What a keeper has when it begins. Its keys are not read yet.
pub(crate) struct Input {
    pub(crate) control: OwnedFd,
    pub(crate) calls: OwnedFd,
    pub(crate) signer: OwnedFd,
    pub(crate) owner: OwnedFd,
    plan: OwnedFd,
    store: [OwnedFd; 3],
    log: [OwnedFd; 2],
    tls_key: OwnedFd,
    broker_key: OwnedFd,
    kek: OwnedFd,
    head: Option<OwnedFd>,
    log_key: Option<OwnedFd>,
}

/// The same with its keys, and what it is told.
pub(crate) struct Ready {
    /// Of which only names and a number were looked at.
    pub(crate) plan: Raw,
    pub(crate) store: Folder,
    pub(crate) log: LogFiles,
    pub(crate) tls_key: Zeroizing<Vec<u8>>,
    pub(crate) broker_key: Zeroizing<[u8; 32]>,
    pub(crate) kek: Kek,
}

impl Input {
    /// What the image was given; None when its supervisor is another version, or none of ours.
    pub(crate) fn take(mut given: Given) -> Option<Self> {
        let [flags] = *given.start.as_slice() else { return None };
        if flags & !(HEAD | LOG_KEY) != 0 {
            return None;
        }
        let mut next = || given.descriptor();
        let input = Self {
            control: next()?,
            calls: next()?,
            signer: next()?,
            owner: next()?,
            plan: next()?,
            store: [next()?, next()?, next()?],
            log: [next()?, next()?],
            tls_key: next()?,
            broker_key: next()?,
            kek: next()?,
            head: if flags & HEAD != 0 { Some(next()?) } else { None },
            log_key: if flags & LOG_KEY != 0 { Some(next()?) } else { None },
        };
        next().is_none().then_some(input)
    }
}

/// The sockets of a keeper.
pub(crate) struct Sockets {
    pub(crate) calls: OwnedFd,
    pub(crate) signer: OwnedFd,
    pub(crate) owner: OwnedFd,
}

impl Input {
    /// Reads plan and keys, whose files are closed then: before the lock, after which nothing but
    /// store and log is read.
    pub(crate) fn read(self) -> (OwnedFd, Sockets, Result<Ready, GivenError>) {
        let Self { control, calls, signer, owner, plan, store, log, .. } = self;
        let Self { tls_key, broker_key, kek, head, log_key, .. } = self;
        let read = move || {
            let mut text = Vec::new();
            File::from(plan).take(MAX_PLAN).read_to_end(&mut text).map_err(|_| GivenError::Plan)?;
            let plan = Raw::read(&text).ok_or(GivenError::Plan)?;
            let names = &plan.names;
            let key = |file, name: &str| KeyFile::received(file, Path::new(name));
            let tls_key = key(tls_key, &names.tls_key).read_pkcs8()?;
            let broker_key = key(broker_key, &names.broker_key).read_32()?;
            let kek = Kek::new(key(kek, &names.kek).read_32()?);
            let mut place = LogFile::new(Path::new(&names.log));
            place.head = names.log_head.as_deref().map(Into::into);
            place.adopt = names.adopt;
            let [file, lock] = log;
            let mut log = LogFiles::received(place, file, lock, head)?;
            if let Some(file) = log_key {
                let name = names.log_key.as_deref().unwrap_or_default();
                log.sign_with(LogKeyFile::received(file, Path::new(name)).read()?);
            }
            let store = Folder::received(store);
            Ok(Ready { plan, store, log, tls_key, broker_key, kek })
        };
        (control, Sockets { calls, signer, owner }, read())
    }
}
