//! What every command about a pod is given: the pod, its images, and the tenant's choices.

use super::annotate;
use super::images::{self, ImageArg};
use crate::Failure;
use crate::files::{bad_input, was_read};
use casemate_foreign_text::value;
use casemate_initdata::{CASEMATE, Casemate, Initdata};
use casemate_manifest::is_resource;
use casemate_pod::{Hash, MEMBER, Manifest};
use casemate_podspec::yaml::MAX_SIZE;
use casemate_podspec::{Choices, Hashes, MAX_CHOICES, Reading, Verdict};
use clap::Args;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Largest file of a volume: that of a ConfigMap is less.
const MAX_FILE: u64 = 4 << 20;

/// The pod and what belongs to it.
#[derive(Debug, Args)]
pub(super) struct Source {
    /// The pod, in YAML: one document of kind Pod, and of kind ConfigMap what it uses.
    pod: PathBuf,

    /// An image of the pod, NAME as the pod writes it: an OCI image layout (a folder or an
    /// archive) or an archive of `docker save`; `,ref=NAME` behind it where it has several. Once
    /// for each.
    #[arg(long, value_name = "NAME=FILE")]
    image: Vec<ImageArg>,

    /// What the pod has no word for, in TOML: see docs/pods.md. Without it nothing is open that
    /// need not be.
    #[arg(long, value_name = "FILE")]
    choices: Option<PathBuf>,
}

/// A pod that was read, with the text that it was read from.
pub(super) struct Read {
    /// The YAML.
    pub text: String,
    /// The choices.
    pub choices: Choices,
    /// What was found.
    pub reading: Reading,
}

impl Source {
    /// Reads all of it.
    ///
    /// # Errors
    /// [`Failure::BadInput`]; what the pod says that cannot be bound is among the findings.
    pub fn read(&self) -> Result<Read, Failure> {
        let text = read_text(&self.pod, MAX_SIZE as u64)?;
        let choices = match &self.choices {
            None => Choices::default(),
            Some(path) => Choices::read(&read_text(path, MAX_CHOICES)?)
                .map_err(|why| Failure::BadInput(format!("{}: {why}", value(path.display()))))?,
        };
        let folder = self.choices.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
        let files = files(&choices, folder)?;
        check_secrets(&choices)?;
        let images = images::load(&self.image)?;
        let reading = casemate_podspec::read(&text, &images, &choices, &files)
            .map_err(|e| Failure::BadInput(format!("{}: {e}", value(self.pod.display()))))?;
        Ok(Read { text, choices, reading })
    }

    /// What messages call the pod.
    pub fn name(&self) -> String {
        value(self.pod.display()).to_string()
    }

    /// The manifest.
    ///
    /// # Errors
    /// [`Failure::BadInput`] with the first line that cannot be bound, and how many more there are.
    pub fn manifest<'r>(&self, read: &'r Read) -> Result<&'r Manifest, Failure> {
        if let Some(manifest) = &read.reading.manifest {
            return Ok(manifest);
        }
        let refused = |one: &&casemate_podspec::Finding| one.verdict == Verdict::Refused;
        let mut refused = read.reading.findings.iter().filter(refused);
        let first = refused.next().map_or_else(String::new, |one| match one.line {
            0 => format!("{} {}", one.field, one.why),
            line => format!("line {line}: {} {}", one.field, one.why),
        });
        let more = match refused.count() {
            0 => String::new(),
            more => format!(" (and {more} more: `casemate pod explain`)"),
        };
        Err(Failure::BadInput(format!("{}: {first}{more}", self.name())))
    }
}

impl Read {
    /// The initdata document: the manifest, and how secrets are asked for.
    ///
    /// # Errors
    /// [`Failure::BadInput`] for one that is too long.
    pub fn initdata(&self, manifest: &Manifest) -> Result<String, Failure> {
        let bad = |e: &dyn std::fmt::Display| Failure::BadInput(e.to_string());
        let text = manifest.text().map_err(|e| bad(&e))?;
        let keys = self.choices.broker.as_ref().map_or(&[][..], |broker| &broker.keys);
        let casemate = Casemate::of_pod(keys, &self.choices.secrets);
        let members = [(CASEMATE, casemate.as_str()), (MEMBER, text.as_str())];
        casemate_initdata::document(members).map_err(|e| bad(&e))
    }
}

/// A bounded text of the user's.
pub(super) fn read_text(path: &Path, most: u64) -> Result<String, Failure> {
    was_read(path);
    casemate_files::read_input_text(path, most).map_err(|error| bad_input(&error))
}

/// A manifest in a file: as `pod manifest` prints it, in a document of initdata, or in the
/// annotation of a pod.
pub(super) struct Bound {
    /// The manifest.
    pub manifest: Manifest,
    /// The document and what it says of a broker; None of a manifest alone.
    pub initdata: Option<(Initdata, Casemate)>,
}

/// Reads one.
///
/// # Errors
/// [`Failure::BadInput`].
pub(super) fn bound(path: &Path) -> Result<Bound, Failure> {
    let text = read_text(path, MAX_SIZE as u64)?;
    let bad =
        |e: &dyn std::fmt::Display| Failure::BadInput(format!("{}: {e}", value(path.display())));
    let text = match annotate::of_pod(&text) {
        Some(document) => document.map_err(|why| bad(&format!("the annotation {why}")))?,
        None => text,
    };
    let Ok(document) = Initdata::read(&text) else {
        let manifest = Manifest::read(&text).map_err(|e| bad(&e))?;
        return Ok(Bound { manifest, initdata: None });
    };
    let Some(member) = document.member(MEMBER) else {
        return Err(bad(&"initdata without a member pod.toml"));
    };
    let manifest = Manifest::read(member).map_err(|e| bad(&e))?;
    let casemate = document.member(CASEMATE).unwrap_or_default();
    let casemate = Casemate::read(casemate).map_err(|e| bad(&e))?;
    Ok(Bound { manifest, initdata: Some((document, casemate)) })
}

/// Hashes of the files that the choices name for volumes, from the folder that the choices are in.
fn files(choices: &Choices, folder: &Path) -> Result<BTreeMap<String, Hashes>, Failure> {
    let mut all = BTreeMap::new();
    for (name, volume) in &choices.volume {
        let Some(files) = &volume.files else { continue };
        let path = folder.join(files);
        let failed =
            |e: std::io::Error| Failure::BadInput(format!("{}: {e}", value(path.display())));
        let mut hashes = Hashes::new();
        for entry in std::fs::read_dir(&path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let bytes = casemate_files::read(&entry.path(), MAX_FILE);
            let bytes = bytes.map_err(|error| bad_input(&error))?;
            let Some(file) = entry.file_name().to_str().map(str::to_owned) else {
                let why = format!("{}: its name is no text", value(entry.path().display()));
                return Err(Failure::BadInput(why));
            };
            hashes.insert(file, Hash(casemate_initdata::host_data(&bytes)));
            if hashes.len() > casemate_pod::MAX_LIST {
                let why = format!("{}: more than 1024 files", value(path.display()));
                return Err(Failure::BadInput(why));
            }
        }
        all.insert(name.clone(), hashes);
    }
    Ok(all)
}

/// What goes into `casemate.toml` is of the grammar of the key broker protocol.
fn check_secrets(choices: &Choices) -> Result<(), Failure> {
    let wrong = choices.secrets.iter().find(|(_, resource)| !is_resource(resource));
    if let Some((name, resource)) = wrong {
        return Err(Failure::BadInput(format!(
            "the choices: secret {} = {}: not repository/type/tag of letters, digits, _, - and .",
            value(name),
            value(resource).at_most(64)
        )));
    }
    if let Some(broker) = &choices.broker {
        crate::run_broker::pins(&broker.keys, "the choices: broker.keys")?;
        if choices.secrets.is_empty() {
            let why = "the choices: a broker, and no secret to ask it for";
            return Err(Failure::BadInput(why.into()));
        }
    }
    Ok(())
}
