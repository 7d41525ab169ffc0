//! `casemate boot-code`: the code that every launch measures, to be looked at, taken away, and
//! built again.

use crate::files::{print_json, read_at_most, write_file};
use crate::out::outln;
use crate::{Failure, Outcome};
use casemate_boot_code::{BYTES, SHA256, recipe};
use casemate_foreign_text::value;
use casemate_layout::PARAMS_VERSION;
use clap::{Args, Subcommand};
use serde_json::json;
use std::path::{Path, PathBuf};

/// The boot code: the first code of every guest, and the only one that a launch measures.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct BootCodeArgs {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  casemate boot-code show                      its hash and its compiler
  casemate boot-code export boot-code.bin      its bytes
  casemate boot-code verify --source casemate  the same from the source?
";

#[derive(Debug, Subcommand)]
enum Command {
    /// Hash, size and compiler of the boot code in this program.
    #[command(after_help = "\
Examples:
  casemate boot-code show
  casemate boot-code show --json
")]
    Show {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Write its bytes to a file: `casemate measure --boot-code FILE` measures with another
    /// release's.
    #[command(after_help = "\
Examples:
  casemate boot-code export boot-code.bin
  casemate measure vm.toml --boot-code boot-code.bin    in another release
")]
    Export {
        /// Where they go.
        file: PathBuf,
    },
    /// Build it again from the source, or compare a file with it.
    ///
    /// Exit status: 0 the bytes are the same, 1 they differ, 2 it cannot be built (another
    /// compiler, no source).
    Verify(Verify),
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
// What clap makes of the group counts --rustc among what there must be one of.
#[command(override_usage = "casemate boot-code verify [FILE] [--source DIR [--rustc FILE]]")]
#[command(after_help = "\
Examples:
  casemate boot-code verify boot-code.bin
  casemate boot-code verify --source casemate --rustc ~/bin/rustc-1.95
")]
struct Verify {
    /// Exported bytes to compare.
    file: Option<PathBuf>,
    /// The project's source: the boot code is built from it, in a temporary folder.
    #[arg(long, value_name = "DIR")]
    source: Option<PathBuf>,
    /// The compiler, of exactly the release that `show` names.
    #[arg(long, value_name = "FILE", default_value = "rustc", requires = "source")]
    rustc: PathBuf,
}

/// Larger files are not looked at: a boot code has a few pages.
const MOST: u64 = 1 << 20;

/// Runs the subcommand.
///
/// # Errors
/// [`Failure`] with the exit status.
pub fn run(args: &BootCodeArgs) -> Outcome {
    match &args.command {
        Command::Show { json } => show(*json),
        Command::Export { file } => write_file(file, BYTES),
        Command::Verify(verify) => {
            if let Some(file) = &verify.file {
                same(&value(file.display()).to_string(), &read_at_most(file, MOST)?)?;
            }
            verify.source.as_deref().map_or(Ok(()), |source| rebuild(source, &verify.rustc))
        }
    }
}

fn show(as_json: bool) -> Outcome {
    let (size, pages) = (BYTES.len(), BYTES.len().div_ceil(4096));
    let version = env!("CARGO_PKG_VERSION");
    if as_json {
        print_json(&json!({
            "sha256": SHA256,
            "size": size,
            "pages": pages,
            "address": recipe::LOAD_ADDRESS,
            "compiler": format!("rustc {}", recipe::COMPILER),
            "version": version,
            "parameters": PARAMS_VERSION,
        }));
    } else {
        outln!("sha256    {SHA256}");
        outln!("size      {size} bytes, {pages} pages at {:#x}", recipe::LOAD_ADDRESS);
        outln!("compiler  rustc {}", recipe::COMPILER);
        outln!("version   casemate {version}, parameters of version {PARAMS_VERSION}");
    }
    Ok(())
}

fn same(what: &str, bytes: &[u8]) -> Outcome {
    if bytes == BYTES {
        outln!("{what}: the boot code of this program, sha256 {SHA256}");
        return Ok(());
    }
    Err(Failure::Failed(format!(
        "{what}: other bytes than the boot code of this program ({SHA256})"
    )))
}

fn rebuild(source: &Path, rustc: &Path) -> Outcome {
    let source = source
        .canonicalize()
        .map_err(|e| Failure::BadInput(format!("--source {}: {e}", source.display())))?;
    let scratch = Scratch::new()?;
    let image = recipe::build(rustc, &source, &scratch.0).map_err(|error| match error {
        recipe::RecipeError::Image(_) => Failure::Failed(error.to_string()),
        _ => Failure::BadInput(error.to_string()),
    })?;
    same(&format!("built from {}", value(source.display())), &image.bytes)
}

/// A folder that goes with this value.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self, Failure> {
        let path = std::env::temp_dir().join(format!("casemate-boot-code-{}", std::process::id()));
        // Nobody else's: `create_dir` fails where somebody has put one before.
        std::fs::create_dir(&path)
            .map_err(|e| Failure::Failed(format!("{}: {e}", path.display())))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
