//! Pods: a manifest, its initdata, and how `ctr` is asked for it.

use base64ct::{Base64, Encoding};
use casemate_initdata::{document, host_data};
use casemate_pod::{Capability, Container, Dns, Kind, Manifest, Pod, Signal, User};
use flate2::{Compression, write::GzEncoder};
use std::io::Write;

/// A container that runs a line of the shell as root, as `ctr run` has it by default.
#[must_use]
pub fn container(name: &str, line: &str) -> Container {
    Container {
        name: name.into(),
        kind: Kind::Main,
        layers: vec![0],
        args: ["/bin/sh", "-c", line].map(str::to_owned).to_vec(),
        cwd: "/".into(),
        user: User { uid: 0, gid: 0, groups: Vec::new() },
        caps: Capability::defaults(),
        new_privileges: false,
        root: "memory:16".parse().expect("a root"),
        tmpfs: Vec::new(),
        env: vec![crate::image::PATH.into()],
        env_open: Vec::new(),
        stdio: "out".parse().expect("streams"),
        exec: Vec::new(),
        signals: vec![Signal::KILL, Signal::TERM],
        restart: false,
    }
}

/// A manifest. What proves layers in a real guest is made up: a MODEL does not look at it.
#[must_use]
pub fn manifest(containers: Vec<Container>) -> Manifest {
    let layer = format!("sha256:{}=verity:{}:1", "1".repeat(64), "2".repeat(64));
    let pod = Pod {
        hostname: None,
        dns: Dns::Open,
        hosts: Vec::new(),
        net: true,
        services: false,
        vcpus: vec![1],
        secrets_after: Vec::new(),
    };
    let layers = vec![layer.parse().expect("a layer")];
    Manifest { layers, pod, containers, volumes: Vec::new() }
}

/// What a pod is bound to, as it goes to containerd.
#[derive(Debug, Clone)]
pub struct Bound {
    /// The annotation's value.
    pub annotation: String,
    /// HOST_DATA, in hexadecimal digits: an argument of the MODEL, by which it is found.
    pub host_data: String,
}

/// Binds a pod: `run` makes it another one than any other test's.
#[must_use]
pub fn bind(manifest: &Manifest, run: &str) -> Bound {
    let text = manifest.text().expect("a manifest");
    let member = format!("# {run}\n");
    let text =
        document([("pod.toml", text.as_str()), ("casemate.toml", member.as_str())]).expect("texts");
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(text.as_bytes()).expect("memory");
    let annotation = Base64::encode_string(&gzip.finish().expect("memory"));
    let hash = host_data(text.as_bytes());
    Bound { annotation, host_data: hash.iter().map(|byte| format!("{byte:02x}")).collect() }
}
