//! Volumes of the pod, and where containers mount them.

use crate::choices::VolumeChoices;
use crate::quantity;
use crate::reader::Reader;
use crate::yaml::Value;
use casemate_pod::{Container, Files, Hash, Mebibytes, Mount, Source, Volume};
use std::collections::BTreeMap;

/// An emptyDir without a limit, in MiB: in memory, and on an encrypted disk.
const MEMORY: u32 = 64;
const SCRATCH: u32 = 1024;
/// Where programs look for the token of their service account.
const TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Most KiB of the token's files.
const TOKEN_KIB: u32 = 64;

/// Words of choices that files of the host's have.
const OF_FILES: &[&str] = &["files", "executable", "open_kib"];

/// A mount in a container.
struct Mounted {
    line: usize,
    /// By `volumeDevices`, as block volumes are.
    device: bool,
    mount: Mount,
}

/// Mounts by the name of their volume.
type Mounts = BTreeMap<String, Vec<Mounted>>;

/// Reads the volumes.
pub(crate) fn read(reader: &mut Reader<'_>, spec: &Value, containers: &[Container]) -> Vec<Volume> {
    let mut mounts = Mounts::new();
    for key in ["initContainers", "containers"] {
        for container in spec.get(key).and_then(Value::list).unwrap_or_default() {
            let Some(name) = container.get("name").and_then(Value::text) else { continue };
            of_container(reader, container, &format!("{key}[{name}]"), name, &mut mounts);
        }
    }
    let (mut all, mut names) = (Vec::new(), Vec::new());
    if let Some(list) = spec.get("volumes") {
        for one in reader.list(list, "spec.volumes") {
            let Some(name) = one.get("name").and_then(Value::text) else {
                reader.findings.refuse(one.line, "spec.volumes", "has one without a name");
                continue;
            };
            names.push(name.to_owned());
            let field = format!("volumes[{name}]");
            let mounted = mounts.remove(name);
            let source = source(reader, one, name, &field);
            match (source, mounted) {
                (Some(source), Some(mounted)) => {
                    all.push(made(reader, name, &field, source, mounted));
                }
                (Some(_), None) => {
                    reader.findings.outside(one.line, &field, "no container mounts it");
                }
                (None, _) => {}
            }
        }
    }
    for (name, mounts) in mounts {
        let line = mounts.first().map_or(0, |mounted| mounted.line);
        reader.findings.refuse(line, &format!("volumes[{name}]"), "is mounted, and not there");
    }
    of_secrets(reader, &names, &mut all);
    if reader.choices.pod.open_service_account_token {
        let mount = |container: &Container| Mount {
            container: container.name.clone(),
            path: TOKEN.into(),
            read_only: true,
        };
        let mounts = containers.iter().map(mount).collect();
        let source = Source::OpenFiles { kib: TOKEN_KIB };
        all.push(Volume { name: "service-account-token".into(), source, mounts });
    }
    all
}

fn made(
    reader: &mut Reader<'_>,
    name: &str,
    field: &str,
    source: Source,
    mounts: Vec<Mounted>,
) -> Volume {
    let disk = matches!(source, Source::Disk { .. });
    for one in mounts.iter().filter(|one| one.device != disk) {
        let why = match disk {
            true => "is a block volume: `volumeDevices` has those",
            false => "is no block volume: `volumeMounts` has those",
        };
        reader.findings.refuse(one.line, field, why);
    }
    // What cannot be written to is mounted so, whatever the pod says of it: Kubernetes does that
    // itself.
    let writable = source.writable();
    let mount =
        |Mounted { mount, .. }: Mounted| Mount { read_only: mount.read_only || !writable, ..mount };
    Volume { name: name.to_owned(), source, mounts: mounts.into_iter().map(mount).collect() }
}

/// `volumeMounts` and `volumeDevices` of a container.
fn of_container(
    reader: &mut Reader<'_>,
    container: &Value,
    at: &str,
    name: &str,
    mounts: &mut Mounts,
) {
    for (key, path_key) in [("volumeMounts", "mountPath"), ("volumeDevices", "devicePath")] {
        let Some(list) = container.get(key) else { continue };
        for one in reader.list(list, &format!("{at}.{key}")) {
            let volume = one.get("name").and_then(Value::text).unwrap_or_default().to_owned();
            let field = format!("{at}.{key}[{volume}]");
            let path = one.get(path_key).and_then(Value::text).unwrap_or_default();
            let mut read_only = false;
            for (key, value) in reader.entries(one, &field) {
                let why = match key.name.as_str() {
                    "readOnly" => {
                        read_only = reader.flag(value, &field);
                        continue;
                    }
                    "mountPropagation" if value.text() == Some("None") => continue,
                    name if name == "name" || name == path_key => continue,
                    "subPath" | "subPathExpr" => {
                        "cannot be bound: a part of a volume is found by a path of the host's"
                    }
                    "mountPropagation" => "cannot be: mounts do not go in and out of a guest",
                    _ => "is not known here",
                };
                reader.findings.refuse(key.line, &format!("{field}.{}", key.name), why);
            }
            let path = match path.trim_end_matches('/') {
                "" => "/".to_owned(),
                path => path.to_owned(),
            };
            reader.findings.bound(one.line, &field, format!("at {path}"));
            let mount = Mount { container: name.to_owned(), path, read_only };
            let device = path_key == "devicePath";
            mounts.entry(volume).or_default().push(Mounted { line: one.line, device, mount });
        }
    }
}

/// What is in a volume; None where that was refused.
fn source(reader: &mut Reader<'_>, volume: &Value, name: &str, field: &str) -> Option<Source> {
    let choices = reader.choices;
    let nothing = VolumeChoices::default();
    let chosen = choices.volume.get(name).unwrap_or(&nothing);
    let mut kinds = reader.entries(volume, field).iter().filter(|(key, _)| key.name != "name");
    let (Some((kind, value)), None) = (kinds.next(), kinds.next()) else {
        reader.findings.refuse(volume.line, field, "has no source, or more than one");
        return None;
    };
    let line = kind.line;
    // What is in a source, and what was chosen for it: nothing of either is passed over.
    let (known, words): (&[&str], &[&str]) = match kind.name.as_str() {
        "emptyDir" => (&["medium", "sizeLimit"], &["memory_mib", "scratch_mib"]),
        "configMap" => (&["name", "items", "defaultMode", "optional"], OF_FILES),
        "secret" => (&["secretName", "items", "defaultMode", "optional"], OF_FILES),
        "projected" => (&["sources", "defaultMode"], OF_FILES),
        "downwardAPI" => (&["items", "defaultMode"], OF_FILES),
        "persistentVolumeClaim" => (&["claimName"], &["key"]),
        "ephemeral" => (&["volumeClaimTemplate"], &["key"]),
        _ => (&[], &[]),
    };
    if !known.is_empty() {
        reader.only(value, &format!("{field}.{}", kind.name), known);
        mode(reader, value, field);
    }
    for word in chosen.words().filter(|word| !words.contains(word)) {
        let why = format!("the choice `{word}` says nothing of a volume of kind {}", kind.name);
        reader.findings.refuse(0, field, why);
    }
    match kind.name.as_str() {
        "emptyDir" => empty_dir(reader, value, line, field, chosen),
        "configMap" => config_map(reader, value, line, name, field, chosen),
        "secret" | "projected" | "downwardAPI" => host_files(reader, line, name, field, chosen),
        "persistentVolumeClaim" | "ephemeral" => match &chosen.key {
            Some(key) => {
                let why = "encrypted with a key of the broker; the host may show an older state";
                reader.findings.bound(line, field, why);
                Some(Source::Disk { key: key.clone() })
            }
            None => {
                let why = "a disk of the host's: make it a block volume (volumeMode: Block, \
                           volumeDevices), and choose the `key` that it is encrypted with";
                reader.findings.refuse(line, field, why);
                None
            }
        },
        "hostPath" => {
            reader.findings.refuse(line, field, "cannot be bound: a path of the node");
            None
        }
        other => {
            let why = format!("cannot be bound: volumes of kind {other} are the host's");
            reader.findings.refuse(line, field, why);
            None
        }
    }
}

fn empty_dir(
    reader: &mut Reader<'_>,
    value: &Value,
    line: usize,
    field: &str,
    chosen: &VolumeChoices,
) -> Option<Source> {
    let limit = value.get("sizeLimit");
    let size = limit.and_then(Value::word).map(quantity::mebibytes);
    if let (Some(limit), Some(None)) = (limit, size) {
        reader.findings.refuse(limit.line, field, "has a sizeLimit that is no amount");
        return None;
    }
    let size = size.flatten();
    let in_memory = match value.get("medium").and_then(Value::text) {
        None | Some("") => false,
        Some("Memory") => true,
        Some(_) => {
            reader.findings.refuse(line, field, "is of a medium that is not known here");
            return None;
        }
    };
    let (memory, mebibytes) = match (chosen.memory_mib, chosen.scratch_mib) {
        (Some(mib), None) => (true, mib),
        (None, Some(mib)) if !in_memory => (false, mib),
        (None, None) if in_memory => (true, size.unwrap_or(MEMORY)),
        (None, None) => (false, size.unwrap_or(SCRATCH)),
        _ => {
            reader.findings.refuse(line, field, "is chosen to be in memory and on a disk");
            return None;
        }
    };
    let Some(size) = Mebibytes::new(mebibytes) else {
        reader.findings.refuse(line, field, "has no size, or one of more than 16 TiB");
        return None;
    };
    let place = if memory { "of the guest's memory" } else { "of a disk, encrypted by the guest" };
    reader.findings.bound(line, field, format!("{mebibytes} MiB {place}"));
    Some(if memory { Source::Memory { size } } else { Source::Scratch { size } })
}

/// Files that the host gives: proven where the tenant named them, open where that was chosen.
fn host_files(
    reader: &mut Reader<'_>,
    line: usize,
    name: &str,
    field: &str,
    chosen: &VolumeChoices,
) -> Option<Source> {
    match (reader.files.get(name), chosen.open_kib) {
        (Some(hashes), None) => {
            let why = format!("{} files, each by its hash", hashes.len());
            reader.findings.bound(line, field, why);
            let files = Files { hashes: hashes.clone(), executable: chosen.executable };
            Some(Source::HostFiles(files))
        }
        (None, Some(_)) if chosen.executable => {
            let why = "files that the host chooses are no programs: `executable` is for `files`";
            reader.findings.refuse(line, field, why);
            None
        }
        (None, Some(kib)) => {
            let why = format!("files that the host chooses, at most {kib} KiB, read-only");
            reader.findings.open(line, field, why);
            Some(Source::OpenFiles { kib })
        }
        _ => {
            let why = "files that the host chooses: choose `files`, a folder of what they must \
                       be, or `open_kib`; secrets come from the key broker (docs/pods.md)";
            reader.findings.refuse(line, field, why);
            None
        }
    }
}

fn config_map(
    reader: &mut Reader<'_>,
    value: &Value,
    line: usize,
    name: &str,
    field: &str,
    chosen: &VolumeChoices,
) -> Option<Source> {
    if reader.files.contains_key(name) || chosen.open_kib.is_some() {
        return host_files(reader, line, name, field, chosen);
    }
    let map = value.get("name").and_then(Value::text).unwrap_or_default();
    let Some(texts) = reader.maps.get(map).cloned() else {
        return host_files(reader, line, name, field, chosen);
    };
    let hash = |text: &String| {
        let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
        Hash(digest.as_ref().first_chunk().copied().unwrap_or_default())
    };
    let hashes = match value.get("items") {
        None => texts.iter().map(|(file, text)| (file.clone(), hash(text))).collect(),
        Some(items) => {
            let mut hashes = BTreeMap::new();
            for item in reader.list(items, field) {
                let word = |key: &str| item.get(key).and_then(Value::text).unwrap_or_default();
                let (key, path) = (word("key"), word("path"));
                match texts.get(key).filter(|_| item.get("mode").is_none()) {
                    Some(text) => drop(hashes.insert(path.to_owned(), hash(text))),
                    None => {
                        let why = "has an item of a key that is not there, or with a mode";
                        reader.findings.refuse(item.line, field, why);
                    }
                }
            }
            hashes
        }
    };
    let executable = chosen.executable || has_execute_bits(value);
    let why = format!("{} files of the ConfigMap here, each by its hash", hashes.len());
    reader.findings.bound(line, field, why);
    Some(Source::HostFiles(Files { hashes, executable }))
}

/// `defaultMode` in octal as YAML 1.1 and 1.2 write it, or in decimal as JSON has to.
fn default_mode(value: &Value) -> Option<u32> {
    let word = value.get("defaultMode").and_then(Value::word).unwrap_or_default();
    let octal = word.strip_prefix("0o").or_else(|| word.strip_prefix('0'));
    let mode = match octal {
        Some(digits) => u32::from_str_radix(digits, 8),
        None => word.parse(),
    };
    mode.ok()
}

fn has_execute_bits(value: &Value) -> bool {
    default_mode(value).is_some_and(|mode| mode & 0o111 != 0)
}

/// Files that come from the host are 0444 in the guest, or 0555, and nobody writes them. A mode
/// that keeps anybody from reading them would be another than the pod says.
fn mode(reader: &mut Reader<'_>, value: &Value, field: &str) {
    let Some(written) = value.get("defaultMode") else { return };
    if default_mode(value).is_none_or(|mode| mode & 0o444 != 0o444) {
        let why = "cannot be had: files are 0444 in the guest, 0555 where they are programs";
        reader.findings.refuse(written.line, &format!("{field}.defaultMode"), why);
    }
}

/// Volumes of secrets, which no pod has a word for.
fn of_secrets(reader: &mut Reader<'_>, names: &[String], all: &mut Vec<Volume>) {
    let choices = reader.choices;
    for (name, chosen) in &choices.volume {
        if names.contains(name) {
            continue;
        }
        let field = format!("volumes[{name}]");
        if chosen.secrets.is_empty() {
            reader.findings.refuse(0, &field, "is chosen for, and the pod has no such volume");
            continue;
        }
        for word in chosen.words().filter(|word| !matches!(*word, "secrets" | "mounts")) {
            let why = format!("the choice `{word}` says nothing of a volume of secrets");
            reader.findings.refuse(0, &field, why);
        }
        let mut secrets = chosen.secrets.clone();
        secrets.sort_unstable();
        let mut mounts = Vec::new();
        for place in &chosen.mounts {
            match format!("{place}:ro").parse() {
                Ok(mount) => mounts.push(mount),
                Err(_) => reader.findings.refuse(0, &field, "has a mount that is not NAME:PATH"),
            }
        }
        let why = "secrets of the key broker, as files in the guest's memory";
        reader.findings.bound(0, &field, why);
        let source = Source::Secrets { names: secrets };
        all.push(Volume { name: name.clone(), source, mounts });
    }
}
