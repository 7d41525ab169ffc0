//! An image's configuration: what it says of how it is run.

use crate::hashed::Digest;
use serde::Deserialize;
use std::collections::BTreeMap;

/// `config.json` of an image, as far as it matters to a guest.
#[derive(Debug, Clone, Deserialize)]
pub struct Config {
    architecture: String,
    os: String,
    /// When the image was made, as it says itself (RFC 3339).
    pub created: Option<String>,
    /// How it is run.
    #[serde(default)]
    pub config: Process,
    rootfs: RootFs,
}

/// The program of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Process {
    /// User and group: names or numbers, `user[:group]`; empty is root.
    #[serde(deserialize_with = "or_default")]
    pub user: String,
    /// The environment, each as `NAME=VALUE`.
    #[serde(deserialize_with = "or_default")]
    pub env: Vec<String>,
    /// The program and its first arguments.
    #[serde(deserialize_with = "or_default")]
    pub entrypoint: Vec<String>,
    /// Further arguments, or the program where there is no entrypoint.
    #[serde(deserialize_with = "or_default")]
    pub cmd: Vec<String>,
    /// Where it starts; empty is the root.
    #[serde(deserialize_with = "or_default")]
    pub working_dir: String,
    /// What asks it to end, such as `SIGTERM`; empty is that.
    #[serde(deserialize_with = "or_default")]
    pub stop_signal: String,
    /// Ports, such as `8080/tcp`.
    #[serde(deserialize_with = "or_default")]
    pub exposed_ports: BTreeMap<String, serde_json::Value>,
}

/// Docker writes `null` where there is nothing.
fn or_default<'d, D: serde::Deserializer<'d>, T: Default + Deserialize<'d>>(
    from: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

#[derive(Debug, Clone, Deserialize)]
struct RootFs {
    #[serde(rename = "type")]
    kind: String,
    diff_ids: Vec<String>,
}

impl Config {
    /// Refuses what does not run here.
    pub(super) fn check(&self) -> Result<(), String> {
        let shown = |text: &str| casemate_foreign_text::value(text).to_string();
        if self.os != "linux" || self.architecture != "amd64" {
            let (os, architecture) = (shown(&self.os), shown(&self.architecture));
            return Err(format!("an image for {os} on {architecture}: guests are Linux on amd64"));
        }
        if self.rootfs.kind != "layers" {
            return Err(format!("a root file system of type {}", shown(&self.rootfs.kind)));
        }
        Ok(())
    }

    /// Digests of the uncompressed layers, the lowest first.
    pub(super) fn diffs(&self) -> Result<Vec<Digest>, &'static str> {
        let digest = |text: &String| Digest::parse(text).ok_or("a layer's digest is not SHA-256");
        self.rootfs.diff_ids.iter().map(digest).collect()
    }
}
