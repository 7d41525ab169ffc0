//! Files that the host gives: those that the manifest proves by hash, and those that it leaves
//! open.
//!
//! The host names a volume and a plain name in it, never a path. Nothing of a file is anybody's
//! before all of it has come and is what the manifest says.

use casemate_agent::{Code, Refusal};
use casemate_initdata::host_data as sha256;
use casemate_pod::{Container, Hash, MAX_LIST, Manifest, Source, Volume, is_file};
use std::collections::BTreeMap;
use std::fmt::Display;

/// Most bytes of the files of one volume: as many as the largest open one may have.
const MAX_VOLUME: usize = 16 << 20;

/// Files of a volume, by name.
pub type Files = BTreeMap<String, Vec<u8>>;

/// What has come.
#[derive(Debug, Default)]
pub struct Given {
    whole: BTreeMap<String, Files>,
    /// The one file that is on its way: its volume, its name, what of it has come.
    part: Option<(String, String, Vec<u8>)>,
}

fn refused(code: Code, volume: &str, what: impl Display) -> Refusal {
    Refusal::new(code, format_args!("volume {volume:.80}: {what}"))
}

impl Given {
    /// A part of a file. One of another file begins that one anew: files come one after the other.
    ///
    /// # Errors
    /// [`Code::Unlisted`], [`Code::Bounds`], and [`Code::Differs`] of a file that is another.
    pub fn part(
        &mut self,
        manifest: &Manifest,
        (volume, name): (&str, &str),
        last: bool,
        part: &[u8],
    ) -> Result<(), Refusal> {
        let own = |(of, file, _): &(String, String, Vec<u8>)| of == volume && file == name;
        let before = self.part.take().filter(own);
        let found = manifest.volumes.iter().find(|one| one.name == volume);
        let (most, hash) = found.and_then(|found| admits(found, name)).ok_or_else(|| {
            let what = format!("the manifest has no file {name:.80?} there for a host to give");
            refused(Code::Unlisted, volume, what)
        })?;
        let mut bytes = before.map_or_else(Vec::new, |(_, _, bytes)| bytes);
        let others = self.whole.get(volume).into_iter().flatten().filter(|(one, _)| *one != name);
        let (number, held) = others.fold((0, 0), |(number, held), (_, file)| {
            (number + 1, file.len().saturating_add(held))
        });
        let held = held.saturating_add(bytes.len()).saturating_add(part.len());
        if held > most || number >= MAX_LIST {
            let what = format!("more than {most} bytes, or than {MAX_LIST} files");
            return Err(refused(Code::Bounds, volume, what));
        }
        bytes.extend_from_slice(part);
        if !last {
            self.part = Some((volume.to_owned(), name.to_owned(), bytes));
            return Ok(());
        }
        if hash.is_some_and(|hash| hash != Hash(sha256(&bytes))) {
            let what = format!("file {name} is not the manifest's: it has another hash");
            return Err(refused(Code::Differs, volume, what));
        }
        self.whole.entry(volume.to_owned()).or_default().insert(name.to_owned(), bytes);
        Ok(())
    }

    /// Refuses a container before all files have come that its volumes are proven to have.
    ///
    /// # Errors
    /// [`Code::Differs`].
    pub fn complete(&self, manifest: &Manifest, container: &Container) -> Result<(), Refusal> {
        for (volume, _) in manifest.mounts_of(&container.name) {
            let Source::HostFiles(files) = &volume.source else { continue };
            let come = self.whole.get(&volume.name);
            let missing =
                files.hashes.keys().find(|name| !come.is_some_and(|c| c.contains_key(*name)));
            if let Some(missing) = missing {
                let what = format!("file {missing} of the manifest has not come");
                return Err(refused(Code::Differs, &volume.name, what));
            }
        }
        Ok(())
    }

    /// The files of a container's volumes, by the volumes' names.
    #[must_use]
    pub fn of(&self, manifest: &Manifest, container: &Container) -> BTreeMap<String, Files> {
        let names = manifest.mounts_of(&container.name).into_iter().map(|(volume, _)| &volume.name);
        names.filter_map(|name| self.whole.get(name).map(|f| (name.clone(), f.clone()))).collect()
    }
}

/// How many bytes a volume may have, if this may be a file of it, and the hash that it must have.
fn admits(volume: &Volume, name: &str) -> Option<(usize, Option<Hash>)> {
    match &volume.source {
        Source::HostFiles(files) => files.hashes.get(name).map(|hash| (MAX_VOLUME, Some(*hash))),
        Source::OpenFiles { kib } if is_file(name) => {
            Some((usize::try_from(*kib).ok()?.checked_mul(1024)?, None))
        }
        _ => None,
    }
}
