//! `casemate measure`: the launch digest a guest must report, before it is launched.

#[cfg(feature = "vm")]
pub(crate) mod config;
mod counts;
mod id_block;
mod other;

use crate::files::{print_json, read_at_most};
use crate::guest_flags::GuestFlags;
use crate::numbers::{integer, integer_32};
use crate::out::outln;
use crate::{Failure, Outcome};
use casemate_attestation::digest::Digest384;
use casemate_attestation::hex::encode;
use casemate_attestation::measure::MeasureError;
use clap::{ArgGroup, Args, ValueEnum};
use counts::Counts;
use serde_json::json;
use std::path::{Path, PathBuf};

/// Firmware, kernels and initrds larger than this are refused.
const MAX_IMAGE: u64 = 1 << 30;

/// What an OVMF guest's options do not go with: they would have no effect. Nor do they have one
/// without any of these, where the guest is Casemate's own by its flags, so each requires `--ovmf`.
const NO_OVMF: [&str; 5] = ["config", "plan", "igvm", "digest", "check_id_block"];

/// What the digest of Casemate's own guest vouches for without naming an address.
const PLACES: &str = "\
Where a guest of Casemate has its files is not measured, but the rule that its
measured boot code finds it by. \"Low memory\" is RAM below 3 GiB; more than
that goes on at 4 GiB.
  window  kernel, initrd, command line and ACPI tables as the host stages
          them, in this order, each from the start of a page: at the top, in
          whole blocks of 2 MiB, of the highest RAM that has room for it above
          the kernel's memory; made private and given to Linux afterwards
  kernel  an ELF file's segments at their addresses, a bzImage where it
          prefers to be; its file is copied to the first block of 2 MiB behind
          that
  initrd  as high as possible below 2 GiB, else in low memory, else above
          4 GiB where the kernel takes it there; above the kernel, below the
          window
Of an ELF kernel only what is loaded is staged and measured. The boot code
accepts no address from the host, refuses a memory map that is out of order,
overlaps, or has RAM where the boot code, devices or no addresses are, and a
guest that is too small.

Examples:
  casemate measure vm.toml --explain
  casemate measure --kernel vmlinuz --initrd initrd.img \\
      --cmdline \"console=ttyS0\" --vcpus 1-16
  casemate measure vm.toml --id-key id.pem \\
      --id-block block.bin --id-auth auth.bin
  casemate measure --ovmf OVMF.fd --vcpus 4 --cpu EPYC-v4
  casemate measure --igvm guest.igvm
";

/// Compute the launch digest that a guest must report.
///
/// Of a configuration for `casemate run`, of flags as `casemate run` takes them, or of both. It
/// depends on kernel, initrd, command line, number of vCPUs, VMSA features, and this program's boot
/// code, but not on the guest's memory: kernel, initrd and staging are placed by a rule that the
/// measured boot code applies to the memory it finds.
#[derive(Debug, Args)]
#[command(after_long_help = PLACES)]
#[command(group = ArgGroup::new("source").args(["config", "plan", "ovmf", "igvm", "digest", "check_id_block"]))]
pub struct Measure {
    /// A configuration for `casemate run`: the digest that this launch will have. Flags win over
    /// it.
    config: Option<PathBuf>,
    #[command(flatten)]
    guest: GuestFlags,
    /// Number of vCPUs, 1 to 64, or a range of numbers such as 1-16, for a table of digests
    /// [default: the configuration's, else 1].
    #[arg(long, value_name = "N|N-M", conflicts_with_all = ["plan", "igvm", "digest", "check_id_block"])]
    vcpus: Option<Counts>,
    /// List every measured page: address, kind, what it is, hash.
    #[arg(long, conflicts_with_all = ["digest", "check_id_block"])]
    explain: bool,
    /// Keep the measured part of a launch in this file, to be measured again with --plan.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["plan", "ovmf", "igvm", "digest", "check_id_block"])]
    save_plan: Option<PathBuf>,
    /// A launch plan that --save-plan kept: no other file is needed.
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
    /// Measure with this boot code instead of this program's: another release's, exported by its
    /// `casemate boot-code export`, if it takes the same version of parameters.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["plan", "ovmf", "igvm", "digest", "check_id_block"])]
    boot_code: Option<PathBuf>,
    /// A guest that starts in this OVMF image; --kernel, --initrd and --cmdline are those of a
    /// measured direct boot.
    #[arg(long, value_name = "FILE")]
    ovmf: Option<PathBuf>,
    /// An IGVM file for SEV-SNP.
    #[arg(long, value_name = "FILE")]
    igvm: Option<PathBuf>,
    /// A digest known already, 96 hexadecimal digits: to make an ID block for it.
    #[arg(long, value_name = "HEX")]
    digest: Option<String>,
    /// The VMM that launches the OVMF guest.
    #[arg(long, value_enum, default_value = "qemu", requires = "ovmf", conflicts_with_all = NO_OVMF)]
    vmm: VmmName,
    /// CPU model of the VMM, such as EPYC-v4 or EPYC-Milan-v2; used by QEMU alone [default:
    /// EPYC-v4, said on stderr].
    #[arg(long, value_name = "MODEL", conflicts_with = "cpu_signature", requires = "ovmf", conflicts_with_all = NO_OVMF)]
    cpu: Option<String>,
    /// CPUID 1 EAX of the CPU model instead of its name.
    #[arg(long, value_name = "N", value_parser = integer_32, requires = "ovmf", conflicts_with_all = NO_OVMF)]
    cpu_signature: Option<u32>,
    /// SEV_FEATURES of the vCPUs, as they are given: KVM always sets bit 0, SNPActive [default:
    /// 0x1, said on stderr].
    #[arg(long, value_name = "N", value_parser = integer, requires = "ovmf", conflicts_with_all = NO_OVMF)]
    guest_features: Option<u64>,
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
    let Some(launches) = launches(args)? else {
        return id_block::check(&args.id, args.json);
    };
    let several = launches.len() > 1;
    let mut rows = Vec::new();
    for launch in launches {
        let files = id_block::create(&args.id, &launch, several)?;
        rows.push((launch, files));
    }
    match rows.as_slice() {
        [(launch, files)] if args.json => print_json(&row(launch, files.as_ref())),
        [(launch, files)] => {
            outln!("{}", encode(&launch.digest));
            if let Some(files) = files {
                outln!("ID key digest     {}", encode(&files.id_key_digest));
                if let Some(author) = files.author_key_digest {
                    outln!("author key digest {}", encode(&author));
                }
            }
        }
        rows if args.json => {
            let all: Vec<_> =
                rows.iter().map(|(launch, files)| row(launch, files.as_ref())).collect();
            print_json(&json!(all));
        }
        rows => {
            outln!("vCPUs  launch digest");
            for (launch, _) in rows {
                outln!("{:5}  {}", launch.vcpus.unwrap_or(0), encode(&launch.digest));
            }
        }
    }
    Ok(())
}

fn row(launch: &Launch, files: Option<&id_block::Created>) -> serde_json::Value {
    json!({
        "launch-digest": encode(&launch.digest),
        "of": launch.what,
        "vcpus": launch.vcpus,
        "boot-code-sha256": launch.boot_code,
        "version": launch.boot_code.as_ref().map(|_| env!("CARGO_PKG_VERSION")),
        "id-key-digest": files.map(|files| encode(&files.id_key_digest)),
        "author-key-digest": files.and_then(|files| files.author_key_digest).map(|d| encode(&d)),
    })
}

/// A launch as its source describes it.
struct Launch {
    digest: Digest384,
    what: &'static str,
    /// The guest policy, where the source states it.
    policy: Option<u64>,
    /// The number of vCPUs that it is the digest for, where that was asked.
    vcpus: Option<u32>,
    /// SHA-256 of the boot code in it.
    boot_code: Option<String>,
}

/// The launches of the given source, one for each number of vCPUs; none when an ID block is to be
/// checked instead.
fn launches(args: &Measure) -> Result<Option<Vec<Launch>>, Failure> {
    let found = |digest, what| {
        Ok(Some(vec![Launch { digest, what, policy: None, vcpus: None, boot_code: None }]))
    };
    refuse_idle_flags(args)?;
    if let Some(path) = &args.ovmf {
        let image = read_image(path)?;
        other::say_assumed(args);
        let counts = args.vcpus.unwrap_or(Counts::ONE);
        let launch = |vcpus| {
            let digest = other::ovmf(args, path, &image, vcpus)?;
            Ok(Launch {
                digest,
                what: "OVMF guest",
                policy: None,
                vcpus: Some(vcpus),
                boot_code: None,
            })
        };
        return counts.each().map(launch).collect::<Result<_, _>>().map(Some);
    }
    if let Some(path) = &args.igvm {
        return other::igvm(path, args.explain, args.json).map(|launch| Some(vec![launch]));
    }
    if let Some(text) = &args.digest {
        let digest = casemate_attestation::hex::from_people(text);
        let digest = digest.and_then(|bytes| bytes.try_into().ok());
        let text = "--digest: not 48 bytes of hexadecimal";
        return found(digest.ok_or_else(|| Failure::BadInput(text.into()))?, "given digest");
    }
    if args.id.is_check() {
        return Ok(None);
    }
    own(args).map(Some)
}

/// Refuses flags of `run` where they would have no effect.
fn refuse_idle_flags(args: &Measure) -> Result<(), Failure> {
    let (flag, source) = match args {
        Measure { ovmf: Some(_), guest, .. } => (guest.beyond_ovmf(), "--ovmf"),
        Measure { igvm: Some(_), guest, .. } => (guest.any(), "--igvm"),
        Measure { digest: Some(_), guest, .. } => (guest.any(), "--digest"),
        Measure { plan: Some(_), guest, .. } => (guest.any(), "--plan"),
        Measure { id, guest, .. } if id.is_check() => (guest.any(), "--check-id-block"),
        _ => (None, ""),
    };
    let refuse =
        |flag| Failure::BadInput(format!("{flag} has no effect with {source}: leave it out"));
    flag.map_or(Ok(()), |flag| Err(refuse(flag)))
}

/// The launches of Casemate's own guest.
#[cfg(feature = "vm")]
fn own(args: &Measure) -> Result<Vec<Launch>, Failure> {
    config::launches(args)
}

/// The verifier alone has no boot code, which is most of what such a launch measures.
#[cfg(not(feature = "vm"))]
fn own(_: &Measure) -> Result<Vec<Launch>, Failure> {
    let text = "this program was built as the verifier alone, without the boot code that a launch measures: \
                compute the digest with the whole `casemate`, and give it as `--digest`";
    Err(Failure::BadInput(text.into()))
}

fn bad(path: &Path, error: &MeasureError) -> Failure {
    Failure::BadInput(format!("{}: {error}", path.display()))
}

fn read_image(path: &Path) -> Result<Vec<u8>, Failure> {
    read_at_most(path, MAX_IMAGE)
}
