//! `casemate measure`: the launch digest a guest must report, before it is launched.

#[cfg(feature = "vm")]
mod config;
mod id_block;

use crate::files::{print_json, read_at_most};
use crate::numbers::{integer, integer_32};
use crate::out::outln;
use crate::{Failure, Outcome};
use casemate_attestation::digest::Digest384;
use casemate_attestation::hex::encode;
use casemate_attestation::measure::{
    KernelHashes, Machine, MeasureError, Ovmf, Vmm, cpu_model, cpu_models, igvm_launch,
};
use clap::{ArgGroup, Args, ValueEnum};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Firmware, kernels and initrds larger than this are refused.
const MAX_IMAGE: u64 = 1 << 30;

/// What an OVMF guest's options do not go with: they would have no effect.
const NO_OVMF: [&str; 5] = ["config", "plan", "igvm", "digest", "check_id_block"];

/// Compute the launch digest that a guest must report.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("source").required(true).args(["config", "plan", "ovmf", "igvm", "digest", "check_id_block"]))]
pub struct Measure {
    /// A configuration for `casemate run`: the digest that this launch will have.
    config: Option<PathBuf>,
    /// List every measured page of a configuration: address, kind, what it is, hash.
    #[arg(long, conflicts_with_all = ["ovmf", "igvm", "digest", "check_id_block"])]
    explain: bool,
    /// Keep the launch plan of a configuration in this file, to be measured again with --plan.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["plan", "ovmf", "igvm", "digest", "check_id_block"])]
    save_plan: Option<PathBuf>,
    /// A launch plan that --save-plan kept: no other file is needed.
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
    /// A guest that starts in this OVMF image.
    #[arg(long, value_name = "FILE")]
    ovmf: Option<PathBuf>,
    /// An IGVM file for SEV-SNP.
    #[arg(long, value_name = "FILE")]
    igvm: Option<PathBuf>,
    /// A digest known already, 48 bytes in hexadecimal: to make an ID block for it.
    #[arg(long, value_name = "HEX")]
    digest: Option<String>,
    /// The VMM that launches the OVMF guest.
    #[arg(long, value_enum, default_value = "qemu", conflicts_with_all = NO_OVMF)]
    vmm: VmmName,
    /// Number of vCPUs.
    #[arg(long, default_value_t = 1, conflicts_with_all = NO_OVMF)]
    vcpus: u32,
    /// CPU model of the VMM, such as EPYC-v4 or EPYC-Milan.
    #[arg(long, default_value = "EPYC-v4", conflicts_with = "cpu_signature", conflicts_with_all = NO_OVMF)]
    cpu: String,
    /// CPUID 1 EAX of the CPU model instead of its name.
    #[arg(long, value_name = "N", value_parser = integer_32, conflicts_with_all = NO_OVMF)]
    cpu_signature: Option<u32>,
    /// SEV_FEATURES of the vCPUs.
    #[arg(long, default_value = "0x1", value_parser = integer, conflicts_with_all = NO_OVMF)]
    guest_features: u64,
    /// Kernel of a measured direct boot.
    #[arg(long, value_name = "FILE", conflicts_with_all = NO_OVMF)]
    kernel: Option<PathBuf>,
    /// Initrd of a measured direct boot.
    #[arg(long, value_name = "FILE", requires = "kernel")]
    initrd: Option<PathBuf>,
    /// Kernel command line of a measured direct boot.
    #[arg(long, value_name = "TEXT", requires = "kernel", default_value = "")]
    append: String,
    #[command(flatten)]
    id: id_block::IdBlockArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum VmmName {
    Qemu,
    Ec2,
    Gce,
}

/// Runs the subcommand.
///
/// # Errors
/// [`Failure`] with the exit status.
pub fn run(args: &Measure) -> Outcome {
    let Some(Launch { digest, what, policy }) = launch(args)? else {
        return id_block::check(&args.id, args.json);
    };
    let files = id_block::create(&args.id, digest, policy)?;
    if args.json {
        print_json(&json!({
            "launch-digest": encode(&digest),
            "of": what,
            "id-key-digest": files.as_ref().map(|files| encode(&files.id_key_digest)),
            "author-key-digest": files.as_ref().and_then(|files| files.author_key_digest).map(|d| encode(&d)),
        }));
    } else {
        outln!("{}", encode(&digest));
        if let Some(files) = files {
            outln!("ID key digest     {}", encode(&files.id_key_digest));
            if let Some(author) = files.author_key_digest {
                outln!("author key digest {}", encode(&author));
            }
        }
    }
    Ok(())
}

/// A launch as its source describes it.
struct Launch {
    digest: Digest384,
    what: &'static str,
    /// The guest policy, where the source states it.
    policy: Option<u64>,
}

/// The launch of the given source; none when an ID block is to be checked instead.
fn launch(args: &Measure) -> Result<Option<Launch>, Failure> {
    let found = |digest, what| Ok(Some(Launch { digest, what, policy: None }));
    if args.config.is_some() || args.plan.is_some() {
        return own(args).map(Some);
    }
    if let Some(path) = &args.ovmf {
        return found(ovmf(args, path)?, "OVMF guest");
    }
    if let Some(path) = &args.igvm {
        let launch = igvm_launch(&read_image(path)?).map_err(|error| bad(path, &error))?;
        let (digest, policy) = (launch.digest, Some(launch.policy));
        return Ok(Some(Launch { digest, what: "IGVM file", policy }));
    }
    let Some(text) = &args.digest else { return Ok(None) };
    let digest =
        casemate_attestation::hex::from_people(text).and_then(|bytes| bytes.try_into().ok());
    let digest = digest
        .ok_or_else(|| Failure::BadInput("--digest: not 48 bytes of hexadecimal".to_owned()))?;
    found(digest, "given digest")
}

/// The launch of Casemate's own guest.
#[cfg(feature = "vm")]
fn own(args: &Measure) -> Result<Launch, Failure> {
    let plan = match (&args.config, &args.plan) {
        (Some(path), _) => config::plan(path, args.save_plan.is_some())?,
        (None, Some(path)) => config::kept(path)?,
        (None, None) => return Err(Failure::BadInput("no configuration and no plan".into())),
    };
    if let Some(file) = &args.save_plan {
        crate::files::write_file(file, &plan.to_bytes())?;
    }
    let digest = config::digest(&plan, args.explain, args.json)?;
    let policy = plan.snp.as_ref().map(|launch| launch.policy);
    Ok(Launch { digest, what: "casemate guest", policy })
}

/// The verifier alone has no boot code, which is most of what such a launch measures.
#[cfg(not(feature = "vm"))]
fn own(_: &Measure) -> Result<Launch, Failure> {
    let text = "this program was built as the verifier alone, without the boot code that a launch measures: \
                compute the digest with the whole `casemate`, and give it as `--digest`";
    Err(Failure::BadInput(text.into()))
}

fn ovmf(args: &Measure, path: &Path) -> Result<Digest384, Failure> {
    let image = read_image(path)?;
    let signature = match args.cpu_signature {
        Some(signature) => signature,
        None => cpu_model(&args.cpu).ok_or_else(|| {
            Failure::BadInput(format!("--cpu {}: not one of {}", args.cpu, cpu_models()))
        })?,
    };
    let hashes = match &args.kernel {
        None => None,
        Some(kernel) => {
            let initrd = args.initrd.as_deref().map_or(Ok(Vec::new()), read_image)?;
            Some(KernelHashes::new(&read_image(kernel)?, &initrd, &args.append))
        }
    };
    let machine = Machine {
        vmm: match args.vmm {
            VmmName::Qemu => Vmm::Qemu,
            VmmName::Ec2 => Vmm::Ec2,
            VmmName::Gce => Vmm::Gce,
        },
        ovmf: Ovmf::parse(&image).map_err(|error| bad(path, &error))?,
        vcpus: args.vcpus,
        signature,
        sev_features: args.guest_features,
        hashes,
    };
    machine.launch_digest().map_err(|error| bad(path, &error))
}

fn bad(path: &Path, error: &MeasureError) -> Failure {
    Failure::BadInput(format!("{}: {error}", path.display()))
}

fn read_image(path: &Path) -> Result<Vec<u8>, Failure> {
    read_at_most(path, MAX_IMAGE)
}
