//! A pod: one guest, and the processes that containerd has in it.

mod ends;

use crate::bundle;
use crate::connection::{Connection, Said};
use crate::error::RuntimeError;
use crate::events::Events;
use crate::files;
use crate::guest::{Guest, Launch, Launcher, Root};
use crate::initdata::{self, PodData};
use crate::log::Log;
use crate::process::{Entry, Key, Kind, Progress};
use crate::spec::{Part, Spec};
use crate::stdio::{Copies, Numbers, Paths};
use crate::wire::now;
use casemate_agent::{Process, ToGuest, ToHost, Wish};
use casemate_pod::Manifest;
use containerd_shim_protos::events::task::{TaskExecStarted, TaskStart};
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Most processes that a pod has at once, ended ones that were not deleted included.
const MAX_PROCESSES: usize = 512;
/// Most that a guest has said and nobody has heard yet. It waits then.
const MAX_SAID: usize = 64;

/// A guest that is bound to its manifest.
pub struct Bound {
    /// The guest.
    pub guest: Box<dyn Guest>,
    /// The agent in it.
    pub agent: Connection,
    manifest: Manifest,
    numbers: Numbers,
    execs: AtomicU32,
}

/// A pod, from the runtime's first moment.
pub struct Pod {
    /// The id that the runtime was started for.
    pub id: String,
    launcher: Box<dyn Launcher>,
    /// What containerd is told.
    pub events: Events,
    /// What an operator reads.
    pub log: Arc<Log>,
    bound: Mutex<Option<Arc<Bound>>>,
    entries: Mutex<HashMap<Key, Entry>>,
    /// What is being made, and is no entry yet.
    making: Mutex<HashSet<String>>,
    changed: Condvar,
    over: Mutex<bool>,
    ends: Condvar,
}

/// What is asked to be made.
pub struct Request {
    /// The container's id.
    pub id: String,
    /// Its bundle.
    pub bundle: PathBuf,
    /// What a snapshotter made of its image.
    pub mounts: Vec<(String, String, Vec<String>)>,
    /// Its FIFOs.
    pub paths: Paths,
    /// Whether it has a terminal.
    pub terminal: bool,
}

impl Pod {
    /// Nothing runs yet.
    pub fn new(id: &str, launcher: Box<dyn Launcher>, events: Events, log: Arc<Log>) -> Self {
        Self {
            id: id.to_owned(),
            launcher,
            events,
            log,
            bound: Mutex::default(),
            entries: Mutex::default(),
            making: Mutex::default(),
            changed: Condvar::new(),
            over: Mutex::default(),
            ends: Condvar::new(),
        }
    }

    /// The processes.
    pub fn entries(&self) -> MutexGuard<'_, HashMap<Key, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a process has changed.
    pub fn wait_changed<'p>(
        &self,
        entries: MutexGuard<'p, HashMap<Key, Entry>>,
    ) -> MutexGuard<'p, HashMap<Key, Entry>> {
        self.changed.wait(entries).unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells whoever waits that a process is another than before, or none.
    pub fn tell_changed(&self) {
        self.changed.notify_all();
    }

    /// The guest, once it is bound.
    ///
    /// # Errors
    /// [`RuntimeError::NotFound`].
    pub fn bound(&self) -> Result<Arc<Bound>, RuntimeError> {
        let bound = self.bound.lock().unwrap_or_else(PoisonError::into_inner);
        bound.clone().ok_or_else(|| RuntimeError::NotFound("the pod has no guest".into()))
    }

    /// A process of the host that stands for the pod's: the guest's.
    pub fn pid(&self) -> u32 {
        self.bound().map_or(0, |bound| bound.guest.pid())
    }

    /// Makes the pod, or a container in it.
    ///
    /// # Errors
    /// [`RuntimeError`].
    pub fn create(self: &Arc<Self>, request: Request) -> Result<(), RuntimeError> {
        let id = request.id.clone();
        let making = || self.making.lock().unwrap_or_else(PoisonError::into_inner);
        // One at a time under an id: of two guests that were launched for a pod one would be
        // nobody's, and never ended.
        if !making().insert(id.clone()) {
            return Err(RuntimeError::Exists(id));
        }
        let made = self.make(request);
        making().remove(&id);
        made
    }

    fn make(self: &Arc<Self>, request: Request) -> Result<(), RuntimeError> {
        let spec = Spec::of(&request.bundle)?;
        spec.check()?;
        let key = (request.id.clone(), String::new());
        has_room(&self.entries(), &key)?;
        let part = spec.part()?;
        let mine = request.id == self.id;
        let (kind, copies) = match part {
            Part::Sandbox if mine => {
                self.launch(&request, &spec)?;
                (Kind::Sandbox, None)
            }
            Part::Alone if mine => {
                self.launch(&request, &spec)?;
                self.create_in(&request, &spec).inspect_err(|_| self.end_guest())?
            }
            Part::Of(sandbox) if sandbox == self.id => self.create_in(&request, &spec)?,
            _ => {
                let sentence = format!("this is the runtime of pod {}, and of no other", self.id);
                return Err(RuntimeError::Pod(sentence));
            }
        };
        let Request { bundle, paths, terminal, .. } = request;
        let entry = Entry { terminal, copies, ..Entry::new(kind, None, bundle, paths) };
        self.entries().insert(key, entry);
        Ok(())
    }

    /// Starts the guest and binds it: from here on it runs nothing but its manifest.
    fn launch(self: &Arc<Self>, request: &Request, spec: &Spec) -> Result<(), RuntimeError> {
        if self.bound().is_ok() {
            return Err(RuntimeError::Pod("the pod has its guest already".into()));
        }
        let PodData { text, host_data, manifest } =
            initdata::read(spec.annotation(initdata::ANNOTATION))?;
        let launch = Launch { id: self.id.clone(), bundle: request.bundle.clone(), host_data };
        let guest = self.launcher.launch(&launch)?;
        let made = self.bind(guest, &text, &host_data, manifest, request);
        match made {
            Ok((bound, said)) => {
                *self.bound.lock().unwrap_or_else(PoisonError::into_inner) = Some(bound);
                let pod = Arc::clone(self);
                let listen = move || pod.listen(&said);
                std::thread::Builder::new()
                    .name("said".into())
                    .spawn(listen)
                    .map(drop)
                    .map_err(RuntimeError::of("a thread"))
                    .inspect_err(|_| self.end_guest())
            }
            Err((guest, error)) => {
                guest.end();
                Err(error)
            }
        }
    }

    #[allow(clippy::type_complexity, reason = "a guest that could not be bound must be ended")]
    fn bind(
        &self,
        guest: Box<dyn Guest>,
        text: &str,
        host_data: &[u8; 32],
        manifest: Manifest,
        request: &Request,
    ) -> Result<(Arc<Bound>, Receiver<Said>), (Box<dyn Guest>, RuntimeError)> {
        let (said, hears) = sync_channel(MAX_SAID);
        let connect = || {
            bundle::note_process(&request.bundle, guest.pid())?;
            let stream = guest.connect().map_err(RuntimeError::of("the guest"))?;
            let agent = Connection::new(stream, said)?;
            let model = agent.bind(text, host_data)?;
            if model {
                self.log.line("warning", &"MODEL: processes of this host in place of a guest");
            }
            let hex = host_data.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
            self.log.line("info", &format_args!("pod bound, HOST_DATA {hex}"));
            Ok(agent)
        };
        match connect() {
            Ok(agent) => {
                let (numbers, execs) = (Numbers::default(), AtomicU32::new(1));
                Ok((Arc::new(Bound { guest, agent, manifest, numbers, execs }), hears))
            }
            Err(error) => Err((guest, error)),
        }
    }

    /// Makes a container in the guest.
    fn create_in(
        &self,
        request: &Request,
        spec: &Spec,
    ) -> Result<(Kind, Option<Arc<Copies>>), RuntimeError> {
        let bound = self.bound()?;
        let name = spec.name(&bound.manifest)?;
        spec.check_mounts(&bound.manifest, &name)?;
        let mut wish = spec.wish()?;
        wish.terminal |= request.terminal;
        let root = if request.mounts.is_empty() {
            Root::Folder(spec.folder(&request.bundle))
        } else {
            Root::Mounts(request.mounts.clone())
        };
        // A container that the guest refuses needs no image; but the guest looks for the image
        // while it makes the container.
        if bound.manifest.container(&name).is_some() {
            bound.guest.image(&name, &root)?;
            files::give(&bound.manifest, &name, spec, &bound.agent)?;
        }
        let (copies, stdio) = Copies::start(&request.paths, &*bound.guest, &bound.numbers)?;
        let create = ToGuest::Create { container: name.clone(), wish, stdio };
        bound.agent.done(create).inspect_err(|_| copies.close_input())?;
        Ok((Kind::In(Process { container: name, exec: 0 }), Some(copies)))
    }

    /// Starts a process that was made.
    ///
    /// # Errors
    /// [`RuntimeError`].
    pub fn start(&self, key: &Key) -> Result<u32, RuntimeError> {
        let bound = self.bound()?;
        let (kind, before, paths) = {
            let mut entries = self.entries();
            let entry = entries.get_mut(key).ok_or_else(|| missing(key))?;
            if !matches!(entry.progress, Progress::Created(_)) {
                let sentence = format!("{} has been started already", key.0);
                return Err(RuntimeError::Pod(sentence));
            }
            let before = std::mem::replace(&mut entry.progress, Progress::Starting);
            (entry.kind.clone(), before, entry.paths.clone())
        };
        let started = match &kind {
            Kind::Sandbox => Ok(None),
            Kind::In(process) => {
                let wish = match before {
                    Progress::Created(wish) => wish,
                    _ => None,
                };
                self.start_in(&bound, process, wish, &paths)
            }
        };
        let mut entries = self.entries();
        let entry = entries.get_mut(key).ok_or_else(|| missing(key))?;
        match started {
            Ok(copies) => {
                entry.copies = copies.or_else(|| entry.copies.take());
                if let (true, Some(copies)) = (entry.input_ended, &entry.copies) {
                    copies.close_input();
                }
                let pid = bound.guest.pid();
                // Told before its end can be, which waits for what is set here.
                self.tell_started(key, pid);
                // With the guest's its own end may have come before: that stays.
                if matches!(entry.progress, Progress::Starting) {
                    entry.progress = Progress::Running;
                }
                self.changed.notify_all();
                Ok(pid)
            }
            Err(error) => {
                if matches!(entry.progress, Progress::Starting) {
                    entry.progress = Progress::Ended(127, now());
                }
                self.changed.notify_all();
                Err(error)
            }
        }
    }

    fn tell_started(&self, (id, exec): &Key, pid: u32) {
        let (container_id, exec_id) = (id.clone(), exec.clone());
        if exec.is_empty() {
            self.events.tell(&TaskStart { container_id, pid, ..TaskStart::default() });
        } else {
            let started = TaskExecStarted { container_id, exec_id, pid, ..Default::default() };
            self.events.tell(&started);
        }
    }

    /// Nothing more comes by a process' input.
    ///
    /// # Errors
    /// [`RuntimeError::NotFound`].
    pub fn close_input(&self, key: &Key) -> Result<(), RuntimeError> {
        let mut entries = self.entries();
        let entry = entries.get_mut(key).ok_or_else(|| missing(key))?;
        entry.input_ended = true;
        if let Some(copies) = &entry.copies {
            copies.close_input();
        }
        Ok(())
    }

    fn start_in(
        &self,
        bound: &Bound,
        process: &Process,
        wish: Option<Box<Wish>>,
        paths: &Paths,
    ) -> Result<Option<Arc<Copies>>, RuntimeError> {
        let (question, copies) = match wish {
            None => (ToGuest::Start { container: process.container.clone() }, None),
            Some(wish) => {
                let (copies, stdio) = Copies::start(paths, &*bound.guest, &bound.numbers)?;
                (ToGuest::Exec { process: process.clone(), wish: *wish, stdio }, Some(copies))
            }
        };
        let started = bound.agent.ask(question).inspect_err(|_| {
            if let Some(copies) = &copies {
                copies.close_input();
            }
        })?;
        match started {
            ToHost::Started { .. } => Ok(copies),
            _ => Err(RuntimeError::Guest("another answer than to what was asked".into())),
        }
    }

    /// Notes an exec.
    ///
    /// # Errors
    /// [`RuntimeError`].
    pub fn exec(
        &self,
        id: &str,
        exec: &str,
        mut wish: Wish,
        paths: Paths,
        terminal: bool,
    ) -> Result<(), RuntimeError> {
        let bound = self.bound()?;
        let key = (id.to_owned(), exec.to_owned());
        let mut entries = self.entries();
        let own = (id.to_owned(), String::new());
        let of = entries.get(&own).ok_or_else(|| missing(&own))?;
        let Kind::In(process) = &of.kind else {
            return Err(RuntimeError::Pod("nothing can be run beside the pod itself".into()));
        };
        has_room(&entries, &key)?;
        let number = bound.execs.fetch_add(1, Ordering::Relaxed).max(1);
        let kind = Kind::In(Process { container: process.container.clone(), exec: number });
        let bundle = of.bundle.clone();
        wish.terminal |= terminal;
        let wish = Some(Box::new(wish));
        entries.insert(key, Entry { terminal, ..Entry::new(kind, wish, bundle, paths) });
        Ok(())
    }

    /// The runtime is not needed any more.
    pub fn finish(&self) {
        *self.over.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.ends.notify_all();
    }

    /// Waits until the runtime is not needed any more.
    pub fn wait_finished(&self) {
        let mut over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        while !*over {
            over = self.ends.wait(over).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Whether a process can be one more.
fn has_room(entries: &HashMap<Key, Entry>, key: &Key) -> Result<(), RuntimeError> {
    if entries.contains_key(key) {
        return Err(RuntimeError::Exists(if key.1.is_empty() { &key.0 } else { &key.1 }.clone()));
    }
    if entries.len() >= MAX_PROCESSES {
        return Err(RuntimeError::Pod(format!("the pod has {MAX_PROCESSES} processes already")));
    }
    Ok(())
}

/// No such process.
pub fn missing(key: &Key) -> RuntimeError {
    let (id, exec) = key;
    let shown = casemate_foreign_text::value;
    RuntimeError::NotFound(if exec.is_empty() {
        format!("no container {}", shown(id))
    } else {
        format!("container {} has no process {}", shown(id), shown(exec))
    })
}
