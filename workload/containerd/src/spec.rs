//! What containerd wants run: `config.json` of a bundle, as far as a guest can have it, and the
//! process of an exec. What a guest cannot have is refused here, by name.

use crate::capabilities;
use crate::error::RuntimeError;
use crate::wire::read_bounded;
use casemate_agent::Wish;
use casemate_foreign_text::value;
use casemate_pod::Manifest;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Annotations of containerd's CRI.
const TYPE: &str = "io.kubernetes.cri.container-type";
const SANDBOX: &str = "io.kubernetes.cri.sandbox-id";
const NAME: &str = "io.kubernetes.cri.container-name";

/// Where engines mount what a guest makes itself.
const OWN: [&str; 6] = [
    "/etc/hosts",
    "/etc/hostname",
    "/etc/resolv.conf",
    "/dev/shm",
    "/dev/termination-log",
    "/var/run/secrets/kubernetes.io/serviceaccount",
];

/// File systems that engines have in every container (`populateDefaultUnixSpec` of containerd's
/// oci/spec.go, and cgroup2 of newer ones), and of which a guest has its own, or needs none.
const USUAL: [(&str, &str); 9] = [
    ("/proc", "proc"),
    ("/dev", "tmpfs"),
    ("/dev/pts", "devpts"),
    ("/dev/mqueue", "mqueue"),
    ("/sys", "sysfs"),
    ("/run", "tmpfs"),
    ("/sys/fs/cgroup", "cgroup"),
    ("/sys/fs/cgroup", "cgroup2"),
    ("/sys/fs/cgroup", "tmpfs"),
];

/// `config.json`: what of it is looked at.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Spec {
    process: Option<Process>,
    root: Option<Folder>,
    annotations: BTreeMap<String, String>,
    mounts: Vec<Mount>,
    linux: Linux,
    hooks: BTreeMap<String, serde_json::Value>,
}

/// A process.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Process {
    terminal: bool,
    args: Vec<String>,
    env: Vec<String>,
    cwd: String,
    user: User,
    capabilities: Capabilities,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct User {
    uid: u32,
    gid: u32,
    additional_gids: Vec<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Capabilities {
    bounding: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Folder {
    path: PathBuf,
    readonly: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Mount {
    destination: String,
    r#type: String,
    source: PathBuf,
    options: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Linux {
    namespaces: Vec<Namespace>,
    devices: Vec<serde_json::Value>,
    sysctl: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Namespace {
    r#type: String,
}

/// What a container is in its pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// The pod itself: CRI makes a container of it, which is the guest.
    Sandbox,
    /// A container of the pod whose sandbox has this id.
    Of(String),
    /// A pod by itself: what `ctr run` makes.
    Alone,
}

impl Spec {
    /// Reads the one of a bundle.
    ///
    /// # Errors
    /// [`RuntimeError`].
    pub fn of(bundle: &Path) -> Result<Self, RuntimeError> {
        Self::read(&read_bounded(&bundle.join("config.json"))?)
    }

    /// Reads what such a file says.
    ///
    /// # Errors
    /// [`RuntimeError::Pod`].
    pub fn read(bytes: &[u8]) -> Result<Self, RuntimeError> {
        serde_json::from_slice(bytes).map_err(|e| RuntimeError::Pod(format!("config.json: {e}")))
    }

    /// An annotation.
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.annotations.get(name).map(String::as_str)
    }

    /// Which part it is.
    ///
    /// # Errors
    /// [`RuntimeError::Pod`] of annotations that contradict each other.
    pub fn part(&self) -> Result<Part, RuntimeError> {
        let sandbox = self.annotation(SANDBOX).map(str::to_owned);
        match (self.annotation(TYPE), sandbox) {
            (Some("sandbox"), _) => Ok(Part::Sandbox),
            (Some("container"), Some(sandbox)) if crate::invocation::is_identifier(&sandbox) => {
                Ok(Part::Of(sandbox))
            }
            (None, None) => Ok(Part::Alone),
            (kind, _) => Err(RuntimeError::Pod(format!(
                "annotation {TYPE} is {}, with no {SANDBOX} that is an id",
                value(kind.unwrap_or("not there"))
            ))),
        }
    }

    /// Which container of the manifest this is.
    ///
    /// # Errors
    /// [`RuntimeError::Pod`].
    pub fn name(&self, manifest: &Manifest) -> Result<String, RuntimeError> {
        match (self.annotation(NAME), &manifest.containers[..]) {
            (Some(name), _) => Ok(name.to_owned()),
            (None, [only]) => Ok(only.name.clone()),
            (None, all) => Err(RuntimeError::Pod(format!(
                "the manifest has {} containers, and no annotation {NAME} says which this is",
                all.len()
            ))),
        }
    }

    /// What a container would have run.
    ///
    /// # Errors
    /// [`RuntimeError::Pod`].
    pub fn wish(&self) -> Result<Wish, RuntimeError> {
        let missing = || RuntimeError::Pod("config.json has no process".into());
        let mut wish = self.process.as_ref().ok_or_else(missing)?.wish()?;
        wish.readonly = self.root.as_ref().is_some_and(|root| root.readonly);
        Ok(wish)
    }

    /// The folder that is to be its root, where containerd mounts nothing.
    pub fn folder(&self, bundle: &Path) -> PathBuf {
        let path = self.root.as_ref().map_or_else(PathBuf::new, |root| root.path.clone());
        if path.as_os_str().is_empty() { bundle.join("rootfs") } else { bundle.join(path) }
    }

    /// Refuses what no guest can have.
    ///
    /// # Errors
    /// [`RuntimeError::Pod`], with what to leave out.
    pub fn check(&self) -> Result<(), RuntimeError> {
        let refused = |what: String| Err(RuntimeError::Pod(what));
        let has = |kind: &str| self.linux.namespaces.iter().any(|one| one.r#type == kind);
        for (kind, field) in [("network", "hostNetwork"), ("pid", "hostPID"), ("ipc", "hostIPC")] {
            if !has(kind) {
                return refused(format!(
                    "{field}: a guest has a {kind} namespace of its own and cannot share its host's"
                ));
            }
        }
        if !self.linux.devices.is_empty() {
            return refused("devices of the host cannot be in a guest".into());
        }
        if let Some(name) = self.linux.sysctl.keys().next() {
            return refused(format!("sysctl {}: nothing in a manifest says so", value(name)));
        }
        if self.hooks.values().any(|hooks| hooks.as_array().is_none_or(|list| !list.is_empty())) {
            return refused("hooks would run on the host, where no container is".into());
        }
        Ok(())
    }

    /// Refuses files of the host that the manifest has no volume for.
    ///
    /// # Errors
    /// [`RuntimeError::Pod`], with the path.
    pub fn check_mounts(&self, manifest: &Manifest, name: &str) -> Result<(), RuntimeError> {
        let listed = manifest.mounts_of(name);
        let own = manifest.container(name).map_or(&[][..], |container| &container.tmpfs);
        for mount in &self.mounts {
            let path = mount.destination.as_str();
            let known = OWN.contains(&path)
                || listed.iter().any(|(_, mount)| mount.path == path)
                || own.iter().any(|tmpfs| tmpfs.path == path)
                || !mount.is_bound() && USUAL.contains(&(path, mount.r#type.as_str()));
            if !known {
                return Err(RuntimeError::Pod(format!(
                    "container {}: the manifest has no volume at {}",
                    value(name),
                    value(path)
                )));
            }
        }
        Ok(())
    }
}

impl Spec {
    /// Where on the host lies what is to be mounted at a path.
    pub fn source_of(&self, path: &str) -> Option<&Path> {
        let mount = self.mounts.iter().find(|mount| mount.is_bound() && mount.destination == path);
        mount.map(|mount| mount.source.as_path())
    }
}

impl Mount {
    fn is_bound(&self) -> bool {
        self.r#type == "bind"
            || self.options.iter().any(|option| option == "bind" || option == "rbind")
    }
}

impl Process {
    /// Reads the process of an exec.
    ///
    /// # Errors
    /// [`RuntimeError::Pod`].
    pub fn of(bytes: &[u8]) -> Result<Self, RuntimeError> {
        serde_json::from_slice(bytes).map_err(|e| RuntimeError::Pod(format!("exec: {e}")))
    }

    /// What it would have run.
    ///
    /// # Errors
    /// [`RuntimeError::Pod`] of a capability that is none.
    pub fn wish(&self) -> Result<Wish, RuntimeError> {
        let capabilities = capabilities::set(&self.capabilities.bounding)
            .ok_or_else(|| RuntimeError::Pod("a capability that is not known".into()))?;
        Ok(Wish {
            args: self.args.clone(),
            env: self.env.clone(),
            cwd: self.cwd.clone(),
            uid: self.user.uid,
            gid: self.user.gid,
            groups: self.user.additional_gids.clone(),
            capabilities,
            readonly: false,
            terminal: self.terminal,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(json: &str) -> Spec {
        serde_json::from_str(json).unwrap()
    }

    const NAMESPACES: &str = r#"{"type":"pid"},{"type":"ipc"},{"type":"network"}"#;

    fn linux(more: &str) -> Spec {
        spec(&format!(r#"{{"linux":{{"namespaces":[{NAMESPACES}]{more}}}}}"#))
    }

    #[test]
    fn what_no_guest_can_have_is_refused_by_its_name() {
        linux("").check().unwrap();
        let sentence = |spec: &Spec| spec.check().unwrap_err().to_string();
        let without = |kind: &str| {
            let kept: Vec<_> = NAMESPACES.split(',').filter(|one| !one.contains(kind)).collect();
            spec(&format!(r#"{{"linux":{{"namespaces":[{}]}}}}"#, kept.join(",")))
        };
        assert!(sentence(&without("network")).contains("hostNetwork"));
        assert!(sentence(&without("pid")).contains("hostPID"));
        assert!(sentence(&without("ipc")).contains("hostIPC"));
        assert!(sentence(&linux(r#","devices":[{"path":"/dev/kvm"}]"#)).contains("devices"));
        assert!(sentence(&linux(r#","sysctl":{"kernel.x":"1"}"#)).contains("kernel.x"));
        let hooks = format!(
            r#"{{"linux":{{"namespaces":[{NAMESPACES}]}},"hooks":{{"prestart":[{{"path":"/x"}}]}}}}"#
        );
        assert!(sentence(&spec(&hooks)).contains("hooks"));
    }

    /// Protects from a pod whose container is without what the host was asked to mount, and nobody
    /// says so: not only files of the host, but file systems of any kind.
    #[test]
    fn what_is_to_be_mounted_and_no_volume_has_is_refused_whatever_its_kind() {
        let layer = format!("sha256:{}=verity:{}:1", "1".repeat(64), "2".repeat(64));
        let text = format!(
            "version = 1\nlayout = 1\nlayers = [\n\"{layer}\",\n]\n\n[pod]\n\
             open = [\"dns\", \"hostname\", \"net\"]\nvcpus = [1]\n\n[[container]]\n\
             name = \"web\"\nkind = \"main\"\nlayers = [0]\nargs = [\"/a\"]\ncwd = \"/\"\nuser = 0\n\
             group = 0\nroot = \"read-only\"\ntmpfs = [\"/tmp=1\"]\nstdio = \"none\"\n"
        );
        let manifest = Manifest::read(&text).unwrap();
        let check = |path: &str, kind: &str| {
            let json = format!(r#"{{"mounts":[{{"destination":"{path}","type":"{kind}"}}]}}"#);
            spec(&json).check_mounts(&manifest, "web").map_err(|e| e.to_string())
        };
        for (path, kind) in [("/proc", "proc"), ("/run", "tmpfs"), ("/tmp", "tmpfs")] {
            check(path, kind).unwrap();
        }
        for (path, kind) in [
            ("/data", "nfs"),
            ("/data", "ext4"),
            ("/data", "tmpfs"),
            ("/proc", "bind"),
            ("/proc", "tmpfs"),
            ("/data", ""),
        ] {
            assert!(check(path, kind).unwrap_err().contains(path), "{path} {kind}");
        }
    }

    #[test]
    fn a_part_is_what_its_annotations_say_and_nothing_is_guessed() {
        let part =
            |kind: &str, id: &str| spec(&format!(r#"{{"annotations":{{{kind}{id}}}}}"#)).part();
        let kind = |kind: &str| format!(r#""{TYPE}":"{kind}""#);
        let id = |id: &str| format!(r#","{SANDBOX}":"{id}""#);
        assert_eq!(part("", "").unwrap(), Part::Alone);
        assert_eq!(part(&kind("sandbox"), &id("s")).unwrap(), Part::Sandbox);
        assert_eq!(part(&kind("container"), &id("s")).unwrap(), Part::Of("s".into()));
        part(&kind("container"), &id("../s")).unwrap_err();
        part(&kind("container"), "").unwrap_err();
        part(&kind("other"), &id("s")).unwrap_err();
    }

    #[test]
    fn a_process_of_an_exec_is_read_whole_or_not_at_all() {
        let json = r#"{"args":["/bin/x"],"cwd":"/","user":{"uid":1,"gid":2,"additionalGids":[3]},
            "capabilities":{"bounding":["CAP_KILL"]},"terminal":true,"rlimits":[]}"#;
        let wish = Process::of(json.as_bytes()).unwrap().wish().unwrap();
        assert_eq!((wish.uid, wish.gid, wish.capabilities, wish.terminal), (1, 2, 32, true));
        assert!(Process::of(b"{").is_err());
        assert!(Process::of(br#"{"user":{"uid":-1}}"#).is_err());
    }
}
