//! Taking things into a store, each verified before it is written.

use super::{MAX_FILE, Store, StoreError, is_amd, place};
use crate::cert::{Certificate, Crl, KeyKind, Object, Role, objects_in};
use crate::evidence::Evidence;
use crate::verify::{NotGenuine, Verifier};
use casemate_files::{Access, Bounds};
use std::path::{Path, PathBuf};

/// How much of a directory is imported at once.
const BOUNDS: Bounds = Bounds { files: 64 * 1024, depth: 16 };

/// What an import came to.
#[derive(Debug, Default)]
pub struct Imported {
    /// Where each object is now; an equal one stays where it was.
    pub places: Vec<PathBuf>,
    /// What was left out although it is a certificate or a list, and why.
    pub skipped: Vec<Skipped>,
}

/// A certificate or list that was not taken.
#[derive(Debug)]
pub struct Skipped {
    /// The file it came from.
    pub file: PathBuf,
    /// Why it was not taken.
    pub why: StoreError,
}

impl Store {
    /// Takes one certificate. Returns its place; an equal one stays as it is.
    ///
    /// # Errors
    /// [`StoreError`] when it is not genuine, or cannot be written.
    pub fn import(&self, certificate: &Certificate) -> Result<PathBuf, StoreError> {
        self.keep(&self.verifier()?, certificate)
    }

    /// Takes a revocation list for one kind of chain.
    ///
    /// # Errors
    /// [`StoreError`] when no trusted root signed it, or it cannot be written.
    pub fn import_crl(&self, kind: KeyKind, crl: &Crl) -> Result<PathBuf, StoreError> {
        self.keep_list(&self.verifier()?, kind, crl)
    }

    /// Takes the certificates of evidence that are genuine endorsement keys.
    ///
    /// # Errors
    /// The first one's fault when none is, or when one cannot be written.
    pub fn import_evidence(&self, evidence: &Evidence) -> Result<Vec<PathBuf>, StoreError> {
        let verifier = self.verifier()?;
        let mut places = Vec::new();
        let mut first = None;
        for der in &evidence.veks {
            let kept = Certificate::from_der(der)
                .map_err(|source| StoreError::Content { path: "certificate".into(), source })
                .and_then(|certificate| self.keep(&verifier, &certificate));
            match kept {
                Ok(place) => places.push(place),
                // A disk that is full ends the import; a certificate that is not genuine is only
                // left out, unless nothing else is there.
                Err(error @ StoreError::File(_)) => return Err(error),
                Err(error) => first = first.or(Some(error)),
            }
        }
        match first {
            Some(error) if places.is_empty() => Err(error),
            _ => Ok(places),
        }
    }

    /// Takes everything in `path` that is a certificate or revocation list: a file, or a directory
    /// with those in it.
    ///
    /// `kind` says for which chains the lists are. Without it those under a folder named `vlek`, as
    /// a copy of the key server has them, are VLEK's, and all others VCEK's.
    ///
    /// # Errors [`StoreError`] when something cannot be read or written, the directory is larger
    /// than its bounds, or a single file holds nothing that is taken.
    pub fn import_path(&self, path: &Path, kind: Option<KeyKind>) -> Result<Imported, StoreError> {
        let mut objects = Vec::new();
        if path.is_dir() {
            for file in casemate_files::walk(path, BOUNDS)? {
                // A directory may hold other things; only what fits is taken.
                let bytes = casemate_files::read(&file, MAX_FILE);
                let found = bytes.ok().and_then(|bytes| objects_in(&bytes).ok());
                objects.extend(found.unwrap_or_default().into_iter().map(|o| (file.clone(), o)));
            }
        } else {
            let bytes = casemate_files::read_input(path, MAX_FILE)?;
            let content = |source| StoreError::Content { path: path.to_owned(), source };
            let found = objects_in(&bytes).map_err(content)?;
            objects.extend(found.into_iter().map(|object| (path.to_owned(), object)));
        }
        // One object that was named by itself and not taken is an error to whoever named it; one of
        // several is told and left out.
        let single = objects.len() == 1;
        let mut imported = self.take(objects, kind)?;
        match imported.skipped.pop() {
            Some(skipped) if single => Err(skipped.why),
            Some(skipped) => {
                imported.skipped.push(skipped);
                Ok(imported)
            }
            None => Ok(imported),
        }
    }

    /// Takes the objects of files, those first that others are verified with.
    fn take(
        &self,
        mut objects: Vec<(PathBuf, Object)>,
        kind: Option<KeyKind>,
    ) -> Result<Imported, StoreError> {
        let is_vek = |object: &Object| match object {
            Object::Certificate(one) => matches!(one.role(), Some((_, Role::Vcek | Role::Vlek))),
            Object::Crl(_) => false,
        };
        // CA certificates and lists first: a VEK is verified with the ASK beside it, which then has
        // to be in the verifier. The sort is stable, so files keep their order otherwise.
        objects.sort_by_key(|(_, object)| is_vek(object));
        let mut verifier = self.verifier()?;
        let mut imported = Imported::default();
        for (file, object) in objects {
            let kept = match &object {
                Object::Certificate(certificate) => self.keep(&verifier, certificate),
                Object::Crl(crl) => {
                    let kind = kind.unwrap_or_else(|| kind_by_folder(&file));
                    self.keep_list(&verifier, kind, crl)
                }
            };
            match (kept, object) {
                (Ok(place), Object::Certificate(certificate)) => {
                    imported.places.push(place);
                    verifier.roots.add_intermediate(certificate);
                }
                (Ok(place), Object::Crl(_)) => imported.places.push(place),
                (Err(error @ StoreError::File(_)), _) => return Err(error),
                (Err(why), _) => imported.skipped.push(Skipped { file, why }),
            }
        }
        Ok(imported)
    }

    fn keep(&self, verifier: &Verifier, certificate: &Certificate) -> Result<PathBuf, StoreError> {
        // In the order of cost, and none of it is written before all of it holds. MODEL
        // certificates never enter, even genuine ones: what lies in a store is taken for AMD's.
        let place = place::of(&self.root, certificate).ok_or(StoreError::Foreign)?;
        let (authority, _) = verifier.authentic(certificate).map_err(|source| {
            let name = certificate.role().map(|(authority, role)| role.common_name(authority));
            not_genuine(name.unwrap_or_default(), source)
        })?;
        is_amd(authority)?;
        write(&place, certificate.der())?;
        Ok(place)
    }

    fn keep_list(
        &self,
        verifier: &Verifier,
        kind: KeyKind,
        crl: &Crl,
    ) -> Result<PathBuf, StoreError> {
        let (authority, generation) = verifier
            .authentic_list(crl)
            .map_err(|source| not_genuine("revocation list".to_owned(), source))?;
        is_amd(authority)?;
        // The generation is that of the root that signed, not a word of the sender's.
        let place = place::of_list(&self.root, generation, kind, crl);
        write(&place, crl.der())?;
        Ok(place)
    }
}

fn not_genuine(what: String, source: NotGenuine) -> StoreError {
    StoreError::NotGenuine { what, source: Box::new(source) }
}

fn kind_by_folder(file: &Path) -> KeyKind {
    let folders = file.parent().into_iter().flat_map(Path::components);
    let vlek = folders.rev().any(|one| one.as_os_str().eq_ignore_ascii_case("vlek"));
    if vlek { KeyKind::Vlek } else { KeyKind::Vcek }
}

/// Writes an object to its place, unless it is there already.
fn write(place: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    // An equal file is left as it is: its time of change then tells when it came.
    if casemate_files::read(place, MAX_FILE).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    if let Some(folder) = place.parent() {
        casemate_files::make_folder(folder)?;
    }
    Ok(casemate_files::replace(place, bytes, Access::Usual)?)
}
