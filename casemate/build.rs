//! Builds the images of confined processes and names them to the compiler, each by a variable of
//! its own: `include_bytes!(env!("CASEMATE_VMM_IMAGE"))`.
//!
//! An image is a program of its own, linked statically whatever the program around it is, so it
//! takes a build of its own, into a folder of its own (cargo locks folders, so it cannot wait for
//! itself): `images` in the outer build's target folder, which debug and release builds, tests and
//! lints share. What wraps or instruments the outer build, such as clippy, coverage or a sanitizer,
//! is no part of an image. The same variable in the environment names an image that was built
//! before.
//!
//! The C library of what every start waits for, the program that ships included (`make static`), is
//! musl, which a Rust toolchain brings with it (`rust-toolchain.toml`). Half the size is half the
//! pages to seal, and glibc asks the processor some eighty questions (CPUID) before `main`, each of
//! which ends in the hypervisor where the host is a virtual machine itself. A device's process
//! stays with glibc: it makes threads under its first filter, whose rules name glibc's calls.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

const GLIBC: &str = "x86_64-unknown-linux-gnu";
const MUSL: &str = "x86_64-unknown-linux-musl";
/// The same as part of a variable's name.
const MUSL_NAME: &str = "x86_64_unknown_linux_musl";

/// Each image: its package, the variable that names it, what it is built for, and its largest size
/// in bytes, since each VM maps its own.
const IMAGES: [(&str, &str, &str, u64); 6] = [
    ("casemate-broker-front", "CASEMATE_BROKER_FRONT_IMAGE", MUSL, 1536 * 1024),
    ("casemate-broker-keeper", "CASEMATE_BROKER_KEEPER_IMAGE", MUSL, 2560 * 1024),
    ("casemate-device", "CASEMATE_DEVICE_IMAGE", GLIBC, 1536 * 1024),
    // PID 1 of guests, which `casemate image build` puts into their initramfs: no process of the
    // host maps it, but each launch of a confidential guest accepts and hashes it.
    ("casemate-init", "CASEMATE_INIT_IMAGE", GLIBC, 3584 * 1024),
    ("casemate-recorder", "CASEMATE_RECORDER_IMAGE", MUSL, 768 * 1024),
    ("casemate-vmm", "CASEMATE_VMM_IMAGE", MUSL, 768 * 1024),
];

/// Folders whose change makes another image.
const SOURCES: [&str; 19] = [
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
    "workload/broker/src",
    "workload/front/src",
    "workload/keeper/src",
    "workload/relay/src",
    "workload/store/src",
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
    for (_, variable, ..) in IMAGES {
        println!("cargo:rerun-if-env-changed={variable}");
    }
    if std::env::var_os("CARGO_FEATURE_VM").is_none() {
        return Ok(());
    }
    let given = |variable: &str| std::env::var_os(variable).map(PathBuf::from);
    for target in [GLIBC, MUSL] {
        let images = || IMAGES.into_iter().filter(|image| image.2 == target);
        let missing = images().filter(|(_, variable, ..)| given(variable).is_none());
        let missing: Vec<&str> = missing.map(|(package, ..)| package).collect();
        let folder = if missing.is_empty() { PathBuf::new() } else { build(&missing, target)? };
        for (package, variable, _, largest) in images() {
            let image = given(variable).unwrap_or_else(|| folder.join(package));
            check_size(&image, largest)?;
            println!("cargo:rerun-if-changed={}", image.display());
            println!("cargo:rustc-env={variable}={}", image.display());
        }
    }
    Ok(())
}

fn check_size(image: &Path, largest: u64) -> Result<(), String> {
    let size = image.metadata().map_err(|e| format!("{}: {e}", image.display()))?.len();
    if size > largest {
        let image = image.display();
        return Err(format!("{image} has {size} bytes; at most {largest} are allowed"));
    }
    Ok(())
}

/// Refuses a toolchain that has no standard library for images, with what to do: the compiler's own
/// words are about a crate `core`.
fn check_target(rustc: &OsStr, target: &str) -> Result<(), String> {
    let mut rustc = Command::new(rustc);
    rustc.args(["--print", "target-libdir", "--target", target]);
    let output = rustc.output().map_err(|e| format!("the compiler cannot be run: {e}"))?;
    let folder = String::from_utf8_lossy(&output.stdout);
    if Path::new(folder.trim_end()).is_dir() {
        return Ok(());
    }
    Err(format!(
        "programs of confined processes are built for {target}, for which this toolchain has no \
         standard library: `rustup target add {target}`"
    ))
}

/// Builds packages of this workspace as images, for one target. Gives the folder with them.
fn build(packages: &[&str], target: &str) -> Result<PathBuf, String> {
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
    check_target(&variable("RUSTC")?, target)?;
    let out = PathBuf::from(variable("OUT_DIR")?);
    // Cargo marks a target folder with this file.
    let outer = out.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file());
    let folder = outer.unwrap_or(&out).join("images");
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
    if target == MUSL {
        // The toolchain's own linker, since it brings the library, too: nothing of the system is in
        // these images. It writes the places that hold an address, which are thousands, as bits: a
        // tenth of what is read to begin, and ten pages fewer to seal.
        flags.push("-Clinker=rust-lld".to_owned());
        flags.push("-Clink-arg=--pack-dyn-relocs=relr".to_owned());
    }
    let mut cargo = Command::new(variable("CARGO")?);
    cargo
        .current_dir(&root)
        .args(["build", "--quiet", "--frozen", "--profile", "image", "--target", target])
        .arg("--target-dir")
        .arg(&folder)
        .args(packages.iter().flat_map(|package| ["--package", package]))
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    // The C of crate ring needs no library, so the compiler of the system will do; but not its
    // checked versions of functions, which some turn on by themselves and musl lacks.
    let compiler = format!("CC_{MUSL_NAME}");
    if std::env::var_os(&compiler).is_none() {
        cargo.env(compiler, "cc").env(format!("CFLAGS_{MUSL_NAME}"), "-U_FORTIFY_SOURCE");
    }
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
    Ok(folder.join(target).join("image"))
}
