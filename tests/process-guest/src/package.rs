//! containerd from Debian's packages of three releases, unpacked in a folder of our own and not
//! installed: three generations of what it does with a runtime.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// A release of Debian, for its containerd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// containerd 1.6.
    Debian12,
    /// containerd 1.7.
    Debian13,
    /// containerd 2.1, or what has come since.
    Debian14,
}

impl Release {
    const fn suite(self) -> &'static str {
        match self {
            Self::Debian12 => "bookworm",
            Self::Debian13 => "trixie",
            Self::Debian14 => "forky",
        }
    }
}

/// The folder with `containerd` and `ctr`; None, said on standard error, where they cannot be had.
///
/// What was fetched once is used again.
pub fn containerd(cache: &Path, release: Release) -> Option<PathBuf> {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().ok()?;
    let suite = release.suite();
    let folder = cache.join(format!("containerd-{suite}"));
    let programs = folder.join("root/usr/bin");
    if programs.join("ctr").exists() {
        return Some(programs);
    }
    match fetch(&folder, suite) {
        Ok(()) => Some(programs),
        Err(why) => {
            eprintln!("SKIPPED: no containerd of {suite} here: nothing is proven of it ({why})");
            None
        }
    }
}

/// As the virtual host gets its newer kernels: by an apt configuration of its own.
const FETCH: &str = r#"
set -eu
die() { echo "$*" >&2; exit 1; }
say() { :; }
. "$1"
newer_index "$2/index" "$3"
newer_files "$2/packages" containerd
dpkg-deb -x "$2"/packages/containerd_*.deb "$2/root"
rm -rf "$2/index" "$2/packages"
"#;

fn fetch(folder: &Path, suite: &str) -> Result<(), String> {
    let library = Path::new(env!("CARGO_MANIFEST_DIR")).join("../host/lib/newer.sh");
    // Whole or not at all: another run of the tests may look meanwhile.
    let making = folder.with_extension(std::process::id().to_string());
    let _ = fs::remove_dir_all(&making);
    fs::create_dir_all(&making).map_err(|e| e.to_string())?;
    let mut bash = Command::new("bash");
    bash.args(["-c", FETCH, "fetch"]).arg(library).arg(&making).arg(suite);
    let output = bash.output().map_err(|e| format!("bash: {e}"))?;
    if !output.status.success() {
        let _ = fs::remove_dir_all(&making);
        return Err(String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; "));
    }
    let _ = fs::remove_dir_all(folder);
    fs::rename(&making, folder).map_err(|e| e.to_string())
}
