//! Builds the boot code's image and names it to the compiler: `include_bytes!(env!("CASEMATE_BOOT_CODE"))`.

#[path = "../guest/boot/image/recipe.rs"]
mod recipe;

use std::path::{Path, PathBuf};

fn main() -> Result<(), String> {
    let variable =
        |name| std::env::var_os(name).map(PathBuf::from).ok_or(format!("{name} is not set"));
    let root = variable("CARGO_MANIFEST_DIR")?.join("..");
    let image = recipe::build(&variable("RUSTC")?, &root, &variable("OUT_DIR")?.join("boot"))?;
    let flat = image.elf.with_extension("bin");
    std::fs::write(&flat, image.bytes).map_err(|error| format!("{}: {error}", flat.display()))?;
    println!("cargo:rustc-env=CASEMATE_BOOT_CODE={}", flat.display());
    for source in ["layout/src", "kernel/src", "boot/src", "boot/image"] {
        let source = Path::new("../guest").join(source);
        println!("cargo:rerun-if-changed={}", source.display());
    }
    Ok(())
}
