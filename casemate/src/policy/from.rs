//! `casemate policy from`: the strictest policy that admits a VM, or what a log says was admitted.

use super::files::{name_of, printable, read_input, write_new};
use crate::log_read::{print_problems, public_key, read};
use crate::out::{errln, out, outln};
use crate::{Failure, Outcome};
use casemate_foreign_text::value;
use casemate_policy::log::{Entry, Record, Verifier};
use casemate_policy::{LeastError, Seen, least};
use clap::Args;
use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Most decisions of a log that differ: each is asked again of the policy.
const MOST: usize = 4096;

/// Write the strictest policy that admits a VM, or what was logged
///
/// Each SOURCE is a VM's configuration file or the folder of an image, a decision log of `casemate
/// run`, or an input as `policy eval` reads it (JSON); several give one policy for all. Of a
/// configuration everything is read and hashed as `run` does it, of this host and for this user,
/// and nothing is started. Of a log the decisions that allowed are taken, which is how a policy is
/// made from a time of trial under a loose one; a command line of which the log keeps a part is
/// not known.
///
/// What is not known stands as "any", with what that opens: those lines are for you to decide. What
/// a guest does over its network is asked while it runs and not logged where it is allowed: write
/// the section "network" yourself, unless another program serves its network device, beside which
/// nothing but "any" can be kept.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  casemate policy from vm.toml -o policy.toml
  casemate policy from app.img/ --vcpus 2 --memory 1G
  casemate policy from log.jsonl --key log.key.pub -o policy.toml
  casemate policy from vm.toml | casemate policy lint -
")]
pub struct FromArgs {
    /// Configuration file, folder of an image, decision log or input
    #[arg(required = true, value_name = "SOURCE")]
    sources: Vec<PathBuf>,
    /// File to write; must not exist. Standard output without it
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Name of the policy [default: of the first source]
    #[arg(long)]
    name: Option<String>,
    /// Virtual processors of a configuration or image, 1 to 64
    #[arg(long, value_name = "N")]
    vcpus: Option<u32>,
    /// RAM of a configuration or image, such as 512M or 2G
    #[arg(long, value_name = "SIZE")]
    memory: Option<String>,
    /// Of a log: public key that its heads must be signed with
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Of a log: what was denied is to be admitted, too
    #[arg(long)]
    with_denied: bool,
}

/// Writes the policy.
///
/// # Errors
/// Status 2 for bad input, 1 for a log that is not whole or a file that cannot be written.
pub fn from(args: &FromArgs) -> Outcome {
    let mut seen = Vec::new();
    for source in &args.sources {
        seen.extend(read_source(source, args)?);
    }
    let names: Vec<String> = args.sources.iter().map(|source| name_of(source)).collect();
    let first = args.sources.first().and_then(|source| source.file_stem());
    let first = first.map_or_else(|| "policy".into(), |stem| stem.to_string_lossy().into_owned());
    let name = args.name.clone().unwrap_or(first);
    let text = least(&seen, &name, &names.join(", ")).map_err(|error| match &error {
        LeastError::Refused(_) => Failure::BadInput(printable(&error.to_string())),
        _ => Failure::BadInput(error.to_string()),
    })?;
    let Some(path) = &args.output else {
        out!("{text}");
        return Ok(());
    };
    write_new(path, &text)?;
    let open = text.lines().filter(|line| line.ends_with("= \"any\"")).count();
    let name = value(path.display());
    outln!(
        "{name}: {open} fields are \"any\", for you to decide; next: casemate policy lint {name}"
    );
    Ok(())
}

/// What a source is: a folder and what does not begin like JSON describe a VM. Who gives a key
/// means a log, and is not to be given a policy of something else that stands in its place.
fn read_source(source: &Path, args: &FromArgs) -> Result<Vec<Seen>, Failure> {
    let other = || match args.key.is_some() || args.with_denied {
        true => Err(Failure::BadInput(format!(
            "{}: no decision log, which --key and --with-denied are for",
            value(source.display())
        ))),
        false => Ok(()),
    };
    if source.is_dir() {
        return other().and_then(|()| of_vm(source, args));
    }
    let bad = |e: std::io::Error| Failure::BadInput(format!("{}: {e}", value(source.display())));
    let file = casemate_files::open(source).map_err(|e| Failure::BadInput(e.to_string()))?;
    let mut begin = Vec::new();
    file.take(4096).read_to_end(&mut begin).map_err(bad)?;
    if !begin.trim_ascii_start().starts_with(b"{") {
        return other().and_then(|()| of_vm(source, args));
    }
    // The first line of a log is the log's identity, and is read as any record of it.
    let first = begin.split(|byte| *byte == b'\n').next().unwrap_or_default();
    if Record::parse(first).is_ok() {
        return of_log(source, args);
    }
    other()?;
    let (point, input) = read_input(source, None)?;
    Ok(vec![Seen { point, facts: input.facts, partial: Vec::new() }])
}

fn of_log(source: &Path, args: &FromArgs) -> Result<Vec<Seen>, Failure> {
    let key = public_key(args.key.as_deref())?;
    // The same VM started a thousand times is one decision for each point.
    let mut known = BTreeSet::new();
    let mut seen = Vec::new();
    let (mut denied, mut unread, mut over) = (0u64, 0u64, false);
    let report = read(source, Verifier::new(key, None), |record, _| {
        let Entry::Decision(logged) = &record.entry else { return };
        if logged.verdict != casemate_policy::Verdict::Allow && !args.with_denied {
            denied = denied.saturating_add(1);
            return;
        }
        let this = (logged.point, logged.input.clone());
        if known.contains(&this) {
            return;
        }
        over |= known.len() >= MOST;
        if over {
            return;
        }
        known.insert(this);
        match logged.facts() {
            Ok(facts) => {
                seen.push(Seen { point: logged.point, facts, partial: logged.redacted.clone() });
            }
            Err(_) => unread = unread.saturating_add(1),
        }
    })?;
    let name = value(source.display());
    if !report.is_good() {
        print_problems(source, &report);
        return Err(Failure::Failed(format!(
            "{name}: the log is not whole: what it says is not to be relied on"
        )));
    }
    if over || unread > 0 {
        let why =
            if over { "more than 4096 different decisions" } else { "inputs of another engine" };
        return Err(Failure::BadInput(format!("{name}: {why}: no policy would be made of all")));
    }
    if denied > 0 {
        errln!(
            "casemate: {name}: {denied} decisions that denied are left out; --with-denied takes them, too"
        );
    }
    Ok(seen)
}

#[cfg(feature = "vm")]
fn of_vm(source: &Path, args: &FromArgs) -> Result<Vec<Seen>, Failure> {
    use casemate_hypervisor::vm;

    let guest =
        crate::guest_flags::GuestFlags { memory: args.memory.clone(), ..Default::default() };
    let image = crate::packed::Packed::open(source)?;
    if image.as_ref().is_some_and(crate::packed::Packed::has_more_devices) {
        return Err(Failure::BadInput(format!(
            "{}: the image seals its results or asks for secrets, by devices that only a run has: \
             take the policy from the decision log of one",
            value(source.display())
        )));
    }
    let config = guest.config_of(image.as_ref(), Some(source), args.vcpus)?;
    let config = config.validate().map_err(|e| Failure::BadInput(e.to_string()))?;
    let asked = vm::asked(&config).map_err(crate::not_started::failure)?;
    let seen = |(point, facts)| Seen { point, facts, partial: Vec::new() };
    Ok(asked.facts.into_iter().map(seen).collect())
}

#[cfg(not(feature = "vm"))]
fn of_vm(source: &Path, _: &FromArgs) -> Result<Vec<Seen>, Failure> {
    let name = value(source.display());
    Err(Failure::BadInput(format!(
        "{name}: neither a decision log nor an input; a VM's configuration is read by a program \
         with the feature `vm`"
    )))
}
