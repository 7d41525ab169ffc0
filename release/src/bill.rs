//! The bill of materials: CycloneDX 1.6, JSON.

use crate::libraries::Library;
use crate::linked::Package;
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};
use std::path::Path;

/// A file of the release.
#[derive(Debug)]
pub struct Shipped {
    name: String,
    sha256: String,
}

impl Shipped {
    /// The file at `path`, which has `contents`.
    #[must_use]
    pub fn new(path: &Path, contents: &[u8]) -> Self {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let hash = digest(&SHA256, contents);
        Self { name, sha256: hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect() }
    }
}

/// The bill. It has no serial number: that would be another one for each who builds the release,
/// whose bytes are to be the same.
#[must_use]
pub fn bill(time: &str, files: &[Shipped], packages: &[Package], libraries: &[Library]) -> Value {
    let version = env!("CARGO_PKG_VERSION");
    let ours = |package: &&Package| package.is_ours();
    let links = |package: &Package| {
        let links: Vec<String> = package.links.iter().map(super::linked::Id::purl).collect();
        json!({ "ref": package.id.purl(), "dependsOn": links })
    };
    let libraries_of = |library: &Library| reference(library);
    // The release as a whole links our own crates, and what the compilers bring.
    let whole: Vec<String> = packages
        .iter()
        .filter(ours)
        .map(|package| package.id.purl())
        .chain(libraries.iter().map(libraries_of))
        .collect();
    let mut dependencies = vec![json!({ "ref": "release", "dependsOn": whole })];
    dependencies.extend(packages.iter().map(links));
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": time,
            "tools": { "components": [
                { "type": "application", "name": "casemate-release", "version": version },
            ] },
            "component": {
                "type": "application",
                "bom-ref": "release",
                "name": "casemate",
                "version": version,
                "licenses": [{ "expression": "Apache-2.0" }],
                "components": files.iter().map(file).collect::<Vec<_>>(),
            },
        },
        "components": packages.iter().map(component).chain(libraries.iter().map(library))
            .collect::<Vec<_>>(),
        "dependencies": dependencies,
    })
}

fn file(file: &Shipped) -> Value {
    json!({
        "type": "file",
        "bom-ref": format!("file:{}", file.name),
        "name": file.name,
        "hashes": [{ "alg": "SHA-256", "content": file.sha256 }],
    })
}

fn component(package: &Package) -> Value {
    let component = json!({
        "type": "library",
        "bom-ref": package.id.purl(),
        "name": package.id.name,
        "version": package.id.version,
        "scope": "required",
        "licenses": [{ "expression": package.licence }],
    });
    // Our own crates are in no registry, so they have no address in one, and no archive.
    let purl = package.checksum.as_ref().map(|_| json!(package.id.purl()));
    let hash = package.checksum.as_ref();
    let hash = hash.map(|hash| json!([{ "alg": "SHA-256", "content": hash }]));
    let source = package.repository.as_ref().map(|url| json!([{ "type": "vcs", "url": url }]));
    let known = [("purl", purl), ("hashes", hash), ("externalReferences", source)];
    known.into_iter().fold(component, |mut component, (name, value)| {
        if let (Some(members), Some(value)) = (component.as_object_mut(), value) {
            members.insert(name.to_owned(), value);
        }
        component
    })
}

fn reference(library: &Library) -> String {
    format!("{}@{}", library.name, library.version)
}

fn library(library: &Library) -> Value {
    json!({
        "type": "library",
        "bom-ref": reference(library),
        "name": library.name,
        "version": library.version,
        "scope": "required",
        "licenses": [{ "expression": library.licence }],
        "externalReferences": [{ "type": "website", "url": library.source }],
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;
    use std::collections::BTreeSet;

    /// Protects who feeds the bill to a scanner: nothing in it refers to what is not in it, and
    /// every package of the registry has its archive's hash. That a reader of another project takes
    /// it, `release/check` tries.
    #[test]
    fn every_reference_of_the_bill_is_in_it() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let packages = crate::linked::linked(&root).unwrap();
        let bill =
            bill("2026-01-01T00:00:00Z", &[Shipped::new(Path::new("/a/b"), b"")], &packages, &[]);
        let components = bill["components"].as_array().unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let mut known: BTreeSet<String> = components.iter().map(|c| text(&c["bom-ref"])).collect();
        assert_eq!(known.len(), packages.len());
        assert!(known.insert("release".into()));
        for entry in bill["dependencies"].as_array().unwrap() {
            let on = entry["dependsOn"].as_array().unwrap();
            for name in on.iter().chain([&entry["ref"]]).map(text) {
                assert!(known.contains(&name), "{name}");
            }
        }
        for component in components {
            let hash = component["hashes"][0]["content"].as_str();
            let is_ours = text(&component["name"]).starts_with("casemate");
            assert_eq!(hash.map_or(0, str::len), if is_ours { 0 } else { 64 }, "{component}");
        }
        let file = &bill["metadata"]["component"]["components"][0];
        assert_eq!(file["name"], "b");
        assert!(text(&file["hashes"][0]["content"]).starts_with("e3b0c44298fc1c14"));
    }
}
