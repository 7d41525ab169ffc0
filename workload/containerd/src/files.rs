//! Files of the host that a guest takes: those of volumes that the manifest proves or leaves open.
//!
//! Where they lie on the host containerd says, by the bind mounts of a container. What the guest is
//! sent are names and bytes; a link that a host has there is followed here, and is none there.

use crate::connection::Connection;
use crate::error::RuntimeError;
use crate::spec::Spec;
use crate::wire::read_file;
use casemate_agent::{MAX_PART, ToGuest};
use casemate_pod::{MAX_LIST, Manifest, Source, Volume, is_file};
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;

/// Longest file: that of a ConfigMap and of a Secret, and all of them together, has 1 MiB.
const MAX_FILE: u64 = 4 * 1024 * 1024;

/// Gives the guest the files of a container's volumes. One that is missing is left out: the guest
/// knows which ones there must be, and says so.
///
/// # Errors
/// [`RuntimeError`]: a file that cannot be read, and what the guest refuses.
pub fn give(
    manifest: &Manifest,
    container: &str,
    spec: &Spec,
    agent: &Connection,
) -> Result<(), RuntimeError> {
    for (volume, mount) in manifest.mounts_of(container) {
        let Some(folder) = spec.source_of(&mount.path) else { continue };
        for name in names(volume, folder)? {
            let path = folder.join(&name);
            let bytes = match read_file(&path, MAX_FILE) {
                Ok(bytes) => bytes,
                Err(e) if e.kind() == ErrorKind::NotFound => continue,
                Err(e) => return Err(RuntimeError::at("cannot read", &path)(e)),
            };
            let mut rest = &bytes[..];
            loop {
                let (part, after) = rest.split_at(rest.len().min(MAX_PART));
                rest = after;
                let (last, part) = (rest.is_empty(), part.to_vec());
                let (volume, name) = (volume.name.clone(), name.clone());
                agent.done(ToGuest::File { volume, name, last, part })?;
                if last {
                    break;
                }
            }
        }
    }
    Ok(())
}

/// Names of the files that a volume has: those that the manifest lists, or what lies in the folder.
/// What is no plain name there, such as the kubelet's `..data`, is for nobody.
fn names(volume: &Volume, folder: &Path) -> Result<BTreeSet<String>, RuntimeError> {
    match &volume.source {
        Source::HostFiles(files) => Ok(files.hashes.keys().cloned().collect()),
        Source::OpenFiles { .. } => {
            let failed = || RuntimeError::at("cannot read", folder);
            let mut names = BTreeSet::new();
            for entry in std::fs::read_dir(folder).map_err(failed())?.take(4 * MAX_LIST) {
                let entry = entry.map_err(failed())?;
                let name = entry.file_name().to_str().map(str::to_owned);
                // Links are what the kubelet makes of each file.
                let file = entry.path().metadata().is_ok_and(|found| found.is_file());
                names.extend(name.filter(|name| file && is_file(name)));
            }
            Ok(names)
        }
        _ => Ok(BTreeSet::new()),
    }
}
