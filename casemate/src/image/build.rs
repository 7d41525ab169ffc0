//! `casemate image build`: a folder with all that a guest boots from.

use super::identity::IdentityArgs;
use super::launches;
use super::place::{Place, failure};
use super::root::{Owners, say_dropped};
use super::secrets::{self, SecretArgs};
use crate::files::print_json;
use crate::out::{errln, outln};
use crate::{Failure, Outcome};
use casemate_attestation::hex::encode;
use casemate_foreign_text as foreign;
use casemate_image::build::{self, Image, Settings};
use casemate_image::kernel::{self, Origin};
use casemate_image::launch::{INITRD, KERNEL, LAUNCH, Launch, MANIFEST, ROOT, Snp};
use casemate_image::process::Changes;
use casemate_image::source::Loaded;
use casemate_manifest::Console;
use casemate_result::PublicKey;
use clap::{Args, ValueEnum};
use serde_json::json;
use std::path::PathBuf;

/// PID 1 of every image, which the build script has built.
pub(super) static INIT: &[u8] = include_bytes!(env!("CASEMATE_INIT_IMAGE"));
/// The date of this version, 2026-11-01: what the clock of a guest is at least at where nothing
/// says more. Never the builder's clock, which would make two images of one input.
const RELEASED: u64 = 1_793_491_200;

const EXAMPLES: &str = "\
The image is a folder:
  kernel, initrd  the kernel as it was given; PID 1 and the modules it needs
  root.img        the read-only root disk: EROFS, then its dm-verity tree; in
                  it /.casemate/manifest.json
  manifest.json   a copy of that
  launch.json     the kernel command line with the root's hash, and the launch
                  digest for each number of vCPUs: for `casemate run` and
                  `image show`; no guest reads it
Every byte depends on SOURCE, the kernel, these options and this version of
Casemate, and on nothing else. The kernel is a file and the folder of its
modules, or a Debian package linux-image-..., which is read without dpkg.
Neither root nor another program is needed.

The guest's clock is never before a time that is measured: when the container
image was made, as it says itself; else the number of seconds since 1970 in
the variable SOURCE_DATE_EPOCH; else the date of this version of Casemate. The
clock of whoever builds is never asked.

The folder gets its name when all of it is there. A build that is killed in
that very moment can leave a folder .casemate-image-PID beside it, which
nobody uses again and which can be removed; before that moment nothing has a
name.

Of a container image entrypoint, command, environment, user, groups, working
directory, stop signal and ports are as it says. A folder and a tar file say
nothing: write the program behind `--`.

Secrets come from a key broker, which the guest knows by the hash of its
public key, when it has proven itself: see docs/secrets.md.

What may go to the console, which the host reads, is measured with the rest:
  none    nothing, and no exit status
  status  the exit status and sentences of PID 1 (the default)
  public  also what the workload writes

Examples:
  casemate image build app.tar -o app.img/ --kernel-package linux-image.deb
  casemate image build rootfs/ -o app.img/ --kernel vmlinuz \\
      --modules /lib/modules/6.12.0 --console public -- /bin/app --verbose
  casemate image build app.tar -o app.img/ --kernel-package linux-image.deb \\
      --secret acme/db/key=db.key --broker-from-initdata
";

/// Make an image that boots: a kernel, an initramfs and the read-only root disk of a workload.
#[derive(Debug, Args)]
#[command(
    after_long_help = EXAMPLES,
    override_usage = "casemate image build [OPTIONS] -o <FOLDER> <SOURCE> [-- <PROGRAM>...]"
)]
pub struct Build {
    /// A folder, an OCI image layout (a folder or an archive), an archive of `docker save`, or a
    /// tar file of a root file system; archives may be compressed by gzip, xz or zstd.
    source: PathBuf,

    /// The folder to make; one that is there already is left alone.
    #[arg(short, long, value_name = "FOLDER")]
    output: PathBuf,

    #[command(flatten)]
    kernel: KernelArgs,

    /// Of several images, the one of this name.
    #[arg(long = "ref", value_name = "NAME")]
    reference: Option<String>,

    /// Who owns the files of a folder.
    #[arg(long, value_name = "WHO", default_value = "root")]
    owners: Owners,

    /// When the files of a folder were changed, in seconds since 1970.
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, default_value_t = 0)]
    mtime: i64,

    /// What may go to the console, which the host reads.
    #[arg(long, value_name = "WHAT", default_value = "status")]
    console: ConsoleArg,

    /// Let the kernel write to the console, too: for looking for faults. The image has another
    /// digest, and a word on its command line that a policy can forbid.
    #[arg(long)]
    debug: bool,

    /// A key to which results are sealed, as `casemate result-key` prints it; once for each. What
    /// the workload leaves in /run/casemate/out leaves the guest so, and not otherwise.
    #[arg(long, value_name = "KEY")]
    recipient: Vec<PublicKey>,

    #[command(flatten)]
    secrets: SecretArgs,

    #[command(flatten)]
    identity: IdentityArgs,

    /// A variable, in place of the image's of this name; once for each.
    #[arg(long, value_name = "NAME=VALUE")]
    env: Vec<String>,

    /// User and perhaps group, names or numbers, in place of the image's.
    #[arg(long, value_name = "USER[:GROUP]")]
    user: Option<String>,

    /// Where the program starts, in place of the image's.
    #[arg(long, value_name = "FOLDER")]
    workdir: Option<String>,

    /// Position of the C-bit, on which launch digests depend: 51 on every EPYC.
    #[arg(long, value_name = "N", default_value_t = 51)]
    c_bit: u8,

    /// Print the result as JSON.
    #[arg(long)]
    json: bool,

    /// Program and arguments, in place of the image's entrypoint and command.
    #[arg(last = true, value_name = "PROGRAM")]
    program: Vec<String>,
}

/// Where the kernel comes from.
#[derive(Debug, Args)]
pub(super) struct KernelArgs {
    /// Kernel: a bzImage or an ELF vmlinux.
    #[arg(long, value_name = "FILE", conflicts_with = "kernel_package")]
    kernel: Option<PathBuf>,

    /// Folder of its modules, such as /lib/modules/6.12.0; without it all that a guest needs must
    /// be built into the kernel.
    #[arg(long, value_name = "FOLDER", requires = "kernel")]
    modules: Option<PathBuf>,

    /// A Debian package linux-image-..., in place of both.
    #[arg(long, value_name = "FILE")]
    kernel_package: Option<PathBuf>,
}

impl KernelArgs {
    /// The kernel; None where none is named.
    pub(super) fn origin(&self) -> Option<Origin<'_>> {
        match (&self.kernel, &self.kernel_package) {
            (Some(kernel), _) => Some(Origin::Files { kernel, modules: self.modules.as_deref() }),
            (None, Some(package)) => Some(Origin::Package(package)),
            (None, None) => None,
        }
    }

    /// A failure with the user's name of the kernel in it, in place of the one it had meanwhile.
    fn named(&self, failure: Failure, meanwhile: &std::path::Path) -> Failure {
        let name = self.kernel.as_ref().or(self.kernel_package.as_ref());
        let name = name.map_or_else(String::new, |name| name.display().to_string());
        match failure {
            Failure::BadInput(text) => {
                Failure::BadInput(text.replace(&meanwhile.display().to_string(), &name))
            }
            other => other,
        }
    }
}

/// A path of a file that has no name.
fn path_of(file: &std::fs::File) -> PathBuf {
    use std::os::fd::AsRawFd;
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ConsoleArg {
    None,
    Status,
    Public,
}

impl From<ConsoleArg> for Console {
    fn from(arg: ConsoleArg) -> Self {
        match arg {
            ConsoleArg::None => Self::None,
            ConsoleArg::Status => Self::Status,
            ConsoleArg::Public => Self::Public,
        }
    }
}

/// Runs the subcommand.
pub fn run(args: &Build) -> Outcome {
    let origin = args.kernel.origin().ok_or_else(|| {
        Failure::BadInput(
            "an image needs a kernel: --kernel FILE --modules FOLDER, or --kernel-package FILE"
                .into(),
        )
    })?;
    let signer = args.identity.signer()?;
    let (wanted, broker) = args.secrets.settings()?;
    let place = Place::new(&args.output)?;
    let mut settings = Settings {
        reference: args.reference.clone(),
        keep_owners: matches!(args.owners, Owners::Keep),
        mtime: args.mtime,
        changes: Changes {
            args: args.program.clone(),
            env: args.env.clone(),
            user: args.user.clone(),
            working_dir: args.workdir.clone(),
        },
        console: args.console.into(),
        debug: args.debug,
        recipients: args.recipient.iter().map(ToString::to_string).collect(),
        secrets: wanted,
        broker,
        time_floor: RELEASED,
    };
    let purpose = secrets::purpose(&settings);
    let kernel = kernel::read(origin, purpose, place.scratch.folder()).map_err(failure)?;
    let mut spool = place.scratch.room().map_err(failure)?;
    let room = || place.scratch.room();
    let loaded = build::load(&args.source, &settings, &mut spool, room).map_err(failure)?;
    settings.time_floor = time_floor(&loaded)?;
    let disk = place.scratch.nameless()?;
    let (boot, initrd) = build::boot(&kernel, INIT);
    let image = build::build(loaded, boot, &settings, &mut spool, &disk).map_err(failure)?;
    let snp = Snp { c_bit: args.c_bit, vmsa_features: 0 };
    // All that takes time is done before anything has a name.
    let kernel_file = place.scratch.nameless_with(&kernel.file)?;
    let initrd_file = place.scratch.nameless_with(&initrd)?;
    let (kernel_path, initrd_path) = (path_of(&kernel_file), path_of(&initrd_file));
    let digests = launches::digests(&kernel_path, &initrd_path, &image.cmdline, snp);
    let digests = digests.map_err(|failure| args.kernel.named(failure, &kernel_path))?;
    let mut launch = Launch::new(&image, snp, digests.iter().copied(), settings);
    if let Some(signer) = signer {
        signer.sign(&mut launch, &digests)?;
    }
    let launch_bytes = launch.to_bytes().map_err(failure)?;
    place.name_folder(|folder| {
        folder.link(&kernel_file, KERNEL)?;
        folder.link(&initrd_file, INITRD)?;
        folder.link(&disk, ROOT)?;
        folder.write(MANIFEST, &image.manifest_bytes)?;
        folder.write(LAUNCH, &launch_bytes)
    })?;
    print(args, &image, &launch);
    Ok(())
}

/// What the guest's clock is at least at: when the container image was made, as it says itself;
/// else what `SOURCE_DATE_EPOCH` says (reproducible-builds.org); else the date of this version.
fn time_floor(loaded: &Loaded) -> Result<u64, Failure> {
    let created = loaded.image.as_ref().and_then(|(_, config)| config.created.as_deref());
    if let Some(seconds) = created.and_then(whole_seconds) {
        return Ok(seconds);
    }
    match std::env::var_os("SOURCE_DATE_EPOCH") {
        None => Ok(RELEASED),
        Some(text) => text.to_str().and_then(|text| text.parse().ok()).ok_or_else(|| {
            Failure::BadInput("SOURCE_DATE_EPOCH is no number of seconds since 1970".into())
        }),
    }
}

/// Seconds since 1970 of a time as container images have it: with fractions of a second, in UTC.
/// Others say nothing that is needed so exactly.
fn whole_seconds(text: &str) -> Option<u64> {
    let (seconds, rest) = text.split_at_checked(19)?;
    let fraction = rest.strip_suffix('Z')?;
    let digits = fraction.strip_prefix('.').unwrap_or(fraction);
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    casemate_policy::utc::parse(&format!("{seconds}Z"))
}

fn print(args: &Build, image: &Image, launch: &Launch) {
    say_dropped(image.dropped);
    let root = encode(&image.root.root);
    if image.manifest.debug {
        errln!("casemate: note: this is a DEBUG image: its kernel writes to the console");
    }
    if args.json {
        print_json(&json!({
            "root_hash": root,
            "files": image.files,
            "cmdline": launch.cmdline,
            "image": image.manifest.built.image,
            "digests": launch.digests,
        }));
        return;
    }
    outln!("root hash  {root}");
    outln!("files      {}", image.files);
    outln!("console    {}", image.manifest.console.name());
    let program = image.manifest.process.args.iter().take(16);
    let program: Vec<String> = program.map(|word| foreign::value(word).to_string()).collect();
    outln!("program    {}", program.join(" "));
    if let Some(one) = launch.digests.first() {
        outln!("digest     {} (1 vCPU; `casemate image show` has the others)", one.digest);
    }
}

#[cfg(test)]
mod tests {
    use super::whole_seconds;

    #[test]
    fn times_of_container_images_are_read_and_others_are_none() {
        assert_eq!(whole_seconds("1970-01-02T00:00:01.123456789Z"), Some(86_401));
        assert_eq!(whole_seconds("1970-01-02T00:00:01Z"), Some(86_401));
        for other in
            ["", "1970-01-02T00:00:01+02:00", "0001-01-01T00:00:00Z", "x".repeat(30).as_str()]
        {
            assert_eq!(whole_seconds(other), None, "{other}");
        }
    }
}
