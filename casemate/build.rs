//! Builds the images of confined processes and names them to the compiler, each by a variable of
//! its own: `include_bytes!(env!("CASEMATE_VMM_IMAGE"))`.
//!
//! An image is a program of its own, linked statically whatever the program around it is, so it
//! takes a build of its own, into a folder of its own (cargo locks folders, so it cannot wait for
//! itself): `images` in the outer build's target folder, which debug and release builds, tests and
//! lints share. What wraps or instruments the outer build, such as clippy, coverage or a sanitizer,
//! is no part of an image. The same variable in the environment names an image that was built
//! before.

use std::path::{Path, PathBuf};
use std::process::Command;

const TARGET: &str = "x86_64-unknown-linux-gnu";
/// Largest image, bytes: each VM maps its own.
const LARGEST: u64 = 1536 * 1024;

/// Each image: its package, and the variable that names it.
const IMAGES: [(&str, &str); 4] = [
    ("casemate-device", "CASEMATE_DEVICE_IMAGE"),
    // PID 1 of guests, which `casemate image build` puts into their initramfs.
    ("casemate-init", "CASEMATE_INIT_IMAGE"),
    ("casemate-recorder", "CASEMATE_RECORDER_IMAGE"),
    ("casemate-vmm", "CASEMATE_VMM_IMAGE"),
];

/// Folders whose change makes another image.
const SOURCES: [&str; 14] = [
    "attestation/src",
    "devices",
    "diagnostics/src",
    "files/src",
    "foreign-text/src",
    "formats",
    "guest",
    "hypervisor/src",
    "images",
    "policy/src",
    "policy-log/src",
    "sandbox/src",
    "Cargo.toml",
    "Cargo.lock",
];

/// Variables that are about the outer build.
const OURS: [&str; 17] = [
    "CARGO_BUILD_TARGET",
    "CARGO_CRATE_NAME",
    "CARGO_PRIMARY_PACKAGE",
    "CARGO_TARGET_DIR",
    "DEBUG",
    "HOST",
    "LLVM_PROFILE_FILE",
    "NUM_JOBS",
    "OPT_LEVEL",
    "OUT_DIR",
    "PROFILE",
    "RUSTC_LINKER",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTFLAGS",
    "RUSTDOC",
    "TARGET",
];
/// The same by how they begin.
const OURS_BEGIN: [&str; 6] =
    ["CARGO_CFG_", "CARGO_FEATURE_", "CARGO_MANIFEST_", "CARGO_PKG_", "CARGO_PROFILE_", "DEP_"];

fn main() -> Result<(), String> {
    for (_, variable) in IMAGES {
        println!("cargo:rerun-if-env-changed={variable}");
    }
    if std::env::var_os("CARGO_FEATURE_VM").is_none() {
        return Ok(());
    }
    let is_there = |variable: &str| std::env::var_os(variable).is_some();
    let missing = IMAGES.into_iter().filter(|(_, variable)| !is_there(variable));
    let missing: Vec<&str> = missing.map(|(package, _)| package).collect();
    let folder = if missing.is_empty() { PathBuf::new() } else { build(&missing)? };
    for (package, variable) in IMAGES {
        let image = std::env::var_os(variable).map_or_else(|| folder.join(package), PathBuf::from);
        check_size(&image)?;
        println!("cargo:rerun-if-changed={}", image.display());
        println!("cargo:rustc-env={variable}={}", image.display());
    }
    Ok(())
}

fn check_size(image: &Path) -> Result<(), String> {
    let size = image.metadata().map_err(|e| format!("{}: {e}", image.display()))?.len();
    if size > LARGEST {
        let image = image.display();
        return Err(format!("{image} has {size} bytes; at most {LARGEST} are allowed"));
    }
    Ok(())
}

/// Builds packages of this workspace as images, by one run of cargo. Gives the folder with them.
fn build(packages: &[&str]) -> Result<PathBuf, String> {
    let variable = |name| std::env::var_os(name).ok_or(format!("{name} is not set"));
    let root = PathBuf::from(variable("CARGO_MANIFEST_DIR")?).join("..");
    let root = root.canonicalize().map_err(|e| format!("{}: {e}", root.display()))?;
    for source in SOURCES {
        let source = root.join(source);
        // What is not there counts as changed, whenever cargo looks.
        if !source.exists() {
            return Err(format!("{} is not there: take it from the list", source.display()));
        }
        println!("cargo:rerun-if-changed={}", source.display());
    }
    let out = PathBuf::from(variable("OUT_DIR")?);
    // Cargo marks a target folder with this file.
    let target = out.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file());
    let folder = target.unwrap_or(&out).join("images");
    // Panic messages name source files: not by where this tree and the registry's lie, so that an
    // image is the same wherever it is built.
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let mut flags = vec![
        "-Ctarget-feature=+crt-static".to_owned(),
        format!("--remap-path-prefix={}=.", root.display()),
    ];
    if let Some(home) = home {
        flags.push(format!("--remap-path-prefix={}=registry", home.join("registry/src").display()));
    }
    let mut cargo = Command::new(variable("CARGO")?);
    cargo
        .current_dir(&root)
        .args(["build", "--quiet", "--frozen", "--profile", "image", "--target", TARGET])
        .arg("--target-dir")
        .arg(&folder)
        .args(packages.iter().flat_map(|package| ["--package", package]))
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    // Cargo's own words to this script would be taken for the user's, and make one image differ
    // from the next.
    for (variable, _) in std::env::vars_os() {
        let name = variable.to_string_lossy();
        if OURS.contains(&&*name) || OURS_BEGIN.iter().any(|begin| name.starts_with(begin)) {
            cargo.env_remove(variable);
        }
    }
    let status = cargo.status().map_err(|e| format!("cargo cannot be run: {e}"))?;
    if !status.success() {
        return Err(format!("the images {} cannot be built ({status})", packages.join(", ")));
    }
    Ok(folder.join(TARGET).join("image"))
}
