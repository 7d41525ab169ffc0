//! What a guest is made of, as far as the agent needs it.

use casemate_pod::{Container, Manifest};
use std::path::PathBuf;

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

    /// Makes a container's root, whole, as the manifest says: layers, what is above them, file
    /// systems in memory, volumes. The path of it, which is a mount of its own.
    ///
    /// # Errors
    /// A sentence that names what is missing.
    fn root(&self, manifest: &Manifest, container: &Container) -> Result<PathBuf, String>;
}
