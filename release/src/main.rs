//! What is linked into a release: a bill of materials (CycloneDX, JSON) and the licences.
//!
//! `casemate-release OUT TIME FILE...` writes `OUT/sbom.cdx.json`, in which each FILE stands with
//! its hash, and `OUT/third-party.txt`. TIME is when the source was made, as in
//! `2026-01-31T12:00:00Z`: the same source makes the same bytes. `release/build` calls it.
#![deny(clippy::print_stdout)]

mod bill;
mod libraries;
mod licences;
mod linked;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("usage: casemate-release OUT TIME FILE...")]
    Use,
    #[error(transparent)]
    Linked(#[from] linked::LinkedError),
    #[error(transparent)]
    Library(#[from] libraries::LibraryError),
    #[error(transparent)]
    Licence(#[from] licences::LicenceError),
    #[error("{0}: {1}")]
    File(PathBuf, std::io::Error),
}

fn run(words: &[String]) -> Result<(), Error> {
    let [out, time, files @ ..] = words else { return Err(Error::Use) };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |file: &String| {
        let contents = std::fs::read(file).map_err(|error| Error::File(file.into(), error))?;
        Ok(bill::Shipped::new(Path::new(file), &contents))
    };
    let files: Vec<_> = files.iter().map(read).collect::<Result<_, Error>>()?;
    let packages = linked::linked(&root)?;
    let libraries = libraries::linked()?;
    let write = |name: &str, text: String| {
        let file = Path::new(out).join(name);
        std::fs::write(&file, text).map_err(|error| Error::File(file, error))
    };
    write("third-party.txt", licences::document(&packages, &libraries)?)?;
    write("sbom.cdx.json", format!("{:#}\n", bill::bill(time, &files, &packages, &libraries)))
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("casemate-release: {error}");
            if matches!(error, Error::Use) { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}
