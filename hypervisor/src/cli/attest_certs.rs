//! `casemate attest certs`: a directory of certificates and revocation lists.

use super::attest::read_file;
use super::{Failure, Outcome};
use attestation::cert::Certificate;
use attestation::evidence::Evidence;
use attestation::report::{Generation, Report, SigningKey};
use attestation::store::{Store, StoreError, ca_urls, vcek_url};
use clap::Args;
use std::path::{Path, PathBuf};

/// Keep certificates and revocation lists on disk.
///
/// Imports what is given, then lists the store. With --for it prints what a report needs and where the
/// key server has what is missing; nothing is fetched.
#[derive(Debug, Args)]
pub struct Certs {
    /// The store; made when it does not exist.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// File or directory to import: DER or PEM certificates, DER revocation lists.
    #[arg(long, value_name = "PATH")]
    import: Vec<PathBuf>,
    /// Evidence whose certificate table is imported (its VEK only).
    #[arg(long, value_name = "FILE")]
    import_evidence: Vec<PathBuf>,
    /// Report to print the needs of.
    #[arg(long = "for", value_name = "REPORT")]
    report: Vec<PathBuf>,
}

pub(super) fn run(args: &Certs) -> Outcome {
    let store = Store::new(&args.dir);
    for path in &args.import {
        let places = store.import_path(path).map_err(|error| failure(&error))?;
        if places.is_empty() {
            return Err(Failure::BadInput(format!("{}: nothing to import", path.display())));
        }
        for place in places {
            println!("imported {}", place.display());
        }
    }
    for path in &args.import_evidence {
        let bad = |error: &dyn std::fmt::Display| {
            Failure::BadInput(format!("{}: {error}", path.display()))
        };
        let evidence = Evidence::read(&read_file(path)?).map_err(|error| bad(&error))?;
        let vek = evidence.vek.ok_or_else(|| bad(&"carries no VEK certificate"))?;
        let vek = Certificate::from_der(&vek).map_err(|error| bad(&error))?;
        let place = store.import(&vek).map_err(|error| failure(&error))?;
        println!("imported {}", place.display());
    }
    for path in &args.report {
        needs(&store, path)?;
    }
    if args.report.is_empty() {
        for file in store.list() {
            println!("{}", file.display());
        }
        let now = attestation::time::now();
        for (generation, crl) in store.crls() {
            let next = crl.next_update.map_or("never".to_owned(), attestation::time::format);
            let state =
                if crl.next_update.is_some_and(|next| now <= next) { "current" } else { "STALE" };
            println!("{} revocation list: {state}, next update {next}", generation.name());
        }
    }
    Ok(())
}

fn failure(error: &StoreError) -> Failure {
    match error {
        StoreError::Io { .. } => Failure::Failed(error.to_string()),
        StoreError::Content { .. } | StoreError::Foreign => Failure::BadInput(error.to_string()),
    }
}

fn needs(store: &Store, path: &Path) -> Outcome {
    let bad =
        |error: &dyn std::fmt::Display| Failure::BadInput(format!("{}: {error}", path.display()));
    let evidence = Evidence::read(&read_file(path)?).map_err(|error| bad(&error))?;
    let report = Report::parse(&evidence.report).map_err(|error| bad(&error))?;
    let fields = report.unverified_fields();
    if store.find_vek(fields).is_some() {
        println!("endorsement certificate: in the store");
    } else if fields.signing_key() == SigningKey::Vlek {
        println!(
            "endorsement certificate: missing; a VLEK comes from the cloud provider, with the report"
        );
    } else {
        match vcek_url(fields) {
            Some(url) => println!("endorsement certificate: missing; {url}"),
            None => println!(
                "endorsement certificate: missing; the report does not tell the generation"
            ),
        }
    }
    let generations = fields.generation().map_or(Generation::ALL.to_vec(), |one| vec![one]);
    for generation in generations {
        let [_, _, crl] = ca_urls(generation);
        match store.crls().into_iter().find(|(of, _)| *of == generation) {
            Some((_, list)) => println!(
                "{} revocation list: in the store, next update {}",
                generation.name(),
                list.next_update.map_or("never".to_owned(), attestation::time::format)
            ),
            None => println!("{} revocation list: missing; {crl}", generation.name()),
        }
    }
    Ok(())
}
