//! What a pod runs in, as far as the runtime needs it.

use crate::error::RuntimeError;
use std::fs::File;
use std::path::PathBuf;

/// Makes guests for pods: SNP guests, or the MODEL of tests.
pub trait Launcher: Send + Sync {
    /// Starts a guest, or says why this node cannot have it.
    ///
    /// # Errors
    /// [`RuntimeError`]; its sentence reaches whoever asked for the pod.
    fn launch(&self, launch: &Launch) -> Result<Box<dyn Guest>, RuntimeError>;
}

/// What a guest is launched with.
#[derive(Debug)]
pub struct Launch {
    /// The pod's id: a name for what is made on the host.
    pub id: String,
    /// Its bundle: a folder that is there as long as the pod is.
    pub bundle: PathBuf,
    /// HOST_DATA: SHA-256 of the pod's initdata.
    pub host_data: [u8; 32],
}

/// A guest that was launched. What ends with it is all that belongs to it.
pub trait Guest: Send + Sync {
    /// A process of the host that lives as long as the guest and in its network namespace.
    fn pid(&self) -> u32;

    /// A connection to the agent in it: the first is for messages, others are streams, each with
    /// its number in front.
    ///
    /// # Errors
    /// What connecting said.
    fn connect(&self) -> std::io::Result<File>;

    /// The image of a container has come: its layers are put where the guest finds them. It
    /// believes nothing of them that the manifest does not prove.
    ///
    /// # Errors
    /// [`RuntimeError`].
    fn image(&self, container: &str, root: &Root) -> Result<(), RuntimeError>;

    /// Ends it, at once, and waits until nothing is left.
    fn end(&self);
}

/// What containerd has made of a container's image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Root {
    /// Mounts of a snapshotter, not mounted yet: type, source, options.
    Mounts(Vec<(String, String, Vec<String>)>),
    /// A folder.
    Folder(PathBuf),
}
