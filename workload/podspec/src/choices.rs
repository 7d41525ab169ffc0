//! What a tenant chooses that a pod has no word for: a TOML file beside it, or nothing, which is
//! the strictest choice everywhere.

use casemate_foreign_text as foreign;
use casemate_pod::{OpenVariable, Root, Signal, Stdio};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Longest file, in bytes.
pub const MAX_SIZE: u64 = 256 * 1024;

/// The choices.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Choices {
    /// For the whole pod.
    pub pod: PodChoices,
    /// The key broker; needed when there are secrets.
    pub broker: Option<Broker>,
    /// Name here → name at the broker, `repository/type/tag`.
    pub secrets: BTreeMap<String, String>,
    /// By name of container.
    pub container: BTreeMap<String, ContainerChoices>,
    /// By name of volume; one that the pod does not have is made of secrets.
    pub volume: BTreeMap<String, VolumeChoices>,
}

/// For the whole pod.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PodChoices {
    /// Numbers of vCPUs; 1 when nothing is said.
    pub vcpus: Vec<u32>,
    /// Containers that are to have been started before the broker is asked.
    pub secrets_after: Vec<String>,
    /// Variables of services are given to programs.
    pub open_services: bool,
    /// Where the API server adds a token of a service account, it is given to programs.
    pub open_service_account_token: bool,
}

/// A key broker, by the hashes of its public keys.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Broker {
    /// SHA-256 of each, one or two.
    pub keys: Vec<String>,
}

/// For one container.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ContainerChoices {
    /// What the host gets of its output and gives as its input; none when nothing is said.
    pub stdio: Option<String>,
    /// What may be run beside it, more than probes and hooks of the pod.
    pub exec: Vec<Vec<String>>,
    /// Signals; its stop signal and KILL when nothing is said.
    pub signals: Option<Vec<String>>,
    /// Variables whose values the host chooses, as NAME:TYPE.
    pub env_open: Vec<String>,
    /// What is above its layers; `read-only` as the pod says, else `memory:64`.
    pub root: Option<String>,
    /// File systems in memory, as PATH=MIB.
    pub tmpfs: Vec<String>,
}

/// For one volume: one of its words.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VolumeChoices {
    /// A folder whose files are what the host must give.
    pub files: Option<String>,
    /// They are programs.
    pub executable: bool,
    /// The host chooses names and contents, at most so many KiB.
    pub open_kib: Option<u32>,
    /// Of an emptyDir: so many MiB of memory.
    pub memory_mib: Option<u32>,
    /// Of an emptyDir: so many MiB of a disk, encrypted.
    pub scratch_mib: Option<u32>,
    /// Of a claim: the name of the secret that is the key of the disk.
    pub key: Option<String>,
    /// Names of secrets, which become files.
    pub secrets: Vec<String>,
    /// Of secrets: where, as CONTAINER:PATH.
    pub mounts: Vec<String>,
}

impl VolumeChoices {
    /// The words that are written here.
    pub(crate) fn words(&self) -> impl Iterator<Item = &'static str> {
        let words = [
            ("files", self.files.is_some()),
            ("executable", self.executable),
            ("open_kib", self.open_kib.is_some()),
            ("memory_mib", self.memory_mib.is_some()),
            ("scratch_mib", self.scratch_mib.is_some()),
            ("key", self.key.is_some()),
            ("secrets", !self.secrets.is_empty()),
            ("mounts", !self.mounts.is_empty()),
        ];
        words.into_iter().filter(|(_, written)| *written).map(|(word, _)| word)
    }
}

/// A container's choices, read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Chosen {
    pub stdio: Option<Stdio>,
    pub signals: Option<Vec<Signal>>,
    pub env_open: Vec<OpenVariable>,
    pub root: Option<Root>,
    pub tmpfs: Vec<casemate_pod::Tmpfs>,
}

impl Choices {
    /// Reads a file of choices.
    ///
    /// # Errors
    /// A sentence.
    pub fn read(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(0, |span| {
                text.get(..span.start).unwrap_or_default().matches('\n').count() + 1
            });
            format!("line {line}: {}", foreign::line(error.message()).at_most(200))
        })
    }
}

impl ContainerChoices {
    pub(crate) fn chosen(&self) -> Result<Chosen, String> {
        fn one<T: std::str::FromStr<Err = &'static str>>(text: &str) -> Result<T, String> {
            text.parse().map_err(|why| format!("{} {why}", foreign::value(text).at_most(64)))
        }
        let signals = self.signals.as_ref().map(|all| all.iter().map(|one_| one(one_)).collect());
        Ok(Chosen {
            stdio: self.stdio.as_deref().map(one).transpose()?,
            signals: signals.transpose()?,
            env_open: self.env_open.iter().map(|text| one(text)).collect::<Result<_, _>>()?,
            root: self.root.as_deref().map(one).transpose()?,
            tmpfs: self.tmpfs.iter().map(|text| one(text)).collect::<Result<_, _>>()?,
        })
    }
}
