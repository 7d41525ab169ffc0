//! `casemate audit`: what a VM is, may do and holds, as one page to look at.

mod evidence;
mod planned;
mod running;

use crate::files::write_file;
use crate::html::Page;
use crate::out::outln;
use crate::{Failure, Outcome};
use casemate_foreign_text::value;
use clap::Args;
use std::path::PathBuf;

/// Write a page that shows what a VM may do: one file, without network or script
///
/// Of a configuration or an image: what `run --dry-run` would tell, that is the policy's decisions
/// rule by rule, the launch page by page, every process with its descriptors, layers and system
/// calls. Of a running VM: its processes as the kernel has them now, beside what their profiles
/// say, and what its supervisor says of it. What a command line says is left out: secrets stand
/// there.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  casemate audit vm.toml -o page.html
  casemate audit vm.toml --policy policy.toml -o page.html
  casemate audit vm.toml --record record.json -o page.html
  casemate audit app.img/ --memory 1G -o page.html
  casemate audit demo -o page.html      the running VM \"demo\"
")]
pub struct AuditArgs {
    /// Configuration file, folder of an image, or name of a running VM
    source: PathBuf,
    /// The page to write
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// Of a configuration or image: the policy that decides
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Evidence to show beside it: a record that `casemate attest verify --record` wrote
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Of a configuration or image: virtual processors, 1 to 64
    #[arg(long, value_name = "N")]
    vcpus: Option<u32>,
    /// Of a configuration or image: RAM, such as 512M or 2G
    #[arg(long, value_name = "SIZE")]
    memory: Option<String>,
}

/// Writes the page.
///
/// # Errors
/// Status 2 for bad input, 1 for a VM that does not answer or a page that cannot be written. A
/// policy that denies is no failure here: the page says so.
pub fn run(args: &AuditArgs) -> Outcome {
    let mut page = Page::default();
    // A path that is there is meant; a running VM's name is no path with a part before it.
    let (title, digest) = if args.source.exists() {
        [Some(&args.source), args.policy.as_ref()]
            .into_iter()
            .flatten()
            .for_each(|path| crate::files::was_read(path));
        planned::show(&mut page, args)?
    } else {
        let of_file = args.policy.is_some() || args.vcpus.is_some() || args.memory.is_some();
        let name = args.source.to_str().filter(|name| !name.contains('/'));
        let Some(name) = name.filter(|_| !of_file) else {
            let shown = value(args.source.display()).to_string();
            return Err(Failure::BadInput(format!("{shown}: no such configuration or image")));
        };
        running::show(&mut page, name)?
    };
    if let Some(record) = &args.record {
        evidence::show(&mut page, record, digest)?;
    }
    let now = casemate_attestation::time::format(casemate_attestation::time::now());
    let made = format!("casemate {}, {now}", env!("CARGO_PKG_VERSION"));
    let text = page.finish(&title, &made);
    write_file(&args.output, text.as_bytes())?;
    outln!("{}: {} KB", value(args.output.display()), text.len().div_ceil(1000));
    Ok(())
}

/// The page's title, and the launch digest of the VM that it is about.
type Titled = (String, Option<String>);

/// The system calls of a profile with their reasons; those of one with several rules stand
/// together.
fn calls(page: &mut Page, profile: &casemate_sandbox::Profile) {
    let rows: Vec<Vec<String>> = profile
        .rules
        .iter()
        .map(|rule| vec![rule.syscall.name().to_owned(), rule.why.to_owned()])
        .collect();
    let count = profile.syscalls().len();
    page.part(
        &format!("{count} system calls of its profile, each with its reason"),
        false,
        |page| {
            page.table("Any other call ends the process", &["call", "what it is for"], &rows);
        },
    );
}
