//! A pod of Kubernetes, as its YAML has it, and the manifest that binds it.
//!
//! Every line of the pod gets a [`Finding`]: bound by the manifest, open to the host, outside of
//! the guest, or refused, which is all that this crate does not know for certain. A manifest is
//! made when nothing is refused, and says what the pod, its images and the tenant's [`Choices`]
//! say, and nothing that was guessed.
//!
//! Files of the pod and of images are somebody's; what they say is bounded, and shown escaped.
#![forbid(unsafe_code)]

mod choices;
mod container;
mod env;
mod finding;
mod image;
mod network;
mod pod;
mod process;
mod quantity;
mod reader;
mod security;
mod volume;
pub mod yaml;

pub use choices::{Broker, Choices, ContainerChoices, MAX_SIZE as MAX_CHOICES, VolumeChoices};
pub use finding::{Finding, Verdict};
pub use image::Image;
pub use pod::{Reading, read};
pub use reader::Memory;

/// Files of a volume by name, with the SHA-256 of each.
pub type Hashes = std::collections::BTreeMap<String, casemate_pod::Hash>;
