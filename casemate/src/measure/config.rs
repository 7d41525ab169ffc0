//! `casemate measure vm.toml`: the digest of Casemate's own launch, offline and anywhere.

use crate::Failure;
use crate::out::outln;
use casemate_attestation::hex::encode;
use casemate_hypervisor::config::RawConfig;
use casemate_hypervisor::launch::measure::{Measured, measure};
use casemate_hypervisor::launch::{LaunchPlan, linux};
use casemate_hypervisor::vm::{open_files, open_outline};
use serde_json::json;
use std::path::Path;

/// The plan of the launch that `path` describes; not `whole`, it has what measuring needs of it.
///
/// # Errors
/// [`Failure::BadInput`] when the configuration cannot be launched.
pub(super) fn plan(path: &Path, whole: bool) -> Result<LaunchPlan, Failure> {
    let bad = |e: &dyn std::fmt::Display| Failure::BadInput(e.to_string());
    let config = RawConfig::from_file(path).and_then(RawConfig::validate).map_err(|e| bad(&e))?;
    if whole {
        let files = open_files(&config).map_err(|e| bad(&e))?;
        return linux::plan(&config, files).map_err(|e| bad(&e));
    }
    let (kernel, initrd) = open_outline(&config).map_err(|e| bad(&e))?;
    linux::outline(&config, kernel, initrd).map_err(|e| bad(&e))
}

/// The plan that `--save-plan` kept.
///
/// # Errors
/// [`Failure::BadInput`] when it is none.
pub(super) fn kept(path: &Path) -> Result<LaunchPlan, Failure> {
    LaunchPlan::from_bytes(&super::read_image(path)?)
        .map_err(|error| Failure::BadInput(format!("--plan {}: {error}", path.display())))
}

/// The digest of `plan`; with `explain` every measured page is printed first.
///
/// # Errors
/// [`Failure::BadInput`] when it has no launch digest.
pub(super) fn digest(plan: &LaunchPlan, explain: bool, as_json: bool) -> Result<[u8; 48], Failure> {
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

fn line(page: &Measured, as_json: bool) -> String {
    let hash = page.hash.map(|hash| encode(&hash));
    if as_json {
        json!({ "gpa": page.gpa, "kind": page.kind, "what": page.what, "sha384": hash }).to_string()
    } else {
        let hash = hash.as_deref().unwrap_or("contents not measured");
        format!("{:#014x}  {:10}  {:18}  {hash}", page.gpa, page.kind, page.what)
    }
}
