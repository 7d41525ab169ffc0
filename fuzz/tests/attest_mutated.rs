//! Runs the bodies of the `attest_*`, `kbs_*` and `policy_log*` targets on altered seeds: a fixed
//! stream of flips, cuts, copies and numbers.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::cast_possible_truncation)]

use casemate_fuzz::TARGETS;
use std::path::Path;

/// Altered seeds of a target.
const ALTERED: usize = 1000;

struct Stream(u64);

impl Stream {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % below.max(1)
    }
}

fn alter(seed: &[u8], stream: &mut Stream) -> Vec<u8> {
    let mut out = seed.to_vec();
    for _ in 0..=stream.next(4) {
        let at = stream.next(out.len());
        match stream.next(6) {
            0 => out.truncate(at),
            1 => out.insert(at, stream.next(256) as u8),
            2 if at + 4 <= out.len() => {
                let interesting =
                    [0, 1, 0x7f, 0x80, 0xffff, u32::MAX, u32::MAX - 0x20, 0x8000_0000];
                let value = interesting[stream.next(interesting.len())];
                out[at..at + 4].copy_from_slice(&value.to_le_bytes());
            }
            3 if !out.is_empty() => {
                let from = stream.next(out.len());
                let length = stream.next(64).min(out.len() - from).min(out.len() - at);
                out.copy_within(from..from + length, at);
            }
            4 if !out.is_empty() => out[at] = stream.next(256) as u8,
            _ if !out.is_empty() => out[at] ^= 1 << stream.next(8),
            _ => {}
        }
    }
    out
}

#[test]
fn every_attest_log_and_kbs_target_passes_altered_seeds() {
    let mut runs = 0;
    let mut stream = Stream(0x9e37_79b9_7f4a_7c15);
    let kinds = ["attest_", "kbs_", "policy_log"];
    let chosen = |name: &str| kinds.iter().any(|kind| name.starts_with(kind));
    for (name, body) in TARGETS.iter().filter(|(name, _)| chosen(name)) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(name);
        let mut seeds: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
        seeds.sort();
        assert!(!seeds.is_empty(), "{name} has no seed");
        let each = (ALTERED / seeds.len()).max(1);
        for seed in seeds {
            let seed = std::fs::read(seed).unwrap();
            for _ in 0..each {
                body(&alter(&seed, &mut stream));
                runs += 1;
            }
        }
    }
    println!("{runs} altered seeds");
}
