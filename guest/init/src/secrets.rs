//! The secrets of an image: from its key broker into files in memory, before the workload starts,
//! and the clock with them.

use crate::initdata::Launched;
use crate::{evidence, said, say, vsock};
use casemate_broker_client::{Around, Bounds, ClientError, Session, pinned};
use casemate_kbs::{Resource, SessionKey};
use casemate_layout::Refusal;
use casemate_layout::ports::BROKER_VSOCK_PORT;
use casemate_manifest::{Manifest, Secret, User};
use ring::rand::{SecureRandom, SystemRandom};
use rustix::fs::{AtFlags, CWD, Gid, Mode, Uid, chownat, mkdir};
use rustix::mount::{MountFlags, mount, mount_remount};
use rustix::time::{ClockId, Timespec, clock_settime};
use std::ffi::CString;
use std::fs::File;
use std::io::{Result as IoResult, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;
use zeroize::Zeroizing;

/// The folder of what Casemate gives a workload, and takes from it.
pub const FOLDER: &str = "/run/casemate";
const SECRETS: &str = "/run/casemate/secrets";
/// Says what the clock was set by.
const CLOCK: &str = "/run/casemate/clock";
/// How long all of it may take: a broker that is asked for 64 secrets and is busy in between.
const BOUNDS: Bounds = Bounds { total: Duration::from_secs(120) };
/// Bytes of a report, without what comes behind it.
const REPORT: usize = 1184;

/// What the clock was set by.
#[derive(Debug, Clone, Copy)]
pub enum Clock {
    /// The host; the manifest's floor at the least.
    Host,
    /// The broker.
    Broker,
}

/// Makes [`FOLDER`].
///
/// # Errors
/// [`Refusal::Prepare`].
pub fn folder() -> Result<(), Refusal> {
    mkdir(FOLDER, Mode::from_raw_mode(0o755)).map_err(said(Refusal::Prepare, FOLDER))
}

/// Tells programs what the clock was set by.
///
/// # Errors
/// [`Refusal::Prepare`].
pub fn clock_is(clock: Clock) -> Result<(), Refusal> {
    let word = match clock {
        Clock::Host => "host\n",
        Clock::Broker => "broker\n",
    };
    std::fs::write(CLOCK, word).map_err(said(Refusal::Prepare, CLOCK))
}

/// Asks the broker for the secrets of the manifest and puts them into files.
///
/// # Errors
/// The [`Refusal`] that says why there are none; a workload without them is not started.
pub fn fetch(manifest: &Manifest, broker: Launched) -> Result<(), Refusal> {
    let told = |error: ClientError| {
        say(&error);
        word(&error)
    };
    let names: Result<Vec<Resource>, _> =
        manifest.secrets.iter().map(|secret| Resource::read(&secret.resource)).collect();
    let names = names.map_err(said(Refusal::Manifest, "a secret's name"))?;
    let session = Session::new(fresh_key().map_err(told)?, names, broker.document);
    let tls = pinned(broker.keys).map_err(said(Refusal::Internal, "TLS"))?;
    let mut guest = Guest { floor: manifest.time_floor, clock: Clock::Host };
    let mut connect = || vsock::connect(BROKER_VSOCK_PORT);
    let secrets = casemate_broker_client::fetch(session, &tls, &mut connect, &mut guest, BOUNDS);
    let secrets = secrets.map_err(told)?;
    clock_is(guest.clock)?;
    put(&manifest.secrets, &secrets, &manifest.process.user)
        .map_err(said(Refusal::Secrets, SECRETS))
}

/// A key that only this guest has. The kernel waits until it has collected enough to give random
/// numbers (getrandom(2)).
fn fresh_key() -> Result<SessionKey, ClientError> {
    // One draw in 2^32 is no key; two in a row are a broken source.
    for _ in 0..2 {
        let mut random = Zeroizing::new([0; 32]);
        SystemRandom::new().fill(random.as_mut()).map_err(|_| ClientError::Random)?;
        if let Some(key) = SessionKey::new(&random) {
            return Ok(key);
        }
    }
    Err(ClientError::Random)
}

/// What the host is told: never a broker's words.
fn word(error: &ClientError) -> Refusal {
    match error {
        ClientError::Unreachable(_) => Refusal::BrokerUnreachable,
        ClientError::TooLong => Refusal::BrokerSlow,
        ClientError::WrongKey(_) => Refusal::BrokerKey,
        ClientError::Tls(_)
        | ClientError::Http(_)
        | ClientError::Protocol(_)
        | ClientError::NotSealedToUs(_) => Refusal::BrokerAnswer,
        ClientError::NoReport(_) => Refusal::Report,
        ClientError::NotProven(_) => Refusal::BrokerProof,
        ClientError::Denied { .. } => Refusal::BrokerDenied,
        ClientError::NoSecret(_) => Refusal::BrokerNoSecret,
        ClientError::Busy | ClientError::Failed { .. } => Refusal::BrokerFailed,
        ClientError::Clock => Refusal::BrokerClock,
        ClientError::Random => Refusal::Internal,
    }
}

/// The guest around a session.
struct Guest {
    floor: u64,
    clock: Clock,
}

impl Around for Guest {
    fn report(&mut self, data: &[u8; 64]) -> IoResult<Option<Vec<u8>>> {
        let mut report = evidence::report(data)?;
        // Certificates behind it are the host's, and a broker has its own.
        report.truncate(REPORT);
        Ok(if report.is_empty() { None } else { Some(report) })
    }

    fn time(&mut self, seconds: u64) -> Result<(), ClientError> {
        if seconds < self.floor {
            return Err(ClientError::Clock);
        }
        let time =
            Timespec { tv_sec: seconds.try_into().map_err(|_| ClientError::Clock)?, tv_nsec: 0 };
        clock_settime(ClockId::Realtime, time).map_err(|e| {
            say(&format_args!("cannot set the clock: {e}"));
            ClientError::Clock
        })?;
        self.clock = Clock::Broker;
        Ok(())
    }
}

/// Files of the workload's user in memory that is never swapped out, in a folder that nobody else
/// opens, and that nobody changes any more.
fn put(names: &[Secret], secrets: &[Zeroizing<Vec<u8>>], user: &User) -> IoResult<()> {
    mkdir(SECRETS, Mode::from_raw_mode(0o700))?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let User { uid, gid, .. } = user;
    // Whole pages, and some for names: as many as there are bytes.
    let size: usize = secrets.iter().map(|secret| secret.len().saturating_add(8192)).sum();
    let options = format!("mode=700,uid={uid},gid={gid},size={},noswap", size.max(64 * 1024));
    mount("tmpfs", SECRETS, "tmpfs", flags, Some(&*CString::new(options)?))?;
    let (uid, gid) = (Uid::from_raw(*uid), Gid::from_raw(*gid));
    for (name, secret) in names.iter().zip(secrets) {
        let path = format!("{SECRETS}/{}", name.file);
        let mut made = File::options();
        let mut file = made.write(true).create_new(true).mode(0o400).open(&path)?;
        file.write_all(secret)?;
        chownat(CWD, &path, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    mount_remount(SECRETS, flags | MountFlags::BIND | MountFlags::RDONLY, "")?;
    Ok(())
}
