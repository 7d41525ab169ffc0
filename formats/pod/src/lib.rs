//! The manifest of a pod: everything that may run in one guest, and how. A tenant's tool writes it
//! from a pod and its images, and its text is the member [`MEMBER`] of initdata, so that HOST_DATA
//! of every report proves it; the agent in the guest takes from it what is started, in which order,
//! with which arguments, and only compares what the host wishes.
//!
//! **One spelling.** What is hashed is the text, so a manifest has exactly one: [`Manifest::read`]
//! refuses a text that [`Manifest::text`] would have written otherwise. Two tenants with the same
//! pod and the same images have the same HOST_DATA, and a difference of hashes is one of meaning.
//!
//! **Closed.** Keys, kinds and words that are not known are refused: what a manifest does not say
//! in words that a guest knows, nobody may guess. Lists that are not written are empty, and an
//! empty list permits nothing.
//!
//! Nothing here reads or writes a file, and nothing is secret.
#![forbid(unsafe_code)]

mod capability;
mod check;
mod container;
mod error;
mod layer;
mod open;
mod pod;
mod service;
mod signal;
mod text;
mod value;
mod volume;
mod wire;

pub use capability::Capability;
pub use container::{Container, Kind, OpenVariable, Root, Stdio, Tmpfs, User};
pub use error::PodError;
pub use layer::Layer;
pub use open::OpenValue;
pub use pod::{Dns, HostAlias, Pod, Resolver};
pub use service::is_service_variable;
pub use signal::Signal;
pub use value::{Hash, Mebibytes, is_container_path, is_file, is_label};
pub use volume::{Files, Mount, Source, Volume};

/// The member of initdata that is a pod's manifest.
pub const MEMBER: &str = "pod.toml";
/// The version of this format. Another one is refused.
pub const VERSION: u32 = 1;
/// How layers are made into disks: file system, tree, salt. Another layout has other root hashes
/// for the same layers, so it has a number of its own here.
pub const LAYOUT: u32 = 1;
/// Longest manifest, in bytes: that of initdata, which holds it.
pub const MAX_SIZE: usize = 64 * 1024;
/// Containers of a pod, at most.
pub const MAX_CONTAINERS: usize = 64;
/// Layers of one container, at most: what Docker allows.
pub const MAX_LAYERS: usize = 127;
/// Entries of any other list, at most. [`MAX_SIZE`] is what bounds long ones.
pub const MAX_LIST: usize = 1024;

/// All that may run in a pod's guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Layers of all containers, each once, in the order in which containers first name them.
    pub layers: Vec<Layer>,
    /// What holds for all containers.
    pub pod: Pod,
    /// Containers in the order in which they are started: those of kind init and sidecar as they
    /// are written, then the main ones.
    pub containers: Vec<Container>,
    /// What is mounted into them beside their images.
    pub volumes: Vec<Volume>,
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// [`PodError`]: too long, another version, not of its shape, with a value that no guest can
    /// start with, or in another spelling than [`Self::text`] has.
    pub fn read(text: &str) -> Result<Self, PodError> {
        let manifest = wire::read(text)?;
        if manifest.text()? == text { Ok(manifest) } else { Err(PodError::Spelling) }
    }

    /// Its one spelling.
    ///
    /// # Errors
    /// [`PodError`] where a reader would refuse it.
    pub fn text(&self) -> Result<String, PodError> {
        check::check(self)?;
        let text = text::text(self);
        if text.len() > MAX_SIZE {
            return Err(PodError::TooLong(text.len()));
        }
        Ok(text)
    }

    /// The container of this name.
    #[must_use]
    pub fn container(&self, name: &str) -> Option<&Container> {
        self.containers.iter().find(|container| container.name == name)
    }

    /// The layers of a container, the lowest first.
    pub fn layers_of<'m>(&'m self, container: &'m Container) -> impl Iterator<Item = &'m Layer> {
        container.layers.iter().filter_map(|number| self.layers.get(usize::from(*number)))
    }

    /// What is mounted into a container: each volume, and where. A guest mounts them by path, so
    /// that `/a` is there before `/a/b`.
    #[must_use]
    pub fn mounts_of(&self, container: &str) -> Vec<(&Volume, &Mount)> {
        let all = self.volumes.iter().flat_map(|v| v.mounts.iter().map(move |mount| (v, mount)));
        let mut own: Vec<_> = all.filter(|(_, mount)| mount.container == container).collect();
        own.sort_by(|(_, one), (_, other)| one.path.cmp(&other.path));
        own
    }

    /// Names of the secrets that a guest needs from its key broker: each name once, in order. What
    /// a name is at the broker says the member `casemate.toml`.
    #[must_use]
    pub fn secrets(&self) -> std::collections::BTreeSet<&str> {
        self.volumes.iter().flat_map(|volume| volume.source.secrets()).collect()
    }
}
