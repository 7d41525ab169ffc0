//! What tests of the virtual SNP host share.
#![allow(dead_code, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the virtual host was built: what all its kernels share.
pub fn shared() -> PathBuf {
    std::env::var_os("CASEMATE_HOST_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/host"),
        PathBuf::from,
    )
}

/// Whether the tests run on the 7.x kernel (`CASEMATE_HOST_KERNEL=7`) instead of the usual 6.12.
pub fn kernel_7() -> bool {
    std::env::var_os("CASEMATE_HOST_KERNEL").is_some_and(|kernel| kernel == "7")
}

/// Where what belongs to the host's kernel was built.
pub fn built() -> PathBuf {
    if kernel_7() { shared().join("kernel-7") } else { shared() }
}

/// A file of this test program's own.
pub fn scratch(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()))
}

/// Compiles C sources of `snp/DIRECTORY` and says where the program is.
pub fn compile(directory: &str, name: &str, arguments: &[&str]) -> PathBuf {
    let program = scratch(name);
    let output = Command::new("gcc")
        .args(["-std=gnu11", "-O1", "-Wall"])
        .args(arguments)
        .arg("-o")
        .arg(&program)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("snp").join(directory))
        .output()
        .expect("gcc starts");
    if !output.status.success() {
        panic!("{name} does not compile:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    program
}

/// Compiles the test VMM; the host must have been built, since it brings the kernel's interface
/// along.
pub fn compile_vmm(name: &str) -> PathBuf {
    let include = format!("-I{}", built().join("uapi").display());
    compile(
        "test",
        name,
        &["-static", &include, "vmm.c", "host_view.c", "vmpl.c", "guest.S", "vmpl.S"],
    )
}

/// Builds the programs without shared libraries; their directory.
pub fn static_programs() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let output =
        Command::new("make").args(["-s", "static"]).current_dir(&root).output().expect("make");
    if !output.status.success() {
        panic!("make static:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    root.join("target/static")
}
