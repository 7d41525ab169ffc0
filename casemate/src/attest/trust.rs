//! What a verifier trusts: roots, time, certificates and lists.

use super::certs;
use crate::files::{read_file, store_was_read};
use crate::{Failure, Outcome};
use casemate_attestation::cert::{Certificate, builtin, certificates_in, crls_in};
use casemate_attestation::evidence::Evidence;
use casemate_attestation::record::Inputs;
use casemate_attestation::report::Generation;
use casemate_attestation::selection::{SelectionError, complete};
use casemate_attestation::store::{Source, Store};
use clap::Args;
use std::path::{Path, PathBuf};

/// What is trusted, and when.
#[derive(Debug, Args)]
pub struct Trust {
    /// Directory with certificates, as `casemate attest certs` keeps it.
    #[arg(long, value_name = "DIR")]
    certs_dir: Option<PathBuf>,
    /// Revocation list for VCEK chains, DER or PEM; may be given several times.
    #[arg(long, value_name = "FILE")]
    crl: Vec<PathBuf>,
    /// Revocation list for VLEK chains: what the ASVK's address gives, which is another list.
    #[arg(long, value_name = "FILE")]
    vlek_crl: Vec<PathBuf>,
    /// Time of judgement, `YYYY-MM-DD`, `YYYY-MM-DDThh:mm:ssZ` or seconds since 1970; default now.
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// Accept report versions after 5; relaxes the rules about reserved zeros only.
    #[arg(long)]
    allow_newer: bool,
    /// Take reports of this generation although its root is broken: `milan`. May be given several
    /// times.
    #[arg(long, value_name = "GENERATION", value_parser = generation)]
    allow_broken_root: Vec<Generation>,
    /// Trust the MODEL root in this file. The verdict then says MODEL and proves nothing about
    /// hardware.
    #[arg(long, value_name = "FILE")]
    accept_model_root: Option<PathBuf>,
}

/// A generation with a broken root, by its name. Another generation has no root to allow.
fn generation(text: &str) -> Result<Generation, String> {
    let broken = || Generation::ALL.into_iter().filter(|one| one.broken_root().is_some());
    broken().find(|one| one.name().eq_ignore_ascii_case(text)).ok_or_else(|| {
        let names: Vec<_> = broken().map(|one| one.name().to_lowercase()).collect();
        format!("the generations with a broken root are: {}", names.join(", "))
    })
}

impl Trust {
    /// The time of judgement.
    pub(crate) fn at(&self) -> Result<u64, Failure> {
        time(self.at.as_deref())
    }

    /// The caller's part of a verification, but for what the report must say, which `wanted` puts
    /// there; the evidence is still missing.
    pub(crate) fn inputs(
        &self,
        wanted: impl FnOnce(&mut Inputs) -> Outcome,
    ) -> Result<Inputs, Failure> {
        let mut inputs =
            Inputs { at: self.at()?, allow_newer: self.allow_newer, ..Inputs::default() };
        wanted(&mut inputs)?;
        inputs.appraisal.allow_broken_roots.extend(&self.allow_broken_root);
        for path in &self.crl {
            inputs.crls.extend(lists_in(path)?);
        }
        for path in &self.vlek_crl {
            inputs.vlek_crls.extend(lists_in(path)?);
        }
        inputs.model_roots = self.model()?.iter().map(|one| one.der().to_vec()).collect();
        Ok(inputs)
    }

    /// Puts evidence into the inputs, with the certificates and lists that it is judged with.
    /// `given` are certificates that the caller names, which go first.
    pub(crate) fn complete(
        &self,
        inputs: &mut Inputs,
        given: &[Vec<u8>],
        evidence: &Evidence,
    ) -> Outcome {
        let mut roots = builtin();
        let model = self.model()?;
        if !model.is_empty() {
            roots.accept_model(model).map_err(|error| self.bad_model(&error))?;
        }
        if let Some(path) = &self.certs_dir
            && !path.is_dir()
        {
            return Err(Failure::BadInput(format!("{}: not a directory", path.display())));
        }
        self.certs_dir.iter().for_each(|path| store_was_read(path));
        let store = self.certs_dir.as_ref().map(|path| Store::under(path, roots));
        let store = store.as_ref().map(|store| store as &dyn Source);
        complete(inputs, given, evidence, store).map_err(|error| match error {
            SelectionError::Store(error) => certs::failure(&error),
            SelectionError::Input(error) => Failure::BadInput(error.to_string()),
        })
    }

    /// The MODEL certificates that are trusted.
    fn model(&self) -> Result<Vec<Certificate>, Failure> {
        let Some(path) = &self.accept_model_root else { return Ok(Vec::new()) };
        let bundle = certificates_in(&read_file(path)?).map_err(|error| self.bad_model(&error))?;
        builtin().accept_model(bundle.clone()).map_err(|error| self.bad_model(&error))?;
        Ok(bundle)
    }

    fn bad_model(&self, error: &dyn std::fmt::Display) -> Failure {
        let path = self.accept_model_root.as_deref().unwrap_or(Path::new("MODEL root"));
        Failure::BadInput(format!("{}: {error}", path.display()))
    }
}

/// The lists of a file. One that holds none goes to the verifier as it is, which says why it
/// refuses it.
fn lists_in(path: &Path) -> Result<Vec<Vec<u8>>, Failure> {
    let bytes = read_file(path)?;
    Ok(match crls_in(&bytes) {
        Ok(lists) => lists.iter().map(|crl| crl.der().to_vec()).collect(),
        Err(_) if certificates_in(&bytes).is_ok() => {
            let text = "a certificate, not a revocation list; give it with --cert";
            return Err(Failure::BadInput(format!("{}: {text}", path.display())));
        }
        Err(_) => vec![bytes],
    })
}

fn time(text: Option<&str>) -> Result<u64, Failure> {
    match text {
        None => Ok(casemate_attestation::time::now()),
        Some(text) => casemate_attestation::time::parse(text).ok_or_else(|| {
            Failure::BadInput(format!(
                "--at {text}: not a time; write YYYY-MM-DD, YYYY-MM-DDThh:mm:ssZ or seconds since 1970"
            ))
        }),
    }
}
