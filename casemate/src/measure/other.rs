//! The launches of other VMMs: OVMF guests and IGVM files.

use super::{Launch, Measure, VmmName, bad, read_image};
use crate::Failure;
use crate::out::{errln, outln};
use casemate_attestation::digest::{Digest384, LaunchDigest, MeasuredPage, PageKind};
use casemate_attestation::hex::encode;
use casemate_attestation::measure::{
    KernelHashes, Machine, Ovmf, SectionKind, Vmm, cpu_model, cpu_models, igvm_measure,
};
use serde_json::json;
use std::path::Path;

/// The digest of an OVMF guest. What is not given is assumed, and said: another digest would be as
/// good a number.
pub(super) fn ovmf(args: &Measure, path: &Path) -> Result<Digest384, Failure> {
    let image = read_image(path)?;
    let vmm = match args.vmm {
        VmmName::Qemu => Vmm::Qemu,
        VmmName::Ec2 => Vmm::Ec2,
        VmmName::Gce => Vmm::Gce,
    };
    let mut assumed = Vec::new();
    let vcpus = args.vcpus.unwrap_or_else(|| {
        assumed.push("--vcpus 1");
        1
    });
    let features = args.guest_features.unwrap_or_else(|| {
        assumed.push("--guest-features 0x1");
        1
    });
    let signature = match (args.cpu_signature, &args.cpu) {
        (Some(signature), _) => signature,
        (None, Some(name)) => cpu_model(name).ok_or_else(|| {
            Failure::BadInput(format!("--cpu {name}: not one of {}", cpu_models()))
        })?,
        (None, None) => {
            // The other VMMs' vCPUs do not show it.
            if vmm == Vmm::Qemu {
                assumed.push("--cpu EPYC-v4");
            }
            cpu_model("EPYC-v4").unwrap_or_default()
        }
    };
    if !assumed.is_empty() {
        errln!("casemate: assumed {}", assumed.join(", "));
    }
    let hashes = match &args.kernel {
        None => None,
        Some(kernel) => {
            let initrd = args.initrd.as_deref().map_or(Ok(Vec::new()), read_image)?;
            Some(KernelHashes::new(&read_image(kernel)?, &initrd, &args.append))
        }
    };
    let ovmf = Ovmf::parse(&image).map_err(|error| bad(path, &error))?;
    let machine = Machine { vmm, ovmf, vcpus, signature, sev_features: features, hashes };
    let mut digest = if args.explain { LaunchDigest::traced() } else { LaunchDigest::new() };
    machine.measure(&mut digest).map_err(|error| bad(path, &error))?;
    let what = |page: &MeasuredPage| {
        let firmware = page.gpa >= machine.ovmf.gpa() && page.kind == PageKind::Normal;
        let section = machine.ovmf.sections.iter().find(|section| {
            section.gpa <= page.gpa && page.gpa.saturating_sub(section.gpa) < section.size
        });
        match (page.kind, section) {
            (PageKind::Vmsa, _) => "vCPU",
            _ if firmware => "firmware",
            (_, Some(section)) if section.kind == SectionKind::KernelHashes => "kernel hashes",
            (PageKind::Secrets, _) => "secrets",
            (PageKind::Cpuid, _) => "CPUID",
            _ => "firmware's memory",
        }
    };
    explain(digest.trace(), what, args.json);
    Ok(digest.finish())
}

/// The digest of an IGVM file, what its own ID block says, and where KVM's launch of it differs.
pub(super) fn igvm(path: &Path, with_pages: bool, as_json: bool) -> Result<Launch, Failure> {
    let mut digest = if with_pages { LaunchDigest::traced() } else { LaunchDigest::new() };
    let launch =
        igvm_measure(&read_image(path)?, &mut digest).map_err(|error| bad(path, &error))?;
    let what = |page: &MeasuredPage| match page.kind {
        PageKind::Vmsa => "vCPU",
        PageKind::Secrets => "secrets",
        PageKind::Cpuid => "CPUID",
        PageKind::Unmeasured => "parameters",
        PageKind::Normal | PageKind::Zero => "page data",
    };
    explain(digest.trace(), what, as_json);
    for difference in &launch.kvm {
        errln!("casemate: {}: on KVM another digest: {difference}", path.display());
    }
    if let Some(block) = &launch.id_block {
        let refused = |why: String| {
            Err(Failure::Failed(format!(
                "{}: its ID block {why}: the firmware refuses this launch",
                path.display()
            )))
        };
        if block.launch_digest != launch.digest {
            let (named, found) = (encode(&block.launch_digest), encode(&launch.digest));
            return refused(format!("names the launch digest {named}, and this one is {found}"));
        }
        if let Err(error) = &block.signed {
            return refused(format!("is not good ({error})"));
        }
        errln!("casemate: {}: its ID block names this digest, and is signed", path.display());
    }
    Ok(Launch { digest: launch.digest, what: "IGVM file", policy: Some(launch.policy) })
}

/// One line for each page: address, kind, what it is, hash.
fn explain(pages: &[MeasuredPage], what: impl Fn(&MeasuredPage) -> &'static str, as_json: bool) {
    for page in pages {
        let kind = match page.kind {
            PageKind::Normal => "normal",
            PageKind::Vmsa => "vmsa",
            PageKind::Zero => "zero",
            PageKind::Unmeasured => "unmeasured",
            PageKind::Secrets => "secrets",
            PageKind::Cpuid => "cpuid",
        };
        let (gpa, what) = (page.gpa, what(page));
        let hash = page.kind.contents_measured().then(|| encode(&page.contents));
        if as_json {
            let line = json!({ "gpa": gpa, "kind": kind, "what": what, "sha384": hash });
            outln!("{line}");
        } else {
            let hash = hash.as_deref().unwrap_or("contents not measured");
            outln!("{gpa:#014x}  {kind:10}  {what:18}  {hash}");
        }
    }
}
