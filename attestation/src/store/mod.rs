//! A directory of certificates and revocation lists: everything works from it with no network.
//!
//! Principle: nothing enters unverified. A certificate is kept when its chain of signatures ends in
//! a trusted root, a list when the root signed it; what lies there is verified again when it is
//! read, and what does not verify is skipped: whoever can write to the directory can take something
//! away, but nothing that they add stands before something genuine. Dates are left to the verifier.
//! Files that a user put into the top directory, or into `vcek` or `vlek` in it, are read as well.
//! Limit: 4096 files in a folder, 256 KiB each; more is an error.

mod import;
mod place;
mod snapshot;

pub use import::{Imported, Skipped};
pub use snapshot::{Snapshot, Source};

use crate::cert::{
    Authority, CertError, Certificate, Crl, KeyKind, Object, Role, Roots, VekExtensions, VekKind,
    builtin, objects_in,
};
use crate::report::{Fields, Generation};
use crate::verify::{NotGenuine, Verifier};
use casemate_files::{Bounds, FileError};
use std::path::{Path, PathBuf};

/// Files larger than this are not certificates.
const MAX_FILE: u64 = 256 * 1024;
/// Most entries of one folder; more is an error, never a part of them.
const MAX_FILES: usize = 4096;
/// Most entries of a whole store, when all of it is listed.
const MAX_STORE: usize = 256 * 1024;

/// Why the store cannot do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file or directory cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file is no certificate or revocation list.
    #[error("{path}: {source}")]
    Content {
        /// The file that was read; `certificate` for one that was inside evidence.
        path: PathBuf,
        /// Why it is neither.
        source: CertError,
    },
    /// A certificate or list that no trusted root stands behind.
    #[error("{what}: {source}")]
    NotGenuine {
        /// Which object, by its common name where it has one.
        what: String,
        /// Why it is not genuine: the first check that does not hold.
        source: Box<NotGenuine>,
    },
    /// A certificate that belongs to no chain known here.
    #[error("a certificate with a subject that is not of AMD's SNP hierarchy")]
    Foreign,
}

/// The store in one directory.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
    roots: Roots,
}

impl Store {
    /// The store in `root`, which need not exist yet, under AMD's roots.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self::under(root, builtin())
    }

    /// The store in `root`, under these roots.
    #[must_use]
    pub fn under(root: impl Into<PathBuf>, roots: Roots) -> Self {
        Self { root: root.into(), roots }
    }

    /// What tells genuine things apart: the roots, and the ASKs and ASVKs of the store.
    fn verifier(&self) -> Result<Verifier, StoreError> {
        // No date is judged by it.
        let mut verifier = Verifier::new(0);
        verifier.roots = self.roots.clone();
        for one in self.intermediates()? {
            verifier.roots.add_intermediate(one);
        }
        Ok(verifier)
    }

    /// The genuine certificates that fit a report by kind, chip and reported TCB, in the order of
    /// their names. Which of them signed it only its signature tells.
    ///
    /// # Errors [`StoreError`] when a folder cannot be read or has more files than are looked at.
    pub fn candidates(&self, report: &Fields) -> Result<Vec<Certificate>, StoreError> {
        let Some(kind) = report.signing_key().kind() else { return Ok(Vec::new()) };
        let mut objects = Vec::new();
        // Version 2 does not tell the generation.
        let known = report.generation().map_or(Generation::ALL.to_vec(), |one| vec![one]);
        for generation in known {
            let Some(place) = place::fitting(&self.root, generation, kind, report) else {
                continue;
            };
            let mut files = files_in(&place.folder)?;
            // A VCEK's earlier place is one file. A VLEK's is any file that ends in the TCB, since
            // its name began with what the provider is called.
            match &place.ending {
                None => files.push(place.earlier),
                Some(ending) => files.extend(
                    files_in(&place.earlier)?
                        .into_iter()
                        .filter(|file| file.to_string_lossy().ends_with(ending)),
                ),
            }
            objects.extend(files.iter().flat_map(|file| objects_of(file)));
        }
        objects.extend(self.loose()?.into_iter().map(|(_, object)| object));
        let verifier = self.verifier()?;
        let mut found: Vec<Certificate> = Vec::new();
        // The cheap comparison first, the signatures last: a folder of strangers' certificates
        // costs no RSA.
        for object in objects {
            let Object::Certificate(certificate) = object else { continue };
            if fits(&certificate, kind, report)
                && !found.contains(&certificate)
                && verifier.authentic(&certificate).is_ok()
            {
                found.push(certificate);
            }
        }
        Ok(found)
    }

    /// All ASK and ASVK certificates that a trusted root signed.
    ///
    /// # Errors
    /// As [`Store::candidates`].
    pub fn intermediates(&self) -> Result<Vec<Certificate>, StoreError> {
        let mut objects = Vec::new();
        for generation in Generation::ALL {
            let files = files_in(&place::folder(&self.root, generation, "ca"))?;
            objects.extend(files.iter().flat_map(|file| objects_of(file)));
        }
        objects.extend(self.loose()?.into_iter().map(|(_, object)| object));
        // Without the store's own intermediates, as they are what is asked for: each has to be
        // signed by a root.
        let mut verifier = Verifier::new(0);
        verifier.roots = self.roots.clone();
        let certificates = objects.into_iter().filter_map(|object| match object {
            Object::Certificate(certificate) => Some(certificate),
            Object::Crl(_) => None,
        });
        Ok(certificates
            .filter(|certificate| {
                matches!(certificate.role(), Some((_, Role::Ask(_) | Role::Asvk(_))))
                    && verifier.authentic(certificate).is_ok()
            })
            .collect())
    }

    /// The newest list that the root of a generation signed, for one kind of chain.
    ///
    /// # Errors
    /// As [`Store::candidates`].
    pub fn crl(&self, generation: Generation, kind: KeyKind) -> Result<Option<Crl>, StoreError> {
        let mut files = files_in(&place::lists(&self.root, generation, kind))?;
        if kind == KeyKind::Vcek {
            // Earlier releases asked for these only.
            files.extend(files_in(&place::folder(&self.root, generation, "crl"))?);
        }
        let kept = files.iter().flat_map(|file| objects_of(file));
        let loose = self.loose()?.into_iter();
        let loose = loose.filter_map(|(of, object)| (of == kind).then_some(object));
        let mut lists: Vec<_> = kept
            .chain(loose)
            .filter_map(|object| match object {
                Object::Crl(crl) => Some(crl),
                Object::Certificate(_) => None,
            })
            .collect();
        // The newest first, so that a signature is checked once or, where altered ones lie, a few
        // times.
        lists.sort_by_key(|crl| std::cmp::Reverse(crl.this_update));
        let mut verifier = Verifier::new(0);
        verifier.roots = self.roots.clone();
        // The first that is genuine ends the search.
        Ok(lists
            .into_iter()
            .find(|crl| verifier.authentic_list(crl).is_ok_and(|(_, of)| of == generation)))
    }

    /// The newest list of each generation and kind of chain.
    ///
    /// # Errors
    /// As [`Store::candidates`].
    pub fn crls(&self) -> Result<Vec<(Generation, KeyKind, Crl)>, StoreError> {
        let mut all = Vec::new();
        for generation in Generation::ALL {
            for kind in KeyKind::ALL {
                let newest = self.crl(generation, kind)?;
                all.extend(newest.map(|crl| (generation, kind, crl)));
            }
        }
        Ok(all)
    }

    /// Every file of the store that has a place in it.
    ///
    /// # Errors
    /// [`StoreError`] when a folder cannot be read.
    pub fn list(&self) -> Result<Vec<PathBuf>, StoreError> {
        let mut all = Vec::new();
        for generation in Generation::ALL {
            for kind in ["ca", "crl", "vcek", "vlek"] {
                let folder = place::folder(&self.root, generation, kind);
                let bounds = Bounds { files: MAX_STORE, depth: 2 };
                all.extend(or_nothing(casemate_files::walk(&folder, bounds))?);
            }
        }
        Ok(all)
    }

    /// What lies in the top directory, and in `vcek` and `vlek` in it, and for which kind of chain
    /// a list there is: VCEK's where nothing else is said, since theirs is the list that AMD's
    /// server gives at its usual address.
    fn loose(&self) -> Result<Vec<(KeyKind, Object)>, StoreError> {
        let mut all = Vec::new();
        for (folder, kind) in [
            (self.root.clone(), KeyKind::Vcek),
            (self.root.join("vcek"), KeyKind::Vcek),
            (self.root.join("vlek"), KeyKind::Vlek),
        ] {
            for file in files_in(&folder)? {
                all.extend(objects_of(&file).into_iter().map(|object| (kind, object)));
            }
        }
        Ok(all)
    }
}

/// Whether a certificate is of this kind and names the report's chip and TCB.
pub(crate) fn fits(certificate: &Certificate, kind: KeyKind, report: &Fields) -> bool {
    let Some((_, Role::Vcek | Role::Vlek)) = certificate.role() else { return false };
    let Ok(extensions) = VekExtensions::parse(&certificate.extensions) else { return false };
    let chip = match &extensions.kind {
        VekKind::Vcek { hwid } => {
            // A host may mask the chip identifier; then the signature alone tells.
            report.chip_id.starts_with(hwid) || report.chip_id.iter().all(|byte| *byte == 0)
        }
        VekKind::Vlek { .. } => true,
    };
    extensions.kind.kind() == kind && extensions.tcb == report.reported_tcb.0 && chip
}

/// The files of a folder; none when it is not there.
fn files_in(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    or_nothing(casemate_files::list(folder, MAX_FILES))
}
/// A folder that is not there is an empty one: a store begins with nothing.
fn or_nothing(files: Result<Vec<PathBuf>, FileError>) -> Result<Vec<PathBuf>, StoreError> {
    match files {
        Err(error) if error.is_missing() => Ok(Vec::new()),
        other => Ok(other?),
    }
}

/// What a file of the store holds; nothing when it cannot be read, or holds something else.
fn objects_of(file: &Path) -> Vec<Object> {
    let bytes = casemate_files::read(file, MAX_FILE);
    bytes.ok().and_then(|bytes| objects_in(&bytes).ok()).unwrap_or_default()
}

/// Whether AMD stands behind it; a store keeps no MODEL certificates.
fn is_amd(authority: Authority) -> Result<(), StoreError> {
    if authority == Authority::Amd { Ok(()) } else { Err(StoreError::Foreign) }
}
