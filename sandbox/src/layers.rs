//! Which layers a process gets, and the attempt to apply one.

use super::layer::{Layer, Need, Report, State};
use super::refusal::Refusal;
use super::{ControlGroup, InDirectory, Limits, SandboxError, SharedNetwork};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::PathBuf;

/// Which layers a process gets, and what it keeps.
#[derive(Debug, Clone)]
pub struct Layers {
    name: String,
    needs: Vec<(Layer, Need)>,
    pub(super) keep: Vec<RawFd>,
    pub(super) limits: Limits,
    pub(super) signals_children: bool,
    pub(super) network: Option<SharedNetwork>,
    /// The control group that it begins in; None for its parent's.
    pub(super) group: Option<ControlGroup>,
    /// What it may do in the directory that is its root; None for an empty root.
    pub(super) sees: Option<InDirectory>,
    /// Where that is; an image is there already.
    pub(super) directory: Option<PathBuf>,
}

impl Layers {
    /// Every layer required, except those of [`Layer::only_where_asked`], which `with` adds.
    /// (Without `socket` in its filter and with landlock a process reaches no network anyway.)
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        let need = |layer: Layer| {
            (layer, if layer.only_where_asked() { Need::Off } else { Need::Required })
        };
        let needs = Layer::ALL.into_iter().map(need).collect();
        let (keep, limits) = (Vec::new(), Limits::default());
        let (signals_children, network, group) = (false, None, None);
        let (sees, directory) = (None, None);
        let name = name.into();
        Self { name, needs, keep, limits, signals_children, network, group, sees, directory }
    }

    /// As a parent made them, in the image that it started.
    pub(super) fn in_image(
        name: &str,
        needs: Vec<(Layer, Need)>,
        keep: Vec<RawFd>,
        limits: Limits,
        signals_children: bool,
        sees: Option<InDirectory>,
    ) -> Self {
        let (network, group, directory) = (None, None, None);
        let name = name.into();
        Self { name, needs, keep, limits, signals_children, network, group, sees, directory }
    }

    /// For a process that locks itself ([`super::Born::here`]): no namespace, its own ids and
    /// descriptors. It keeps CAP_KILL, if it has it, and may signal: its children need someone to
    /// end them.
    #[must_use]
    pub fn for_this_process(name: impl Into<String>) -> Self {
        let mut layers = Self::new(name);
        layers.signals_children = true;
        [
            Layer::UserNamespace,
            Layer::MountNamespace,
            Layer::PidNamespace,
            Layer::IpcNamespace,
            Layer::UtsNamespace,
            Layer::CgroupNamespace,
            Layer::UserId,
            Layer::DeathSignal,
            Layer::Descriptors,
            Layer::EmptyRoot,
        ]
        .into_iter()
        .fold(layers, Self::without)
    }

    fn set(mut self, layer: Layer, need: Need) -> Self {
        for (known, of) in &mut self.needs {
            if *known == layer {
                *of = need;
            }
        }
        self
    }

    /// Adds a layer that must be there.
    #[must_use]
    pub fn with(self, layer: Layer) -> Self {
        self.set(layer, Need::Required)
    }

    /// Applies a layer where the host can.
    #[must_use]
    pub fn optional(self, layer: Layer) -> Self {
        self.set(layer, Need::Optional)
    }

    /// Lets the host lack a layer: one that is required becomes optional, one that is off stays
    /// off.
    #[must_use]
    pub fn may_lack(self, layer: Layer) -> Self {
        if self.need(layer) == Need::Off { self } else { self.optional(layer) }
    }

    /// Leaves a layer out.
    #[must_use]
    pub fn without(self, layer: Layer) -> Self {
        self.set(layer, Need::Off)
    }

    /// Puts the process into a network namespace that it shares with others, instead of one of its
    /// own.
    #[must_use]
    pub fn in_network(mut self, network: &SharedNetwork) -> Self {
        self.network = Some(network.clone());
        self
    }

    /// Has the process begin in a control group, instead of its parent's.
    #[must_use]
    pub fn in_group(mut self, group: &ControlGroup) -> Self {
        self.group = Some(group.clone());
        self
    }

    /// Makes one directory the process's root, in place of an empty one ([`Layer::EmptyRoot`]), and
    /// lets it do one thing there.
    #[must_use]
    pub fn in_directory(mut self, directory: impl Into<PathBuf>, may: InDirectory) -> Self {
        (self.sees, self.directory) = (Some(may), Some(directory.into()));
        self
    }

    /// Keeps a descriptor open in the child, under the same number. Descriptors that the body owns
    /// must be kept.
    #[must_use]
    pub fn keep(mut self, fd: &impl AsFd) -> Self {
        self.keep.push(fd.as_fd().as_raw_fd());
        self
    }

    /// Sets the resource limits.
    #[must_use]
    pub const fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The process's name, for messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How much a layer is needed.
    #[must_use]
    pub fn need(&self, layer: Layer) -> Need {
        self.needs.iter().find(|(known, _)| *known == layer).map_or(Need::Off, |(_, need)| *need)
    }

    /// Applies a layer by `apply`, which returns details for the report.
    pub(super) fn attempt(
        &self,
        report: &mut Report,
        layer: Layer,
        apply: impl FnOnce() -> Result<String, Refusal>,
    ) -> Result<(), SandboxError> {
        let need = self.need(layer);
        if need == Need::Off {
            report.record(layer, State::Off);
            return Ok(());
        }
        match apply() {
            Ok(details) => report.record(layer, State::Applied(details)),
            Err(refusal) if need == Need::Optional => {
                report.record(layer, State::Missing(refusal.to_string()));
            }
            Err(refusal) => {
                return Err(SandboxError::layer(layer, refusal.call, refusal.source));
            }
        }
        Ok(())
    }
}
