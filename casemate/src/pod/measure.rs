//! `casemate pod measure` and `casemate pod policy`: the numbers that a report of the pod's guest
//! must have, and who gives secrets to a guest that has them.

use super::Format;
use super::source::{Bound, bound};
use crate::files::print_json;
use crate::image::launches;
use crate::out::outln;
use crate::{Failure, Outcome};
use casemate_attestation::hex::encode;
use casemate_image::launch::Snp;
use casemate_initdata::{Casemate, Initdata};
use casemate_policy::Policy;
use clap::Args;
use serde_json::json;
use std::path::PathBuf;

const MEASURE: &str = "\
The launch digest is that of the guest that all pods of a shape have: kernel,
initrd, command line, boot code and the number of vCPUs. HOST_DATA is the
SHA-256 of the initdata, and so of the manifest. A report of the pod's guest
has both.

Examples:
  casemate pod measure initdata.toml --kernel vmlinuz --initrd initrd.img
  casemate pod measure initdata.toml --kernel vmlinuz --initrd initrd.img \\
      --cmdline \"console=ttyS0\" --format json
";

const POLICY: &str = "\
The policy is for a key broker: which reports are believed, and for each
secret of the pod a grant to guests with these launch digests and this
HOST_DATA. What is not written is at its strictest, so a grant gives nothing
before it says how often and when: --uses, --from and --until.

Examples:
  casemate pod policy initdata.toml --kernel vmlinuz --initrd initrd.img \\
      --uses 10 --from 2026-12-01T00:00:00Z --until 2027-01-01T00:00:00Z
";

/// The pod's guest: what it is bound to, and what it boots.
#[derive(Debug, Args)]
struct Guest {
    /// The initdata of the pod, as `pod manifest --initdata` prints it, or the pod with its
    /// annotation.
    initdata: PathBuf,

    /// Kernel of the guest: a bzImage or an ELF vmlinux.
    #[arg(long, value_name = "FILE")]
    kernel: PathBuf,

    /// Initial RAM file system of the guest.
    #[arg(long, value_name = "FILE")]
    initrd: PathBuf,

    /// Kernel command line of the guest.
    #[arg(long, value_name = "TEXT", default_value = "", allow_hyphen_values = true)]
    cmdline: String,

    /// Position of the C-bit, on which launch digests depend: 51 on every EPYC.
    #[arg(long, value_name = "N", default_value_t = 51)]
    c_bit: u8,
}

/// Compute what a report of a pod's guest must have: launch digests and HOST_DATA.
#[derive(Debug, Args)]
#[command(
    after_long_help = MEASURE,
    override_usage = "casemate pod measure --kernel <FILE> --initrd <FILE> <INITDATA>"
)]
pub struct MeasureArgs {
    #[command(flatten)]
    guest: Guest,

    /// Format of the output
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// Print the policy by which a key broker gives a pod its secrets.
#[derive(Debug, Args)]
#[command(
    after_long_help = POLICY,
    override_usage = "casemate pod policy --kernel <FILE> --initrd <FILE> <INITDATA>"
)]
pub struct PolicyArgs {
    #[command(flatten)]
    guest: Guest,

    /// How often each secret may be given out in all.
    #[arg(long, value_name = "N")]
    uses: Option<u64>,

    /// From when on secrets are given, such as 2026-12-01T00:00:00Z.
    #[arg(long, value_name = "TIME", requires = "until")]
    from: Option<String>,

    /// Until when.
    #[arg(long, value_name = "TIME", requires = "from")]
    until: Option<String>,
}

impl PolicyArgs {
    /// What a grant says of how often and when, and a comment for what it does not say.
    fn bounds(&self) -> String {
        let uses = match self.uses {
            Some(uses) => format!("uses = {uses}\n"),
            None => "# uses = N: nothing is given before this is said\n".into(),
        };
        let window = match (&self.from, &self.until) {
            (Some(from), Some(until)) => {
                format!("window = {{ from = {from:?}, until = {until:?} }}\n")
            }
            _ => "# window = { from = TIME, until = TIME }: nor before this is\n".into(),
        };
        uses + &window
    }
}

/// A guest that was measured.
struct Measured {
    initdata: Initdata,
    casemate: Casemate,
    /// Number of vCPUs and digest.
    digests: Vec<(u32, String)>,
}

impl Guest {
    fn measured(&self) -> Result<Measured, Failure> {
        let bad = |why: &str| {
            let path = casemate_foreign_text::value(self.initdata.display());
            Err(Failure::BadInput(format!("{path}: {why}")))
        };
        let Bound { manifest, initdata } = bound(&self.initdata)?;
        let Some((initdata, casemate)) = initdata else {
            return bad("a manifest alone has no HOST_DATA: `casemate pod manifest --initdata`");
        };
        let snp = Snp { c_bit: self.c_bit, vmsa_features: 0 };
        let all = launches::digests(&self.kernel, &self.initrd, &self.cmdline, snp)?;
        let of = |vcpus: &u32| {
            let found = all.iter().find(|(number, _)| number == vcpus);
            found.map(|(number, digest)| (*number, encode(digest)))
        };
        let digests: Option<Vec<_>> = manifest.pod.vcpus.iter().map(of).collect();
        match digests {
            Some(digests) => Ok(Measured { initdata, casemate, digests }),
            None => bad("it names more vCPUs than a guest of Casemate can have"),
        }
    }
}

/// Runs `pod measure`.
pub fn run(args: &MeasureArgs) -> Outcome {
    let Measured { initdata, digests, .. } = args.guest.measured()?;
    let host_data = encode(initdata.host_data());
    if args.format == Format::Json {
        let one = |(vcpus, digest): &(u32, String)| json!({ "vcpus": vcpus, "digest": digest });
        print_json(&json!({
            "host_data": host_data,
            "digests": digests.iter().map(one).collect::<Vec<_>>(),
        }));
        return Ok(());
    }
    outln!("HOST_DATA  {host_data}");
    outln!("vCPUs  launch digest (C-bit {})", args.guest.c_bit);
    for (vcpus, digest) in digests {
        outln!("{vcpus:5}  {digest}");
    }
    Ok(())
}

/// Runs `pod policy`. The policy is read back before it is printed.
pub fn policy(args: &PolicyArgs) -> Outcome {
    let Measured { initdata, casemate, digests } = args.guest.measured()?;
    let list: Vec<String> = digests.iter().map(|(_, digest)| format!("{digest:?}")).collect();
    let rules = format!(
        "measurement = [\n    {},\n]\nhost_data = [{:?}]\ncontext = [\"casemate-kbs-v1\"]\n",
        list.join(",\n    "),
        encode(initdata.host_data()),
    );
    let mut text = format!(
        "# Gives one pod its secrets, by its launch digests and its HOST_DATA.\n\
         schema_version = 1\nmin_engine = {:?}\nname = \"release of a pod\"\n\n\
         [attestation]\n{rules}",
        env!("CARGO_PKG_VERSION"),
    );
    for resource in casemate.secrets.values() {
        if !casemate_manifest::is_resource(resource) {
            return Err(Failure::BadInput("casemate.toml: a secret's name is none".into()));
        }
        text.push_str(&format!("\n[secrets.{resource:?}]\n{rules}{}", args.bounds()));
    }
    Policy::load(&text, "pod policy")
        .map_err(|e| Failure::BadInput(format!("this makes no policy: {e}")))?;
    outln!("{}", text.trim_end());
    Ok(())
}
