//! Makes a MODEL root and prints its stored form: `cargo run --features model --example model_root`.

use attestation::model::ModelRoot;
use attestation::report::Generation;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = ModelRoot::generate(Generation::Turin)?;
    println!("{}", String::from_utf8(root.to_bytes()?)?);
    Ok(())
}
