//! What is linked beside packages: Rust's standard library, musl, and the GNU C library, whose
//! versions are read out of the very files that the linker takes.

use crate::linked::LinkedError;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Why it cannot be said which libraries are linked.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    /// A compiler that cannot be asked.
    #[error(transparent)]
    Command(#[from] LinkedError),
    /// A file that cannot be read.
    #[error("{0}: {1}")]
    File(PathBuf, std::io::Error),
    /// A library that is not the one whose licence is known here.
    #[error("{0}: no version of {1} is in it that its licence is known of here")]
    Version(PathBuf, &'static str),
}

/// A library that is linked into programs.
#[derive(Debug)]
pub struct Library {
    /// Its name.
    pub name: &'static str,
    /// Its version.
    pub version: String,
    /// Its licence, an expression of SPDX.
    pub licence: &'static str,
    /// Where its source is.
    pub source: &'static str,
    /// What has to be said of it.
    pub notice: String,
}

/// The release of musl that Rust 1.95 brings with it. Another one may have other notices.
const MUSL: &str = "1.2.5";
const MUSL_NOTICE: &str = include_str!("../licences/musl.txt");
const GLIBC_NOTICE: &str = "\
The programs casemate-init and casemate-device (which casemate carries) are linked with it
statically. Whoever wants them with another build of it, as section 6 of the licence grants,
builds them from the source of this release: `make static`. Debian's notices and the text of
the licence follow.
";

/// The libraries that every release links.
///
/// # Errors
/// [`LibraryError`].
pub fn linked() -> Result<[Library; 3], LibraryError> {
    let sysroot = PathBuf::from(say("rustc", &["--print", "sysroot"])?.trim());
    let version = say("rustc", &["--version", "--verbose"])?;
    let release = version.lines().find_map(|line| line.strip_prefix("release: "));
    let rust = Library {
        name: "rust-std",
        version: release.unwrap_or("unknown").to_owned(),
        licence: "MIT OR Apache-2.0",
        source: "https://github.com/rust-lang/rust",
        notice: "Its notices, and those of the crates within it, are in COPYRIGHT-library.html, \
                 which is beside this file.\n"
            .to_owned(),
    };
    Ok([rust, musl(&sysroot)?, glibc()?])
}

fn say(program: &str, arguments: &[&str]) -> Result<String, LinkedError> {
    let failed = |why| LinkedError::Command(format!("{program} {}", arguments.join(" ")), why);
    let output = Command::new(program).args(arguments).output();
    let output = output.map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    String::from_utf8(output.stdout).map_err(|error| failed(error.to_string()))
}

fn read(path: &Path) -> Result<Vec<u8>, LibraryError> {
    std::fs::read(path).map_err(|error| LibraryError::File(path.into(), error))
}

fn musl(sysroot: &Path) -> Result<Library, LibraryError> {
    let archive = sysroot.join("lib/rustlib/x86_64-unknown-linux-musl/lib/self-contained/libc.a");
    let needle = [b"\0", MUSL.as_bytes(), b"\0"].concat();
    if !read(&archive)?.windows(needle.len()).any(|window| window == needle) {
        return Err(LibraryError::Version(archive, "musl"));
    }
    Ok(Library {
        name: "musl",
        version: MUSL.to_owned(),
        licence: "MIT",
        source: "https://musl.libc.org",
        notice: MUSL_NOTICE.to_owned(),
    })
}

fn glibc() -> Result<Library, LibraryError> {
    let archive = PathBuf::from(say("cc", &["-print-file-name=libc.a"])?.trim());
    let unknown = || LibraryError::Version(archive.clone(), "the GNU C library");
    let version = banner(&read(&archive)?).ok_or_else(unknown)?;
    let text = |path: &str| {
        let text = read(Path::new(path))?;
        Ok::<_, LibraryError>(String::from_utf8_lossy(&text).into_owned())
    };
    Ok(Library {
        name: "glibc",
        version,
        licence: "LGPL-2.1-or-later",
        source: "https://sourceware.org/git/glibc.git",
        notice: format!(
            "{GLIBC_NOTICE}\n{}\n{}",
            text("/usr/share/doc/libc6-dev/copyright")?,
            text("/usr/share/common-licenses/LGPL-2.1")?
        ),
    })
}

/// The version in `GNU C Library (Debian GLIBC 2.36-9+deb12u14) stable release version 2.36.`, with
/// its distribution's number, since patches are by that.
fn banner(archive: &[u8]) -> Option<String> {
    let begin = b"GNU C Library (";
    let at = archive.windows(begin.len()).position(|window| window == begin)?;
    let rest = archive.get(at + begin.len()..)?;
    let end = rest.iter().take(100).position(|byte| *byte == b')')?;
    let inner = str::from_utf8(rest.get(..end)?).ok()?;
    inner.rsplit(' ').next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::banner;

    #[test]
    fn the_version_of_a_c_library_is_the_one_it_prints() {
        let debian = b"\0GNU C Library (Debian GLIBC 2.36-9+deb12u14) stable release\0";
        assert_eq!(banner(debian).as_deref(), Some("2.36-9+deb12u14"));
        assert_eq!(banner(b"GNU C Library (GNU libc) x").as_deref(), Some("libc"));
        assert_eq!(banner(b"GNU C Library ("), None);
        assert_eq!(banner(b""), None);
    }
}
