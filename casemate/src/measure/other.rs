//! The launches of other VMMs: OVMF guests and IGVM files.

use super::{Launch, Measure, VmmName, bad, read_image};
use crate::Failure;
use crate::guest_flags::GuestFlags;
use crate::out::{errln, outln};
use casemate_attestation::digest::{Digest384, LaunchDigest, MeasuredPage, PageKind};
use casemate_attestation::hex::encode;
use casemate_attestation::measure::{
    KernelHashes, Machine, Ovmf, SectionKind, Vmm, cpu_model, cpu_models, igvm_measure,
};
use serde_json::json;
use std::path::Path;

/// The model that QEMU's users give most, and one that every tool of this kind assumes.
const USUAL_CPU: &str = "EPYC-v4";

/// Says what is assumed of an OVMF guest, since another digest would be as good a number.
pub(super) fn say_assumed(args: &Measure) {
    let mut assumed = Vec::new();
    if args.vcpus.is_none() {
        assumed.push("--vcpus 1".to_owned());
    }
    // The vCPUs of the other VMMs do not show their model.
    if args.cpu.is_none() && args.cpu_signature.is_none() && matches!(args.vmm, VmmName::Qemu) {
        assumed.push(format!("--cpu {USUAL_CPU}"));
    }
    if args.guest_features.is_none() {
        assumed.push("--guest-features 0x1".to_owned());
    }
    if !assumed.is_empty() {
        errln!("casemate: assumed {}", assumed.join(", "));
    }
}

/// The digest of an OVMF guest with so many vCPUs.
pub(super) fn ovmf(
    args: &Measure,
    path: &Path,
    image: &[u8],
    vcpus: u32,
) -> Result<Digest384, Failure> {
    let vmm = match args.vmm {
        VmmName::Qemu => Vmm::Qemu,
        VmmName::Ec2 => Vmm::Ec2,
        VmmName::Gce => Vmm::Gce,
    };
    let name = args.cpu.as_deref().unwrap_or(USUAL_CPU);
    let signature = args
        .cpu_signature
        .or_else(|| cpu_model(name))
        .ok_or_else(|| Failure::BadInput(format!("--cpu {name}: not one of {}", cpu_models())))?;
    let hashes = hashes(&args.guest)?;
    let ovmf = Ovmf::parse(image).map_err(|error| bad(path, &error))?;
    let sev_features = args.guest_features.unwrap_or(1);
    let machine = Machine { vmm, ovmf, vcpus, signature, sev_features, hashes };
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

/// The hashes of a measured direct boot.
fn hashes(guest: &GuestFlags) -> Result<Option<KernelHashes>, Failure> {
    let GuestFlags { kernel, initrd, cmdline, .. } = guest;
    let Some(kernel) = kernel else {
        if initrd.is_some() || cmdline.is_some() {
            let text = "--initrd and --cmdline of an OVMF guest go with --kernel";
            return Err(Failure::BadInput(text.into()));
        }
        return Ok(None);
    };
    let initrd = initrd.as_deref().map_or(Ok(Vec::new()), read_image)?;
    let cmdline = cmdline.as_deref().unwrap_or("");
    Ok(Some(KernelHashes::new(&read_image(kernel)?, &initrd, cmdline)))
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
    let policy = Some(launch.policy);
    Ok(Launch { digest: launch.digest, what: "IGVM file", policy, vcpus: None, boot_code: None })
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
