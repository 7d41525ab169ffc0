//! What is linked into the programs of a release: asked of cargo, program by program.
//!
//! `cargo tree` has the answer for one target and one choice of features, which is what is built. A
//! tool that reads `cargo metadata` (as `cargo-cyclonedx` does) sees the features of the whole
//! workspace at once, tests included, and knows nothing of programs that are within others; so it
//! lists what is in no program here.

use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

const GNU: &str = "x86_64-unknown-linux-gnu";
const MUSL: &str = "x86_64-unknown-linux-musl";

/// The programs of a release and those that `casemate` carries: packages, and what they are built
/// for (`Makefile`, `casemate/build.rs`). The boot code is built by a recipe of its own and links
/// what its library does.
const PROGRAMS: [(&str, &[&str]); 2] = [
    (
        MUSL,
        &[
            "casemate",
            "casemate-broker-front",
            "casemate-broker-keeper",
            "casemate-recorder",
            "casemate-vmm",
        ],
    ),
    (GNU, &["casemate-boot", "casemate-device", "casemate-init"]),
];

/// Why it cannot be said what is linked.
#[derive(Debug, thiserror::Error)]
pub enum LinkedError {
    /// A command that cannot be run, or that failed.
    #[error("{0}: {1}")]
    Command(String, String),
    /// An answer that is not as it was expected.
    #[error("{0}: not understood: {1}")]
    Answer(&'static str, String),
    /// A file that cannot be read.
    #[error("{0}: {1}")]
    File(PathBuf, std::io::Error),
}

/// Name and version: what a package is known by here. No two of one name and version are linked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id {
    /// The package's name.
    pub name: String,
    /// Its version.
    pub version: String,
}

impl Id {
    /// Its address among packages, by the scheme that bills of materials use.
    #[must_use]
    pub fn purl(&self) -> String {
        // A version's `+` would be a space.
        format!("pkg:cargo/{}@{}", self.name, self.version.replace('+', "%2B"))
    }
}

/// A package that is linked.
#[derive(Debug)]
pub struct Package {
    /// What it is known by.
    pub id: Id,
    /// Its licence, an expression of SPDX.
    pub licence: String,
    /// Where its source is kept.
    pub repository: Option<String>,
    /// SHA-256 of the archive that the registry has; none for our own.
    pub checksum: Option<String>,
    /// Where its source lies on this machine.
    pub folder: PathBuf,
    /// What it links directly.
    pub links: BTreeSet<Id>,
}

impl Package {
    /// Whether it is a crate of this repository.
    #[must_use]
    pub const fn is_ours(&self) -> bool {
        self.checksum.is_none()
    }
}

/// Every package that is linked into something of a release.
///
/// # Errors
/// [`LinkedError`].
pub fn linked(root: &Path) -> Result<Vec<Package>, LinkedError> {
    let mut edges = BTreeMap::new();
    for (target, packages) in PROGRAMS {
        for package in packages {
            read_tree(&tree(root, target, package)?, &mut edges)?;
        }
    }
    let lock = root.join("Cargo.lock");
    let lock = std::fs::read_to_string(&lock).map_err(|error| LinkedError::File(lock, error))?;
    let checksums = checksums(&lock)?;
    let mut known = metadata(root)?;
    let package = |(id, links): (Id, BTreeSet<Id>)| {
        let about = known.remove(&id).ok_or_else(|| {
            LinkedError::Answer("cargo metadata", format!("{} is not in it", id.purl()))
        })?;
        let checksum = checksums.get(&id).cloned();
        Ok(Package {
            licence: about.licence,
            repository: about.repository,
            checksum,
            folder: about.folder,
            id,
            links,
        })
    };
    edges.into_iter().map(package).collect()
}

fn cargo(root: &Path, arguments: &[&str]) -> Result<String, LinkedError> {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let failed = |why: String| LinkedError::Command(format!("cargo {}", arguments.join(" ")), why);
    let mut command = Command::new(program);
    let output = command.current_dir(root).args(arguments).output();
    let output = output.map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    String::from_utf8(output.stdout).map_err(|error| failed(error.to_string()))
}

fn tree(root: &Path, target: &str, package: &str) -> Result<String, LinkedError> {
    // What runs while it is built, derive macros too, is in no program.
    let edges = ["-e", "normal,no-proc-macro", "--prefix", "depth", "-f", " {p}"];
    cargo(root, &[&["tree", "--locked", "--target", target, "-p", package], &edges[..]].concat())
}

/// Reads lines of a depth and a package, `2 landlock v0.4.5`: a package stands below the nearest
/// line above it of a smaller depth. Of one that was told before only the name comes again.
fn read_tree(text: &str, edges: &mut BTreeMap<Id, BTreeSet<Id>>) -> Result<(), LinkedError> {
    let unknown = |line: &str| LinkedError::Answer("cargo tree", line.to_owned());
    let mut above: Vec<Id> = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let depth = words.next().and_then(|depth| depth.parse::<usize>().ok());
        let version = |word: &str| word.strip_prefix('v').map(str::to_owned);
        let (Some(depth), Some(name), Some(version)) =
            (depth, words.next(), words.next().and_then(version))
        else {
            return Err(unknown(line));
        };
        if depth > above.len() {
            return Err(unknown(line));
        }
        above.truncate(depth);
        let id = Id { name: name.to_owned(), version };
        if let Some(parent) = above.last() {
            edges.entry(parent.clone()).or_default().insert(id.clone());
        }
        edges.entry(id.clone()).or_default();
        above.push(id);
    }
    Ok(())
}

#[derive(Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
    checksum: Option<String>,
}

fn checksums(lock: &str) -> Result<BTreeMap<Id, String>, LinkedError> {
    let lock: Lock = toml::from_str(lock)
        .map_err(|error| LinkedError::Answer("Cargo.lock", error.to_string()))?;
    let locked = lock.package.into_iter();
    let known = |locked: Locked| {
        Some((Id { name: locked.name, version: locked.version }, locked.checksum?))
    };
    Ok(locked.filter_map(known).collect())
}

struct About {
    licence: String,
    repository: Option<String>,
    folder: PathBuf,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Described>,
}

#[derive(Deserialize)]
struct Described {
    name: String,
    version: String,
    license: Option<String>,
    repository: Option<String>,
    manifest_path: PathBuf,
}

fn metadata(root: &Path) -> Result<BTreeMap<Id, About>, LinkedError> {
    let platforms = ["--filter-platform", GNU, "--filter-platform", MUSL];
    let arguments = [&["metadata", "--locked", "--format-version", "1"], &platforms[..]].concat();
    let metadata: Metadata = serde_json::from_str(&cargo(root, &arguments)?)
        .map_err(|error| LinkedError::Answer("cargo metadata", error.to_string()))?;
    metadata.packages.into_iter().map(about).collect()
}

fn about(package: Described) -> Result<(Id, About), LinkedError> {
    let id = Id { name: package.name, version: package.version };
    let folder = package.manifest_path.parent().map(Path::to_path_buf).unwrap_or_default();
    let licence = package.license.ok_or_else(|| {
        LinkedError::Answer("cargo metadata", format!("{} names no licence", id.purl()))
    })?;
    // As it was written before there was SPDX.
    let licence = licence.replace(" / ", " OR ").replace('/', " OR ");
    Ok((id, About { licence, repository: package.repository, folder }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    fn id(name: &str, version: &str) -> Id {
        Id { name: name.into(), version: version.into() }
    }

    #[test]
    fn a_package_is_linked_by_what_stands_above_it() {
        let text = "0 a v1.0.0 (/path)\n1 b v2.0.0\n2 c v3.0.0+x\n1 c v3.0.0+x (*)\n1 d v0.1.0\n";
        let mut edges = BTreeMap::new();
        read_tree(text, &mut edges).unwrap();
        let (a, b, c, d) =
            (id("a", "1.0.0"), id("b", "2.0.0"), id("c", "3.0.0+x"), id("d", "0.1.0"));
        assert_eq!(edges[&a], [b.clone(), c.clone(), d.clone()].into());
        assert_eq!(edges[&b], [c.clone()].into());
        assert!(edges[&c].is_empty() && edges[&d].is_empty());
        assert_eq!(c.purl(), "pkg:cargo/c@3.0.0%2Bx");
    }

    #[test]
    fn what_is_no_tree_is_refused() {
        for text in ["1 a v1.0.0", "0 a 1.0.0", "a v1.0.0", "0 a v1.0.0\n2 b v1.0.0"] {
            assert!(read_tree(text, &mut BTreeMap::new()).is_err(), "{text}");
        }
    }

    /// Protects from a bill that lists what tests use, or that lacks what a process within the
    /// program links.
    #[test]
    fn what_tests_use_is_not_linked_and_what_processes_use_is() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let packages = linked(&root).unwrap();
        let has = |name: &str| packages.iter().find(|package| package.id.name == name);
        for name in ["casemate", "casemate-init", "casemate-boot", "landlock", "rustls", "clap"] {
            assert!(has(name).is_some(), "{name}");
        }
        for name in ["proptest", "clap_mangen", "jsonschema", "serde_derive", "syn", "ureq", "cc"] {
            assert!(has(name).is_none(), "{name}");
        }
        for package in &packages {
            assert_eq!(package.is_ours(), package.id.name.starts_with("casemate"), "{package:?}");
            assert!(!package.links.contains(&package.id), "{package:?}");
        }
    }
}
