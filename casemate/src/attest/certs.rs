//! `casemate attest certs`: a directory of certificates and revocation lists.

use super::fetch::Fetch;
use crate::files::read_file;
use crate::out::{errln, outln};
use crate::{Failure, Outcome};
use casemate_attestation::cert::{Crl, KeyKind};
use casemate_attestation::evidence::Evidence;
use casemate_attestation::kds::KEY_SERVER;
use casemate_attestation::report::{Fields, Report};
use casemate_attestation::selection::{VekNeed, is_current, needs};
use casemate_attestation::store::{Imported, Store, StoreError};
use casemate_foreign_text::value;
use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};

/// Keep certificates and revocation lists on disk.
///
/// Imports what is given, then lists the store. Nothing enters it that no trusted root stands
/// behind. With --for it prints what a report needs and where the key server has what is missing;
/// only --fetch uses the network.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  casemate attest certs --dir certs --import downloads/
  casemate attest certs --dir certs --for report.bin    what is missing
  casemate attest certs --dir certs --for report.bin --fetch
")]
pub struct Certs {
    /// The store; made when it does not exist.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// File to import, or directory with those in it: certificates and revocation lists in DER, PEM
    /// or base64, or the JSON of Azure's metadata service.
    #[arg(long, value_name = "PATH")]
    import: Vec<PathBuf>,
    /// For which chains imported revocation lists are: the ASK's address gives those for VCEKs, the
    /// ASVK's those for VLEKs, and nothing in a list tells them apart. Default: vlek for lists
    /// under a folder of that name, else vcek.
    #[arg(long, value_name = "KIND", requires = "import")]
    list_kind: Option<ListKind>,
    /// Evidence whose endorsement certificates are imported.
    #[arg(long, value_name = "FILE")]
    import_evidence: Vec<PathBuf>,
    /// Report to print the needs of.
    #[arg(long = "for", value_name = "REPORT")]
    report: Vec<PathBuf>,
    #[command(flatten)]
    fetch: Fetch,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ListKind {
    Vcek,
    Vlek,
}

impl From<ListKind> for KeyKind {
    fn from(kind: ListKind) -> Self {
        match kind {
            ListKind::Vcek => Self::Vcek,
            ListKind::Vlek => Self::Vlek,
        }
    }
}

/// What the user sees of an error: their input is bad, or the store cannot be used.
pub(super) fn failure(error: &StoreError) -> Failure {
    match error {
        StoreError::File(casemate_files::FileError::Io { .. }) => {
            Failure::Failed(error.to_string())
        }
        _ => Failure::BadInput(error.to_string()),
    }
}

pub(super) fn run(args: &Certs) -> Outcome {
    let store = Store::new(&args.dir);
    if args.dir.exists() && !args.dir.is_dir() {
        return Err(Failure::BadInput(format!("--dir {}: not a directory", args.dir.display())));
    }
    for path in &args.import {
        import(&store, path, args.list_kind.map(KeyKind::from))?;
    }
    for path in &args.import_evidence {
        let evidence = evidence(path)?;
        if evidence.veks.is_empty() {
            let message = format!("{}: carries no VEK certificate", path.display());
            return Err(Failure::BadInput(message));
        }
        for place in store.import_evidence(&evidence).map_err(|error| failure(&error))? {
            outln!("imported {}", value(place.display()));
        }
    }
    for path in &args.report {
        let report = Report::parse(&evidence(path)?.report)
            .map_err(|error| Failure::BadInput(format!("{}: {error}", path.display())))?;
        args.fetch.run(&store, report.unverified_fields())?;
        print_needs(&store, report.unverified_fields(), args.fetch.server())?;
    }
    if args.report.is_empty() {
        if !args.dir.exists() {
            return Err(Failure::BadInput(format!(
                "--dir {}: no such directory; --import makes it",
                args.dir.display()
            )));
        }
        list(&store)?;
    }
    Ok(())
}

fn evidence(path: &Path) -> Result<Evidence, Failure> {
    Evidence::read(&read_file(path)?)
        .map_err(|error| Failure::BadInput(format!("{}: {error}", path.display())))
}

fn import(store: &Store, path: &Path, kind: Option<KeyKind>) -> Outcome {
    // A path that is not there is a mistake of the user's; a store that cannot be written is not.
    if path != Path::new("-")
        && let Err(error) = path.metadata()
    {
        return Err(Failure::BadInput(format!("cannot read {}: {error}", path.display())));
    }
    let Imported { places, skipped } =
        store.import_path(path, kind).map_err(|error| failure(&error))?;
    for place in &places {
        outln!("imported {}", value(place.display()));
    }
    for one in &skipped {
        errln!("casemate: {}: left out: {}", one.file.display(), one.why);
    }
    if places.is_empty() {
        let message = format!("{}: nothing in it was imported", path.display());
        return Err(Failure::BadInput(message));
    }
    Ok(())
}

fn list(store: &Store) -> Outcome {
    for file in store.list().map_err(|error| failure(&error))? {
        outln!("{}", value(file.display()).at_most(4096));
    }
    for (generation, kind, crl) in store.crls().map_err(|error| failure(&error))? {
        outln!("{} revocation list for {}s: {}", generation.name(), kind.name(), state(&crl));
    }
    Ok(())
}

/// Whether a list is current, with its dates.
fn state(crl: &Crl) -> String {
    let issued = casemate_attestation::time::format(crl.this_update);
    let Some(next) = crl.next_update else {
        return format!("STALE, issued {issued}, no next update");
    };
    let current = is_current(crl, casemate_attestation::time::now());
    let word = if current { "current" } else { "STALE" };
    format!("{word}, issued {issued}, next update {}", casemate_attestation::time::format(next))
}

fn print_needs(store: &Store, fields: &Fields, server: Option<&str>) -> Outcome {
    let server = server.unwrap_or(KEY_SERVER).trim_end_matches('/');
    let missing = |text: &str| outln!("endorsement certificate: missing; {text}");
    let needs = needs(store, fields).map_err(|error| failure(&error))?;
    match &needs.vek {
        VekNeed::AtHand(all) if all.len() > 1 => {
            outln!("endorsement certificate: in the store, {} that fit", all.len());
        }
        VekNeed::AtHand(_) => outln!("endorsement certificate: in the store"),
        VekNeed::FromProvider => missing("a VLEK comes from the cloud provider, with the report"),
        VekNeed::Masked => {
            missing(
                "the host masks the chip identifier, so nothing tells which; ask the host for it",
            );
        }
        VekNeed::NotSigned => missing("the report is not signed by an endorsement key"),
        VekNeed::UnknownProcessor => {
            missing("the report is of a processor that this program does not know");
        }
        // A report of version 2 does not tell its generation: one of the addresses has it.
        VekNeed::At(paths) => {
            for (_, path) in paths {
                missing(&format!("{server}{path}"));
            }
        }
    }
    for list in &needs.lists {
        let (name, kind, path) = (list.generation.name(), list.kind.name(), &list.path);
        let of = format!("{name} revocation list for {kind}s");
        match &list.kept {
            Some(crl) if list.is_current(casemate_attestation::time::now()) => {
                outln!("{of}: in the store, {}", state(crl));
            }
            Some(crl) => outln!("{of}: {}; {server}{path}", state(crl)),
            None => outln!("{of}: missing; {server}{path}"),
        }
    }
    Ok(())
}
