//! Prints random policies as Rego with inputs and this engine's verdicts, one JSON object a line,
//! for engines that are no Rust: `rego_cases SEED POLICIES`. A policy's line is `{"rego": TEXT}`;
//! the lines after it are `{"point": NAME, "input": INPUT, "allow": BOOL}`.

#[path = "../../../policy/tests/random/mod.rs"]
mod random;

use casemate_policy::{Input, Point, export};
use random::{Random, facts, policy};

/// Inputs for each policy and point.
const INPUTS: u64 = 4;

fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u64>());
    let seed = arguments.next().and_then(Result::ok).unwrap_or(1);
    let policies = arguments.next().and_then(Result::ok).unwrap_or(10);
    let mut r = Random::new(seed);
    for _ in 0..policies {
        let policy = policy(&mut r);
        println!("{}", serde_json::json!({ "rego": export::rego(&policy) }));
        for point in Point::ALL {
            for _ in 0..INPUTS {
                let facts = facts(&policy, point, &mut r);
                let allow = policy.decide(point, &facts).is_allow();
                let input = export::rego_input(&Input { point: Some(point), facts });
                println!("{{\"point\":\"{point}\",\"allow\":{allow},\"input\":{input}}}");
            }
        }
    }
}
