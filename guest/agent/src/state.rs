//! A pod's life: Booted → Bound → Running → Ending. What must not happen in a state is no method of
//! that state's type.
//!
//! Decisions only: nothing here starts, mounts or reads anything. What is decided is what the
//! manifest says of it, so that whoever acts on a decision has nothing of the host's in hand but
//! values that the manifest leaves open.

use crate::compare::{self, Environment};
use crate::given::{Files, Given};
use casemate_agent::{Code, Refusal, Wish};
use casemate_initdata::{Initdata, MAX_SIZE};
use casemate_pod::{Container, Kind, MEMBER, Manifest, Signal};
use std::collections::BTreeMap;

/// Nothing is known yet. Initdata comes in parts, and nothing of it is parsed before all of it has
/// the hash that the guest was launched with.
#[derive(Debug, Default)]
pub struct Booted {
    initdata: Vec<u8>,
}

impl Booted {
    /// A part of initdata.
    ///
    /// # Errors
    /// [`Code::Initdata`]: it is longer than initdata can be.
    pub fn part(&mut self, part: &[u8]) -> Result<(), Refusal> {
        if self.initdata.len().saturating_add(part.len()) > MAX_SIZE {
            self.initdata.clear();
            let sentence = format_args!("initdata of more than {MAX_SIZE} bytes").to_string();
            return Err(Refusal::new(Code::Initdata, sentence));
        }
        self.initdata.extend_from_slice(part);
        Ok(())
    }

    /// All parts have come: binds the pod to the manifest in it, or forgets all of them.
    ///
    /// # Errors
    /// [`Code::Initdata`] and [`Code::Manifest`].
    pub fn bind(&mut self, host_data: &[u8; 32]) -> Result<Bound, Refusal> {
        let bytes = std::mem::take(&mut self.initdata);
        let refused = |e: &dyn std::fmt::Display| Refusal::new(Code::Initdata, e);
        // The hash is of bytes, and is compared before they are anything else; that they are text
        // is asked of bytes that are proven, and of others the sentence is that of the hash.
        let text = String::from_utf8_lossy(&bytes);
        let initdata = Initdata::proven(&text, host_data).map_err(|e| refused(&e))?;
        let member = initdata
            .member(MEMBER)
            .ok_or_else(|| refused(&"initdata has no member pod.toml: it binds no pod"))?;
        let manifest = Manifest::read(member).map_err(|e| Refusal::new(Code::Manifest, e))?;
        Ok(Bound { manifest })
    }
}

/// The manifest is the one that the guest was launched with; no container has been made.
#[derive(Debug)]
pub struct Bound {
    manifest: Manifest,
}

impl Bound {
    /// What the pod is bound to.
    #[must_use]
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Goes on to make containers.
    #[must_use]
    pub fn run(self) -> Running {
        let absent = |_| Place { progress: Progress::Absent, last: None, counts: false };
        let places = self.manifest.containers.iter().map(absent).collect();
        Running { manifest: self.manifest, places, given: Given::default() }
    }
}

/// How far a container is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Progress {
    Absent,
    /// Made, with the environment that was decided on.
    Created(Environment),
    Started,
    /// With this status.
    Ended(u32),
}

/// What has become of a container.
#[derive(Debug)]
struct Place {
    progress: Progress,
    /// How it ended the last time.
    last: Option<u32>,
    /// What comes behind it may come: for good, whatever becomes of it then.
    counts: bool,
}

/// Containers are made, run and end.
#[derive(Debug)]
pub struct Running {
    manifest: Manifest,
    places: Vec<Place>,
    given: Given,
}

impl Running {
    /// What the pod is bound to.
    #[must_use]
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn find(&self, name: &str) -> Result<(usize, &Container, &Progress), Refusal> {
        let mut all = self.manifest.containers.iter().zip(&self.places).enumerate();
        let found = all.find(|(_, (container, _))| container.name == name);
        let (at, (container, Place { progress, .. })) = found.ok_or_else(|| {
            let shown = name.chars().take(80).collect::<String>();
            let sentence = format!("the manifest has no container {shown:?}");
            Refusal::new(Code::Unlisted, sentence)
        })?;
        Ok((at, container, progress))
    }

    fn set(&mut self, at: usize, to: Progress) {
        let Some(container) = self.manifest.containers.get(at) else { return };
        let Some(place) = self.places.get_mut(at) else { return };
        place.counts |= match (container.kind, &to) {
            (Kind::Init, Progress::Ended(status)) => *status == 0,
            (Kind::Init, _) => false,
            (_, to) => *to == Progress::Started,
        };
        if let Progress::Ended(status) = &to {
            place.last = Some(*status);
        }
        place.progress = to;
    }

    /// Which container must come before this one and has not; None when it may come.
    ///
    /// One that was started counts for good: that it has ended since, or is to be started again,
    /// does not hold up what comes behind it. An init container counts when it has done its work.
    fn before(&self, at: usize) -> Option<(&Container, &'static str)> {
        let mut all = self.manifest.containers.iter().zip(&self.places).take(at);
        let (container, _) = all.find(|(_, place)| !place.counts)?;
        let why = match container.kind {
            Kind::Init => "has not ended with status 0",
            _ => "has not been started",
        };
        Some((container, why))
    }

    /// Makes a container: in its place, once, or again where the manifest has it restarted.
    ///
    /// # Errors
    /// [`Code::Unlisted`], [`Code::Again`], [`Code::Order`], [`Code::Differs`].
    pub fn create(&mut self, name: &str, wish: &Wish) -> Result<&Container, Refusal> {
        let (at, container, progress) = self.find(name)?;
        let again = |what: &str| {
            let sentence = format!("container {name} {what}");
            Refusal::new(Code::Again, sentence)
        };
        match progress {
            Progress::Absent => {}
            Progress::Ended(_) if container.restart => {}
            Progress::Ended(_) => {
                return Err(again("has ended, and the manifest has it run once"));
            }
            Progress::Created(_) => return Err(again("is there already")),
            Progress::Started => return Err(again("runs already")),
        }
        if let Some((first, why)) = self.before(at) {
            let sentence = format!("container {name} comes after {}, which {why}", first.name);
            return Err(Refusal::new(Code::Order, sentence));
        }
        if wish.terminal != container.stdio.terminal() {
            let has = |terminal| if terminal { "a terminal" } else { "no terminal" };
            let (host, ours) = (has(wish.terminal), has(container.stdio.terminal()));
            let sentence =
                format!("container {name}: it is to have {host}, and {ours} by the manifest");
            return Err(Refusal::new(Code::Differs, sentence));
        }
        let environment = compare::own(&self.manifest, container, wish)?;
        self.given.complete(&self.manifest, container)?;
        self.set(at, Progress::Created(environment));
        self.manifest.containers.get(at).ok_or_else(|| Refusal::new(Code::NotFound, name))
    }

    /// A container that was decided on could not be made, or is taken back before it was started:
    /// it is as if nobody had asked.
    ///
    /// # Errors
    /// [`Code::Unlisted`], and [`Code::NotFound`] of one that is not there, or was started.
    pub fn not_created(&mut self, name: &str) -> Result<(), Refusal> {
        let (at, _, progress) = self.find(name)?;
        if !matches!(progress, Progress::Created(_)) {
            let sentence = format!("container {name} is not there, or was started");
            return Err(Refusal::new(Code::NotFound, sentence));
        }
        let last = self.places.get(at).and_then(|place| place.last);
        self.set(at, last.map_or(Progress::Absent, Progress::Ended));
        Ok(())
    }

    /// A part of a file of a volume.
    ///
    /// # Errors
    /// As [`Given::part`].
    pub fn file(&mut self, file: (&str, &str), last: bool, part: &[u8]) -> Result<(), Refusal> {
        self.given.part(&self.manifest, file, last, part)
    }

    /// The files that have come for a container's volumes.
    #[must_use]
    pub fn files(&self, container: &Container) -> BTreeMap<String, Files> {
        self.given.of(&self.manifest, container)
    }

    /// Starts a container that was made; with its environment.
    ///
    /// # Errors
    /// [`Code::Unlisted`], [`Code::NotFound`] of one that was not made, [`Code::Again`].
    pub fn start(&mut self, name: &str) -> Result<(Container, Environment), Refusal> {
        let (at, container, progress) = self.find(name)?;
        let (code, what) = match progress {
            Progress::Created(environment) => {
                let decided = (container.clone(), environment.clone());
                self.set(at, Progress::Started);
                return Ok(decided);
            }
            Progress::Absent => (Code::NotFound, "has not been created"),
            Progress::Started => (Code::Again, "runs already"),
            Progress::Ended(_) => (Code::Again, "has ended"),
        };
        Err(Refusal::new(code, format!("container {name} {what}")))
    }

    /// A container's own process has ended, or could not be started.
    pub fn ended(&mut self, name: &str, status: u32) {
        if let Ok((at, _, Progress::Started)) = self.find(name) {
            self.set(at, Progress::Ended(status));
        }
    }

    /// Runs a listed command beside a container's own process.
    ///
    /// # Errors
    /// [`Code::Unlisted`], [`Code::NotFound`] of a container that does not run, [`Code::Differs`].
    pub fn exec(&self, name: &str, wish: &Wish) -> Result<(Container, Environment), Refusal> {
        let container = self.running(name)?;
        let environment = compare::beside(&self.manifest, container, wish)?;
        Ok((container.clone(), environment))
    }

    /// A signal for a process of a container.
    ///
    /// # Errors
    /// [`Code::Unlisted`] and [`Code::NotFound`].
    pub fn signal(&self, name: &str, number: u8) -> Result<Signal, Refusal> {
        let container = self.running(name)?;
        let signal = Signal::from_number(number.into());
        signal.filter(|signal| container.signals.contains(signal)).ok_or_else(|| {
            let sentence = format!("container {name}: the manifest does not list signal {number}");
            Refusal::new(Code::Unlisted, sentence)
        })
    }

    /// A container that runs.
    ///
    /// # Errors
    /// [`Code::Unlisted`] and [`Code::NotFound`].
    pub fn running(&self, name: &str) -> Result<&Container, Refusal> {
        match self.find(name)? {
            (_, container, Progress::Started) => Ok(container),
            _ => Err(Refusal::new(Code::NotFound, format!("container {name} does not run"))),
        }
    }

    /// The end begins: nothing is made or started from here on.
    #[must_use]
    pub fn end(self) -> Ending {
        Ending
    }
}

/// The guest ends. Nothing can be asked of it.
#[derive(Debug)]
pub struct Ending;

/// Where a pod is in its life.
#[derive(Debug)]
pub enum Life {
    /// See [`Booted`].
    Booted(Booted),
    /// See [`Bound`].
    Bound(Bound),
    /// See [`Running`].
    Running(Running),
    /// See [`Ending`].
    Ending(Ending),
}

impl Default for Life {
    fn default() -> Self {
        Self::Booted(Booted::default())
    }
}

impl Life {
    /// The word for it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Booted(_) => "booted",
            Self::Bound(_) => "bound",
            Self::Running(_) => "running",
            Self::Ending(_) => "ending",
        }
    }
}
