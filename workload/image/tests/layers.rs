//! Protects what layers come to: the tree after any layers is the one that the image
//! specification's rules give, worked out here over plain lists of paths. The streams are written
//! by another project's writer (`tar`). Cannot tell what other unpackers make of layers that the
//! specification leaves open.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test"
)]

use casemate_image::tar::{EndMark, Reader};
use casemate_image::{ImageError, Kind, Limits, NodeId, Spool, Tree, unpack};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::io::Read;

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Directory,
    File(Vec<u8>),
    Symlink(String),
}

#[derive(Debug, Clone)]
enum Change {
    Put(String, What),
    Whiteout(String),
    Opaque(String),
}

fn builder() -> tar::Builder<Vec<u8>> {
    tar::Builder::new(Vec::new())
}

fn header(kind: tar::EntryType, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o644);
    header.set_uid(7);
    header.set_gid(8);
    header.set_mtime(9);
    header
}

fn stream(layer: &[Change]) -> Vec<u8> {
    let mut tar = builder();
    for change in layer {
        match change {
            Change::Put(path, What::Directory) => {
                let mut header = header(tar::EntryType::Directory, 0);
                tar.append_data(&mut header, format!("{path}/"), &[][..]).unwrap();
            }
            Change::Put(path, What::File(bytes)) => {
                let mut header = header(tar::EntryType::Regular, bytes.len() as u64);
                tar.append_data(&mut header, path, &bytes[..]).unwrap();
            }
            Change::Put(path, What::Symlink(target)) => {
                tar.append_link(&mut header(tar::EntryType::Symlink, 0), path, target).unwrap();
            }
            Change::Whiteout(path) => {
                let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
                let path =
                    format!("{parent}{}.wh.{name}", if parent.is_empty() { "" } else { "/" });
                tar.append_data(&mut header(tar::EntryType::Regular, 0), path, &[][..]).unwrap();
            }
            Change::Opaque(path) => {
                let path = format!("{path}/.wh..wh..opq");
                tar.append_data(&mut header(tar::EntryType::Regular, 0), path, &[][..]).unwrap();
            }
        }
    }
    tar.into_inner().unwrap()
}

fn spool() -> Spool {
    Spool::new(&std::env::temp_dir(), 4096).unwrap()
}

/// The tree as a list of paths.
fn listed(tree: &Tree, spool: &Spool) -> BTreeMap<String, What> {
    let mut out = BTreeMap::new();
    let mut left = vec![(String::new(), NodeId::ROOT)];
    while let Some((path, id)) = left.pop() {
        for (name, child) in tree.children(id) {
            let name = String::from_utf8(name.bytes().to_vec()).unwrap();
            let path = if path.is_empty() { name } else { format!("{path}/{name}") };
            let what = match &tree.node(child).kind {
                Kind::Directory(_) => What::Directory,
                Kind::File(content) => {
                    let mut bytes = vec![0; content.len as usize];
                    spool.read(*content, 0, &mut bytes).unwrap();
                    What::File(bytes)
                }
                Kind::Symlink(target) => What::Symlink(String::from_utf8(target.clone()).unwrap()),
                other => panic!("{other:?}"),
            };
            out.insert(path.clone(), what);
            left.push((path, child));
        }
    }
    out
}

/// The specification: whiteouts hide what is below, then the layer's own files come on top.
fn model(layers: &[Vec<Change>]) -> BTreeMap<String, What> {
    let mut all: BTreeMap<String, What> = BTreeMap::new();
    let inside = |path: &str, folder: &str| {
        path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
    };
    for layer in layers {
        for change in layer {
            match change {
                Change::Whiteout(gone) => all.retain(|path, _| path != gone && !inside(path, gone)),
                Change::Opaque(folder) => all.retain(|path, _| !inside(path, folder)),
                Change::Put(..) => {}
            }
        }
        for change in layer {
            // The folder of a mark that hides is there, too.
            let path = match change {
                Change::Put(path, _) => path.clone(),
                Change::Opaque(folder) => format!("{folder}/x"),
                Change::Whiteout(_) => continue,
            };
            let parents = path.match_indices('/').map(|(at, _)| path[..at].to_owned());
            for parent in parents {
                all.insert(parent, What::Directory);
            }
            let Change::Put(_, what) = change else { continue };
            if *what != What::Directory {
                all.retain(|other, _| !inside(other, &path));
            }
            all.insert(path, what.clone());
        }
    }
    all
}

/// Folders are `d…`, other files are not, so that no layer puts a file below a file.
fn change() -> impl Strategy<Value = Change> {
    let folder = prop::collection::vec(prop::sample::select(vec!["d1", "d2"]), 0..3);
    let name = prop::sample::select(vec!["a", "b", "d1", "d2"]);
    (folder, name, 0..8_u8, prop::collection::vec(any::<u8>(), 0..20)).prop_map(
        |(folder, name, kind, bytes)| {
            let folder = folder.join("/");
            let path = if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
            match (kind, name.starts_with('d')) {
                (0 | 1, _) => Change::Whiteout(path),
                (2, true) => Change::Opaque(path),
                (_, true) => Change::Put(path, What::Directory),
                (3, false) => Change::Put(path, What::Symlink("nowhere".into())),
                _ => Change::Put(path, What::File(bytes)),
            }
        },
    )
}

/// A layer says one thing of a path: what a second one would mean depends on the order.
fn layer() -> impl Strategy<Value = Vec<Change>> {
    prop::collection::vec(change(), 0..10).prop_map(|changes| {
        let mut seen = std::collections::BTreeSet::new();
        let key = |change: &Change| match change {
            Change::Put(path, _) => path.clone(),
            Change::Whiteout(path) => format!("{path} hidden"),
            Change::Opaque(path) => format!("{path} opaque"),
        };
        changes.into_iter().filter(|change| seen.insert(key(change))).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_layers_come_to_the_tree_of_the_specification(
        layers in prop::collection::vec(layer(), 1..5)
    ) {
        let (mut tree, mut spool) = (Tree::new(Limits::default()), spool());
        for (number, layer) in (1..).zip(&layers) {
            unpack(&stream(layer)[..], &mut tree, &mut spool, number).unwrap();
        }
        prop_assert_eq!(listed(&tree, &spool), model(&layers));
    }

    #[test]
    fn any_bytes_are_a_layer_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
        let (mut tree, mut spool) = (Tree::new(Limits::default()), spool());
        let _ = unpack(&bytes[..], &mut tree, &mut spool, 1);
    }

    /// Cut anywhere, a layer is not a smaller layer.
    #[test]
    fn a_layer_that_is_cut_off_is_an_error(layer in layer(), cut in 1..1024_usize) {
        let mut bytes = stream(&layer);
        bytes.truncate(bytes.len().saturating_sub(cut.max(513)));
        let (mut tree, mut spool) = (Tree::new(Limits::default()), spool());
        prop_assert!(unpack(&bytes[..], &mut tree, &mut spool, 1).is_err());
    }
}

fn unpacked(streams: &[Vec<u8>]) -> Result<(Tree, Spool), ImageError> {
    let (mut tree, mut spool) = (Tree::new(Limits { nodes: 64, ..Limits::default() }), spool());
    for (number, stream) in (1..).zip(streams) {
        unpack(&stream[..], &mut tree, &mut spool, number)?;
    }
    Ok((tree, spool))
}

#[test]
fn a_hard_link_keeps_its_file_when_the_first_name_is_removed() {
    let mut tar = builder();
    tar.append_data(&mut header(tar::EntryType::Regular, 2), "one", &b"ab"[..]).unwrap();
    tar.append_link(&mut header(tar::EntryType::Link, 0), "two", "one").unwrap();
    let first = tar.into_inner().unwrap();
    let second = stream(&[Change::Whiteout("one".into())]);
    let (tree, spool) = unpacked(&[first, second]).unwrap();
    let expected = BTreeMap::from([("two".to_owned(), What::File(b"ab".to_vec()))]);
    assert_eq!(listed(&tree, &spool), expected);
}

#[test]
fn files_below_a_link_lie_where_it_leads_within_the_image() {
    let put = |path: &str, what| Change::Put(path.into(), what);
    let first = stream(&[
        put("usr/lib", What::Directory),
        put("lib", What::Symlink("usr/lib".into())),
        put("up", What::Symlink("../../../usr".into())),
        put("abs", What::Symlink("/usr".into())),
    ]);
    let file = || What::File(b"x".to_vec());
    let second = stream(&[put("lib/one", file()), put("up/two", file()), put("abs/three", file())]);
    let (tree, spool) = unpacked(&[first, second]).unwrap();
    let all = listed(&tree, &spool);
    for path in ["usr/lib/one", "usr/two", "usr/three"] {
        assert_eq!(all[path], file(), "{path}");
    }
    assert!(tree.find(b"/abs/lib/one").is_some() && tree.find(b"lib/none").is_none());
}

#[test]
fn what_leads_out_of_the_image_or_has_no_meaning_is_refused_by_name() {
    let refused = |stream: Vec<u8>, word| {
        unpacked(&[stream]).err().unwrap_or_else(|| panic!("{word}: taken")).to_string()
    };
    let link = |kind, path: &str, target: &str| {
        let mut tar = builder();
        tar.append_link(&mut header(kind, 0), path, target).unwrap();
        tar.into_inner().unwrap()
    };
    let mut outside = stream(&[Change::Put("aa/b".into(), What::File(vec![]))]);
    outside[0] = b'.';
    outside[1] = b'.';
    // The checksum is a sum: two letters less.
    let sum = outside[..512].iter().map(|b| u32::from(*b)).sum::<u32>()
        - outside[148..156].iter().map(|b| u32::from(*b)).sum::<u32>()
        + 8 * 32;
    outside[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    for (stream, word) in [
        (outside, "leads out"),
        (link(tar::EntryType::Link, "a", "missing"), "not there"),
        (link(tar::EntryType::Link, "a", "/"), "not there"),
        (
            stream(&[
                Change::Put("a".into(), What::File(vec![])),
                Change::Put("a/b".into(), What::Directory),
            ]),
            "no folder",
        ),
        (
            stream(&[
                Change::Put("a".into(), What::Symlink("a".into())),
                Change::Put("a/b".into(), What::Directory),
            ]),
            "too many symbolic links",
        ),
        (stream(&[Change::Put("a".into(), What::File(vec![1; 4097]))]), "more than 4096 bytes"),
        (stream(&vec![Change::Put("a".into(), What::File(vec![])); 70]), "more than 64 files"),
    ] {
        let text = refused(stream, word);
        assert!(text.contains(word), "{word}: {text}");
        assert!(!text.contains('\n'));
    }
}

#[test]
fn attributes_are_kept_or_counted_by_the_rule() {
    let mut tar = builder();
    let attributes = [
        (
            "SCHILY.xattr.security.capability",
            &b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0"[..],
        ),
        ("SCHILY.xattr.user.a", b"\n=\xff"),
        ("SCHILY.xattr.security.selinux", b"system_u"),
        ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
    ];
    tar.append_pax_extensions(attributes).unwrap();
    tar.append_data(&mut header(tar::EntryType::Regular, 0), "f", &[][..]).unwrap();
    let bytes = tar.into_inner().unwrap();
    let (mut tree, mut spool) = (Tree::new(Limits::default()), spool());
    let dropped = unpack(&bytes[..], &mut tree, &mut spool, 1).unwrap();
    assert_eq!(dropped.xattrs, 2);
    let meta = &tree.node(tree.find(b"f").unwrap()).meta;
    assert_eq!((meta.uid, meta.gid, meta.mtime, meta.mode), (7, 8, 9, 0o644));
    let kept: Vec<_> = meta.xattrs.keys().map(|name| String::from_utf8_lossy(name)).collect();
    assert_eq!(kept, ["security.capability", "user.a"]);
}

/// Layers of marks, links and attributes that are small to write and dear to keep: each ends at a
/// limit. Protects memory and time; cannot tell what a limit costs on this machine.
#[test]
fn what_is_cheap_to_write_and_dear_to_keep_ends_at_a_limit() {
    let limits = Limits { nodes: 200, xattrs: 5000, links: 30_000, entries: 400, steps: 20_000 };
    let refused = |stream: &[u8]| {
        let (mut tree, mut spool) = (Tree::new(limits), spool());
        unpack(stream, &mut tree, &mut spool, 1).unwrap_err().to_string()
    };
    let mut links = builder();
    links.append_data(&mut header(tar::EntryType::Regular, 0), "a", &[][..]).unwrap();
    for i in 0..300 {
        let mut header = header(tar::EntryType::Link, 0);
        links.append_link(&mut header, format!("link{i}"), "a").unwrap();
    }
    assert!(refused(&links.into_inner().unwrap()).contains("more than 200 names"));
    let mut attributes = builder();
    for i in 0..10 {
        let value = [b'v'; 900];
        attributes.append_pax_extensions([("SCHILY.xattr.user.a", &value[..])]).unwrap();
        let mut header = header(tar::EntryType::Regular, 0);
        attributes.append_data(&mut header, format!("f{i}"), &[][..]).unwrap();
    }
    assert!(refused(&attributes.into_inner().unwrap()).contains("5000 bytes of extended"));
    // A way that goes up and down, forty links long, for each of a few entries.
    let mut ways = builder();
    let long = "d/../".repeat(60) + "d";
    ways.append_data(&mut header(tar::EntryType::Directory, 0), "d/", &[][..]).unwrap();
    for i in 0..40 {
        let target = if i == 0 { long.clone() } else { format!("{long}/../l{}", i - 1) };
        let mut header = header(tar::EntryType::Symlink, 0);
        ways.append_link(&mut header, format!("l{i}"), target).unwrap();
    }
    for i in 0..10 {
        let mut header = header(tar::EntryType::Regular, 0);
        ways.append_data(&mut header, format!("l39/f{i}"), &[][..]).unwrap();
    }
    assert!(refused(&ways.into_inner().unwrap()).contains("20000 steps"));
    let mut targets = builder();
    for i in 0..10 {
        let mut header = header(tar::EntryType::Symlink, 0);
        targets.append_link(&mut header, format!("l{i}"), "x".repeat(4000)).unwrap();
    }
    assert!(refused(&targets.into_inner().unwrap()).contains("30000 bytes of symbolic links"));
    // What removes something that is not there leaves no trace in a tree.
    let mut removals = builder();
    for i in 0..500 {
        let mut header = header(tar::EntryType::Regular, 0);
        removals.append_data(&mut header, format!(".wh.f{i}"), &[][..]).unwrap();
    }
    assert!(refused(&removals.into_inner().unwrap()).contains("400 entries"));
}

/// A stream ends at a bound whether it says so first, as a file's size, or comes as one small entry
/// after another.
#[test]
fn a_stream_that_does_not_end_is_read_as_far_as_its_bound() {
    let last = |stream: &[u8], most| {
        let mut reader = Reader::new(stream.chain(std::io::repeat(b'x')), EndMark::Needed);
        reader = reader.within(most);
        loop {
            match reader.next_entry() {
                Ok(Some(_)) => {}
                Ok(None) => panic!("the stream has no end"),
                Err(e) => break e.to_string(),
            }
        }
    };
    let mut one = builder();
    let mut large = header(tar::EntryType::Regular, 1 << 40);
    large.set_path("large").unwrap();
    large.set_cksum();
    one.get_mut().extend(large.as_bytes());
    let one = one.get_ref().clone();
    assert!(last(&one, 1 << 20).contains("1048576 bytes in a tar stream"));
    let mut many = builder();
    for i in 0..100 {
        let mut header = header(tar::EntryType::Regular, 0);
        many.append_data(&mut header, format!(".wh.f{i}"), &[][..]).unwrap();
    }
    let many = many.get_ref().clone();
    assert!(last(&many, 20_000).contains("20000 bytes in a tar stream"));
    assert!(last(&many, 1 << 20).contains("byte 51200 of the tar stream"), "the entries are good");
}

/// A layer that hides everything again and again, on a tree of a thousand folders: one look at
/// each.
#[test]
fn marks_that_hide_what_is_hidden_already_cost_nothing_more() {
    let path = |i: usize| format!("top/d{}/e{i}", i / 100);
    let first: Vec<Change> = (0..2000).map(|i| Change::Put(path(i), What::Directory)).collect();
    let mut second: Vec<Change> = (0..2000).map(|_| Change::Opaque("top".into())).collect();
    second.push(Change::Put("top/new".into(), What::File(vec![])));
    let (mut tree, mut spool) = (Tree::new(Limits { steps: 40_000, ..Limits::default() }), spool());
    unpack(&stream(&first)[..], &mut tree, &mut spool, 1).unwrap();
    unpack(&stream(&second)[..], &mut tree, &mut spool, 2).unwrap();
    let expected = ["top", "top/new"].map(str::to_owned);
    assert_eq!(listed(&tree, &spool).into_keys().collect::<Vec<_>>(), expected);
}

#[test]
fn what_readers_of_tar_disagree_about_is_refused() {
    let refused = |bytes: &[u8], word: &str| {
        let (mut tree, mut spool) = (Tree::new(Limits::default()), spool());
        let error = unpack(bytes, &mut tree, &mut spool, 1).unwrap_err().to_string();
        assert!(error.contains(word), "{word}: {error}");
    };
    let mut folder = builder();
    let mut odd = header(tar::EntryType::Regular, 3);
    odd.set_path("x/").unwrap();
    odd.set_cksum();
    folder.append(&odd, &b"abc"[..]).unwrap();
    refused(&folder.into_inner().unwrap(), "folder's name");
    let one = stream(&[Change::Put("a".into(), What::File(vec![]))]);
    let two = stream(&[Change::Put("b".into(), What::File(vec![]))]);
    let lone = [&one[..512], &[0; 512], &two].concat();
    refused(&lone, "lone block of zeros");
    let mut all = builder();
    all.append_pax_extensions([("SCHILY.xattr.user.a", &b"x"[..])]).unwrap();
    let mut bytes = all.into_inner().unwrap();
    bytes[156] = b'g';
    bytes[148..156].fill(b' ');
    let sum: u32 = bytes[..512].iter().map(|byte| u32::from(*byte)).sum();
    bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    refused(&bytes, "every file of the stream");
    let deep = format!("{}x", "d/".repeat(1100));
    refused(&stream(&[Change::Put(deep, What::Directory)]), "deeper than 1024");
}
