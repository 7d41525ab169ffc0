//! The disk by which a run's inputs go in and its sealed results come out: the file that the user
//! named for these, which is cut to their length when the VM has ended.
//!
//! That is all that is done to it then. This process has locked itself, since it has read what a
//! guest wrote to its console: it opens, names and removes nothing any more.

use crate::Failure;
use crate::out::errln;
use crate::run_inputs::{Nonce, failed, open as open_input};
use casemate_foreign_text::value;
use casemate_hypervisor::config::RawDisk;
use casemate_result::{Cover, Input, InputDigest, Request, ResultError};
use clap::Args;
use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Bytes that a result may have, beside the inputs' own room.
const ROOM: u64 = 1 << 30;

/// What goes into a run of an image with sealed results, and where they come out.
#[derive(Debug, Clone, Args)]
pub struct ExchangeArgs {
    /// A file for the workload, as /run/casemate/in/NAME; once for each
    #[arg(long, value_name = "FILE", requires = "output")]
    pub input: Vec<PathBuf>,
    /// Where the sealed results go, for `casemate open`: what the workload leaves in
    /// /run/casemate/out
    #[arg(long, value_name = "FILE", requires = "nonce")]
    pub output: Option<PathBuf>,
    /// The owner's word for this run, which its results are bound to: 64 hexadecimal digits
    #[arg(long, value_name = "HEX", requires = "output")]
    pub nonce: Option<Nonce>,
}

/// The disk.
#[derive(Debug)]
pub struct Exchange {
    file: File,
    output: PathBuf,
    size: u64,
    /// It stays: a VM had it.
    kept: bool,
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if !self.kept {
            let _ = std::fs::remove_file(&self.output);
        }
    }
}

impl Exchange {
    /// The disk that a run asks for, of an image whose results are sealed or not; None for a run
    /// without results.
    ///
    /// # Errors
    /// [`Failure::BadInput`] for an image whose results have nowhere to go, and for anything else
    /// that has none.
    pub fn of(args: &ExchangeArgs, sealed: bool) -> Result<Option<Self>, Failure> {
        match (&args.output, args.nonce, sealed) {
            (None, _, false) => Ok(None),
            (Some(output), Some(nonce), true) => Self::new(output, nonce, &args.input).map(Some),
            (None, _, true) => Err(Failure::BadInput(
                "the image seals its results: say where to, with --output and --nonce".into(),
            )),
            (Some(_), _, _) => Err(Failure::BadInput(
                "--output: only an image with recipients (`image build --recipient`) has results"
                    .into(),
            )),
        }
    }

    fn new(output: &Path, nonce: Nonce, inputs: &[PathBuf]) -> Result<Self, Failure> {
        let mut made = File::options();
        let made = made.read(true).write(true).create_new(true).mode(0o600).open(output);
        let file = made.map_err(|e| match e.kind() {
            std::io::ErrorKind::AlreadyExists => {
                let text = "there is such a file already; name another, or remove it";
                Failure::BadInput(format!("{}: {text}", output.display()))
            }
            _ => Failure::BadInput(format!("{}: {e}", output.display())),
        })?;
        let mut this = Self { file, output: output.to_owned(), size: 0, kept: false };
        this.fill(nonce, inputs)?;
        Ok(this)
    }

    fn fill(&mut self, Nonce(nonce): Nonce, paths: &[PathBuf]) -> Result<(), Failure> {
        let opened: Result<Vec<_>, _> = paths.iter().map(|path| open_input(path)).collect();
        let (inputs, files): (Vec<Input>, Vec<File>) = opened?.into_iter().unzip();
        let total = inputs.iter().fold(0, |sum: u64, input| sum.saturating_add(input.size));
        let request = Request::new(nonce, inputs.clone());
        let request = request.map_err(|e| Failure::BadInput(format!("--input: {e}")))?.encode();
        let output = self.output.clone();
        let own = |e: std::io::Error| failed(&output, &e);
        let mut to = BufWriter::new(&self.file);
        to.write_all(&request).map_err(own)?;
        for ((input, file), path) in inputs.iter().zip(files).zip(paths) {
            let mut from = BufReader::new(file);
            let copied = InputDigest::default().add(input, &mut from, |part| to.write_all(part));
            copied.map_err(|e| failed(path, &e))?;
        }
        to.flush().map_err(own)?;
        drop(to);
        // Whole blocks. The file has holes: what is not written takes no room.
        let size = total.saturating_add(ROOM).saturating_add(1 << 20).next_multiple_of(4096);
        self.file.set_len(size).map_err(own)?;
        self.size = size;
        Ok(())
    }

    /// The disk as a guest is given it.
    pub fn disk(&self) -> RawDisk {
        RawDisk {
            path: Some(self.output.clone()),
            name: Some("results".into()),
            serial: Some(casemate_manifest::EXCHANGE_SERIAL.into()),
            ..RawDisk::default()
        }
    }

    /// The open file, which this process cuts behind its lock.
    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Cuts the file to the results, or to nothing. All of them is the guest's word until they are
    /// opened: what is read here is their length.
    pub fn collect(mut self) -> Result<(), Failure> {
        self.kept = true;
        let own = |e: std::io::Error| failed(&self.output, &e);
        let mut bytes = [0; Cover::SIZE];
        self.file.read_exact_at(&mut bytes, 0).map_err(own)?;
        let whole = Cover::read(&mut &bytes[..]).and_then(|cover| Ok((cover, cover.whole()?)));
        let (cover, whole) = match whole {
            Ok((cover, whole)) if whole <= self.size => (cover, whole),
            other => {
                self.file.set_len(0).map_err(own)?;
                let why = match other {
                    Err(ResultError::Other(_)) => String::new(),
                    Err(e) => format!(": {e}"),
                    Ok(_) => ": their lengths are none".into(),
                };
                return Err(Failure::Failed(format!("the guest left no results{why}")));
            }
        };
        self.file.set_len(whole).map_err(own)?;
        let unproven = match cover.evidence {
            0 => ", without a report: no proof who made them",
            _ => "",
        };
        let name = value(self.output.display());
        errln!("casemate: sealed results in {name}: {whole} bytes{unproven}");
        Ok(())
    }
}
