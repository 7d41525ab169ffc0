//! The agent's loop: a question, a decision, an act, an answer; and the ends of processes.

use crate::process::{self, Ends, Place, Started};
use crate::state::{Booted, Bound, Life, Running};
use crate::streams::Streams;
use crate::usage::usage;
use crate::world::World;
use casemate_agent::{
    AgentError, Code, MAX_PART, Numbered, Process, Refusal, Stdio, ToGuest, ToHost, VERSION, Wish,
    stream,
};
use rustix::io::Errno;
use rustix::process::{
    Signal, WaitId, WaitIdOptions, WaitOptions, WaitStatus, kill_process, kill_process_group, wait,
    waitid,
};
use rustix::termios::{Winsize, tcsetwinsize};
use std::collections::HashMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Most processes beside containers' own at once, of all containers together.
const MAX_BESIDE: usize = 64;
/// The status of a container whose program could not be started: that of a shell.
const NOT_STARTED: u32 = 127;

/// Serves a runtime until it asks for the end or is gone; every process has been sent SIGKILL then.
///
/// For PID 1 alone: it waits for children that it never made.
///
/// # Errors
/// [`AgentError`]: what came was no message, and the runtime has been told; or `/proc` is of
/// another namespace of processes than this one.
pub fn serve(
    control: File,
    streams: Arc<Streams>,
    world: Arc<dyn World>,
) -> Result<(), AgentError> {
    // Numbers of processes are looked up there: in another namespace's they are somebody else's.
    let own = std::fs::read_link("/proc/self")
        .is_ok_and(|own| own.to_str() == Some(&std::process::id().to_string()));
    if !own {
        return Err(AgentError::Connection("/proc is not of this namespace of processes".into()));
    }
    let writer = control.try_clone().map_err(|e| AgentError::Connection(e.to_string()))?;
    let agent = Arc::new(Agent {
        pod: Mutex::default(),
        spawned: Condvar::new(),
        writer: Mutex::new(writer),
        streams,
        world,
    });
    let reaper = Arc::clone(&agent);
    std::thread::Builder::new()
        .name("reaper".into())
        .spawn(move || reaper.reap())
        .map_err(|e| AgentError::Connection(e.to_string()))?;
    let ended = agent.answer_all(control);
    agent.end();
    ended
}

struct Agent {
    pod: Mutex<Pod>,
    /// A process was started.
    spawned: Condvar,
    writer: Mutex<File>,
    streams: Arc<Streams>,
    world: Arc<dyn World>,
}

#[derive(Default)]
struct Pod {
    spoken: bool,
    life: Life,
    /// Connections of containers that are made and not started.
    made: HashMap<String, Ends>,
    /// Roots of containers that are made, or run.
    roots: HashMap<String, PathBuf>,
    processes: HashMap<Process, Started>,
}

impl Agent {
    fn pod(&self) -> MutexGuard<'_, Pod> {
        self.pod.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, number: u32, message: ToHost) -> Result<(), AgentError> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        stream::send(&mut *writer, &Numbered { number, message })
    }

    fn answer_all(self: &Arc<Self>, mut control: File) -> Result<(), AgentError> {
        loop {
            let Numbered { number, message } = match stream::receive::<ToGuest>(&mut control) {
                Ok(Some(question)) => question,
                Ok(None) => return Ok(()),
                Err(error) => {
                    let refusal = Refusal::new(Code::Malformed, &error);
                    let _ = self.say(0, ToHost::Refused { refusal });
                    return Err(error);
                }
            };
            let last = matches!(message, ToGuest::Shutdown {});
            let answer = self.answer(message);
            let last = last && answer.is_ok();
            if last {
                self.end();
            }
            self.say(number, answer.unwrap_or_else(|refusal| ToHost::Refused { refusal }))?;
            if last {
                return Ok(());
            }
        }
    }

    fn answer(&self, message: ToGuest) -> Result<ToHost, Refusal> {
        if !self.pod().spoken && !matches!(message, ToGuest::Hello { .. }) {
            return Err(Refusal::new(Code::State, "the first message is a hello"));
        }
        match message {
            ToGuest::Hello { version } => self.hello(version),
            ToGuest::Initdata { last, part } => self.initdata(last, &part),
            ToGuest::Create { container, wish, stdio } => self.create(&container, &wish, stdio),
            ToGuest::Start { container } => self.start(&container),
            ToGuest::Exec { process, wish, stdio } => self.exec(process, &wish, stdio),
            ToGuest::Signal { process, signal } => self.signal(&process, signal),
            ToGuest::Resize { process, columns, rows } => self.resize(&process, columns, rows),
            ToGuest::Stats { container } => self.stats(&container),
            ToGuest::Shutdown {} => Ok(ToHost::Done {}),
            ToGuest::File { volume, name, last, part } => {
                let mut pod = self.pod();
                pod.begin()?.file((&volume, &name), last, &part)?;
                Ok(ToHost::Done {})
            }
            ToGuest::Remove { container } => self.remove(&container),
        }
    }

    fn hello(&self, version: u16) -> Result<ToHost, Refusal> {
        if version != VERSION {
            let sentence = format!("the runtime speaks version {version}, this guest {VERSION}");
            return Err(Refusal::new(Code::Version, sentence));
        }
        self.pod().spoken = true;
        Ok(ToHost::Hello { version: VERSION, model: self.world.is_model() })
    }

    fn initdata(&self, last: bool, part: &[u8]) -> Result<ToHost, Refusal> {
        let mut pod = self.pod();
        let booted = pod.booted()?;
        booted.part(part)?;
        if !last {
            return Ok(ToHost::Done {});
        }
        let host_data = self.world.host_data().map_err(|e| Refusal::new(Code::Initdata, e))?;
        let bound: Bound = booted.bind(&host_data)?;
        // Of what this guest does not have nothing is passed over: a tenant takes it for bound.
        self.world.pod(bound.manifest()).map_err(|e| Refusal::new(Code::Manifest, e))?;
        pod.life = Life::Bound(bound);
        // A frame has room for no more; without it whoever verifies is refused, and the pod is not.
        let evidence = Some(self.world.evidence()).filter(|evidence| evidence.len() <= MAX_PART);
        Ok(ToHost::Ready { host_data, evidence: evidence.unwrap_or_default() })
    }

    fn create(&self, name: &str, wish: &Wish, stdio: Stdio) -> Result<ToHost, Refusal> {
        let ends = self.ends(stdio)?;
        // Decided with the lock, made without it: a root may take a while, and ends of processes
        // are told meanwhile. Nobody else creates: questions come one after the other.
        let (manifest, container, files) = {
            let mut pod = self.pod();
            let running = pod.begin()?;
            let container = running.create(name, wish)?.clone();
            let files = running.files(&container);
            (running.manifest().clone(), container, files)
        };
        match self.world.root(&manifest, &container, &files) {
            Ok(root) => {
                let ends = ends.permitted(&container);
                let mut pod = self.pod();
                pod.roots.insert(container.name.clone(), root);
                pod.made.insert(container.name, ends);
                Ok(ToHost::Done {})
            }
            Err(why) => {
                if let Ok(running) = self.pod().begin() {
                    let _ = running.not_created(name);
                }
                Err(Refusal::new(Code::Failed, format!("container {name}: {why}")))
            }
        }
    }

    fn start(&self, name: &str) -> Result<ToHost, Refusal> {
        let mut pod = self.pod();
        let (container, environment) = pod.running()?.start(name)?;
        let ends = pod.made.remove(name).unwrap_or_default();
        let root = pod.roots.get(name).cloned();
        let root = root
            .ok_or_else(|| Refusal::new(Code::NotFound, format!("container {name} has no root")))?;
        let process = Process { container: name.to_owned(), exec: 0 };
        let terminal = container.stdio.terminal();
        let place = Place::Root(&root);
        let started =
            process::start(&container, &container.args, &environment, &place, ends, terminal);
        if started.is_err() {
            pod.running()?.ended(name, NOT_STARTED);
            self.unmake(&mut pod, name);
        }
        self.started(&mut pod, process, started)
    }

    /// Takes back a container that was made and not started.
    fn remove(&self, name: &str) -> Result<ToHost, Refusal> {
        let mut pod = self.pod();
        pod.running()?.not_created(name)?;
        pod.made.remove(name);
        self.unmake(&mut pod, name);
        Ok(ToHost::Done {})
    }

    /// Gives back what a container's root took: the next one has another.
    fn unmake(&self, pod: &mut Pod, name: &str) {
        if let Some(root) = pod.roots.remove(name) {
            self.world.remove(&root);
        }
    }

    fn exec(&self, process: Process, wish: &Wish, stdio: Stdio) -> Result<ToHost, Refusal> {
        let ends = self.ends(stdio)?;
        let mut pod = self.pod();
        let (container, environment) = pod.running()?.exec(&process.container, wish)?;
        let beside = pod.processes.keys().filter(|one| one.exec != 0).count();
        let taken = process.exec == 0 || pod.processes.contains_key(&process);
        if taken || beside >= MAX_BESIDE {
            let sentence = format!(
                "container {}: process {} is taken, or {MAX_BESIDE} run beside containers",
                container.name, process.exec
            );
            return Err(Refusal::new(Code::Bounds, sentence));
        }
        let own = Process { container: container.name.clone(), exec: 0 };
        let namespaces = pod.processes.get(&own).and_then(|own| own.namespaces.as_ref());
        let namespaces = namespaces.ok_or_else(|| {
            let sentence = format!("container {} does not run", container.name);
            Refusal::new(Code::NotFound, sentence)
        })?;
        let ends = ends.permitted(&container);
        let place = Place::Beside(namespaces);
        let started =
            process::start(&container, &wish.args, &environment, &place, ends, wish.terminal);
        self.started(&mut pod, process, started)
    }

    fn started(
        &self,
        pod: &mut Pod,
        process: Process,
        started: std::io::Result<Started>,
    ) -> Result<ToHost, Refusal> {
        let started = started.map_err(|e| {
            let sentence = format!("container {}: cannot be started: {e}", process.container);
            Refusal::new(Code::Failed, sentence)
        })?;
        let pid = started.pid;
        pod.processes.insert(process, started);
        self.spawned.notify_all();
        Ok(ToHost::Started { pid })
    }

    fn signal(&self, process: &Process, number: u8) -> Result<ToHost, Refusal> {
        let mut pod = self.pod();
        let listed = pod.running()?.signal(&process.container, number)?;
        let started = pod.find(process)?;
        let pid = process::number(started.pid);
        let signal = Signal::from_named_raw(listed.number().into());
        let (Some(pid), Some(signal)) = (pid, signal) else {
            return Err(Refusal::new(Code::Failed, format!("signal {number} cannot be sent")));
        };
        // The lock keeps the number from being another process': who ends is waited for under it.
        kill_process(pid, signal)
            .map_err(|e| Refusal::new(Code::Failed, format!("signal {number}: {e}")))?;
        Ok(ToHost::Done {})
    }

    fn resize(&self, process: &Process, columns: u16, rows: u16) -> Result<ToHost, Refusal> {
        let mut pod = self.pod();
        pod.running()?.running(&process.container)?;
        if let Some(terminal) = &pod.find(process)?.terminal {
            let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
            tcsetwinsize(terminal, size)
                .map_err(|e| Refusal::new(Code::Failed, format!("a terminal's size: {e}")))?;
        }
        Ok(ToHost::Done {})
    }

    fn stats(&self, name: &str) -> Result<ToHost, Refusal> {
        let mut pod = self.pod();
        pod.running()?.running(name)?;
        let of = pod.processes.iter().filter(|(process, _)| process.container == name);
        let sessions: Vec<u32> = of.map(|(_, started)| started.pid).collect();
        drop(pod);
        Ok(usage(&sessions))
    }

    /// The connections that a message names. Before anything is decided: one that does not come is
    /// waited for, and nothing is held up by that but the next question.
    fn ends(&self, stdio: Stdio) -> Result<Ends, Refusal> {
        let stdin = self.streams.take(stdio.stdin)?;
        let stdout = self.streams.take(stdio.stdout)?;
        Ok(Ends { stdin, stdout, stderr: self.streams.take(stdio.stderr)? })
    }

    /// Waits for processes that end, for good.
    fn reap(self: &Arc<Self>) {
        loop {
            // Looked at, and not taken: `Command::spawn` waits itself for a child that could not
            // become its program, and must find it. It runs under the lock.
            match waitid(WaitId::All, WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => {
                    let pod = self.pod();
                    if pod.processes.is_empty() {
                        drop(self.spawned.wait(pod));
                    }
                    continue;
                }
            }
            let mut pod = self.pod();
            while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
                let pid = u32::try_from(pid.as_raw_nonzero().get()).unwrap_or(0);
                self.ended(&mut pod, pid, status);
            }
        }
    }

    fn ended(self: &Arc<Self>, pod: &mut Pod, pid: u32, status: WaitStatus) {
        let found = pod.processes.iter().find(|(_, started)| started.pid == pid);
        // Others are children that lost their parents.
        let Some(process) = found.map(|(process, _)| process.clone()) else { return };
        let Some(started) = pod.processes.remove(&process) else { return };
        let status = exit_status(status);
        kill_group(&started);
        if process.exec == 0 {
            let of = pod.processes.iter().filter(|(one, _)| one.container == process.container);
            of.for_each(|(_, beside)| kill_group(beside));
            self.unmake(pod, &process.container);
            if let Life::Running(running) = &mut pod.life {
                running.ended(&process.container, status);
            }
        }
        let agent = Arc::clone(self);
        let output = Arc::clone(&started.output);
        let tell = move || {
            // The last byte first: whoever hears of the end closes the log.
            output.wait();
            let _ = agent.say(0, ToHost::Exited { process, status });
        };
        let spawned = std::thread::Builder::new().name("end".into()).spawn(tell.clone());
        if spawned.is_err() {
            // Told late is better than told by nobody.
            tell();
        }
    }

    fn end(&self) {
        let mut pod = self.pod();
        pod.life = match std::mem::take(&mut pod.life) {
            Life::Running(running) => Life::Ending(running.end()),
            _ => Life::Ending(crate::state::Ending),
        };
        pod.made.clear();
        pod.processes.values().for_each(kill_group);
    }
}

impl Pod {
    fn wrong(&self, asked: &str) -> Refusal {
        let sentence = format!("{asked}, and the pod is {}", self.life.name());
        Refusal::new(Code::State, sentence)
    }

    fn booted(&mut self) -> Result<&mut Booted, Refusal> {
        let wrong = self.wrong("initdata is taken once, before the pod is bound");
        match &mut self.life {
            Life::Booted(booted) => Ok(booted),
            _ => Err(wrong),
        }
    }

    /// Containers may be made from here on.
    fn begin(&mut self) -> Result<&mut Running, Refusal> {
        self.life = match std::mem::take(&mut self.life) {
            Life::Bound(bound) => Life::Running(bound.run()),
            other => other,
        };
        self.running()
    }

    fn running(&mut self) -> Result<&mut Running, Refusal> {
        let wrong = self.wrong("containers are there once the pod is bound to its manifest");
        match &mut self.life {
            Life::Running(running) => Ok(running),
            _ => Err(wrong),
        }
    }

    fn find(&self, process: &Process) -> Result<&Started, Refusal> {
        self.processes.get(process).ok_or_else(|| {
            let Process { container, exec } = process;
            let sentence = format!("container {container}: process {exec} is not there, or ended");
            Refusal::new(Code::NotFound, sentence)
        })
    }
}

fn exit_status(status: WaitStatus) -> u32 {
    let of = |number: i32| u32::try_from(number).unwrap_or(0);
    let signal = status.terminating_signal().map(|signal| 128u32.saturating_add(of(signal)));
    signal.or_else(|| status.exit_status().map(of)).unwrap_or(NOT_STARTED)
}

/// What a process leaves behind in its group.
fn kill_group(started: &Started) {
    if let Some(group) = process::number(started.pid) {
        let _ = kill_process_group(group, Signal::KILL);
    }
}
