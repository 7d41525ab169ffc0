//! How the boot code's image is built: four runs of the compiler, without cargo.
//!
//! Used by the hypervisor's build script and by the tests. What is measured must not depend on
//! where it was built, on cargo's profile, or on the environment: sources are named relative to the
//! root of the project, crates get fixed metadata, flags are all here, and the compiler's
//! environment variables are removed.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Largest image: the four pages of `casemate_layout::map::BOOT_CODE`.
pub const MAX_BYTES: usize = 0x4000;
/// Where the image is linked: `casemate_layout::map::BOOT_CODE`.
const LOAD_ADDRESS: u64 = 0x1_0000;

/// No vector or floating-point registers: the boot code must run where a hypervisor emulates CPL 0,
/// and must not depend on state that nobody set up. The compiler calls this an ABI change, which
/// matters to no other code: nothing of the image passes floating-point values.
const FLAGS: &[&str] = &[
    "--edition=2024",
    "-Copt-level=s",
    "-Cpanic=abort",
    "-Coverflow-checks=on",
    "-Cdebuginfo=0",
    "-Cembed-bitcode=yes",
    "-Ccodegen-units=1",
    "-Crelocation-model=static",
    "-Cforce-unwind-tables=no",
    "-Ctarget-cpu=x86-64",
    "-Ctarget-feature=-mmx,-sse,-sse2",
    "-Cno-redzone=yes",
    "--cap-lints=allow",
];

const IMAGE_FLAGS: &[&str] = &[
    "-Clto=fat",
    "-Cstrip=none",
    "-Clink-arg=-nostartfiles",
    "-Clink-arg=-nostdlib",
    "-Clink-arg=-static",
    "-Clink-arg=-no-pie",
    "-Clink-arg=-Wl,--build-id=none",
    "-Clink-arg=-Wl,-z,norelro",
    "-Clink-arg=-Wl,--gc-sections",
    "-Clink-arg=-Wl,-Tguest/boot/image/link.ld",
];

const VARIABLES: &[&str] = &[
    "RUSTFLAGS",
    "CARGO_ENCODED_RUSTFLAGS",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "SOURCE_DATE_EPOCH",
];

/// What was built.
pub struct Image {
    /// Linked, with symbols.
    pub elf: PathBuf,
    /// What is loaded, from its first byte on.
    pub bytes: Vec<u8>,
}

/// Builds the image of the project at `root` with `rustc`, leaving files in `out`.
pub fn build(rustc: &Path, root: &Path, out: &Path) -> Result<Image, String> {
    std::fs::create_dir_all(out).map_err(|error| format!("{}: {error}", out.display()))?;
    let rlib = |name: &str| out.join(format!("lib{name}.rlib"));
    let external = |name: &str| format!("--extern={name}={}", rlib(name).display());
    let layout = external("casemate_layout");
    let kernel = external("casemate_kernel");
    let boot = external("casemate_boot");
    let elf = out.join("casemate-boot.elf");
    let run = |name: &str, kind: &str, source: &str, output: &Path, more: &[&str]| {
        let mut command = Command::new(rustc);
        for variable in VARIABLES {
            command.env_remove(variable);
        }
        command.current_dir(root).args(FLAGS).args(more);
        command.args([&format!("--crate-name={name}"), &format!("--crate-type={kind}")]);
        command.args(["-Cmetadata=casemate", source, "-o"]).arg(output);
        let done = command.output().map_err(|error| format!("{}: {error}", rustc.display()))?;
        match done.status.success() {
            true => Ok(()),
            false => Err(format!("{source}: {}", String::from_utf8_lossy(&done.stderr))),
        }
    };
    let layout_lib = rlib("casemate_layout");
    let kernel_lib = rlib("casemate_kernel");
    let boot_lib = rlib("casemate_boot");
    run("casemate_layout", "rlib", "guest/layout/src/lib.rs", &layout_lib, &[])?;
    run("casemate_kernel", "rlib", "guest/kernel/src/lib.rs", &kernel_lib, &[&layout])?;
    run("casemate_boot", "rlib", "guest/boot/src/lib.rs", &boot_lib, &[&layout, &kernel])?;
    let search = format!("-Ldependency={}", out.display());
    let externals = [layout.as_str(), boot.as_str(), search.as_str()];
    let image_flags: Vec<&str> = IMAGE_FLAGS.iter().copied().chain(externals).collect();
    run("casemate_boot_image", "bin", "guest/boot/image/main.rs", &elf, &image_flags)?;
    let linked = std::fs::read(&elf).map_err(|error| format!("{}: {error}", elf.display()))?;
    let bytes = loaded(&linked).ok_or("the linked boot code is not one segment at its address")?;
    match bytes.len() {
        1..=MAX_BYTES => Ok(Image { elf, bytes: bytes.to_vec() }),
        size => Err(format!("the boot code has {size} bytes, at most {MAX_BYTES} fit")),
    }
}

/// The one segment of an ELF file, if it starts with the entry point.
fn loaded(elf: &[u8]) -> Option<&[u8]> {
    let number = |at: usize| Some(u64::from_le_bytes(*elf.get(at..)?.first_chunk()?));
    let half = |at: usize| Some(u16::from_le_bytes(*elf.get(at..)?.first_chunk()?));
    let table = usize::try_from(number(0x20)?).ok()?;
    if number(0x18)? != LOAD_ADDRESS || half(0x38)? != 1 {
        return None;
    }
    let size = number(table + 0x20)?;
    if number(table + 0x18)? != LOAD_ADDRESS || number(table + 0x28)? != size {
        return None;
    }
    let start = usize::try_from(number(table + 0x08)?).ok()?;
    elf.get(start..start.checked_add(usize::try_from(size).ok()?)?)
}
