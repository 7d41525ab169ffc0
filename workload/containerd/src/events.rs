//! Events: what containerd is told by itself, in the order in which it happened.

use crate::log::Log;
use crate::wire::{any, now};
use containerd_shim_protos::EventsClient;
use containerd_shim_protos::events::task::{
    TaskCreate, TaskDelete, TaskExecAdded, TaskExecStarted, TaskExit, TaskStart,
};
use containerd_shim_protos::protobuf::{Message, MessageField};
use containerd_shim_protos::shim::event::Envelope;
use containerd_shim_protos::shim::events::ForwardRequest;
use containerd_shim_protos::ttrpc::{Client, context};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Most events that wait for a containerd that does not listen.
const MAX_WAITING: usize = 4096;
/// How long an event waits for containerd to come back. When it is back it asks for the state of
/// everything, and an event that is older than that tells it nothing.
const WAIT: Duration = Duration::from_secs(60);
/// How long one attempt may take, in nanoseconds.
const ATTEMPT: i64 = 2_000_000_000;

/// A kind of event: its topic, and the name of its message.
pub trait Event: Message {
    /// As containerd's `runtime/events.go` has it.
    const TOPIC: &'static str;
    /// The type in the envelope.
    const TYPE: &'static str;
}

macro_rules! events {
    ($($event:ty: $topic:literal $name:literal,)*) => {$(
        impl Event for $event {
            const TOPIC: &'static str = $topic;
            const TYPE: &'static str = $name;
        }
    )*};
}
events! {
    TaskCreate: "/tasks/create" "containerd.events.TaskCreate",
    TaskStart: "/tasks/start" "containerd.events.TaskStart",
    TaskExit: "/tasks/exit" "containerd.events.TaskExit",
    TaskDelete: "/tasks/delete" "containerd.events.TaskDelete",
    TaskExecAdded: "/tasks/exec-added" "containerd.events.TaskExecAdded",
    TaskExecStarted: "/tasks/exec-started" "containerd.events.TaskExecStarted",
}

/// An event, and when it happened.
type Told = (Instant, ForwardRequest);

/// Tells containerd, by a thread of its own: nobody who acts waits for who listens.
#[derive(Debug)]
pub struct Events {
    queue: Mutex<Option<SyncSender<Told>>>,
    log: Arc<Log>,
    thread: Mutex<Option<JoinHandle<()>>>,
    namespace: String,
}

impl Events {
    /// To the address that containerd gave, a path with or without `unix://`; None where it gave
    /// none, and nobody is told then.
    pub fn new(address: Option<String>, namespace: &str, log: Arc<Log>) -> Self {
        let (queue, queued) = sync_channel(MAX_WAITING);
        let thread = address.and_then(|address| {
            let bare = address.strip_prefix("unix://").unwrap_or(&address);
            let url = format!("unix://{bare}");
            let log = Arc::clone(&log);
            let tell = move || tell(&url, &queued, &log);
            std::thread::Builder::new().name("events".into()).spawn(tell).ok()
        });
        let queue = thread.is_some().then_some(queue);
        let (queue, thread) = (Mutex::new(queue), Mutex::new(thread));
        Self { queue, log, thread, namespace: namespace.to_owned() }
    }

    /// Tells of an event.
    pub fn tell<E: Event>(&self, event: &E) {
        let mut envelope = Envelope::new();
        envelope.timestamp = MessageField::some(now());
        envelope.namespace.clone_from(&self.namespace);
        envelope.topic = E::TOPIC.into();
        envelope.event = any(E::TYPE, event);
        let mut request = ForwardRequest::new();
        request.envelope = MessageField::some(envelope);
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(queue) = queue.as_ref() {
            // A full queue is a containerd that has not listened for thousands of them.
            if let Err(TrySendError::Full(_)) = queue.try_send((Instant::now(), request)) {
                self.log.line("warning", &format_args!("event {} is not told", E::TOPIC));
            }
        }
    }

    /// Waits until the last one is told, or nobody listens.
    pub fn finish(&self) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

fn tell(url: &str, queue: &Receiver<Told>, log: &Log) {
    let mut client: Option<EventsClient> = None;
    for (happened, request) in queue {
        // Counted from when it happened: of a thousand that wait the last one waits no longer.
        let end = happened + WAIT;
        loop {
            if client.is_none() {
                client = Client::connect(url).ok().map(EventsClient::new);
            }
            let told = client
                .as_ref()
                .map(|client| client.forward(context::with_timeout(ATTEMPT), &request));
            match told {
                Some(Ok(_)) => break,
                // It has an opinion of this event: another attempt changes none.
                Some(Err(error @ containerd_shim_protos::ttrpc::Error::RpcStatus(_))) => {
                    log.line("warning", &format_args!("event {}: {error}", request.envelope.topic));
                    break;
                }
                Some(Err(_)) | None => client = None,
            }
            if Instant::now() > end {
                break;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}
