//! What a merge writes can be read again, is what it was merged to, and says what was lost on the
//! way.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests: functions that tests share"
)]

mod random;

use casemate_policy::audit::{Level, check};
use casemate_policy::{Point, Policy};
use random::{Random, facts, policy};

const HEAD: &str = "schema_version = 1\nmin_engine = \"0.1.0\"\n";

fn load(body: &str) -> Policy {
    Policy::load(&format!("{HEAD}{body}"), "p.toml").unwrap_or_else(|error| panic!("{error}"))
}

fn layer(body: &str) -> Policy {
    let text = format!("{HEAD}layer = true\n{body}");
    Policy::load_layer(&text, "l.toml").unwrap_or_else(|error| panic!("{error}"))
}

/// Cannot tell what happens on inputs that no generator here makes.
#[test]
fn a_written_merge_reads_as_what_was_merged() {
    let mut r = Random::new(31);
    let (mut written, mut allowed) = (0, 0);
    for _ in 0..60 {
        let merged = policy(&mut r).merge(&policy(&mut r));
        let Ok((text, read)) = merged.to_document() else { continue };
        written += 1;
        assert_eq!(read.name(), merged.name());
        assert_eq!(Policy::load(&text, "again").unwrap().hash(), read.hash());
        for point in Point::ALL {
            for _ in 0..6 {
                let facts = facts(&merged, point, &mut r);
                let before = merged.decide(point, &facts).is_allow();
                let after = read.decide(point, &facts).is_allow();
                assert!(before || !after, "a document admits what the merge denies: {facts:?}");
                if facts.contradictions().is_empty() {
                    assert_eq!(before, after, "{point}: {facts:?}\n{text}");
                    allowed += u64::from(before);
                }
            }
        }
    }
    assert!(written > 50 && allowed > 200, "{written} written, {allowed} allowed");
}

#[test]
fn a_merge_of_overlapping_blocks_is_about_as_long_as_they_and_clean() {
    let blocks = (0..40).map(|n| {
        let (low, high) = (1000 + 10 * n, 9000 - 10 * n);
        format!("{{ cidr = \"10.0.{}.0/24\", ports = [{low}, {high}], protocol = \"tcp\" }}", 2 * n)
    });
    let blocks: Vec<String> = blocks.collect();
    let operator = load(&format!(
        "name = \"svc\"\n[network]\nrate = \"any\"\negress = [{}]",
        blocks.join(",")
    ));
    let (text, read) = operator.merge(&operator).to_document().unwrap();
    assert!(text.matches("protocol").count() <= 40, "{text}");
    assert!(text.contains("name = \"svc + svc\""));
    assert!(check(&read).iter().all(|finding| finding.level < Level::Warning));
}

#[test]
fn a_merge_that_no_document_can_hold_is_refused() {
    let bars = |tall: bool| {
        let one = |n: u32| match tall {
            true => format!("{{ cidr = \"10.0.{n}.0/32\", ports = \"any\", protocol = \"tcp\" }}"),
            false => {
                format!("{{ cidr = \"10.0.0.0/16\", ports = {}, protocol = \"tcp\" }}", 10 * n)
            }
        };
        let all: Vec<String> = (0..100).map(one).collect();
        load(&format!("[network]\negress = [{}]", all.join(",")))
    };
    let error = bars(true).merge(&bars(false)).to_document().unwrap_err().to_string();
    assert!(error.contains("network.egress") && error.contains("256"), "{error}");
}

#[test]
fn rules_that_a_layer_made_useless_are_not_written() {
    let operator = include_str!("../examples/production.toml");
    let operator = Policy::load(operator, "production.toml").unwrap();
    let tenant = layer("[attestation]\ngenerations = [\"turin\"]\n[devices.block]\ncount = 0\n");
    let (text, read) = operator.merge(&tenant).to_document().unwrap();
    let findings: Vec<String> = check(&read).iter().map(ToString::to_string).collect();
    assert!(findings.is_empty(), "{findings:?}");
    let attestation = text.split("[attestation]").nth(1).unwrap();
    assert!(!attestation.contains("genoa") && !text.contains("block.roots"), "{text}");
    assert!(text.contains("description = \"acme's database hosts\""));
}

#[test]
fn grants_that_a_merge_loses_are_named() {
    let grant = "measurement = \"any\"\ncontext = [\"c\"]\nuses = 1\nwindow = \"any\"\n";
    let operator = load(&format!("[secrets.\"acme/*\"]\n{grant}[secrets.\"db/*\"]\n{grant}"));
    let told = |layer: &Policy| -> Vec<String> {
        operator.grants_lost_in(layer).iter().map(ToString::to_string).collect()
    };
    assert!(told(&layer("")).is_empty(), "a layer without secrets leaves them to the policy below");
    let tenant = layer(&format!("[secrets.\"other/*\"]\n{grant}[secrets.\"db/key/*\"]\n{grant}"));
    let lost = told(&tenant);
    assert_eq!(lost.len(), 3, "{lost:?}");
    assert!(lost[0].contains("\"acme/*\"") && lost[0].contains("is lost"), "{lost:?}");
    assert!(lost[1].contains("\"db/*\"") && lost[1].contains("narrowed to db/key/*"), "{lost:?}");
    assert!(lost[2].contains("\"other/*\" of the layer"), "{lost:?}");
    let kept: Vec<String> =
        operator.merge(&tenant).grants().iter().map(|grant| grant.resource().to_string()).collect();
    assert_eq!(kept, ["db/key/*"]);
}
