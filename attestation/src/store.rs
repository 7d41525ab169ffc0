//! A directory of certificates and revocation lists: everything works from it with no network.
//!
//! Layout: `<generation>/vcek/<hwid>-<tcb>.der`, `<generation>/vlek/<digest of provider>-<tcb>.der`,
//! `<generation>/ca/<role>-<serial>.der`, `<generation>/crl/<thisUpdate>.der`. VEKs and CA certificates
//! never change and are kept for ever; of the revocation lists of a generation the newest counts.
//! Principle: nothing in the store is trusted; what it returns is verified like any other input.

use crate::cert::{
    Authority, CertError, Certificate, Crl, Role, VekExtensions, VekKind, recognise_name,
};
use crate::hex;
use crate::report::{Fields, Generation, SigningKey};
use ring::digest::{SHA256, digest};
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

/// Files larger than this are not certificates.
const MAX_FILE: u64 = 256 * 1024;
/// Files of a directory that are looked at; the rest is left alone.
const MAX_FILES: usize = 4096;

/// Why the store cannot do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file or directory cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is no certificate or revocation list.
    #[error("{path}: {source}")]
    Content {
        /// Which.
        path: PathBuf,
        /// Why.
        source: CertError,
    },
    /// A certificate that belongs to no chain known here.
    #[error("a certificate with a subject that is not of the SNP hierarchy")]
    Foreign,
}

/// The store in one directory.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// The store in `root`, which need not exist yet.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Imports one certificate. Returns its place; an equal one stays as it is.
    ///
    /// # Errors
    /// [`StoreError`] when it is foreign or cannot be written.
    pub fn import(&self, certificate: &Certificate) -> Result<PathBuf, StoreError> {
        let place = self.place(certificate).ok_or(StoreError::Foreign)?;
        write_new(&place, certificate.der())?;
        Ok(place)
    }

    /// Imports a revocation list.
    ///
    /// # Errors
    /// [`StoreError`] when its issuer is no root key or it cannot be written.
    pub fn import_crl(&self, crl: &Crl) -> Result<PathBuf, StoreError> {
        let Some((Authority::Amd, Role::Ark(generation))) = recognise_name(&crl.issuer) else {
            return Err(StoreError::Foreign);
        };
        let place = self.folder(generation, "crl").join(format!("{:012}.der", crl.this_update));
        write_new(&place, crl.der())?;
        Ok(place)
    }

    /// Everything in `path` that is a certificate or revocation list, file or directory (not deeper).
    ///
    /// # Errors
    /// [`StoreError`] when a file cannot be read or, for a single file, holds neither.
    pub fn import_path(&self, path: &Path) -> Result<Vec<PathBuf>, StoreError> {
        if !path.is_dir() {
            return self.import_bytes(path, &read_bounded(path)?);
        }
        let mut places = Vec::new();
        for file in files_in(path)? {
            // A directory may hold other things; only what fits is taken.
            if let Ok(found) =
                read_bounded(&file).and_then(|bytes| self.import_bytes(&file, &bytes))
            {
                places.extend(found);
            }
        }
        Ok(places)
    }

    fn import_bytes(&self, path: &Path, bytes: &[u8]) -> Result<Vec<PathBuf>, StoreError> {
        if let Ok(crl) = Crl::from_der(bytes) {
            return Ok(vec![self.import_crl(&crl)?]);
        }
        crate::cert::certificates_in(bytes)
            .map_err(|source| StoreError::Content { path: path.to_owned(), source })?
            .iter()
            .map(|certificate| self.import(certificate))
            .collect()
    }

    /// The VEK certificate for a report, by kind, chip and reported TCB.
    #[must_use]
    pub fn find_vek(&self, report: &Fields) -> Option<Vec<u8>> {
        let tcb = hex::encode(&report.reported_tcb.0);
        let known = report.generation().map_or(Generation::ALL.to_vec(), |one| vec![one]);
        for generation in known {
            if report.signing_key() == SigningKey::Vlek {
                let files = files_in(&self.folder(generation, "vlek")).unwrap_or_default();
                let ending = format!("-{tcb}.der");
                let found = files.iter().find(|f| f.to_string_lossy().ends_with(&ending));
                if let Some(bytes) = found.and_then(|file| read_bounded(file).ok()) {
                    return Some(bytes);
                }
            } else {
                let hwid = report.chip_id.get(..generation.hwid_length())?;
                let name = format!("{}-{tcb}.der", hex::encode(hwid));
                if let Ok(bytes) = read_bounded(&self.folder(generation, "vcek").join(name)) {
                    return Some(bytes);
                }
            }
        }
        self.find_loose_vek(report)
    }

    /// A VEK among loose files in the top directory.
    fn find_loose_vek(&self, report: &Fields) -> Option<Vec<u8>> {
        let wanted = report.reported_tcb.0;
        let fits = |certificate: &Certificate| {
            VekExtensions::parse(&certificate.extensions).is_ok_and(|extensions| {
                extensions.tcb == wanted
                    && match (&extensions.kind, report.signing_key()) {
                        (VekKind::Vcek { hwid }, SigningKey::Vcek) => {
                            report.chip_id.starts_with(hwid)
                        }
                        (VekKind::Vlek { .. }, SigningKey::Vlek) => true,
                        _ => false,
                    }
            })
        };
        self.loose().into_iter().find(fits).map(|certificate| certificate.der().to_vec())
    }

    /// All ASK and ASVK certificates.
    #[must_use]
    pub fn intermediates(&self) -> Vec<Certificate> {
        let stored = Generation::ALL
            .into_iter()
            .flat_map(|generation| files_in(&self.folder(generation, "ca")).unwrap_or_default())
            .filter_map(|file| Certificate::from_der(&read_bounded(&file).ok()?).ok());
        stored
            .chain(self.loose())
            .filter(|certificate| {
                matches!(certificate.role(), Some((Authority::Amd, Role::Ask(_) | Role::Asvk(_))))
            })
            .collect()
    }

    /// The newest revocation list of each generation.
    #[must_use]
    pub fn crls(&self) -> Vec<(Generation, Crl)> {
        Generation::ALL
            .into_iter()
            .filter_map(|generation| {
                files_in(&self.folder(generation, "crl"))
                    .unwrap_or_default()
                    .iter()
                    .filter_map(|file| Crl::from_der(&read_bounded(file).ok()?).ok())
                    .max_by_key(|crl| crl.this_update)
                    .map(|crl| (generation, crl))
            })
            .collect()
    }

    /// Every file of the store.
    #[must_use]
    pub fn list(&self) -> Vec<PathBuf> {
        let mut all: Vec<_> = Generation::ALL
            .into_iter()
            .flat_map(|generation| {
                ["ca", "crl", "vcek", "vlek"].map(|kind| self.folder(generation, kind))
            })
            .flat_map(|folder| files_in(&folder).unwrap_or_default())
            .collect();
        all.sort();
        all
    }

    fn loose(&self) -> Vec<Certificate> {
        files_in(&self.root)
            .unwrap_or_default()
            .iter()
            .filter_map(|file| crate::cert::certificates_in(&read_bounded(file).ok()?).ok())
            .flatten()
            .collect()
    }

    fn folder(&self, generation: Generation, kind: &str) -> PathBuf {
        self.root.join(generation.name().to_lowercase()).join(kind)
    }

    fn place(&self, certificate: &Certificate) -> Option<PathBuf> {
        let (Authority::Amd, role) = certificate.role()? else { return None };
        let serial = hex::encode(&certificate.serial);
        match role {
            Role::Ark(g) => Some(self.folder(g, "ca").join(format!("ark-{serial}.der"))),
            Role::Ask(g) => Some(self.folder(g, "ca").join(format!("ask-{serial}.der"))),
            Role::Asvk(g) => Some(self.folder(g, "ca").join(format!("asvk-{serial}.der"))),
            Role::Vcek | Role::Vlek => {
                let (_, Role::Ask(generation) | Role::Asvk(generation)) =
                    recognise_name(&certificate.issuer)?
                else {
                    return None;
                };
                let extensions = VekExtensions::parse(&certificate.extensions).ok()?;
                let tcb = hex::encode(&extensions.tcb);
                Some(match extensions.kind {
                    VekKind::Vcek { hwid } => self
                        .folder(generation, "vcek")
                        .join(format!("{}-{tcb}.der", hex::encode(&hwid))),
                    VekKind::Vlek { csp_id } => {
                        let id = digest(&SHA256, csp_id.as_bytes());
                        let id = hex::encode(id.as_ref().get(..8)?);
                        self.folder(generation, "vlek").join(format!("{id}-{tcb}.der"))
                    }
                })
            }
        }
    }
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io { path, source }
}

fn files_in(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .map_err(io(folder))?
        .take(MAX_FILES)
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    Ok(files)
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, StoreError> {
    let file = fs::File::open(path).map_err(io(path))?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE.saturating_add(1)).read_to_end(&mut bytes).map_err(io(path))?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length <= MAX_FILE) {
        Ok(bytes)
    } else {
        let error = std::io::Error::new(ErrorKind::FileTooLarge, "more than 256 KiB");
        Err(io(path)(error))
    }
}

/// Writes a file whole or not at all; an existing one with the same contents is left alone.
fn write_new(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    if read_bounded(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(io(folder))?;
    }
    let temporary = path.with_extension(format!("new-{}", std::process::id()));
    // What a killed process of this number left is removed.
    let new = || fs::File::create_new(&temporary);
    let mut file = match new() {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            fs::remove_file(&temporary).and_then(|()| new())
        }
        other => other,
    }
    .map_err(io(&temporary))?;
    file.write_all(bytes).and_then(|()| fs::rename(&temporary, path)).map_err(|error| {
        let _ = fs::remove_file(&temporary);
        io(path)(error)
    })
}
