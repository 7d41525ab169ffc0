//! The virtual host, for tests: a small Linux with KVM in QEMU, in which a test runs one command.
//!
//! A thin, typed front of the script `tests/host/run`, which documents what the host is. Each run
//! starts a fresh host (about three seconds) and removes it; nothing is shared between runs, and
//! runs may be concurrent. `CASEMATE_HOST_KERNEL=7` in the environment runs every host on the
//! second kernel instead of the usual one.
//!
//! ```no_run
//! use casemate_test_host::{Host, Kind};
//! use std::time::Duration;
//!
//! let output = Host::new(Kind::Plain)?
//!     .file("target/release/casemate", "/bin/casemate")
//!     .timeout(Duration::from_secs(60))
//!     .run("casemate host --json")?;
//! assert_eq!(output.status, 0, "{}", output.log);
//! # Ok::<(), casemate_test_host::Error>(())
//! ```

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Which KVM the virtual host offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Debian's own modules: plain VMs.
    Plain,
    /// KVM with software-protected VMs: VM type 1, memory attributes, `guest_memfd`.
    Protected,
    /// The virtual SNP host: VM type 4 and `/dev/sev` on a software MODEL of the processor.
    Snp,
}

impl Kind {
    fn option(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Protected => Some("--protected"),
            Self::Snp => Some("--snp"),
        }
    }
}

/// Why a command could not be run in the virtual host.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The host cannot be built here, for example because a package cannot be had.
    #[error("the virtual host cannot be built: {0}")]
    Unavailable(String),
    /// The script could not be started.
    #[error("cannot start {path}: {source}")]
    Start {
        /// The script.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// The command did not end in time; everything was killed.
    #[error("the command did not end within {limit:?}; kernel log:\n{log}")]
    Timeout {
        /// The limit that was set.
        limit: Duration,
        /// Kernel log of the host.
        log: String,
        /// What the command had written to its standard output.
        stdout: String,
    },
    /// The host itself failed: it came up without a command's status.
    #[error("the virtual host gave no exit status: {stderr}\nkernel log:\n{log}")]
    NoStatus {
        /// What the script said.
        stderr: String,
        /// Kernel log of the host.
        log: String,
    },
}

/// What a command left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Exit status of the command (128 + signal number when a signal ended it).
    pub status: i32,
    /// Its standard output.
    pub stdout: String,
    /// Its error output, and remarks of the script.
    pub stderr: String,
    /// Kernel log of the virtual host.
    pub log: String,
}

/// A virtual host to be started with [`Host::run`].
#[derive(Debug, Clone)]
pub struct Host {
    arguments: Vec<OsString>,
    limit: Duration,
}

impl Host {
    /// Prepares a host of this kind, building it when that has not been done (the first time takes
    /// minutes for the kinds other than [`Kind::Plain`]).
    ///
    /// # Errors
    /// [`Error::Unavailable`] names what is missing, [`Error::Start`] a missing shell or script.
    pub fn new(kind: Kind) -> Result<Self, Error> {
        build(kind, &[])?;
        let arguments = kind.option().map(OsString::from).into_iter().collect();
        Ok(Self { arguments, limit: Duration::from_secs(120) })
    }

    /// Why a host of this kind cannot be started now without building or installing anything, or
    /// `None` if it can.
    #[must_use]
    pub fn unavailable(kind: Kind) -> Option<String> {
        build(kind, &["--check"]).err().map(|error| error.to_string())
    }

    /// Whether a host of this kind can be started now, without building or installing anything.
    #[must_use]
    pub fn available(kind: Kind) -> bool {
        Self::unavailable(kind).is_none()
    }

    /// Puts a file into the host, executable. `to` is an absolute path there.
    #[must_use]
    pub fn file(self, from: impl AsRef<Path>, to: &str) -> Self {
        self.pair("--file", from.as_ref(), to)
    }

    /// Puts a directory into the host. `to` is an absolute path there.
    #[must_use]
    pub fn directory(self, from: impl AsRef<Path>, to: &str) -> Self {
        self.pair("--dir", from.as_ref(), to)
    }

    /// Adds a `newc` cpio archive to the host's file system.
    #[must_use]
    pub fn archive(self, file: impl AsRef<Path>) -> Self {
        self.option("--cpio", file.as_ref())
    }

    /// Brings the host's file or directory `from` back to `to` when the command has ended.
    #[must_use]
    pub fn get(mut self, from: &str, to: impl AsRef<Path>) -> Self {
        let mut pair = OsString::from(from);
        pair.push("=");
        pair.push(to.as_ref());
        self.arguments.extend([OsString::from("--get"), pair]);
        self
    }

    /// Memory of the host in MiB (1536 when not said).
    #[must_use]
    pub fn memory_mib(self, mib: u32) -> Self {
        self.option("--mem", mib.to_string())
    }

    /// Processors of the host for its programs and guests (1 when not said, which is the fastest
    /// for most runs).
    #[must_use]
    pub fn cpus(self, count: u32) -> Self {
        self.option("--cpus", count.to_string())
    }

    /// Runs on the emulator of Debian testing and on no other; the run fails when it cannot be had.
    /// When this is not said, the usual choice is made (`tests/host/README.md`).
    #[must_use]
    pub fn newer_emulator(self) -> Self {
        self.option("--qemu", "newer")
    }

    /// Puts the uncompressed kernel into the host as `/k/vmlinux`; `/k/vmlinuz` is always there.
    #[must_use]
    pub fn vmlinux(mut self) -> Self {
        self.arguments.push("--vmlinux".into());
        self
    }

    /// With [`Kind::Snp`]: how much the model writes to the kernel log (1 to 3).
    #[must_use]
    pub fn trace(self, level: u8) -> Self {
        self.option("--trace", level.to_string())
    }

    /// With [`Kind::Snp`]: how the host misbehaves.
    #[must_use]
    pub fn faults(self, specification: &str) -> Self {
        self.option("--faults", specification)
    }

    /// When everything is killed, in whole seconds (120 when not said). Includes the start of the
    /// host.
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.limit = Duration::from_secs(limit.as_secs().max(1));
        self
    }

    /// Runs one shell command in a fresh host and waits for its end.
    ///
    /// # Errors
    /// When the command has no exit status: out of time, or the host failed. A command that fails
    /// is not an error here; see [`Output::status`].
    pub fn run(&self, command: &str) -> Result<Output, Error> {
        static RUNS: AtomicU64 = AtomicU64::new(0);
        let run = RUNS.fetch_add(1, Ordering::Relaxed);
        let log_file =
            std::env::temp_dir().join(format!("virtual-host-{}-{run}.log", std::process::id()));
        let script = directory().join("run");
        let result = Command::new(&script)
            .args(&self.arguments)
            .args(["--timeout", &self.limit.as_secs().to_string(), "--log"])
            .arg(&log_file)
            .args(["--", command])
            .stdin(Stdio::null())
            .output();
        let log = std::fs::read(&log_file).map(|bytes| text(&bytes)).unwrap_or_default();
        // Absent when the script failed before it started anything.
        let _ = std::fs::remove_file(&log_file);
        let result = result.map_err(|source| Error::Start { path: script, source })?;
        let (stdout, stderr) = (text(&result.stdout), text(&result.stderr));
        // The script says which it was: the command itself may exit with the same numbers.
        match result.status.code() {
            Some(124) if stderr.contains("virtual host: out of time") => {
                Err(Error::Timeout { limit: self.limit, log, stdout })
            }
            Some(125) if stderr.contains("virtual host: ") => Err(Error::NoStatus { stderr, log }),
            Some(status) => Ok(Output { status, stdout, stderr, log }),
            None => Err(Error::NoStatus { stderr, log }),
        }
    }

    fn option(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.arguments.extend([OsString::from(name), value.into()]);
        self
    }

    fn pair(self, name: &str, from: &Path, to: &str) -> Self {
        let mut pair = from.as_os_str().to_owned();
        pair.push("=");
        pair.push(to);
        self.option(name, pair)
    }
}

/// Which of the kernels that Debian's archive offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Age {
    /// That of the oldest suite which still has a name among the releases.
    Oldest,
    /// That of the highest version in any suite.
    Newest,
}

/// A kernel for guests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestKernel {
    /// The bzImage.
    pub image: PathBuf,
    /// What `uname -r` says of it.
    pub release: String,
}

/// A kernel for guests from Debian's archive, downloaded when it was not there.
///
/// # Errors
/// [`Error::Unavailable`] when it cannot be had, [`Error::Start`] when the script is missing.
pub fn guest_kernel(age: Age) -> Result<GuestKernel, Error> {
    let script = directory().join("guest-kernel");
    let name = match age {
        Age::Oldest => "oldest",
        Age::Newest => "newest",
    };
    let result = Command::new(&script)
        .arg(name)
        .stdin(Stdio::null())
        .output()
        .map_err(|source| Error::Start { path: script, source })?;
    let unavailable = |why: String| Error::Unavailable(why.trim().to_owned());
    if !result.status.success() {
        return Err(unavailable(text(&result.stderr)));
    }
    let image = PathBuf::from(text(&result.stdout).trim());
    let version = image.with_file_name("version");
    let release = std::fs::read_to_string(&version)
        .map_err(|error| unavailable(format!("{}: {error}", version.display())))?;
    Ok(GuestKernel { image, release: release.trim().to_owned() })
}

/// Where the scripts are: beside this crate's manifest.
fn directory() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn build(kind: Kind, extra: &[&str]) -> Result<(), Error> {
    let script = directory().join("build");
    let result = Command::new(&script)
        .args(kind.option())
        .args(extra)
        .stdin(Stdio::null())
        .output()
        .map_err(|source| Error::Start { path: script, source })?;
    if result.status.success() {
        return Ok(());
    }
    Err(Error::Unavailable(text(&result.stderr).trim().to_owned()))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace('\r', "")
}
