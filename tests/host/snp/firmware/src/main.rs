//! MODEL of the SNP firmware: answers the commands that the virtual SNP host's module forwards.
//!
//! The module keeps what the processor itself does (RMP, page states, ASIDs); launch contexts,
//! digests, ID blocks, guest messages and reports are `casemate_attestation::model`'s. Reports are
//! signed under a MODEL root that verifiers refuse unless told otherwise.
//!
//! - `snp-firmware generate DIRECTORY` makes a root and a chip: `root.json`, `processor.json`, and
//!   for verifiers `ark-ask.pem` and `vcek.der`.
//! - `snp-firmware serve PROCESSOR.json` answers commands from `/dev/snp-firmware` until the device
//!   is closed.

mod protocol;
mod service;

use casemate_attestation::model::{Config, ModelError, ModelRoot, Processor};
use casemate_attestation::report::Generation;
use protocol::{Reply, Request};
use service::Service;
use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::ExitCode;

const DEVICE: &str = "/dev/snp-firmware";
/// Exists when commands are answered.
const READY: &str = "/run/snp-firmware.ready";

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("usage: snp-firmware generate DIRECTORY | snp-firmware serve PROCESSOR.json")]
    Usage,
    #[error("{path}: {source}")]
    File { path: String, source: io::Error },
    #[error("MODEL: {0}")]
    Model(#[from] ModelError),
    #[error("{DEVICE}: not a command: {0}")]
    Protocol(#[from] protocol::Malformed),
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["generate", directory] => generate(Path::new(directory)),
        ["serve", processor] => serve(processor),
        _ => Err(Error::Usage),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("snp-firmware: {error}");
            ExitCode::from(if matches!(error, Error::Usage) { 2 } else { 1 })
        }
    }
}

fn generate(directory: &Path) -> Result<(), Error> {
    let root = ModelRoot::generate(Generation::Milan)?;
    let processor = Processor::new(&root, Config::new(Generation::Milan)?)?;
    let write = |name: &str, bytes: &[u8]| {
        let path = directory.join(name);
        let file = |source| Error::File { path: path.display().to_string(), source };
        fs::write(&path, bytes).map_err(file)
    };
    fs::create_dir_all(directory)
        .map_err(|source| Error::File { path: directory.display().to_string(), source })?;
    write("root.json", &root.to_bytes()?)?;
    write("ark-ask.pem", root.bundle_pem().as_bytes())?;
    write("vcek.der", processor.vcek())?;
    write("processor.json", &processor.to_bytes()?)
}

fn serve(processor: &str) -> Result<(), Error> {
    let file = |path: &str, source| Error::File { path: path.to_owned(), source };
    let stored = fs::read(processor).map_err(|source| file(processor, source))?;
    let mut service = Service::new(Processor::from_bytes(&stored)?);
    let mut device = fs::File::options()
        .read(true)
        .write(true)
        .open(DEVICE)
        .map_err(|source| file(DEVICE, source))?;
    fs::write(READY, b"").map_err(|source| file(READY, source))?;
    let mut buffer = vec![0; protocol::MESSAGE_MAX];
    loop {
        let length = device.read(&mut buffer).map_err(|source| file(DEVICE, source))?;
        if length == 0 {
            return Ok(());
        }
        let request = Request::parse(buffer.get(..length).unwrap_or_default())?;
        let reply: Reply = service.answer(&request);
        device.write_all(&reply.to_bytes()).map_err(|source| file(DEVICE, source))?;
    }
}
