//! An OCI archive without a registry: two layers, busybox and a file of its own.

use ring::digest::{SHA256, digest};
use serde_json::json;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

/// The image's name.
pub const NAME: &str = "casemate.test/busybox:1";
/// Its environment.
pub const PATH: &str = "PATH=/bin";

fn hex(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn layer(add: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    add(&mut builder);
    builder.into_inner().expect("memory")
}

fn entry(to: &mut tar::Builder<Vec<u8>>, path: &str, kind: tar::EntryType, bytes: &[u8]) {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(0o755);
    if kind == tar::EntryType::Symlink {
        let target = std::str::from_utf8(bytes).expect("a link");
        header.set_size(0);
        to.append_link(&mut header, path, target).expect("memory");
    } else {
        header.set_size(bytes.len() as u64);
        to.append_data(&mut header, path, bytes).expect("memory");
    }
}

/// Writes the archive; None where this machine has no static busybox to put into it.
pub fn write(path: &Path) -> Option<()> {
    let mut busybox = Vec::new();
    File::open("/bin/busybox").ok()?.read_to_end(&mut busybox).ok()?;
    let (folder, file, link) =
        (tar::EntryType::Directory, tar::EntryType::Regular, tar::EntryType::Symlink);
    let lower = layer(|to| {
        for name in ["bin", "etc", "proc", "dev", "tmp"] {
            entry(to, name, folder, &[]);
        }
        entry(to, "bin/busybox", file, &busybox);
        for name in ["sh", "cat", "echo", "sleep", "true", "id", "ls", "stty", "head"] {
            entry(to, &format!("bin/{name}"), link, b"busybox");
        }
        entry(to, "etc/which", file, b"lower\n");
    });
    let upper = layer(|to| entry(to, "etc/which", file, b"upper\n"));
    let mut blobs = Vec::new();
    let mut blob = |kind: &str, bytes: Vec<u8>| {
        let descriptor = json!({
            "mediaType": format!("application/vnd.oci.image.{kind}"),
            "digest": format!("sha256:{}", hex(&bytes)),
            "size": bytes.len(),
        });
        blobs.push(bytes);
        descriptor
    };
    let diffs = [&lower, &upper].map(|layer| format!("sha256:{}", hex(layer)));
    let layers = [lower, upper].map(|layer| blob("layer.v1.tar", layer));
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "config": {"Env": [PATH], "WorkingDir": "/", "Cmd": ["/bin/true"]},
        "rootfs": {"type": "layers", "diff_ids": diffs},
    });
    let config = blob("config.v1+json", config.to_string().into_bytes());
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config,
        "layers": layers,
    });
    let mut manifest = blob("manifest.v1+json", manifest.to_string().into_bytes());
    manifest["annotations"] = json!({
        "org.opencontainers.image.ref.name": NAME,
        "io.containerd.image.name": NAME,
    });
    manifest["platform"] = json!({"architecture": "amd64", "os": "linux"});
    let index = json!({"schemaVersion": 2, "manifests": [manifest]}).to_string();
    let archive = layer(|to| {
        entry(to, "oci-layout", file, br#"{"imageLayoutVersion":"1.0.0"}"#);
        entry(to, "index.json", file, index.as_bytes());
        for bytes in &blobs {
            entry(to, &format!("blobs/sha256/{}", hex(bytes)), file, bytes);
        }
    });
    File::create(path).and_then(|mut out| out.write_all(&archive)).ok()
}
