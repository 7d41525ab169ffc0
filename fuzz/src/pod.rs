//! The manifest of a pod, which a guest reads from what its host hands to it, and the pod as a
//! tenant has it from somebody.

use casemate_pod::{Manifest, PodError};
use casemate_podspec::{Choices, Verdict};
use std::collections::BTreeMap;

/// Any text is a manifest whose one spelling it is, or an error of one line; and what the guest
/// asks of one has an answer.
pub fn manifest(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    // The reader of TOML holds a tree of the text, at most 64 KiB of it, and the values made of it.
    crate::bounded(64 << 20, || match Manifest::read(text) {
        Ok(manifest) => {
            assert_eq!(manifest.text().expect("what was read can be written"), text);
            for container in &manifest.containers {
                assert_eq!(manifest.layers_of(container).count(), container.layers.len());
                assert!(manifest.container(&container.name).is_some());
                let mounts = manifest.mounts_of(&container.name);
                assert!(mounts.is_sorted_by(|(_, one), (_, next)| one.path < next.path));
            }
            let mounts: usize = manifest.volumes.iter().map(|volume| volume.mounts.len()).sum();
            let of = |name: &str| manifest.mounts_of(name).len();
            let all: usize = manifest.containers.iter().map(|one| of(&one.name)).sum();
            assert_eq!(mounts, all, "every mount is some container's");
            let _ = manifest.secrets();
        }
        Err(error) => {
            let shown = error.to_string();
            assert!(!shown.chars().any(char::is_control), "{shown:?}");
            assert!(shown.len() < 1024, "{} bytes", shown.len());
            assert!(data.len() <= casemate_pod::MAX_SIZE || matches!(error, PodError::TooLong(_)));
        }
    });
}

/// Any text is a pod or an error of one line. Without images none can be bound, so each has a line
/// that is refused, and no manifest; what is said of lines can be shown.
pub fn yaml(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let images = BTreeMap::new();
    crate::bounded(256 << 20, || {
        match casemate_podspec::read(text, &images, &Choices::default(), &BTreeMap::new()) {
            Ok(reading) => {
                assert!(reading.manifest.is_none(), "no image was given");
                assert!(reading.findings.iter().any(|one| one.verdict == Verdict::Refused));
                for one in &reading.findings {
                    let shown = format!("{}: {}", one.field, one.why);
                    assert!(!shown.chars().any(char::is_control), "{shown:?}");
                    assert!(one.line <= text.lines().count() + 1, "{}", one.line);
                }
            }
            Err(error) => {
                let shown = error.to_string();
                assert!(!shown.chars().any(char::is_control), "{shown:?}");
                assert!(shown.len() < 1024, "{} bytes", shown.len());
            }
        }
    });
}
