//! The licences of everything that is linked, with the texts that each package has, so that every
//! copyright notice travels with the programs.

use crate::libraries::Library;
use crate::linked::Package;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Why the licences cannot be listed.
#[derive(Debug, thiserror::Error)]
pub enum LicenceError {
    /// A folder or a file that cannot be read.
    #[error("{0}: {1}")]
    File(PathBuf, std::io::Error),
    /// A package whose terms are nowhere.
    #[error(
        "{0} has no text of its licence, and {1} is none whose text is in this release: find \
             its terms"
    )]
    NoText(String, String),
}

/// How files begin that say terms, in capital letters.
const NAMES: [&str; 6] = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE"];

/// The document.
///
/// Texts that several packages have to the letter stand once, since hundreds have the same. A
/// package without a text may be used under Apache-2.0, which is this release's own licence, where
/// its expression has that; otherwise there is no document.
///
/// # Errors
/// [`LicenceError`].
pub fn document(packages: &[Package], libraries: &[Library]) -> Result<String, LicenceError> {
    let mut all = String::from(
        "What is linked into the programs of this release, under which terms. The program itself\n\
         is under the Apache licence, version 2.0: LICENSE.\n\n",
    );
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in packages.iter().filter(|package| !package.is_ours()) {
        let name = format!("{} {}", package.id.name, package.id.version);
        let found = texts_in(&package.folder)?;
        let how = match found.is_empty() {
            false => "",
            true if package.licence.contains("Apache-2.0") => "; no text of its own: LICENSE",
            true => return Err(LicenceError::NoText(name, package.licence.clone())),
        };
        let _ = writeln!(all, "{name}: {}{how}", package.licence);
        for text in found {
            texts.entry(text).or_default().push(name.clone());
        }
    }
    for library in libraries {
        let name = format!("{} {}", library.name, library.version);
        let _ = writeln!(all, "{name}: {}", library.licence);
        texts.entry(library.notice.clone()).or_default().push(name);
    }
    // In the order of the first package of each.
    let mut texts: Vec<_> = texts.into_iter().map(|(text, names)| (names, text)).collect();
    texts.sort();
    let line = "=".repeat(78);
    for (names, text) in texts {
        let _ = write!(all, "\n{line}\n{}\n{line}\n{}\n", names.join("\n"), text.trim_end());
    }
    Ok(all)
}

fn texts_in(folder: &Path) -> Result<Vec<String>, LicenceError> {
    let failed = |error| LicenceError::File(folder.into(), error);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_uppercase();
        if path.is_file() && NAMES.iter().any(|begin| name.starts_with(begin)) {
            files.push(path);
        }
    }
    files.sort();
    let text = |path: PathBuf| match std::fs::read(&path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).replace("\r\n", "\n")),
        Err(error) => Err(LicenceError::File(path, error)),
    };
    files.into_iter().map(text).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::linked::Id;

    fn package(name: &str, licence: &str, folder: &Path) -> Package {
        Package {
            id: Id { name: name.into(), version: "1.0.0".into() },
            licence: licence.into(),
            repository: None,
            checksum: Some(String::new()),
            folder: folder.into(),
            links: [].into(),
        }
    }

    /// Protects authors, whose notices are to travel with what they made. It cannot tell whether a
    /// package's text is the one of its licence.
    #[test]
    fn every_text_is_there_once_and_a_package_without_terms_is_refused() {
        let folder = std::env::temp_dir().join(format!("casemate-licences-{}", std::process::id()));
        let (with, without) = (folder.join("with"), folder.join("without"));
        std::fs::create_dir_all(&with).unwrap();
        std::fs::create_dir_all(&without).unwrap();
        std::fs::write(with.join("license-mit"), "Copyright of somebody\r\n").unwrap();
        std::fs::write(with.join("README"), "no terms").unwrap();
        let mine = package("a", "MIT", &with);
        let other = package("b", "MIT", &with);
        let apache = package("c", "MIT OR Apache-2.0", &without);
        let text = document(&[mine, other, apache], &[]).unwrap();
        assert_eq!(text.matches("Copyright of somebody").count(), 1, "{text}");
        assert!(text.contains("\na 1.0.0\nb 1.0.0\n") && !text.contains("no terms"), "{text}");
        assert!(text.contains("c 1.0.0: MIT OR Apache-2.0; no text of its own"), "{text}");
        let refused = document(&[package("d", "MIT", &without)], &[]).unwrap_err();
        assert!(matches!(refused, LicenceError::NoText(..)), "{refused}");
        std::fs::remove_dir_all(folder).unwrap();
    }
}
