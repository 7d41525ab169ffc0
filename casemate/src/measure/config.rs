//! `casemate measure vm.toml`: the digest of Casemate's own launch, offline and anywhere.

use super::{Counts, Launch, Measure};
use crate::Failure;
use crate::out::outln;
use casemate_attestation::hex::encode;
use casemate_boot_code::BYTES;
use casemate_hypervisor::launch::linux::Image;
use casemate_hypervisor::launch::measure::{Measured, measure};
use casemate_hypervisor::launch::{LaunchPlan, Outline};
use casemate_hypervisor::vm::open_outline;
use serde_json::json;
use std::path::Path;

fn bad(e: &dyn std::fmt::Display) -> Failure {
    Failure::BadInput(e.to_string())
}

/// The launches that file and flags describe, or a kept plan: one for each number of vCPUs. Files
/// are read and hashed once.
///
/// # Errors
/// [`Failure`] when there is nothing to launch, or when the digest is not the expected one.
pub(super) fn launches(args: &Measure) -> Result<Vec<Launch>, Failure> {
    let plans = match &args.plan {
        Some(path) => vec![kept(path)?],
        None => plans(args)?,
    };
    let read = [&args.config, &args.guest.kernel, &args.guest.initrd, &args.plan, &args.boot_code];
    read.into_iter().flatten().for_each(|path| crate::files::was_read(path));
    if let (Some(file), [plan]) = (&args.save_plan, plans.as_slice()) {
        crate::files::write_file(file, &plan.to_bytes())?;
    }
    // A kept plan has the pages of its boot code, but not where its bytes end.
    let boot_code = match (&args.plan, boot_code(args)?) {
        (Some(_), _) => None,
        (None, given) => Some(encode(&Outline::of(given.as_deref().unwrap_or(BYTES)).sha256)),
    };
    if let (Some(hash), true, false) = (&boot_code, args.explain, args.json) {
        outln!("boot code of casemate {}, sha256 {hash}", env!("CARGO_PKG_VERSION"));
    }
    let mut launches = Vec::new();
    for plan in plans {
        let digest = digest(&plan, args.explain, args.json)?;
        let policy = plan.snp.as_ref().map(|launch| launch.policy);
        launches.push(Launch {
            digest,
            what: "casemate guest",
            policy,
            vcpus: Some(plan.vcpus),
            boot_code: boot_code.clone(),
        });
    }
    if let (Some(expected), [launch]) = (&args.guest.expect_digest, launches.as_slice())
        && *expected.to_ascii_lowercase() != encode(&launch.digest)
    {
        let found = encode(&launch.digest);
        return Err(Failure::Failed(format!("the launch digest is {found}, not the expected one")));
    }
    Ok(launches)
}

fn plans(args: &Measure) -> Result<Vec<LaunchPlan>, Failure> {
    if args.config.is_none() && args.guest.kernel.is_none() {
        let text = "nothing to measure: name a configuration or --kernel, or one of --plan, --ovmf, --igvm, --digest";
        return Err(Failure::BadInput(text.into()));
    }
    // One number is the configuration's to check; of several the highest is.
    let counts = args.vcpus;
    let mut raw = args.guest.config(args.config.as_deref(), counts.map(Counts::last))?;
    // Without a file that says otherwise: nothing else has a digest.
    raw.protection.get_or_insert_with(|| "sev-snp".into());
    let config = raw.validate().map_err(|e| bad(&e))?;
    let counts = counts.unwrap_or(Counts::only(config.vcpus));
    let per_launch = [
        ("--explain", args.explain),
        ("--save-plan", args.save_plan.is_some()),
        ("--expect-digest", args.guest.expect_digest.is_some()),
    ];
    if let Some((flag, _)) = per_launch.into_iter().find(|(_, given)| *given && counts.several()) {
        return Err(Failure::BadInput(format!("{flag} is for one number of vCPUs")));
    }
    let (kernel, initrd) = open_outline(&config).map_err(|e| bad(&e))?;
    let mut image = Image::outline(&config, &kernel, initrd).map_err(|e| bad(&e))?;
    if let Some(code) = boot_code(args)? {
        image = image.with_boot_code(code).map_err(|e| bad(&e))?;
    }
    counts.each().map(|vcpus| image.measured(vcpus).map_err(|e| bad(&e))).collect()
}

/// The boot code to measure with, when it is not this program's.
fn boot_code(args: &Measure) -> Result<Option<Vec<u8>>, Failure> {
    args.boot_code.as_deref().map(super::read_image).transpose()
}

/// The plan that `--save-plan` kept.
///
/// # Errors
/// [`Failure::BadInput`] when it is none.
fn kept(path: &Path) -> Result<LaunchPlan, Failure> {
    LaunchPlan::from_bytes(&super::read_image(path)?)
        .map_err(|error| Failure::BadInput(format!("--plan {}: {error}", path.display())))
}

/// The digest of `plan`; with `explain` every measured page is printed first.
///
/// # Errors
/// [`Failure::BadInput`] when it has no launch digest.
fn digest(plan: &LaunchPlan, explain: bool, as_json: bool) -> Result<[u8; 48], Failure> {
    let measurement = measure(plan).ok_or_else(|| {
        let text = "`protection` is \"none\": only a \"sev-snp\" guest has a launch digest";
        Failure::BadInput(text.into())
    })?;
    if explain {
        for page in &measurement.pages {
            outln!("{}", line(page, as_json));
        }
    }
    Ok(measurement.digest)
}

/// A page as an object.
pub(crate) fn page_json(page: &Measured) -> serde_json::Value {
    let hash = page.hash.map(|hash| encode(&hash));
    json!({ "gpa": page.gpa, "kind": page.kind, "what": page.what, "sha384": hash })
}

fn line(page: &Measured, as_json: bool) -> String {
    if as_json {
        page_json(page).to_string()
    } else {
        let hash = page.hash.map(|hash| encode(&hash));
        let hash = hash.as_deref().unwrap_or("contents not measured");
        format!("{:#014x}  {:10}  {:18}  {hash}", page.gpa, page.kind, page.what)
    }
}
