//! What a manifest must be beyond its shape, so that a guest can start with it and finds nothing in
//! it that has two readings.

use crate::container::{Container, Kind};
use crate::error::PodError;
use crate::value::{is_container_path, is_file, is_label};
use crate::volume::{Source, Volume};
use crate::{Dns, MAX_CONTAINERS, MAX_LAYERS, MAX_LIST, Manifest, Pod};
use std::collections::BTreeSet;

type Checked = Result<(), PodError>;

fn wrong(place: impl AsRef<str>, why: &'static str) -> Checked {
    Err(PodError::value(place, why))
}

/// Everything of it.
pub(crate) fn check(manifest: &Manifest) -> Checked {
    pod(&manifest.pod)?;
    containers(&manifest.containers)?;
    layers(manifest)?;
    volumes(manifest)?;
    secrets(manifest)
}

fn pod(pod: &Pod) -> Checked {
    if pod.hostname.as_deref().is_some_and(|name| !is_label(name)) {
        return wrong("pod.hostname", "is no label of DNS");
    }
    if let Dns::Fixed(resolver) = &pod.dns {
        resolver.check()?;
    }
    if pod.hosts.len() > MAX_LIST || !pod.hosts.iter().all(crate::HostAlias::fits) {
        return wrong("pod.hosts", "has a line without a name, or with one that is none");
    }
    if pod.vcpus.is_empty() || !ascending(&pod.vcpus) {
        return wrong("pod.vcpus", "is not an ascending list of numbers");
    }
    if pod.vcpus.iter().any(|vcpus| !(1..=255).contains(vcpus)) {
        return wrong("pod.vcpus", "has a number that is not 1 to 255");
    }
    Ok(())
}

fn ascending<T: PartialOrd>(list: &[T]) -> bool {
    list.is_sorted_by(|one, next| one < next)
}

fn containers(all: &[Container]) -> Checked {
    if all.len() > MAX_CONTAINERS {
        return wrong("containers", "are more than 64");
    }
    if !all.iter().any(|container| container.kind == Kind::Main) {
        return wrong("containers", "have none of kind main");
    }
    let mut names = BTreeSet::new();
    let mut main = false;
    for container in all {
        let place = format!("container \"{}\"", container.name);
        if !is_label(&container.name) {
            return wrong(place, "has a name that is no label of DNS");
        }
        if !names.insert(&container.name) {
            return wrong(place, "is there twice");
        }
        if main && container.kind != Kind::Main {
            return wrong(place, "is to start before the main containers, and stands behind one");
        }
        main |= container.kind == Kind::Main;
        if container.kind == Kind::Init && container.restart {
            return wrong(place, "of kind init is not started again: it ends once");
        }
        one(container).map_err(|(key, why)| PodError::value(format!("{place}: {key}"), why))?;
    }
    Ok(())
}

/// A container's own values: the key that is wrong, and why.
fn one(container: &Container) -> Result<(), (&'static str, &'static str)> {
    let Container { layers, args, cwd, user, caps, tmpfs, env, exec, signals, .. } = container;
    if layers.is_empty() || layers.len() > MAX_LAYERS {
        return Err(("layers", "are not 1 to 127"));
    }
    arguments(args).map_err(|why| ("args", why))?;
    for (at, args) in exec.iter().enumerate() {
        arguments(args).map_err(|why| ("exec", why))?;
        if exec.iter().take(at).any(|before| before == args) {
            return Err(("exec", "has a list twice"));
        }
    }
    let lists = [exec.len(), tmpfs.len(), env.len(), container.env_open.len(), user.groups.len()];
    if lists.iter().any(|list| *list > MAX_LIST) {
        return Err(("lists", "have more than 1024 entries"));
    }
    if !is_container_path(cwd) {
        return Err(("cwd", "is no path from the root in its one spelling"));
    }
    // All ones is "no change" to setresuid(2), so the program would stay root.
    if [user.uid, user.gid].iter().chain(&user.groups).any(|id| *id == u32::MAX) {
        return Err(("user", "has a number that no user can have"));
    }
    if !ascending(&user.groups) {
        return Err(("groups", "are not ascending"));
    }
    if !ascending(caps) {
        return Err(("caps", "are not in the order of names"));
    }
    if !ascending(signals) {
        return Err(("signals", "are not in the order of numbers"));
    }
    if !tmpfs.is_sorted_by(|one, next| one.path < next.path) {
        return Err(("tmpfs", "are not in the order of paths, each once"));
    }
    if tmpfs.iter().any(|tmpfs| !can_be_mounted(&tmpfs.path)) {
        return Err(("tmpfs", "has a path that is none, or belongs to the guest"));
    }
    environment(container)
}

fn arguments(args: &[String]) -> Result<(), &'static str> {
    match args {
        [] => Err("are empty: there is no program"),
        [program, ..] if program.is_empty() => Err("begin with an empty program"),
        args if args.len() > MAX_LIST => Err("are more than 1024"),
        args if args.iter().any(|arg| arg.contains('\0')) => Err("have a zero byte"),
        _ => Ok(()),
    }
}

fn environment(container: &Container) -> Result<(), (&'static str, &'static str)> {
    let name = |text: &str| {
        let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'=' && byte != b':';
        !text.is_empty() && text.bytes().all(plain)
    };
    let mut names = BTreeSet::new();
    for entry in &container.env {
        let Some((variable, value)) = entry.split_once('=') else {
            return Err(("env", "has an entry that is not NAME=VALUE"));
        };
        if !name(variable) || value.contains('\0') {
            return Err(("env", "has a name of other characters, or a value with a zero byte"));
        }
        if !names.insert(variable) {
            return Err(("env", "has a name twice"));
        }
    }
    for open in &container.env_open {
        if !name(&open.name) {
            return Err(("env_open", "has a name of other characters"));
        }
        if !names.insert(&open.name) {
            return Err(("env_open", "has a name twice, or one that has a value in env"));
        }
    }
    if !container.env_open.is_sorted_by(|one, next| one.name < next.name) {
        return Err(("env_open", "is not in the order of names"));
    }
    Ok(())
}

/// Where something may be mounted: nowhere over what the guest itself gives each container.
fn can_be_mounted(path: &str) -> bool {
    const OWN: [&str; 3] = ["/proc", "/sys", "/dev"];
    const FILES: [&str; 3] = ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"];
    let under = |own: &&str| {
        path.strip_prefix(*own).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let own = OWN.iter().any(under) && path != "/dev/shm";
    is_container_path(path) && path != "/" && !own && !FILES.iter().any(under)
}

/// Layers are written once each, in the order in which containers first name them: there is one way
/// to number them.
fn layers(manifest: &Manifest) -> Checked {
    let mut next = 0;
    for container in &manifest.containers {
        for number in &container.layers {
            let at = usize::from(*number);
            let place = || format!("container \"{}\": layers", container.name);
            if at > next || at >= manifest.layers.len() {
                return wrong(place(), "name one that is not there, or not yet");
            }
            next = next.max(at + 1);
        }
    }
    if next != manifest.layers.len() {
        return wrong("layers", "have one that no container has");
    }
    let mut seen = BTreeSet::new();
    if !manifest.layers.iter().all(|layer| seen.insert(layer.diff_id)) {
        return wrong("layers", "have a digest twice");
    }
    Ok(())
}

fn volumes(manifest: &Manifest) -> Checked {
    if manifest.volumes.len() > MAX_LIST {
        return wrong("volumes", "are more than 1024");
    }
    let mut names = BTreeSet::new();
    let mut places = BTreeSet::new();
    for container in &manifest.containers {
        let all = container.tmpfs.iter().map(|tmpfs| (&*container.name, &*tmpfs.path));
        places.extend(all);
    }
    for volume in &manifest.volumes {
        let place = format!("volume \"{}\"", volume.name);
        if !is_label(&volume.name) || !names.insert(&volume.name) {
            return wrong(place, "has a name that is no label of DNS, or is there twice");
        }
        source(volume).map_err(|why| PodError::value(&place, why))?;
        if volume.mounts.is_empty() {
            return wrong(place, "is mounted nowhere");
        }
        for mount in &volume.mounts {
            let place = format!("{place}: mount \"{mount}\"");
            if manifest.container(&mount.container).is_none() {
                return wrong(place, "names a container that is not there");
            }
            if !can_be_mounted(&mount.path) {
                return wrong(place, "has a path that is none, or belongs to the guest");
            }
            if !mount.read_only && !volume.source.writable() {
                return wrong(place, "is of what cannot be written to");
            }
            if !places.insert((&mount.container, &mount.path)) {
                return wrong(place, "is where something else is");
            }
        }
    }
    Ok(())
}

fn source(volume: &Volume) -> Result<(), &'static str> {
    match &volume.source {
        Source::HostFiles(files) if files.hashes.is_empty() => Err("has no file"),
        Source::HostFiles(files) if !files.hashes.keys().all(|name| is_file(name)) => {
            Err("has a name that is not a plain one of letters, digits, -, _ and .")
        }
        Source::OpenFiles { kib } if !(1..=16384).contains(kib) => {
            Err("has a kib that is not 1 to 16384")
        }
        Source::Disk { key } if !is_file(key) => Err("has a key that is no plain name"),
        Source::Secrets { names } if names.is_empty() || !ascending(names) => {
            Err("has no names, or they are not ascending")
        }
        Source::Secrets { names } if !names.iter().all(|name| is_file(name)) => {
            Err("has a name that is not a plain one of letters, digits, -, _ and .")
        }
        _ => Ok(()),
    }
}

/// The broker is asked when the containers of `secrets_after` have started; a container that waits
/// for secrets can therefore not be among those, nor before one of them.
fn secrets(manifest: &Manifest) -> Checked {
    let Manifest { pod, containers, volumes, .. } = manifest;
    let place = "pod.secrets_after";
    if pod.secrets_after.is_empty() {
        return Ok(());
    }
    if manifest.secrets().is_empty() {
        return wrong(place, "waits for containers, and there is no secret");
    }
    let order = |name: &String| containers.iter().position(|one| one.name == *name);
    let Some(order) = pod.secrets_after.iter().map(order).collect::<Option<Vec<_>>>() else {
        return wrong(place, "names a container that is not there");
    };
    if !ascending(&order) {
        return wrong(place, "is not in the order in which containers start, each once");
    }
    let last = order.last().copied().unwrap_or(0);
    let waits = |container: &Container| {
        let mut mounts = volumes.iter().filter(|volume| volume.source.needs_broker());
        mounts.any(|volume| volume.mounts.iter().any(|mount| mount.container == container.name))
    };
    if containers.iter().take(last + 1).any(waits) {
        return wrong(place, "waits for a container that itself waits for a secret");
    }
    Ok(())
}
