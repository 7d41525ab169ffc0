//! Protects the reading of container images: what is unpacked of an image layout that `umoci` made
//! is what `umoci` unpacks of it, owners and modes included; the same image as a folder, as an
//! archive and as `docker save` writes it is one image; one changed byte anywhere is refused.
//! Cannot tell what other tools write that none of these do.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test"
)]

use casemate_image::oci::{self, Blobs};
use casemate_image::{ImageError, Kind, Limits, NodeId, Spool, Tree};
use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("casemate-oci-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn spool() -> Spool {
    Spool::new(&std::env::temp_dir(), 1 << 28).unwrap()
}

fn sha256(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Path → kind, mode, owner, size or target.
type Listed = BTreeMap<String, (char, u32, u32, u32, Vec<u8>)>;

fn listed(tree: &Tree, spool: &Spool) -> Listed {
    let mut out = Listed::new();
    let mut left = vec![(String::new(), NodeId::ROOT)];
    while let Some((path, id)) = left.pop() {
        for (name, child) in tree.children(id) {
            let path = format!("{path}/{}", String::from_utf8_lossy(name.bytes()));
            let node = tree.node(child);
            let (kind, what) = match &node.kind {
                Kind::Directory(_) => ('d', Vec::new()),
                Kind::File(content) => {
                    let mut bytes = vec![0; content.len as usize];
                    spool.read(*content, 0, &mut bytes).unwrap();
                    ('f', bytes)
                }
                Kind::Symlink(target) => ('l', target.clone()),
                other => panic!("{other:?}"),
            };
            let meta = &node.meta;
            out.insert(path.clone(), (kind, meta.mode.into(), meta.uid, meta.gid, what));
            left.push((path, child));
        }
    }
    out
}

fn on_disk(root: &Path) -> Listed {
    let mut out = Listed::new();
    let mut left = vec![PathBuf::new()];
    while let Some(path) = left.pop() {
        for entry in std::fs::read_dir(root.join(&path)).unwrap() {
            let path = path.join(entry.unwrap().file_name());
            let whole = root.join(&path);
            let meta = std::fs::symlink_metadata(&whole).unwrap();
            let (kind, what) = if meta.is_dir() {
                ('d', Vec::new())
            } else if meta.is_symlink() {
                ('l', std::fs::read_link(&whole).unwrap().into_os_string().into_encoded_bytes())
            } else {
                ('f', std::fs::read(&whole).unwrap())
            };
            let mode = meta.mode() & 0o7777;
            let name = format!("/{}", path.display());
            out.insert(name, (kind, mode, meta.uid(), meta.gid(), what));
            if meta.is_dir() {
                left.push(path);
            }
        }
    }
    out
}

fn unpacked(blobs: &Blobs, reference: Option<&str>) -> Result<Listed, ImageError> {
    let mut spool = spool();
    let found = oci::find(blobs, reference)?;
    let (tree, _) = found.unpack(blobs, Limits::default(), &mut spool)?;
    Ok(listed(&tree, &spool))
}

#[test]
fn an_image_of_umoci_is_what_umoci_unpacks_of_it() {
    let place = Place::new("umoci");
    let run = |arguments: &[&str]| {
        let mut command = Command::new("umoci");
        command.args(arguments).current_dir(&place.0);
        let output = command.output().ok()?;
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        Some(())
    };
    let write = |path: &str, text: &str| {
        let path = place.0.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("one/usr/lib/a", "first");
    write("one/usr/lib/b", "second");
    write("one/etc/gone/x", "away");
    std::os::unix::fs::symlink("usr/lib", place.0.join("one/lib")).unwrap();
    write("two/a", "instead");
    write("three/deep/file", "new");
    if run(&["init", "--layout", "image"]).is_none() {
        println!("SKIPPED: no umoci");
        return;
    }
    let steps: [&[&str]; 7] = [
        &["new", "--image", "image:x"],
        &["insert", "--image", "image:x", "one", "/"],
        &["insert", "--image", "image:x", "two/a", "/usr/lib/a"],
        &["insert", "--image", "image:x", "--whiteout", "/etc/gone"],
        &["insert", "--image", "image:x", "--opaque", "three", "/opt"],
        &[
            "config",
            "--image",
            "image:x",
            "--config.entrypoint",
            "/usr/lib/a",
            "--config.user",
            "7:8",
        ],
        &["config", "--image", "image:x", "--os", "linux", "--architecture", "amd64"],
    ];
    for step in steps {
        run(step).unwrap();
    }
    let rootless: &[&str] =
        if rustix::process::geteuid().is_root() { &[] } else { &["--rootless"] };
    run(&[&["unpack", "--image", "image:x"], rootless, &["bundle"]].concat()).unwrap();
    let blobs = Blobs::Folder(place.0.join("image"));
    let found = oci::find(&blobs, Some("x")).unwrap();
    assert_eq!(
        (&found.config.config.entrypoint[..], &found.config.config.user[..]),
        (&["/usr/lib/a".to_owned()][..], "7:8")
    );
    let ours = unpacked(&blobs, None).unwrap();
    let theirs = on_disk(&place.0.join("bundle/rootfs"));
    assert!(ours.contains_key("/opt/deep/file") && !ours.contains_key("/etc/gone"), "{ours:?}");
    if rootless.is_empty() {
        assert_eq!(ours, theirs);
    } else {
        assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
    }
}

fn layer(name: &str, text: &str) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(text.len() as u64);
    header.set_mode(0o644);
    header.set_uid(1);
    header.set_gid(2);
    tar.append_data(&mut header, name, text.as_bytes()).unwrap();
    tar.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

fn config(layers: &[&[u8]], more: &str) -> String {
    let diffs: Vec<String> = layers.iter().map(|l| format!("\"sha256:{}\"", sha256(l))).collect();
    format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{"Env":null,"Cmd":["/a"]}},"rootfs":{{"type":"layers","diff_ids":[{}]}}{more}}}"#,
        diffs.join(",")
    )
}

fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, *bytes).unwrap();
    }
    tar.into_inner().unwrap()
}

fn saved() -> Vec<u8> {
    let (one, two) = (layer("a", "one"), layer("b", "two"));
    let config = config(&[&one, &two], "");
    let manifest = r#"[{"Config":"c.json","RepoTags":["t:1"],"Layers":["1/layer.tar","2.tar"]}]"#;
    archive(&[
        ("manifest.json", manifest.as_bytes()),
        ("c.json", config.as_bytes()),
        ("1/layer.tar", &one),
        ("2.tar", &gzip(&two)),
    ])
}

/// A layout of the same image, with descriptors that can be wrong.
fn layout(change: impl Fn(&mut BTreeMap<String, Vec<u8>>)) -> BTreeMap<String, Vec<u8>> {
    let (one, two) = (layer("a", "one"), layer("b", "two"));
    let (one_gz, config) = (gzip(&one), config(&[&one, &two], ""));
    let mut files =
        BTreeMap::from([("oci-layout".into(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec())]);
    let mut put = |kind: &str, bytes: &[u8]| {
        files.insert(format!("blobs/sha256/{}", sha256(bytes)), bytes.to_vec());
        format!(
            r#"{{"mediaType":"{kind}","digest":"sha256:{}","size":{}}}"#,
            sha256(bytes),
            bytes.len()
        )
    };
    let tar = "application/vnd.oci.image.layer.v1.tar";
    let layers = [put(&format!("{tar}+gzip"), &one_gz), put(tar, &two)].join(",");
    let config = put("application/vnd.oci.image.config.v1+json", config.as_bytes());
    let manifest = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{layers}]}}"#);
    let manifest = put("application/vnd.oci.image.manifest.v1+json", manifest.as_bytes());
    files.insert("index.json".into(), format!(r#"{{"manifests":[{manifest}]}}"#).into_bytes());
    change(&mut files);
    files
}

fn as_archive(files: &BTreeMap<String, Vec<u8>>) -> Blobs {
    let all: Vec<(&str, &[u8])> = files.iter().map(|(n, b)| (&n[..], &b[..])).collect();
    Blobs::archive(&archive(&all)[..], spool()).unwrap()
}

#[test]
fn one_image_is_the_same_as_a_folder_an_archive_and_what_docker_saves() {
    let place = Place::new("forms");
    let files = layout(|_| ());
    for (name, bytes) in &files {
        let path = place.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    let docker = Blobs::archive(&gzip(&saved())[..], spool()).unwrap();
    let all = [Blobs::Folder(place.0.clone()), as_archive(&files), docker];
    let ids: Vec<_> = all.iter().map(|blobs| oci::find(blobs, None).unwrap().id).collect();
    assert!(ids.windows(2).all(|pair| pair[0] == pair[1]));
    for blobs in &all {
        let found = unpacked(blobs, None).unwrap();
        assert_eq!(found["/a"], ('f', 0o644, 1, 2, b"one".to_vec()));
        assert_eq!(found["/b"].4, b"two");
    }
}

#[test]
fn a_changed_byte_is_refused_wherever_it_is() {
    let names: Vec<String> = layout(|_| ()).into_keys().collect();
    for name in names.iter().filter(|name| name.starts_with("blobs/")) {
        let length = layout(|_| ())[name].len();
        for at in [0, length / 3, length / 2, length - 1] {
            let files = layout(|files| files.get_mut(name).unwrap()[at] ^= 1);
            assert!(unpacked(&as_archive(&files), None).is_err(), "{name}, byte {at}");
        }
        let longer = layout(|files| files.get_mut(name).unwrap().push(0));
        assert!(unpacked(&as_archive(&longer), None).is_err(), "{name}, one byte more");
        let shorter = layout(|files| {
            let _ = files.get_mut(name).unwrap().pop();
        });
        assert!(unpacked(&as_archive(&shorter), None).is_err(), "{name}, one byte less");
        let without = layout(|files| {
            files.remove(name);
        });
        assert!(unpacked(&as_archive(&without), None).is_err(), "{name} missing");
    }
    // `docker save` has digests of uncompressed layers only.
    let mut bytes = saved();
    let at = bytes.windows(3).position(|three| three == b"one").unwrap();
    bytes[at] = b'O';
    let error = unpacked(&Blobs::archive(&bytes[..], spool()).unwrap(), None).unwrap_err();
    assert!(error.to_string().contains("not what the configuration lists"), "{error}");
}

#[test]
fn what_is_no_image_for_these_guests_is_refused_in_words() {
    let one = layer("a", "one");
    let docker = |config: &str, manifest: &str| {
        let files: [(&str, &[u8]); 3] =
            [("manifest.json", manifest.as_bytes()), ("c", config.as_bytes()), ("l", &one)];
        let blobs = Blobs::archive(&archive(&files)[..], spool()).unwrap();
        unpacked(&blobs, None).unwrap_err().to_string()
    };
    let good = config(&[&one], "");
    let manifest = r#"[{"Config":"c","Layers":["l"]}]"#;
    for (text, word) in [
        (docker(&good.replace("amd64", "arm64"), manifest), "linux on arm64"),
        (docker(&good.replace("\"layers\"", "\"x\\u001b\""), manifest), "of type x\\u{1b}"),
        (docker(&good, r#"[{"Config":"c","Layers":["l","l"]}]"#), "not those of its configuration"),
        (docker(&good, r#"[{"Config":"../c","Layers":["l"]}]"#), "no such file"),
        (docker(&good, r#"[{"Config":"c","Layers":["m"]}]"#), "no such file"),
        (docker(&good, "[]"), "no such image"),
        (
            docker(
                &good,
                r#"[{"Config":"c","Layers":["l"],"RepoTags":["a"]},{"Config":"c","Layers":["l"],"RepoTags":["b"]}]"#,
            ),
            "say which: a, b",
        ),
        (docker("{", manifest), "EOF"),
        (
            docker(&config(&[&one], r#","ROOTFS":{"type":"layers","diff_ids":[]}"#), manifest),
            "case only",
        ),
    ] {
        assert!(text.contains(word) && !text.contains(['\n', '\x1b']), "{word}: {text}");
    }
    let empty = Blobs::archive(&archive(&[("x", b"")])[..], spool()).unwrap();
    let text = oci::find(&empty, None).unwrap_err().to_string();
    assert!(text.contains("neither an image layout nor"), "{text}");
    let twice = archive(&[("x", b"1"), ("x", b"2")]);
    let text = Blobs::archive(&twice[..], spool()).unwrap_err().to_string();
    assert!(text.contains("two files of this name"), "{text}");
}

#[test]
fn a_document_with_two_meanings_or_a_wrong_digest_in_its_name_is_refused() {
    // An index that is a manifest, too: named by its digest all the same.
    let with = |change: &dyn Fn(&str) -> String| {
        let mut files = layout(|_| ());
        let index = String::from_utf8(files["index.json"].clone()).unwrap();
        let at = index.find("sha256:").unwrap() + 7;
        let name = format!("blobs/sha256/{}", &index[at..at + 64]);
        let manifest = String::from_utf8(files.remove(&name).unwrap()).unwrap();
        let changed = change(&manifest);
        let index = index.replace(&index[at..at + 64], &sha256(changed.as_bytes()));
        let index = index.replace(
            &format!("\"size\":{}", manifest.len()),
            &format!("\"size\":{}", changed.len()),
        );
        files.insert(format!("blobs/sha256/{}", sha256(changed.as_bytes())), changed.into_bytes());
        files.insert("index.json".into(), index.into_bytes());
        unpacked(&as_archive(&files), None)
    };
    assert!(with(&|same| same.to_owned()).is_ok());
    let both = |text: &str| text.replacen('{', "{\"manifests\":[],", 1);
    let other = |text: &str| {
        text.replacen('{', "{\"mediaType\":\"application/vnd.oci.image.index.v1+json\",", 1)
    };
    for change in [&both as &dyn Fn(&str) -> String, &other] {
        let error = with(change).unwrap_err().to_string();
        assert!(error.contains("at once"), "{error}");
    }
    let one = layer("a", "one");
    let config = config(&[&one], "");
    let named = |name: &str| {
        let manifest = format!(r#"[{{"Config":"{name}","Layers":["l"]}}]"#);
        let files: [(&str, &[u8]); 3] =
            [("manifest.json", manifest.as_bytes()), (name, config.as_bytes()), ("l", &one)];
        unpacked(&Blobs::archive(&archive(&files)[..], spool()).unwrap(), None)
    };
    assert!(named(&format!("{}.json", sha256(config.as_bytes()))).is_ok());
    let error = named(&format!("{}.json", sha256(b"another"))).unwrap_err().to_string();
    assert!(error.contains("digest in its name"), "{error}");
}
