//! `make boot-code`: builds the boot code again from the source and writes the golden bytes. With
//! `--check` it compares and changes nothing.

use casemate_boot_code::{BYTES, recipe};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    let check = std::env::args().nth(1).as_deref() == Some("--check");
    match make(check) {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(text) => {
            eprintln!("boot-code: {text}");
            ExitCode::FAILURE
        }
    }
}

fn make(check: bool) -> Result<String, String> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = here.join("../..").canonicalize().map_err(|e| e.to_string())?;
    let rustc = std::env::var_os("RUSTC").map_or_else(|| PathBuf::from("rustc"), PathBuf::from);
    let out = root.join("target/boot-code");
    let image = recipe::build(&rustc, &root, &out).map_err(|e| e.to_string())?;
    let (size, pages) = (image.bytes.len(), image.bytes.len().div_ceil(4096));
    if check {
        return if image.bytes == BYTES {
            Ok(format!("the golden bytes are what the source gives: {size} bytes, {pages} pages"))
        } else {
            Err("the golden bytes are not what the source gives: `make boot-code` writes them"
                .into())
        };
    }
    let golden = here.join("boot-code.bin");
    std::fs::write(&golden, &image.bytes).map_err(|e| format!("{}: {e}", golden.display()))?;
    Ok(format!("{}: {size} bytes, {pages} pages", golden.display()))
}
