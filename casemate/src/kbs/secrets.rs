//! `casemate kbs put`, `get`, `list`, `versions`, `revoke`: what the owner has kept.
//!
//! A secret is never an argument, which every user of the machine can read: it comes from standard
//! input or a file, and goes to a file that only its owner reads, or to a pipe.

use super::broker::{Broker, ask};
use crate::out::outln;
use crate::{Failure, Outcome};
use casemate_attestation::time;
use casemate_files::Access;
use casemate_foreign_text::value;
use casemate_keeper::owner::{Ask, Said};
use casemate_store::{MAX_SECRET, Secret};
use clap::Args;
use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

/// Keep the next version of a secret
///
/// Guests get the newest version that is not revoked. Works beside a broker that runs, and without.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  casemate kbs put acme/db/key --file key.bin
  head -c 32 /dev/urandom | casemate kbs put acme/db/key
")]
pub(super) struct PutArgs {
    /// Its name: repository/type/tag
    name: String,
    /// Where its bytes are; standard input without. Never an argument: those everybody can read
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    broker: Broker,
}

/// Write a secret to a file, or to a pipe
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  casemate kbs get acme/db/key -o key.bin
  casemate kbs get acme/db/key --version 1 > old.bin
")]
pub(super) struct GetArgs {
    /// Its name
    name: String,
    /// Which version; the newest that is not revoked without
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    version: Option<u32>,
    /// The file to make, which only you can read; one that is there is left alone. Standard output
    /// without
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write it to a terminal, too
    #[arg(long, conflicts_with = "output")]
    terminal: bool,
    #[command(flatten)]
    broker: Broker,
}

/// List the names of all secrets, and how many versions each has
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  casemate kbs list
  casemate kbs list --json    one object a line
")]
pub(super) struct ListArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    broker: Broker,
}

/// List the versions of a secret
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  casemate kbs versions acme/db/key
")]
pub(super) struct VersionsArgs {
    /// Its name
    name: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    broker: Broker,
}

/// End a version of a secret for good
///
/// No guest gets it again, and its bytes leave the store; on a full disk later, with a change that
/// finds room. Its number stays taken. A guest that has it keeps it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  casemate kbs revoke acme/db/key 1
")]
pub(super) struct RevokeArgs {
    /// Its name
    name: String,
    /// Which version
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    version: u32,
    #[command(flatten)]
    broker: Broker,
}

/// What came back that this question has no use for.
fn unexpected() -> Failure {
    casemate_keeper::owner::OwnerError::Nonsense.into()
}

/// A refusal, with what was asked about.
fn refused(name: &str, bad_input: bool, why: &str) -> Failure {
    let text = format!("{}: {why}", value(name));
    if bad_input { Failure::BadInput(text) } else { Failure::Failed(text) }
}

pub(super) fn put(args: &PutArgs) -> Outcome {
    let config = args.broker.config()?;
    // Before the secret is asked for at a terminal.
    if let Some(why) = casemate_policy::resource_fault(&args.name) {
        let text = format!("{why}: a secret is named repository/type/tag");
        return Err(refused(&args.name, true, &text));
    }
    let secret = match &args.file {
        Some(path) => {
            let file = casemate_files::open(path).map_err(|e| Failure::BadInput(e.to_string()))?;
            read_secret(file, path)?
        }
        None => read_secret(std::io::stdin().lock(), Path::new("standard input"))?,
    };
    let name = args.name.clone();
    ask(&config, Ask::Put { name, secret }, &mut |said| match said {
        Said::Kept(version) => {
            outln!("{} version {version}", value(&args.name));
            Ok(())
        }
        Said::Refused { bad_input, why } => Err(refused(&args.name, bad_input, &why)),
        _ => Err(unexpected()),
    })
}

/// All bytes, in one piece of memory that is wiped.
fn read_secret(from: impl Read, path: &Path) -> Result<Secret, Failure> {
    let bytes = casemate_files::read_secret(from, path, MAX_SECRET)
        .map_err(|error| Failure::BadInput(error.to_string()))?;
    if bytes.is_empty() {
        let path = value(path.display());
        return Err(Failure::BadInput(format!("{path}: it is empty, which is no secret")));
    }
    Ok(Secret::new(bytes.to_vec()))
}

pub(super) fn get(args: &GetArgs) -> Outcome {
    let config = args.broker.config()?;
    if args.output.is_none() && !args.terminal && std::io::stdout().is_terminal() {
        let text = "a secret is not shown on a terminal: give -o FILE, a pipe, or --terminal";
        return Err(Failure::BadInput(text.into()));
    }
    let what = Ask::Get { name: args.name.clone(), version: args.version };
    ask(&config, what, &mut |said| match said {
        Said::Secret(_, secret) => write_secret(args.output.as_deref(), &secret),
        Said::Refused { bad_input, why } => Err(refused(&args.name, bad_input, &why)),
        _ => Err(unexpected()),
    })
}

fn write_secret(path: Option<&Path>, secret: &Secret) -> Outcome {
    match path {
        Some(path) => casemate_files::create(path, secret.bytes(), Access::Owner)
            .map_err(|error| Failure::BadInput(error.to_string())),
        None => {
            // Not through a buffer, which nobody would wipe.
            let mut to = std::fs::File::from(
                rustix::io::dup(rustix::stdio::stdout())
                    .map_err(|error| Failure::Failed(format!("standard output: {error}")))?,
            );
            to.write_all(secret.bytes())
                .map_err(|error| Failure::Failed(format!("standard output: {error}")))
        }
    }
}

pub(super) fn list(args: &ListArgs) -> Outcome {
    let config = args.broker.config()?;
    // Versions come in the order of names: each name is told when the next one begins.
    let mut last: Option<(String, u32, u32)> = None;
    ask(&config, Ask::List { name: None }, &mut |said| match said {
        Said::Version(name, info) => {
            let alive = u32::from(!info.revoked);
            match &mut last {
                Some((known, versions, living)) if *known == name => {
                    (*versions, *living) = (info.version, living.saturating_add(alive));
                }
                _ => {
                    print_name(last.replace((name, info.version, alive)), args.json);
                }
            }
            Ok(())
        }
        Said::Done => {
            print_name(last.take(), args.json);
            Ok(())
        }
        Said::Refused { bad_input, why } => Err(refused("the store", bad_input, &why)),
        _ => Err(unexpected()),
    })
}

fn print_name(last: Option<(String, u32, u32)>, json: bool) {
    let Some((name, versions, living)) = last else { return };
    if json {
        let line = serde_json::json!({ "name": name, "versions": versions, "living": living });
        outln!("{}", casemate_foreign_text::json(&line.to_string()));
    } else {
        let revoked = versions.saturating_sub(living);
        let revoked = if revoked > 0 { format!(", {revoked} revoked") } else { String::new() };
        let plural = if versions == 1 { "" } else { "s" };
        outln!("{}  {versions} version{plural}{revoked}", value(&name));
    }
}

pub(super) fn versions(args: &VersionsArgs) -> Outcome {
    let config = args.broker.config()?;
    let what = Ask::List { name: Some(args.name.clone()) };
    ask(&config, what, &mut |said| match said {
        Said::Version(name, info) => {
            let at = time::format(info.at);
            if args.json {
                let line = serde_json::json!({
                    "name": name, "version": info.version, "put": at, "bytes": info.bytes,
                    "revoked": info.revoked,
                });
                outln!("{}", casemate_foreign_text::json(&line.to_string()));
            } else if info.revoked {
                outln!("{:>6}  {at}  revoked", info.version);
            } else {
                outln!("{:>6}  {at}  {} bytes", info.version, info.bytes);
            }
            Ok(())
        }
        Said::Done => Ok(()),
        Said::Refused { bad_input, why } => Err(refused(&args.name, bad_input, &why)),
        _ => Err(unexpected()),
    })
}

pub(super) fn revoke(args: &RevokeArgs) -> Outcome {
    let config = args.broker.config()?;
    let what = Ask::Revoke { name: args.name.clone(), version: args.version };
    ask(&config, what, &mut |said| match said {
        Said::Done => Ok(()),
        Said::Refused { bad_input, why } => Err(refused(&args.name, bad_input, &why)),
        _ => Err(unexpected()),
    })
}
