//! `casemate result-key`: a key that results are sealed to.

use crate::out::outln;
use crate::{Failure, Outcome};
use casemate_files::Access;
use casemate_result::SecretKey;
use clap::Args;
use std::path::PathBuf;

/// Make a key that opens sealed results, and print the one that they are sealed to.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  casemate result-key owner.key
  casemate image build app.tar -o app.img/ --kernel-package linux-image.deb \\
  --recipient=8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a
")]
pub struct ResultKey {
    /// The file to make, which only you can read; one that is there is left alone.
    file: PathBuf,
}

/// Runs the subcommand.
///
/// # Errors
/// [`Failure`].
pub fn run(args: &ResultKey) -> Outcome {
    let failed = |e: &dyn std::fmt::Display| Failure::Failed(e.to_string());
    let key = SecretKey::generate().map_err(|e| failed(&e))?;
    let public = key.public().map_err(|e| failed(&e))?;
    casemate_files::create(&args.file, key.to_text().as_bytes(), Access::Owner)
        .map_err(|e| Failure::BadInput(e.to_string()))?;
    outln!("{public}");
    Ok(())
}
