//! Protects how a kernel is taken apart: a Debian package gives its kernel and its modules, each
//! module comes behind those it needs, and what cannot be loaded or understood is refused with its
//! name. The packages are put together here, by other projects' writers of tar and gzip;
//! `tests/e2e` boots what Debian's own makes. Cannot tell which modules a guest of tomorrow needs.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

use casemate_image::kernel::{Kernel, Origin, Purpose, Store, example, needed, package, read};
use casemate_image::{ImageError, Spool};
use std::io::Write;
use std::path::PathBuf;

const RELEASE: &str = "6.12.1-cloud";

/// A module of this name that needs these.
fn module(name: &str, depends: &str) -> Vec<u8> {
    let vermagic = format!("{RELEASE} SMP mod_unload ");
    example(format!("depends={depends}\0name={name}\0vermagic={vermagic}\0").as_bytes())
}

/// What a guest must have, with a need that nobody asked for; files have the names of Debian's.
fn modules() -> Vec<(String, Vec<u8>)> {
    let all = [
        ("drivers/block/virtio_blk", "virtio_blk", ""),
        ("drivers/md/dm-mod", "dm_mod", ""),
        ("drivers/md/dm-bufio", "dm_bufio", "dm-mod"),
        ("drivers/md/dm-verity", "dm_verity", "dm-mod,dm-bufio"),
        ("fs/erofs/erofs", "erofs", "libcrc32c"),
        ("lib/libcrc32c", "libcrc32c", ""),
        ("drivers/net/loud", "loud", ""),
    ];
    let file = |(path, name, depends): (&str, &str, &str)| {
        (format!("kernel/{path}.ko"), module(name, depends))
    };
    all.into_iter().map(file).collect()
}

const BUILT_IN: &str = "kernel/drivers/virtio/virtio_pci.ko\n";

/// A tar stream of files, as dpkg-deb writes it.
fn tar(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, format!("./{path}"), &bytes[..]).unwrap();
    }
    tar.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = b"!<arch>\n".to_vec();
    for (name, contents) in members {
        let size = contents.len();
        writeln!(bytes, "{name:16}{:12}{:6}{:6}{:8}{size:<10}`", 0, 0, 0, 100_644).unwrap();
        bytes.extend(*contents);
        bytes.extend(&b"\n"[..size % 2]);
    }
    bytes
}

fn files() -> Vec<(String, Vec<u8>)> {
    let folder = format!("lib/modules/{RELEASE}");
    let mut files = vec![(format!("boot/vmlinuz-{RELEASE}"), b"the kernel".to_vec())];
    files.push((format!("{folder}/modules.builtin"), BUILT_IN.into()));
    files.extend(modules().into_iter().map(|(path, file)| (format!("{folder}/{path}"), file)));
    files
}

fn deb(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let data = gzip(&tar(files));
    ar(&[("debian-binary", b"2.0\n"), ("control.tar.gz", b"not read"), ("data.tar.gz", &data)])
}

fn spool() -> Spool {
    Spool::new(&std::env::temp_dir(), 1 << 20).unwrap()
}

fn taken(deb: &[u8]) -> Result<(Vec<u8>, Vec<String>), ImageError> {
    let (kernel, store) = package(deb, spool())?;
    let modules = needed(&store, Purpose::Workload, None)?;
    Ok((kernel, modules.into_iter().map(|module| module.name).collect()))
}

const ORDER: [&str; 6] = ["virtio_blk", "dm_mod", "dm_bufio", "dm_verity", "libcrc32c", "erofs"];

#[test]
fn a_package_gives_its_kernel_and_each_module_behind_those_it_needs() {
    let (kernel, order) = taken(&deb(&files())).unwrap();
    assert_eq!(kernel, b"the kernel");
    // Nobody needs `loud`, and `virtio_pci` is built in.
    assert_eq!(order, ORDER);
    // Modules of a kernel whose files lie under /usr, one of them compressed.
    let mut merged = files();
    for (path, file) in &mut merged {
        if path.starts_with("lib/") {
            path.insert_str(0, "usr/");
        }
        if path.ends_with("erofs.ko") {
            (*path, *file) = (format!("{path}.gz"), gzip(file));
        }
    }
    assert_eq!(taken(&deb(&merged)).unwrap().1, ORDER);
}

#[test]
fn a_folder_of_modules_gives_the_same() {
    let folder = std::env::temp_dir().join(format!("casemate-modules-{}", std::process::id()));
    let path = |name: &str| -> PathBuf { folder.join(name) };
    for (name, file) in modules() {
        std::fs::create_dir_all(path(&name).parent().unwrap()).unwrap();
        std::fs::write(path(&name), file).unwrap();
    }
    std::fs::write(path("modules.builtin"), BUILT_IN).unwrap();
    std::fs::write(path("vmlinuz"), "the kernel").unwrap();
    let (kernel, modules) = (path("vmlinuz"), Some(folder.as_path()));
    let read = read(Origin::Files { kernel: &kernel, modules }, Purpose::Workload, &folder);
    std::fs::remove_dir_all(&folder).unwrap();
    let Kernel { file, modules } = read.unwrap();
    assert_eq!(file, b"the kernel");
    let names: Vec<&str> = modules.iter().map(|module| module.name.as_str()).collect();
    assert_eq!(names, ORDER);
    // Without a folder all is taken to be built in.
    assert!(needed(&Store::of_nothing(), Purpose::Reports, None).unwrap().is_empty());
}

fn refused(files: &[(String, Vec<u8>)], why: &str) {
    let error = taken(&deb(files)).unwrap_err();
    let text = error.to_string();
    assert!(error.is_bad_input() && text.contains(why), "{text}");
}

#[test]
fn a_kernel_that_lacks_what_a_guest_needs_is_refused_by_name() {
    let without = |part: &str| -> Vec<_> {
        files().into_iter().filter(|(path, _)| !path.contains(part)).collect()
    };
    refused(&without("dm-verity"), "dm_verity: the kernel has this module neither");
    refused(&without("libcrc32c"), "libcrc32c: the kernel has this module neither");
    refused(&without("modules.builtin"), "virtio_pci: the kernel has this module neither");
    refused(&without("vmlinuz"), "no kernel");
}

#[test]
fn a_module_of_another_kernel_or_name_is_refused() {
    let with = |part: &str, file: Vec<u8>| -> Vec<_> {
        let mut files = files();
        let slot = files.iter_mut().find(|(path, _)| path.contains(part)).unwrap();
        slot.1 = file;
        files
    };
    refused(&with("erofs", module("dm_mod", "")), "erofs: its file is no module of this name");
    refused(&with("erofs", b"\x7fELF".to_vec()), "erofs: its file is no module");
    let (_, store) = package(&deb(&files())[..], spool()).unwrap();
    let error = needed(&store, Purpose::Workload, Some("6.12.2")).unwrap_err().to_string();
    assert!(error.contains("of the kernel 6.12.1-cloud, and the kernel is 6.12.2"), "{error}");
}

/// Files say what they need, so they can say it in a circle.
#[test]
fn modules_that_need_each_other_in_a_circle_are_each_loaded_once() {
    let mut circle = files();
    for (path, file) in &mut circle {
        if path.ends_with("dm-mod.ko") {
            *file = module("dm_mod", "dm-verity");
        }
    }
    let (_, order) = taken(&deb(&circle)).unwrap();
    assert_eq!(order.len(), ORDER.len());
}

#[test]
fn what_is_no_package_is_refused() {
    let data = gzip(&tar(&files()));
    let bad: [(Vec<u8>, &str); 6] = [
        (b"x".repeat(100), "it is no Debian package"),
        (Vec::new(), "it is no Debian package"),
        (ar(&[("data.tar.gz", &data)]), "it is no Debian package of version 2"),
        (ar(&[("debian-binary", b"3.0\n"), ("data.tar.gz", &data)]), "of version 2"),
        (ar(&[("debian-binary", b"2.0\n")]), "no member data.tar"),
        (ar(&[("debian-binary", b"2.0\n"), ("data.tar.gz", &data[..data.len() / 2])]), ""),
    ];
    for (bytes, why) in bad {
        let error = taken(&bytes).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
        assert!(error.is_bad_input(), "{error}");
    }
    let whole = deb(&files());
    for end in (0..whole.len()).step_by(37) {
        assert!(taken(&whole[..end]).is_err(), "{end}");
    }
    let mut twice = files();
    twice.push(("boot/vmlinuz-other".into(), b"another".to_vec()));
    refused(&twice, "two kernels");
    let mut two = files();
    two.push(("lib/modules/other/kernel/x.ko".into(), module("x", "")));
    refused(&two, "modules of two kernels");
}

/// Protects guests without reports from code that they have no use for.
#[test]
fn modules_for_reports_are_there_for_images_that_seal_results_only() {
    let mut all = modules();
    all.push(("kernel/drivers/virt/coco/sev-guest.ko".into(), module("sev_guest", "tsm_report")));
    all.push(("kernel/drivers/virt/coco/tsm_report.ko".into(), module("tsm_report", "configfs")));
    all.push(("kernel/fs/configfs/configfs.ko".into(), module("configfs", "")));
    let names = |purpose| {
        let folder = std::env::temp_dir().join(format!("casemate-reports-{}", std::process::id()));
        for (path, bytes) in &all {
            let path = folder.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        std::fs::write(folder.join("modules.builtin"), BUILT_IN).unwrap();
        let store = Store::of_folder(&folder).unwrap();
        let modules = needed(&store, purpose, None).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        modules.into_iter().map(|module| module.name).collect::<Vec<_>>()
    };
    let (workload, reports) = (names(Purpose::Workload), names(Purpose::Reports));
    assert!(!workload.iter().any(|name| name == "sev_guest" || name == "configfs"));
    assert_eq!(reports[..workload.len()], workload);
    assert_eq!(reports[workload.len()..], ["configfs", "tsm_report", "sev_guest"]);
}
