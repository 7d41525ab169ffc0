//! How the boot code is built: four runs of one compiler, without cargo and without the system's
//! linker.
//!
//! What is measured must not depend on where it was built, on cargo's profile, or on the
//! environment: the compiler and its own linker are of one release, sources are named relative to
//! the root of the project, crates get fixed metadata, flags are all here, and the compiler's
//! environment variables are removed.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Largest image: the four pages of `casemate_layout::map::BOOT_CODE`.
pub const MAX_BYTES: usize = 0x4000;
/// Where the image is linked: `casemate_layout::map::BOOT_CODE`.
pub const LOAD_ADDRESS: u64 = 0x1_0000;

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
    "-Clinker-flavor=ld.lld",
    "-Clink-arg=-static",
    "-Clink-arg=--no-pie",
    "-Clink-arg=--build-id=none",
    "-Clink-arg=-znorelro",
    "-Clink-arg=--gc-sections",
    "-Clink-arg=-Tguest/boot/image/link.ld",
];

const VARIABLES: &[&str] = &[
    "RUSTFLAGS",
    "CARGO_ENCODED_RUSTFLAGS",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "SOURCE_DATE_EPOCH",
];

/// The release of the compiler whose output is golden, and its commit: a distribution's build of
/// the same release may have another code generator.
pub const COMPILER: &str = "1.95.0";
const COMMIT: &str = "59807616e1fa2540724bfbac14d7976d7e4a3860";

/// Why the boot code cannot be built again.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    /// Another compiler would give other bytes, which would say nothing about the source.
    #[error(
        "the boot code is built by rustc {COMPILER} (commit {COMMIT}) and no other; this is {found}: \
         `rustup toolchain install {COMPILER}`"
    )]
    Compiler {
        /// What the compiler says of itself.
        found: String,
    },
    /// A compiler that cannot be run, or a file that cannot be written.
    #[error("{what}: {source}")]
    Io {
        /// The program or file.
        what: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A folder without the project's source.
    #[error("{0} is not there: name the root of the project's source")]
    NoSource(PathBuf),
    /// The compiler refused a source.
    #[error("{source_file}: {said}")]
    Refused {
        /// The source that was compiled.
        source_file: &'static str,
        /// What the compiler said.
        said: String,
    },
    /// The image is not what the launch expects.
    #[error("{0}")]
    Image(String),
}

fn io(what: &Path) -> impl FnOnce(std::io::Error) -> RecipeError {
    let what = what.display().to_string();
    |source| RecipeError::Io { what, source }
}

/// The compiler's answer to `arguments`. It is asked where it will build: rustup's `rustc` is
/// another one in each folder.
fn ask(rustc: &Path, root: &Path, arguments: &[&str]) -> Result<String, RecipeError> {
    let output =
        Command::new(rustc).current_dir(root).args(arguments).output().map_err(io(rustc))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The linker that comes with the compiler, so that the system's does not matter.
fn linker(rustc: &Path, root: &Path) -> Result<String, RecipeError> {
    let version = ask(rustc, root, &["-vV"])?;
    let says = |key: &str, value: &str| {
        version.lines().any(|line| line.strip_prefix(key).map(str::trim) == Some(value))
    };
    if !says("release:", COMPILER) || !says("commit-hash:", COMMIT) {
        let found = version.lines().next().unwrap_or("no compiler").to_owned();
        return Err(RecipeError::Compiler { found });
    }
    let sysroot = ask(rustc, root, &["--print", "sysroot"])?;
    Ok(format!("{sysroot}/lib/rustlib/x86_64-unknown-linux-gnu/bin/rust-lld"))
}

/// The image's own source; all others are libraries.
const MAIN: &str = "guest/boot/image/main.rs";

/// The boot code as it was built.
#[derive(Debug)]
pub struct Image {
    /// Linked, with symbols.
    pub elf: PathBuf,
    /// What is loaded, from its first byte on.
    pub bytes: Vec<u8>,
}

/// Builds the image of the project at `root` with `rustc`, leaving files in `out`.
///
/// # Errors
/// [`RecipeError`].
pub fn build(rustc: &Path, root: &Path, out: &Path) -> Result<Image, RecipeError> {
    let main = root.join(MAIN);
    if !main.is_file() {
        return Err(RecipeError::NoSource(main));
    }
    let linker = format!("-Clinker={}", linker(rustc, root)?);
    std::fs::create_dir_all(out).map_err(io(out))?;
    let rlib = |name: &str| out.join(format!("lib{name}.rlib"));
    let external = |name: &str| format!("--extern={name}={}", rlib(name).display());
    let layout = external("casemate_layout");
    let kernel = external("casemate_kernel");
    let boot = external("casemate_boot");
    let elf = out.join("casemate-boot.elf");
    let run = |name: &str, kind: &str, source: &'static str, output: &Path, more: &[&str]| {
        let mut command = Command::new(rustc);
        for variable in VARIABLES {
            command.env_remove(variable);
        }
        command.current_dir(root).args(FLAGS).args(more);
        command.args([&format!("--crate-name={name}"), &format!("--crate-type={kind}")]);
        command.args(["-Cmetadata=casemate", source, "-o"]).arg(output);
        let done = command.output().map_err(io(rustc))?;
        if done.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&done.stderr);
        let said = said.lines().next().unwrap_or("no word").to_owned();
        Err(RecipeError::Refused { source_file: source, said })
    };
    let layout_lib = rlib("casemate_layout");
    let kernel_lib = rlib("casemate_kernel");
    let boot_lib = rlib("casemate_boot");
    run("casemate_layout", "rlib", "guest/layout/src/lib.rs", &layout_lib, &[])?;
    run("casemate_kernel", "rlib", "guest/kernel/src/lib.rs", &kernel_lib, &[&layout])?;
    run("casemate_boot", "rlib", "guest/boot/src/lib.rs", &boot_lib, &[&layout, &kernel])?;
    let search = format!("-Ldependency={}", out.display());
    let externals = [layout.as_str(), boot.as_str(), search.as_str(), linker.as_str()];
    let image_flags: Vec<&str> = IMAGE_FLAGS.iter().copied().chain(externals).collect();
    run("casemate_boot_image", "bin", MAIN, &elf, &image_flags)?;
    let linked = std::fs::read(&elf).map_err(io(&elf))?;
    let bytes = loaded(&linked).ok_or_else(|| {
        RecipeError::Image("the linked boot code is not one segment at its address".into())
    })?;
    match bytes.len() {
        1..=MAX_BYTES => Ok(Image { elf, bytes: bytes.to_vec() }),
        size => {
            let text = format!("the boot code has {size} bytes, at most {MAX_BYTES} fit");
            Err(RecipeError::Image(text))
        }
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
