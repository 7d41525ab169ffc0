//! The keeper from its first instruction to its last.

use crate::given::{GivenError, Input, Ready, Sockets};
use crate::journal::Journal;
use crate::office::{Desk, Office};
use crate::profile;
use crate::tls::{TlsError, TlsKey};
use crate::wire::Wire;
use crate::words::Word;
use casemate_attestation::record::Inputs;
use casemate_broker::{Broker, BrokerKey, Config};
use casemate_policy::{LoadError, Policy};
use casemate_policy_log::LogError;
use casemate_sandbox::{Action, Born, FdTable, SandboxError, Setup, exit, reserve_heap};
use casemate_store::{Disk, Folder, LogStore, Side, StoreError};
use rustix::io::fcntl_dupfd_cloexec;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

/// Exit status of a keeper whose front has ended, and that has closed its log.
pub const DONE: i32 = 0;
/// Exit status when it could not go on, after telling why.
pub const FAILED: i32 = 1;

/// Heap for a store as large as one can be, which is read once (128 MiB), kept (32 MiB and its
/// sessions), and written anew (96 MiB); for a plan; for requests. Not touched, so that it costs
/// nothing until it is needed.
const HEAP: usize = 384 << 20;

/// Why a keeper cannot go on.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Given(#[from] GivenError),
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    #[error("{0}")]
    Policy(#[from] LoadError),
    #[error("{name}: {source}")]
    Store { name: String, source: StoreError },
    #[error("{name}: {source}")]
    Tls { name: String, source: TlsError },
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("threads: {0}")]
    Threads(std::io::Error),
    #[error("the process on the network talks nonsense: {0}")]
    Front(std::io::Error),
}

impl Fault {
    fn is_bad_input(&self) -> bool {
        match self {
            Self::Given(GivenError::Key(_)) => true,
            Self::Given(GivenError::Log(error)) | Self::Log(error) => error.is_bad_input(),
            Self::Store { source, .. } => {
                use StoreError::{Failed, Io, NoRoom};
                !matches!(source, Io { .. } | Failed(_) | NoRoom)
            }
            Self::Tls { source, .. } => *source != TlsError::Random,
            Self::Policy(_) => true,
            Self::Given(GivenError::Plan) => false,
            Self::Sandbox(_) | Self::Threads(_) | Self::Front(_) => false,
        }
    }
}

/// The whole process: what the image's `main` does. Gives the exit status, where the process has
/// not exited before.
///
/// A process that no supervisor of this version started has nobody to tell, and ends.
#[must_use]
pub fn main() -> i32 {
    let Ok((born, given)) = Born::of_image() else { return FAILED };
    let Some(input) = Input::take(given) else { return FAILED };
    let (control, sockets, ready) = input.read();
    let told = fcntl_dupfd_cloexec(&control, 0);
    let Ok(told) = told else { return FAILED };
    match run(born, control, &told, sockets, ready) {
        Ok(()) => exit(DONE),
        Err(fault) => {
            let why = casemate_foreign_text::line(&fault).to_string();
            Word::Failed { bad_input: fault.is_bad_input(), why }.tell(&told, true);
            exit(FAILED)
        }
    }
}

fn run(
    born: Born,
    control: OwnedFd,
    told: &OwnedFd,
    sockets: Sockets,
    ready: Result<Ready, GivenError>,
) -> Result<(), Fault> {
    let setup = born.confine()?;
    let ready = ready?;
    reserve_heap(HEAP)?;
    let Sockets { calls, signer, owner } = sockets;
    let fds = FdTable::new()
        .with(profile::CALLS, &calls)
        .with(profile::SIGNER, &signer)
        .with(profile::OWNER, &owner)
        .with(profile::CONTROL, &control)
        .with(profile::CONTROL, told);
    let [a, b, lock] = ready.store.descriptors();
    let fds = fds
        .with(profile::STORE, &a)
        .with(profile::STORE, &b)
        .with(profile::LOG, &ready.log.log())
        .with(profile::LOG_LOCK, &ready.log.lock())
        .with_raw(profile::LOG_HEAD, ready.log.head().map(|head| head.as_raw_fd()))
        // The store's lock is held by being open; no call is made on it.
        .with(KEPT, &lock);
    let answers = fcntl_dupfd_cloexec(&calls, 0).map_err(system)?;
    let fds = fds.with(profile::CALLS, &answers);
    let office = Arc::new(Office::new(answers, control));
    let workers = usize::try_from(ready.plan.workers).unwrap_or(1).max(1);
    begin_threads(&office, workers, signer, owner)?;
    // From here on it is not closed, which the end of the process does.
    let mut calls = ManuallyDrop::new(Wire(calls));
    lock_up(setup, fds)?;
    let word = open(&office, ready)?;
    office.say(&word);
    let taken = office.take_requests(&mut calls);
    // What came is answered to nobody, but decided and logged as a whole.
    office.requests.wait_until_done();
    if let Some(desk) = office.desk() {
        desk.journal.close()?;
    }
    taken.map_err(Fault::Front)
}

/// A slot for what is only to stay open.
const KEPT: casemate_sandbox::FdSlot = casemate_sandbox::FdSlot("kept");

fn system(errno: rustix::io::Errno) -> Fault {
    Fault::Threads(errno.into())
}

/// Makes every thread; each waits until the process is locked and its files are read.
fn begin_threads(
    office: &Arc<Office>,
    workers: usize,
    signer: OwnedFd,
    owner: OwnedFd,
) -> Result<(), Fault> {
    let thread = |name: &str, body: Box<dyn FnOnce() + Send>| {
        let made = std::thread::Builder::new().name(name.to_owned()).spawn(body);
        made.map(drop).map_err(Fault::Threads)
    };
    for _ in 0..workers {
        let office = office.clone();
        thread("answers", Box::new(move || office.answer_requests()))?;
    }
    let (signing, asked) = (office.clone(), office.clone());
    thread("signs", Box::new(move || signing.sign(Wire(signer))))?;
    thread("owner", Box::new(move || asked.serve_owner(&owner)))?;
    office.gathered(workers + 2);
    Ok(())
}

fn lock_up(setup: Setup, fds: FdTable) -> Result<(), Fault> {
    setup.close_unnamed(&fds, &[])?;
    let later = setup.first_free(&fds)?;
    let fds = fds.with_raw(profile::LATER, [later]);
    setup.lock(&profile::KEEPER, &fds, Action::Kill)?;
    Ok(())
}

/// The files of the store, which stay open until the process ends, however that comes: there is no
/// call to close them.
struct Kept(ManuallyDrop<Folder>);

impl Disk for Kept {
    fn read(&mut self, side: Side, most: u64) -> std::io::Result<Vec<u8>> {
        self.0.read(side, most)
    }

    fn write(&mut self, side: Side, at: u64, bytes: &[u8]) -> std::io::Result<()> {
        self.0.write(side, at, bytes)
    }

    fn reserve(&mut self, side: Side, from: u64, to: u64) -> std::io::Result<()> {
        self.0.reserve(side, from, to)
    }

    fn cut(&mut self, side: Side) -> std::io::Result<()> {
        self.0.cut(side)
    }

    fn sync(&mut self, side: Side) -> std::io::Result<()> {
        self.0.sync(side)
    }
}

/// Looks at all that the process was given, locked: policy, certificates, store and log may be
/// anybody's work.
fn open(office: &Office, ready: Ready) -> Result<Word, Fault> {
    let Ready { plan, store, log, tls_key, broker_key, kek } = ready;
    let plan = plan.plan().ok_or(GivenError::Plan)?;
    let store = Kept(ManuallyDrop::new(store));
    let names = plan.names;
    let named = |source| Fault::Tls { name: names.tls_key.clone(), source };
    let tls_key = TlsKey::from_pkcs8(&tls_key).map_err(named)?;
    if tls_key.spki() != plan.spki {
        return Err(named(TlsError::Apart));
    }
    let (name, text) = &plan.policy;
    let policy = Policy::load(text, name)?;
    let mut terms = Inputs { model_roots: plan.model_roots, ..Inputs::default() };
    terms.appraisal.allow_broken_roots.extend(&plan.broken_roots);
    let key = BrokerKey::new(&broker_key);
    let broker = Broker::new(Config { key, policy, terms, lifetimes: plan.lifetimes });
    let named = |source| Fault::Store { name: names.store.clone(), source };
    let (store, found) = LogStore::open(Box::new(store), kek).map_err(named)?;
    // Last: of a start that fails the log says nothing.
    let (log, recovered) = log.begin()?;
    let (certificates, journal) = (plan.certificates, Journal::new(log));
    office.begin(Desk { broker, store, certificates, journal, tls_key });
    Ok(Word::Ready { untold: found.untold, dropped: found.dropped, torn: recovered.dropped })
}
