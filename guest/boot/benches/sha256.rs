//! Speed of the boot code's hash, in user space, in the same run as an independent implementation.
//!
//! `cargo bench -p casemate-boot`: one line per engine, in GB/s, the best of several passes over 64
//! MiB.
#![allow(missing_docs, reason = "a program")]

use casemate_boot::sha256::{Engine, Extensions, sha256};
use sha2::{Digest, Sha256};
use std::hint::black_box;
use std::time::Instant;

const BYTES: usize = 64 << 20;
const PASSES: usize = 5;

/// Bytes per nanosecond: GB/s.
#[allow(clippy::cast_precision_loss, reason = "a speed")]
fn speed(hash: impl Fn(&[u8]) -> [u8; 32], bytes: &[u8]) -> f64 {
    let pass = |_| {
        let start = Instant::now();
        black_box(hash(black_box(bytes)));
        start.elapsed().as_nanos().max(1) as f64
    };
    bytes.len() as f64 / (0..PASSES).map(pass).fold(f64::INFINITY, f64::min)
}

fn main() {
    let bytes: Vec<u8> = (0..BYTES).map(|index| u8::try_from(index % 251).unwrap_or(0)).collect();
    let baseline = speed(|bytes| Sha256::digest(bytes).into(), &bytes);
    println!("crate sha2 (baseline)    {baseline:.2} GB/s");
    let software = speed(|bytes| sha256(Engine::Software, bytes), &bytes);
    println!(
        "boot code, general registers  {software:.2} GB/s  {:.2} of baseline",
        software / baseline
    );
    if is_x86_feature_detected!("sha") && is_x86_feature_detected!("sse4.1") {
        // SAFETY: just detected.
        #[allow(unsafe_code, reason = "the promise was checked")]
        let engine = Engine::Extensions(unsafe { Extensions::promise() });
        let hardware = speed(|bytes| sha256(engine, bytes), &bytes);
        println!(
            "boot code, SHA extensions     {hardware:.2} GB/s  {:.2} of baseline",
            hardware / baseline
        );
    } else {
        println!("boot code, SHA extensions     not on this processor");
    }
}
