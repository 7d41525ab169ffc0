//! Makes a MODEL root and prints its stored form: `cargo run --features model --example
//! model_root`.

use casemate_attestation::model::ModelRoot;
use casemate_attestation::report::Generation;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = ModelRoot::generate(Generation::Turin)?;
    println!("{}", String::from_utf8(root.to_bytes()?)?);
    Ok(())
}
