//! An OCI image layout of files, its layers compressed by gzip, as registries have them.

use std::path::Path;
use std::process::Command;

pub fn sha256(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn run(folder: &Path, program: &str, arguments: &[&str]) {
    let status = Command::new(program).current_dir(folder).args(arguments).status();
    assert!(status.unwrap().success(), "{program} {arguments:?}");
}

/// Puts a blob into the layout, and gives the descriptor of it.
fn blob(layout: &Path, kind: &str, bytes: &[u8]) -> serde_json::Value {
    let digest = sha256(bytes);
    std::fs::write(layout.join("blobs/sha256").join(&digest), bytes).unwrap();
    serde_json::json!({
        "mediaType": format!("application/vnd.oci.image.{kind}"),
        "digest": format!("sha256:{digest}"),
        "size": bytes.len(),
    })
}

/// Makes the layout `name` in `place`, of layers with these files, and an archive `name.tar` of it.
pub fn image(place: &Path, name: &str, layers: &[&[(&str, &str)]]) {
    let layout = place.join(name);
    std::fs::create_dir_all(layout.join("blobs/sha256")).unwrap();
    let (mut descriptors, mut diffs) = (Vec::new(), Vec::new());
    for (number, files) in layers.iter().enumerate() {
        let root = format!("{name}-{number}");
        for (path, text) in *files {
            let path = place.join(&root).join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
        }
        run(place, "chmod", &["-R", "a+rX,u+w,a+x", &root]);
        let tar = format!("{root}.tar");
        let fixed = ["--sort=name", "--mtime=@9", "--owner=0", "--group=0", "--numeric-owner"];
        run(place, "tar", &[&fixed[..], &["-cf", &tar, "-C", &root, "."]].concat());
        diffs.push(format!("sha256:{}", sha256(&std::fs::read(place.join(&tar)).unwrap())));
        run(place, "gzip", &["-n", &tar]);
        let bytes = std::fs::read(place.join(format!("{tar}.gz"))).unwrap();
        descriptors.push(blob(&layout, "layer.v1.tar+gzip", &bytes));
    }
    let config = serde_json::json!({
        "architecture": "amd64",
        "os": "linux",
        "config": { "Entrypoint": ["/bin/app"], "Env": ["PATH=/bin"], "User": "app" },
        "rootfs": { "type": "layers", "diff_ids": diffs },
    });
    let config = blob(&layout, "config.v1+json", config.to_string().as_bytes());
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config,
        "layers": descriptors,
    });
    let manifest = blob(&layout, "manifest.v1+json", manifest.to_string().as_bytes());
    let index = serde_json::json!({ "schemaVersion": 2, "manifests": [manifest] });
    std::fs::write(layout.join("index.json"), index.to_string()).unwrap();
    std::fs::write(layout.join("oci-layout"), "{\"imageLayoutVersion\":\"1.0.0\"}").unwrap();
    run(place, "tar", &["-cf", &format!("{name}.tar"), "-C", name, "."]);
}
