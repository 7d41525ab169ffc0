//! The image: the same bytes wherever it is built, small, and without vector registers.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use casemate_boot_code::{BYTES, recipe};
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn rustc() -> PathBuf {
    std::env::var_os("RUSTC").map_or_else(|| PathBuf::from("rustc"), PathBuf::from)
}

fn scratch(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn two_copies_of_the_source_in_different_places_give_the_same_bytes() {
    let one = recipe::build(&rustc(), &root(), &scratch("one/out")).unwrap();
    let elsewhere = scratch("another place, with a much longer name");
    for part in ["layout/src", "kernel/src", "boot/src", "boot/image"] {
        copy(&root().join("guest").join(part), &elsewhere.join("guest").join(part));
    }
    let two = recipe::build(&rustc(), &elsewhere, &elsewhere.join("out")).unwrap();
    assert!(one.bytes == two.bytes, "the images differ");
}

#[test]
fn the_golden_bytes_are_what_the_source_gives() {
    let image = recipe::build(&rustc(), &root(), &scratch("golden")).unwrap();
    assert!(
        image.bytes == BYTES,
        "the source has changed: `make boot-code` builds the golden bytes again"
    );
}

#[test]
fn another_compiler_is_refused_with_the_one_that_is_right() {
    let error = recipe::build(Path::new("/bin/echo"), &root(), &scratch("other")).unwrap_err();
    assert!(error.to_string().contains("rustup toolchain install 1.95.0"), "{error}");
}

#[test]
fn the_image_fits_its_four_pages_and_names_no_place_of_the_build() {
    let image = recipe::build(&rustc(), &root(), &scratch("size")).unwrap();
    println!("{} bytes, {} pages", image.bytes.len(), image.bytes.len().div_ceil(4096));
    assert!(image.bytes.len() <= recipe::MAX_BYTES);
    let root = root();
    let root = root.to_str().unwrap().as_bytes();
    assert!(!image.bytes.windows(root.len()).any(|part| part == root));
}

/// The hash is the only code with vector registers; there is no floating point at all.
#[test]
fn only_the_hash_has_vector_registers() {
    let image = recipe::build(&rustc(), &root(), &scratch("registers")).unwrap();
    let listing =
        Command::new("objdump").args(["-d", "-M", "intel"]).arg(&image.elf).output().unwrap();
    let listing = String::from_utf8(listing.stdout).unwrap();
    let mut function = "";
    let (mut hashing, mut instructions) = (0, 0);
    for line in listing.lines() {
        if line.ends_with(">:") {
            function = line.split(['<', '>']).nth(1).unwrap_or("");
        }
        let Some(instruction) = line.split('\t').nth(2) else { continue };
        instructions += 1;
        let vector = ["xmm", "ymm", "zmm", "mm0"].iter().any(|name| instruction.contains(name));
        let float = instruction.starts_with('f') || instruction.contains("xsave");
        if function == "casemate_sha256_blocks" {
            hashing += i32::from(vector);
        } else {
            assert!(!vector && !float, "{function}: {instruction}");
        }
    }
    assert!(
        hashing > 50 && instructions > 500,
        "{hashing} of {instructions}: not a listing of the image"
    );
}
