//! `casemate attest certs`: a directory of certificates and revocation lists.

use super::fetch::Fetch;
use super::store::{failure, generations, is_current};
use crate::files::read_file;
use crate::out::outln;
use crate::{Failure, Outcome};
use casemate_attestation::cert::{Certificate, Crl};
use casemate_attestation::evidence::Evidence;
use casemate_attestation::kds::{KEY_SERVER, crl_path, vcek_paths};
use casemate_attestation::report::{Fields, Report, SigningKey};
use casemate_attestation::store::Store;
use clap::Args;
use std::path::PathBuf;

/// Keep certificates and revocation lists on disk.
///
/// Imports what is given, then lists the store. With --for it prints what a report needs and where the
/// key server has what is missing; only --fetch uses the network.
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
    #[command(flatten)]
    fetch: Fetch,
}

pub(super) fn run(args: &Certs) -> Outcome {
    let store = Store::new(&args.dir);
    if args.dir.exists() && !args.dir.is_dir() {
        return Err(Failure::BadInput(format!("--dir {}: not a directory", args.dir.display())));
    }
    for path in &args.import {
        // A path that is not there is a mistake of the user's; a store that cannot be written is not.
        if let Err(error) = path.metadata() {
            return Err(Failure::BadInput(format!("cannot read {}: {error}", path.display())));
        }
        let places = store.import_path(path).map_err(|error| failure(&error))?;
        if places.is_empty() {
            return Err(Failure::BadInput(format!(
                "{}: no certificate or revocation list in it (directories inside are not searched)",
                path.display()
            )));
        }
        for place in places {
            outln!("imported {}", place.display());
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
        outln!("imported {}", place.display());
    }
    for path in &args.report {
        let bad = |error: &dyn std::fmt::Display| {
            Failure::BadInput(format!("{}: {error}", path.display()))
        };
        let evidence = Evidence::read(&read_file(path)?).map_err(|error| bad(&error))?;
        let report = Report::parse(&evidence.report).map_err(|error| bad(&error))?;
        args.fetch.run(&store, report.unverified_fields())?;
        needs(&store, report.unverified_fields(), args.fetch.server());
    }
    if args.report.is_empty() {
        if !args.dir.exists() {
            return Err(Failure::BadInput(format!(
                "--dir {}: no such directory; --import makes it",
                args.dir.display()
            )));
        }
        list(&store);
    }
    Ok(())
}

fn list(store: &Store) {
    for file in store.list() {
        outln!("{}", file.display());
    }
    for (generation, crl) in store.crls() {
        outln!("{} revocation list: {}", generation.name(), state(&crl));
    }
}

/// Whether a list is current, with its dates.
fn state(crl: &Crl) -> String {
    let issued = casemate_attestation::time::format(crl.this_update);
    let Some(next) = crl.next_update else {
        return format!("STALE, issued {issued}, no next update");
    };
    let word = if is_current(crl) { "current" } else { "STALE" };
    format!("{word}, issued {issued}, next update {}", casemate_attestation::time::format(next))
}

fn needs(store: &Store, fields: &Fields, server: Option<&str>) {
    let server = server.unwrap_or(KEY_SERVER).trim_end_matches('/');
    let missing = |text: &str| outln!("endorsement certificate: missing; {text}");
    let places = vcek_paths(fields);
    if store.find_vek(fields).is_some() {
        outln!("endorsement certificate: in the store");
    } else if fields.signing_key() == SigningKey::Vlek {
        missing("a VLEK comes from the cloud provider, with the report");
    } else if fields.chip_id.iter().all(|byte| *byte == 0) {
        missing("the host masks the chip identifier, so nothing tells which; ask the host for it");
    } else if places.is_empty() {
        missing("the report is of a processor that this program does not know");
    } else {
        // A report of version 2 does not tell its generation: one of the addresses has it.
        for (_, path) in places {
            missing(&format!("{server}{path}"));
        }
    }
    for generation in generations(fields) {
        let name = generation.name();
        match store.crls().into_iter().find(|(of, _)| *of == generation) {
            Some((_, crl)) if is_current(&crl) => {
                outln!("{name} revocation list: in the store, {}", state(&crl));
            }
            Some((_, crl)) => {
                outln!("{name} revocation list: {}; {server}{}", state(&crl), crl_path(generation));
            }
            None => outln!("{name} revocation list: missing; {server}{}", crl_path(generation)),
        }
    }
}
