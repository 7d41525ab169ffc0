//! `casemate image show`: what an image says of itself, its digests, and a policy that admits it.

use super::identity::{self, Identity};
use super::launches;
use super::place::failure;
use super::secrets;
use crate::files::print_json;
use crate::out::outln;
use crate::{Failure, Outcome};
use casemate_attestation::hex::encode;
use casemate_foreign_text as foreign;
use casemate_image::launch::{Folder, INITRD, KERNEL, LaunchDigest};
use casemate_policy::Policy;
use clap::Args;
use serde_json::json;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Kernel, initrd and manifest are compared with the hashes of launch.json first,
and its digests are computed again. That the root disk is the one that the
command line names, and has this manifest, is proven by the guest, block by
block, and by `casemate image verify`.

The policy of --policy is for who releases secrets or believes results: of a
report it wants one of the image's launch digests, and all else is at its
strictest until you say more.

Examples:
  casemate image show app.img/
  casemate image show app.img/ --vcpus 2
  casemate image show app.img/ --policy > release.toml
  casemate image show app.img/ --policy --by-key > release.toml
";

/// Show what an image says of itself, and its launch digests.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Show {
    /// The folder that `casemate image build` made.
    image: PathBuf,

    /// Only the digest for this number of vCPUs.
    #[arg(long, value_name = "N")]
    vcpus: Option<u32>,

    /// Print a policy that admits this image by its launch digests.
    #[arg(long, conflicts_with = "json")]
    policy: bool,

    /// With --policy: by the ID key that signed it, its identifiers and, at least, its security
    /// version, so that the policy also admits what the same author signs later.
    #[arg(long, requires = "policy")]
    by_key: bool,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// A digest is shown when it is the one that this kernel, initrd and command line have: who could
/// write the folder could have written another, and a release policy would give secrets to it.
fn check_digests(folder: &Folder) -> Outcome {
    let launch = &folder.launch;
    let (kernel, initrd) = (folder.file(KERNEL), folder.file(INITRD));
    let made = launches::digests(&kernel, &initrd, &launch.cmdline, launch.snp)?;
    let is_told = |(made, told): (&(u32, [u8; 48]), &LaunchDigest)| {
        made.0 == told.vcpus && encode(&made.1) == told.digest
    };
    if made.len() == launch.digests.len() && made.iter().zip(&launch.digests).all(is_told) {
        return Ok(());
    }
    let what = "launch.json: its digests are not those of its kernel, initrd and command line";
    Err(Failure::Failed(what.into()))
}

/// Runs the subcommand.
///
/// # Errors
/// [`Failure`].
pub fn run(args: &Show) -> Outcome {
    let folder = Folder::open(&args.image).map_err(failure)?;
    check_digests(&folder)?;
    let identity = identity::check(&folder.launch)?;
    let digests: Vec<&LaunchDigest> = folder.launch.digests.iter().collect();
    let digests = match args.vcpus {
        None => digests,
        Some(vcpus) => digests.into_iter().filter(|one| one.vcpus == vcpus).collect(),
    };
    if digests.is_empty() {
        return Err(Failure::BadInput("the image has no such launch digest".into()));
    }
    if args.by_key {
        let Some(identity) = identity else {
            let why = "--by-key: the image is not signed; `image build --id-key` signs one";
            return Err(Failure::BadInput(why.into()));
        };
        return policy_by_key(&folder, &identity);
    }
    if args.policy {
        return policy(&folder, &digests);
    }
    if args.json {
        print_json(&json!({
            "manifest": folder.manifest,
            "cmdline": folder.launch.cmdline,
            "digests": digests,
        }));
        return Ok(());
    }
    text(&folder, &digests, identity);
    Ok(())
}

fn text(folder: &Folder, digests: &[&LaunchDigest], identity: Option<Identity>) {
    let manifest = &folder.manifest;
    let process = &manifest.process;
    let words = |words: &[String]| {
        let shown = words.iter().take(16).map(|word| foreign::value(word).to_string());
        shown.collect::<Vec<_>>().join(" ")
    };
    if manifest.debug {
        outln!("DEBUG      its kernel writes to the console: for looking for faults only");
    }
    outln!("built by   casemate {}", foreign::value(&manifest.built.casemate));
    if let Some(image) = &manifest.built.image {
        outln!("image      {}", foreign::value(image));
    }
    outln!("program    {}", words(&process.args));
    let groups: Vec<String> = process.user.groups.iter().map(ToString::to_string).collect();
    let user = format!("{}:{} {}", process.user.uid, process.user.gid, groups.join(","));
    outln!("user       {}", user.trim_end());
    outln!("starts in  {}", foreign::value(&process.working_dir));
    outln!("stop       signal {}", process.stop_signal);
    outln!("console    {}", manifest.console.name());
    for recipient in &manifest.results.recipients {
        outln!("results    sealed to {recipient}");
    }
    for line in secrets::lines(&manifest.secrets, manifest.broker.as_ref()) {
        outln!("{line}");
    }
    outln!("kernel     {}", manifest.boot.kernel);
    outln!("initrd     {}", manifest.boot.initrd);
    let modules: Vec<&str> = manifest.boot.modules.iter().map(|m| m.name.as_str()).collect();
    outln!("modules    {}", foreign::line(modules.join(" ")));
    outln!("cmdline    {}", foreign::line(&folder.launch.cmdline));
    if let Some(Identity { keys, family_id, image_id, guest_svn }) = identity {
        outln!("ID key     {}", encode(&keys.id_key));
        if let Some(author) = keys.author_key {
            outln!("author key {}", encode(&author));
        }
        outln!("family id  {}", encode(&family_id));
        outln!("image id   {}", encode(&image_id));
        outln!("guest SVN  {guest_svn}");
    }
    outln!("vCPUs  launch digest (C-bit {})", folder.launch.snp.c_bit);
    for one in digests {
        outln!("{:5}  {}", one.vcpus, foreign::value(&one.digest));
    }
}

/// A policy with nothing but the digests: every rule that is not written is at its strictest, so it
/// admits less than its user will want, and nothing more. Read back before it is printed.
fn policy(folder: &Folder, digests: &[&LaunchDigest]) -> Outcome {
    let list: Vec<String> = digests.iter().map(|one| format!("{:?}", one.digest)).collect();
    let what = format!(
        "one image, whatever its memory, by its launch digests: {} vCPUs",
        digests.iter().map(|one| one.vcpus.to_string()).collect::<Vec<_>>().join(", "),
    );
    print_policy(folder, &what, &format!("measurement = [\n    {},\n]", list.join(",\n    ")))
}

/// The same by who signed: whatever this key signs under these names, from this version on. The
/// firmware has compared the digest with the block's, so none is named here.
fn policy_by_key(folder: &Folder, identity: &Identity) -> Outcome {
    let Identity { keys, family_id, image_id, guest_svn } = identity;
    let digest = |digest: &[u8]| format!("[{:?}]", encode(digest));
    // A policy calls what is all zero by its name.
    let name = |bytes: &[u8; 16]| match bytes {
        [0, rest @ ..] if rest.iter().all(|byte| *byte == 0) => "[\"unset\"]".to_owned(),
        bytes => digest(bytes),
    };
    let author = keys.author_key.map_or_else(|| "[\"unset\"]".to_owned(), |key| digest(&key));
    let rules = format!(
        "measurement = \"any\"\nid_key = {}\nauthor_key = {author}\nfamily_id = {}\n\
         image_id = {}\nguest_svn = {guest_svn}",
        digest(&keys.id_key),
        name(family_id),
        name(image_id),
    );
    print_policy(folder, "what one ID key signs, from one security version on", &rules)
}

fn print_policy(folder: &Folder, what: &str, rules: &str) -> Outcome {
    let debug =
        if folder.manifest.debug { "# DEBUG image: its console is everybody's.\n" } else { "" };
    let text = format!(
        "# Admits reports of {what}.\n{debug}schema_version = 1\nmin_engine = {:?}\n\
         name = \"release of an image\"\n\n[attestation]\n{rules}\n",
        env!("CARGO_PKG_VERSION"),
    );
    Policy::load(&text, "launch.json")
        .map_err(|e| Failure::BadInput(format!("launch.json: it makes no policy: {e}")))?;
    outln!("{}", text.trim_end());
    Ok(())
}
