//! Reading: TOML into strings and numbers, those into typed values.

use crate::container::{Container, User};
use crate::error::PodError;
use crate::pod::{Dns, HostAlias, Pod, Resolver};
use crate::volume::{Files, Source, Volume};
use crate::{LAYOUT, MAX_SIZE, Manifest, Mebibytes, VERSION};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::str::FromStr;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireManifest {
    #[serde(rename = "version")]
    _version: u32,
    layout: u32,
    layers: Vec<String>,
    pod: WirePod,
    container: Vec<WireContainer>,
    #[serde(default)]
    volume: Vec<WireVolume>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WirePod {
    hostname: Option<String>,
    open: Vec<String>,
    vcpus: Vec<u32>,
    #[serde(default)]
    secrets_after: Vec<String>,
    dns: Option<WireDns>,
    #[serde(default)]
    hosts: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireDns {
    nameservers: Vec<String>,
    searches: Vec<String>,
    options: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireContainer {
    name: String,
    kind: String,
    layers: Vec<u16>,
    args: Vec<String>,
    cwd: String,
    user: u32,
    group: u32,
    #[serde(default)]
    groups: Vec<u32>,
    #[serde(default)]
    caps: Vec<String>,
    #[serde(default)]
    new_privileges: bool,
    root: String,
    #[serde(default)]
    tmpfs: Vec<String>,
    #[serde(default)]
    env: Vec<String>,
    #[serde(default)]
    env_open: Vec<String>,
    stdio: String,
    #[serde(default)]
    exec: Vec<Vec<String>>,
    #[serde(default)]
    signals: Vec<String>,
    #[serde(default)]
    restart: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireVolume {
    name: String,
    kind: String,
    mounts: Vec<String>,
    #[serde(default)]
    executable: bool,
    files: Option<BTreeMap<String, String>>,
    kib: Option<u32>,
    mib: Option<u32>,
    key: Option<String>,
    names: Option<Vec<String>>,
}

/// Words of `pod.open`, in their one order.
pub(crate) const OPEN: [&str; 4] = ["dns", "hostname", "net", "services"];

/// A manifest, of which only the shape was looked at.
pub(crate) fn read(text: &str) -> Result<Manifest, PodError> {
    if text.len() > MAX_SIZE {
        return Err(PodError::TooLong(text.len()));
    }
    let shape = |error: toml::de::Error| {
        PodError::Shape(casemate_foreign_text::line(error.message()).at_most(200).to_string())
    };
    /// Read first, so that one of another version says so, whatever else it has.
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    let Version { version } = toml::from_str(text).map_err(shape)?;
    if version != VERSION {
        return Err(PodError::Version(version));
    }
    let wire: WireManifest = toml::from_str(text).map_err(shape)?;
    if wire.layout != LAYOUT {
        return Err(PodError::value("layout", "is not 1, the one that is known here"));
    }
    Ok(Manifest {
        layers: all("layers", &wire.layers)?,
        pod: pod(wire.pod)?,
        containers: wire.container.into_iter().map(container).collect::<Result<_, _>>()?,
        volumes: wire.volume.into_iter().map(volume).collect::<Result<_, _>>()?,
    })
}

fn one<T: FromStr<Err = &'static str>>(place: &str, text: &str) -> Result<T, PodError> {
    text.parse().map_err(|why| PodError::value(format!("{place} \"{text}\""), why))
}

fn all<T: FromStr<Err = &'static str>>(place: &str, list: &[String]) -> Result<Vec<T>, PodError> {
    list.iter().map(|text| one(place, text)).collect()
}

fn pod(wire: WirePod) -> Result<Pod, PodError> {
    if let Some(word) = wire.open.iter().find(|word| !OPEN.contains(&word.as_str())) {
        let place = format!("pod.open \"{word}\"");
        return Err(PodError::value(place, "is nothing that can be open"));
    }
    let open = |word: &str| wire.open.iter().any(|one| one == word);
    if open("hostname") == wire.hostname.is_some() {
        return Err(PodError::value("pod.hostname", "is either written or open"));
    }
    let dns = match wire.dns {
        None if open("dns") => Dns::Open,
        Some(dns) if !open("dns") => Dns::Fixed(resolver(dns)?),
        _ => return Err(PodError::value("pod.dns", "is either written or open")),
    };
    let alias = |text: &String| {
        let place = || format!("pod.hosts \"{text}\"");
        HostAlias::parse(text).ok_or_else(|| PodError::value(place(), "is not ADDRESS NAME…"))
    };
    Ok(Pod {
        net: open("net"),
        services: open("services"),
        hostname: wire.hostname,
        dns,
        hosts: wire.hosts.iter().map(alias).collect::<Result<_, _>>()?,
        vcpus: wire.vcpus,
        secrets_after: wire.secrets_after,
    })
}

fn resolver(wire: WireDns) -> Result<Resolver, PodError> {
    let address = |text: &String| {
        let place = || format!("pod.dns \"{text}\"");
        text.parse().map_err(|_| PodError::value(place(), "is no address"))
    };
    let nameservers = wire.nameservers.iter().map(address).collect::<Result<_, _>>()?;
    Ok(Resolver { nameservers, searches: wire.searches, options: wire.options })
}

fn container(wire: WireContainer) -> Result<Container, PodError> {
    let name = wire.name;
    let place = |key: &str| format!("container \"{name}\": {key}");
    Ok(Container {
        kind: one(&place("kind"), &wire.kind)?,
        layers: wire.layers,
        args: wire.args,
        cwd: wire.cwd,
        user: User { uid: wire.user, gid: wire.group, groups: wire.groups },
        caps: all(&place("caps"), &wire.caps)?,
        new_privileges: wire.new_privileges,
        root: one(&place("root"), &wire.root)?,
        tmpfs: all(&place("tmpfs"), &wire.tmpfs)?,
        env: wire.env,
        env_open: all(&place("env_open"), &wire.env_open)?,
        stdio: one(&place("stdio"), &wire.stdio)?,
        exec: wire.exec,
        signals: all(&place("signals"), &wire.signals)?,
        restart: wire.restart,
        name,
    })
}

fn volume(wire: WireVolume) -> Result<Volume, PodError> {
    let WireVolume { name, kind, mounts, executable, files, kib, mib, key, names } = wire;
    let place = |key: &str| format!("volume \"{name}\": {key}");
    let size = |mib: u32| {
        Mebibytes::new(mib).ok_or_else(|| PodError::value(place("mib"), "is not 1 to 16777216"))
    };
    // Each kind has its keys and no others.
    let source = match (kind.as_str(), files, kib, mib, key, names) {
        ("host-files", Some(files), None, None, None, None) => {
            let hash = |(file, hash): (String, String)| Ok((file, one(&place("files"), &hash)?));
            let hashes = files.into_iter().map(hash).collect::<Result<_, PodError>>()?;
            Source::HostFiles(Files { hashes, executable })
        }
        ("open-files", None, Some(kib), None, None, None) => Source::OpenFiles { kib },
        ("memory", None, None, Some(mib), None, None) => Source::Memory { size: size(mib)? },
        ("scratch", None, None, Some(mib), None, None) => Source::Scratch { size: size(mib)? },
        ("disk", None, None, None, Some(key), None) => Source::Disk { key },
        ("secrets", None, None, None, None, Some(names)) => Source::Secrets { names },
        _ => {
            let why = "is not known, or has keys that are not its own, or not all of them";
            return Err(PodError::value(place(&format!("kind \"{kind}\"")), why));
        }
    };
    if executable && !matches!(source, Source::HostFiles(_)) {
        return Err(PodError::value(place("executable"), "is for files that are proven"));
    }
    let mounts = all(&place("mounts"), &mounts)?;
    Ok(Volume { source, mounts, name })
}
