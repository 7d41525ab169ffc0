//! What a guest is made of, as far as the agent needs it.

use crate::given::Files;
use casemate_pod::{Container, Manifest};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The guest around an agent.
pub trait World: Send + Sync {
    /// HOST_DATA of a report that the guest has fetched itself.
    ///
    /// # Errors
    /// A sentence: there is no report.
    fn host_data(&self) -> Result<[u8; 32], String>;

    /// The report and what proves it, for whoever asks; empty where there is none.
    fn evidence(&self) -> Vec<u8>;

    /// Whether this is a MODEL: a program of tests, which nothing isolates from its host.
    fn is_model(&self) -> bool;

    /// Makes what holds for the whole pod, such as its hostname, before anything of it is made.
    ///
    /// # Errors
    /// A sentence that names what of the manifest this guest does not have. What it would pass over
    /// silently, a tenant would take for bound.
    fn pod(&self, manifest: &Manifest) -> Result<(), String>;

    /// Makes a container's root, whole, as the manifest says: layers, what is above them, file
    /// systems in memory, volumes, of which `files` has those that the host gave and that were
    /// proven. The path of it, which is a mount of its own, with an empty folder `/proc`: what
    /// belongs there depends on the process.
    ///
    /// # Errors
    /// A sentence that names what is missing.
    fn root(
        &self,
        manifest: &Manifest,
        container: &Container,
        files: &BTreeMap<String, Files>,
    ) -> Result<PathBuf, String>;

    /// Nothing runs in a root any more, and nothing will: what it took is given back.
    fn remove(&self, root: &Path);
}
