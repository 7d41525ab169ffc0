//! containerd's task API: each call, against the pod. Version 2 and version 3 are the same messages
//! under two names.

use crate::error::RuntimeError;
use crate::invocation::is_identifier;
use crate::pod::{Pod, Request, missing};
use crate::process::{Entry, Key, Kind, Progress};
use crate::spec;
use crate::stats::{Usage, metrics, unified};
use crate::stdio::Paths;
use casemate_agent::{Code, ToGuest, ToHost};
use casemate_foreign_text::value;
use containerd_shim_protos::Task;
use containerd_shim_protos::api::{
    CheckpointTaskRequest, CloseIORequest, ConnectRequest, ConnectResponse, CreateTaskRequest,
    CreateTaskResponse, DeleteRequest, DeleteResponse, Empty, ExecProcessRequest, KillRequest,
    PauseRequest, PidsRequest, PidsResponse, ProcessInfo, ResizePtyRequest, ResumeRequest,
    ShutdownRequest, StartRequest, StartResponse, StateRequest, StateResponse, StatsRequest,
    StatsResponse, Status, UpdateTaskRequest, WaitRequest, WaitResponse,
};
use containerd_shim_protos::events::task::{TaskCreate, TaskDelete, TaskExecAdded};
use containerd_shim_protos::protobuf::{EnumOrUnknown, MessageField};
use containerd_shim_protos::ttrpc::{Result, TtrpcContext};
use std::path::PathBuf;
use std::sync::Arc;

/// Longest path of a FIFO, and most mounts of a root and bytes of each: what containerd sends is
/// kept as long as the pod is there.
const MAX_PATH: usize = 4096;
const MAX_MOUNTS: usize = 256;
const MAX_OPTION: usize = 64 * 1024;
/// Signals that end a pod: HUP, INT, QUIT, KILL, TERM.
const ENDS_A_POD: [u32; 5] = [1, 2, 3, 9, 15];

/// The task API of a pod.
pub struct Api(pub Arc<Pod>);

fn key(id: &str, exec: &str) -> std::result::Result<Key, RuntimeError> {
    let good = is_identifier(id) && (exec.is_empty() || is_identifier(exec));
    let key = (id.to_owned(), exec.to_owned());
    if good { Ok(key) } else { Err(missing(&key)) }
}

fn paths(
    stdin: String,
    stdout: String,
    stderr: String,
) -> std::result::Result<Paths, RuntimeError> {
    if [&stdin, &stdout, &stderr].iter().any(|path| path.len() > MAX_PATH) {
        return Err(RuntimeError::Use("a path of a stream is too long".into()));
    }
    Ok(Paths { stdin, stdout, stderr })
}

impl Api {
    fn create_task(&self, request: CreateTaskRequest) -> std::result::Result<(), RuntimeError> {
        let (id, _) = key(&request.id, "")?;
        if !request.checkpoint.is_empty() {
            return Err(NO_CHECKPOINT);
        }
        let long = |text: &String| text.len() > MAX_OPTION;
        let too_much = request.rootfs.len() > MAX_MOUNTS
            || request.rootfs.iter().any(|mount| {
                mount.options.len() > MAX_MOUNTS
                    || mount.options.iter().any(long)
                    || long(&mount.source)
                    || long(&mount.type_)
            });
        if too_much || request.bundle.len() > MAX_PATH || !request.bundle.starts_with('/') {
            return Err(RuntimeError::Use("a bundle or a root that is none".into()));
        }
        let mounts = request.rootfs.into_iter().map(|m| (m.type_, m.source, m.options)).collect();
        let paths = paths(request.stdin, request.stdout, request.stderr)?;
        let bundle = PathBuf::from(&request.bundle);
        let terminal = request.terminal;
        let created = TaskCreate {
            container_id: id.clone(),
            bundle: request.bundle,
            checkpoint: String::new(),
            ..TaskCreate::default()
        };
        self.0.create(Request { id, bundle, mounts, paths, terminal })?;
        self.0.events.tell(&TaskCreate { pid: self.0.pid(), ..created });
        Ok(())
    }

    fn start_task(&self, request: &StartRequest) -> std::result::Result<u32, RuntimeError> {
        self.0.start(&key(&request.id, &request.exec_id)?)
    }

    fn exec_task(&self, request: ExecProcessRequest) -> std::result::Result<(), RuntimeError> {
        let (id, exec) = key(&request.id, &request.exec_id)?;
        if exec.is_empty() {
            return Err(RuntimeError::Use("an exec has an id".into()));
        }
        let wish = spec::Process::of(&request.spec.value)?.wish()?;
        let paths = paths(request.stdin, request.stdout, request.stderr)?;
        self.0.exec(&id, &exec, wish, paths, request.terminal)?;
        let added = TaskExecAdded { container_id: id, exec_id: exec, ..TaskExecAdded::default() };
        self.0.events.tell(&added);
        Ok(())
    }

    fn kill_task(&self, request: &KillRequest) -> std::result::Result<(), RuntimeError> {
        let key = key(&request.id, &request.exec_id)?;
        let kind = {
            let entries = self.0.entries();
            let entry = entries.get(&key).ok_or_else(|| missing(&key))?;
            // containerd kills what has ended, too, and passes over this answer and no other.
            if entry.ended().is_some() {
                return Err(RuntimeError::NotFound(format!("{} has ended", value(&key.0))));
            }
            entry.kind.clone()
        };
        match kind {
            // The pod itself has no program that could hear a signal: those that end the one that
            // engines have in this place end the pod, and others are nobody's.
            Kind::Sandbox => {
                if ENDS_A_POD.contains(&request.signal) {
                    self.0.end_guest();
                }
                Ok(())
            }
            Kind::In(process) => {
                let signal = u8::try_from(request.signal)
                    .map_err(|_| RuntimeError::Use(format!("no signal {}", request.signal)))?;
                self.0.bound()?.agent.done(ToGuest::Signal { process, signal })
            }
        }
    }

    fn delete_task(&self, request: &DeleteRequest) -> std::result::Result<Entry, RuntimeError> {
        let key = key(&request.id, &request.exec_id)?;
        let mut entries = self.0.entries();
        let entry = entries.get(&key).ok_or_else(|| missing(&key))?;
        match entry.progress {
            Progress::Ended(..) | Progress::Created(_) => {}
            Progress::Starting | Progress::Running => {
                return Err(RuntimeError::Pod(format!("{} runs", value(&key.0))));
            }
        }
        if key.1.is_empty() {
            entries.retain(|(id, exec), _| *id != key.0 || exec.is_empty());
        }
        let entry = entries.remove(&key).ok_or_else(|| missing(&key))?;
        drop(entries);
        self.0.tell_changed();
        // What was made and never started ends with what holds its streams.
        if let Some(copies) = &entry.copies {
            copies.close_input();
        }
        if key.1.is_empty() && key.0 == self.0.id {
            self.0.end_guest();
        } else if let (Kind::In(process), Progress::Created(None)) = (&entry.kind, &entry.progress)
        {
            // The guest has made it, too. That it is taken back is between the guest and whoever
            // asks for it the next time.
            let container = process.container.clone();
            let removed = self.0.bound()?.agent.done(ToGuest::Remove { container });
            if let Err(error) = removed {
                self.0.log.line("warning", &error);
            }
        }
        if key.1.is_empty() {
            let (exit_status, exited_at) =
                entry.ended().map_or((0, MessageField::none()), |(status, when)| {
                    (status, MessageField::some(when.clone()))
                });
            let pid = self.0.pid();
            let container_id = key.0;
            self.0.events.tell(&TaskDelete {
                container_id,
                pid,
                exit_status,
                exited_at,
                ..TaskDelete::default()
            });
        }
        Ok(entry)
    }

    fn stats_task(&self, id: &str) -> std::result::Result<Usage, RuntimeError> {
        let key = key(id, "")?;
        let kind = self.0.entries().get(&key).map(|entry| entry.kind.clone());
        match kind.ok_or_else(|| missing(&key))? {
            // What the guest itself needs beside its containers is not told here.
            Kind::Sandbox => Ok(Usage { memory: 0, cpu: 0, processes: 0 }),
            Kind::In(process) => {
                let question = ToGuest::Stats { container: process.container };
                match self.0.bound()?.agent.ask(question)? {
                    ToHost::Stats { memory, cpu, processes } => {
                        Ok(Usage { memory, cpu, processes })
                    }
                    _ => Err(RuntimeError::Guest("another answer than to what was asked".into())),
                }
            }
        }
    }

    fn resize(&self, request: &ResizePtyRequest) -> std::result::Result<(), RuntimeError> {
        let key = key(&request.id, &request.exec_id)?;
        let process = {
            let entries = self.0.entries();
            let entry = entries.get(&key).ok_or_else(|| missing(&key))?;
            match (&entry.kind, &entry.progress) {
                (Kind::In(process), Progress::Running) => process.clone(),
                // Whoever has the other terminal tells of its size when it likes, also when there
                // is nothing here any more that could have one.
                _ => return Ok(()),
            }
        };
        let size = |number: u32| u16::try_from(number).unwrap_or(u16::MAX);
        let (columns, rows) = (size(request.width), size(request.height));
        let resized = self.0.bound()?.agent.done(ToGuest::Resize { process, columns, rows });
        match resized {
            Err(RuntimeError::Refused(refusal)) if refusal.code == Code::NotFound => Ok(()),
            resized => resized,
        }
    }
}

const NO_CHECKPOINT: RuntimeError = RuntimeError::Unimplemented(
    "a confidential guest cannot be checkpointed: its host cannot read it",
);
const NO_PAUSE: RuntimeError =
    RuntimeError::Unimplemented("a guest is not paused: what waits for its clock would break");

impl Task for Api {
    fn create(&self, _: &TtrpcContext, request: CreateTaskRequest) -> Result<CreateTaskResponse> {
        self.create_task(request)?;
        Ok(CreateTaskResponse { pid: self.0.pid(), ..CreateTaskResponse::default() })
    }

    fn start(&self, _: &TtrpcContext, request: StartRequest) -> Result<StartResponse> {
        let pid = self.start_task(&request)?;
        Ok(StartResponse { pid, ..StartResponse::default() })
    }

    fn state(&self, _: &TtrpcContext, request: StateRequest) -> Result<StateResponse> {
        let key = key(&request.id, &request.exec_id)?;
        let pid = self.0.pid();
        let entries = self.0.entries();
        let entry = entries.get(&key).ok_or_else(|| missing(&key))?;
        let status = match entry.progress {
            Progress::Created(_) | Progress::Starting => Status::CREATED,
            Progress::Running => Status::RUNNING,
            Progress::Ended(..) => Status::STOPPED,
        };
        let mut state = StateResponse {
            id: key.0,
            exec_id: key.1,
            bundle: entry.bundle.display().to_string(),
            pid,
            status: EnumOrUnknown::new(status),
            stdin: entry.paths.stdin.clone(),
            stdout: entry.paths.stdout.clone(),
            stderr: entry.paths.stderr.clone(),
            terminal: entry.terminal,
            ..StateResponse::default()
        };
        if let Some((status, when)) = entry.ended() {
            state.exit_status = status;
            state.exited_at = MessageField::some(when.clone());
        }
        Ok(state)
    }

    fn wait(&self, _: &TtrpcContext, request: WaitRequest) -> Result<WaitResponse> {
        let key = key(&request.id, &request.exec_id)?;
        let mut entries = self.0.entries();
        loop {
            let entry = entries.get(&key).ok_or_else(|| missing(&key))?;
            if let Some((status, when)) = entry.ended() {
                return Ok(WaitResponse {
                    exit_status: status,
                    exited_at: MessageField::some(when.clone()),
                    ..WaitResponse::default()
                });
            }
            entries = self.0.wait_changed(entries);
        }
    }

    fn kill(&self, _: &TtrpcContext, request: KillRequest) -> Result<Empty> {
        self.kill_task(&request)?;
        Ok(Empty::new())
    }

    fn delete(&self, _: &TtrpcContext, request: DeleteRequest) -> Result<DeleteResponse> {
        let entry = self.delete_task(&request)?;
        let mut answer = DeleteResponse { pid: self.0.pid(), ..DeleteResponse::default() };
        if let Some((status, when)) = entry.ended() {
            answer.exit_status = status;
            answer.exited_at = MessageField::some(when.clone());
        }
        Ok(answer)
    }

    fn exec(&self, _: &TtrpcContext, request: ExecProcessRequest) -> Result<Empty> {
        self.exec_task(request)?;
        Ok(Empty::new())
    }

    fn pids(&self, _: &TtrpcContext, request: PidsRequest) -> Result<PidsResponse> {
        let key = key(&request.id, "")?;
        if !self.0.entries().contains_key(&key) {
            return Err(missing(&key).into());
        }
        // Processes in a guest have no numbers on its host: the guest's own stands for all.
        let mut answer = PidsResponse::new();
        answer.processes.push(ProcessInfo { pid: self.0.pid(), ..ProcessInfo::default() });
        Ok(answer)
    }

    fn stats(&self, _: &TtrpcContext, request: StatsRequest) -> Result<StatsResponse> {
        let usage = self.stats_task(&request.id)?;
        let mut answer = StatsResponse::new();
        answer.stats = metrics(usage, unified());
        Ok(answer)
    }

    fn connect(&self, _: &TtrpcContext, request: ConnectRequest) -> Result<ConnectResponse> {
        key(&request.id, "")?;
        Ok(ConnectResponse {
            shim_pid: std::process::id(),
            task_pid: self.0.pid(),
            version: env!("CARGO_PKG_VERSION").into(),
            ..ConnectResponse::default()
        })
    }

    fn resize_pty(&self, _: &TtrpcContext, request: ResizePtyRequest) -> Result<Empty> {
        self.resize(&request)?;
        Ok(Empty::new())
    }

    fn close_io(&self, _: &TtrpcContext, request: CloseIORequest) -> Result<Empty> {
        let key = key(&request.id, &request.exec_id)?;
        if request.stdin {
            self.0.close_input(&key)?;
        }
        Ok(Empty::new())
    }

    fn update(&self, _: &TtrpcContext, request: UpdateTaskRequest) -> Result<Empty> {
        let key = key(&request.id, "")?;
        if !self.0.entries().contains_key(&key) {
            return Err(missing(&key).into());
        }
        // A guest's size is part of its launch. Refusing would fail pods whose limits are written
        // again by whoever manages them, so it is taken and said.
        self.0.log.line("info", &"limits of a guest stay as it was launched with");
        Ok(Empty::new())
    }

    fn shutdown(&self, _: &TtrpcContext, _: ShutdownRequest) -> Result<Empty> {
        if self.0.entries().is_empty() {
            self.0.finish();
        }
        Ok(Empty::new())
    }

    fn pause(&self, _: &TtrpcContext, _: PauseRequest) -> Result<Empty> {
        Err(NO_PAUSE.into())
    }

    fn resume(&self, _: &TtrpcContext, _: ResumeRequest) -> Result<Empty> {
        Err(NO_PAUSE.into())
    }

    fn checkpoint(&self, _: &TtrpcContext, _: CheckpointTaskRequest) -> Result<Empty> {
        Err(NO_CHECKPOINT.into())
    }
}
