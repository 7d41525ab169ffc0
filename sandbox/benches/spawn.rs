//! What it costs to spawn and lock a process, layer by layer, against a plain copy of the process.
//!
//! Medians in microseconds until the child is confined and locked, and the ratio to the baseline of
//! the same run.

#![allow(clippy::unwrap_used, reason = "a benchmark that fails says so by panicking")]

use casemate_sandbox::{Action, FdTable, Layer, Layers, Profile, Rule, SharedNetwork, spawn, sys};
use std::time::Instant;

const RUNS: usize = 200;
const PROFILE: Profile =
    Profile { name: "bench", rules: &[Rule::new(sys("exit_group"), &[], "ends")] };

/// Median time in nanoseconds until the child is confined.
fn median(layers: &Layers) -> u128 {
    let mut times: Vec<u128> = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            let mut child = spawn(layers.clone(), |born| {
                let locked = born
                    .confine()
                    .and_then(|setup| setup.lock(&PROFILE, &FdTable::new(), Action::Kill));
                i32::from(locked.is_err())
            })
            .unwrap();
            child.confined().unwrap();
            let time = start.elapsed().as_nanos();
            child.wait().unwrap();
            time
        })
        .collect();
    times.sort_unstable();
    times.get(RUNS / 2).copied().unwrap_or(0)
}

fn main() {
    let all = || Layers::new("bench");
    let none = Layer::ALL.into_iter().fold(all(), Layers::without);
    let baseline = median(&none);
    let network = SharedNetwork::new();
    let shared = network.as_ref().map(|network| all().in_network(network));
    let cases = [
        ("copy of the process (baseline)", Some(none)),
        ("every layer, network of the host", Some(all())),
        ("every layer, shared empty network", shared.ok()),
        ("every layer, own empty network", Some(all().with(Layer::NetworkNamespace))),
        ("without the empty root", Some(all().without(Layer::EmptyRoot))),
        ("without landlock", Some(all().without(Layer::Landlock))),
        ("without a user namespace", Some(all().without(Layer::UserNamespace))),
    ];
    for (name, layers) in cases {
        let Some(layers) = layers else {
            println!("{name:<36} cannot be had here");
            continue;
        };
        let time = median(&layers);
        let hundredths = time * 100 / baseline.max(1);
        let (whole, part) = (hundredths / 100, hundredths % 100);
        println!("{name:<36} {:>6} us  {whole}.{part:02} x baseline", time / 1000);
    }
}
