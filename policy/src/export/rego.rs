//! Rego (version 1): one rule for each field, one conjunction for each point.
//!
//! Every rule is written positively and names the fact it needs, so that a missing fact leaves it undefined
//! and the request denied; the only negations are inside `every`, over facts that are known to be there.

use super::{bit_list, choice_name};
use crate::document::json::quote;
use crate::fields::{Field, GRANT_FIELDS, Key, Kind, Point};
use crate::lattice::{Choice, EgressSet, Lattice, Pattern, Patterns, Protocol, Tcb};
use crate::policy::Policy;
use crate::rule::Rule;
use std::net::IpAddr;

/// The policy as a Rego module `casemate` with `allow`.
#[must_use]
pub fn rego(policy: &Policy) -> String {
    let mut out = String::from("package casemate\n\nimport rego.v1\n\ndefault allow := false\n");
    out.push_str(&format!("\n# Policy {} (SHA-256 {})\n", quote(policy.name()), policy.hash_hex()));
    for point in Point::ALL.into_iter().filter(|point| *point != Point::Secrets) {
        let mut body = Vec::new();
        for (field, rule, _) in policy.rules(point) {
            if field.key != Key::Setting && !rule.is_any() {
                let name = format!("rule_{}", field.path.replace('.', "_"));
                out.push_str(&write_rule(&name, field, rule));
                body.push(name);
            }
        }
        let conjunction = body.iter().map(|name| format!("\t{name}\n")).collect::<String>();
        out.push_str(&format!("\nallow if {{\n\tinput.point == \"{point}\"\n{conjunction}}}\n"));
    }
    for (index, grant) in policy.grants().iter().enumerate() {
        let mut body = String::new();
        for (field, rule, _) in grant.rules() {
            if !rule.is_any() {
                let name = format!("grant_{index}_{}", field.name());
                out.push_str(&write_rule(&name, field, rule));
                body.push_str(&format!("\t{name}\n"));
            }
        }
        let resource = match_one("resource", grant.resource());
        out.push_str(&format!(
            "\nallow if {{\n\tinput.point == \"secrets\"\n\tresource := input[\"{}\"]\n\t{resource}\n{body}}}\n",
            Key::SecretResource.path()
        ));
    }
    debug_assert!(GRANT_FIELDS.iter().all(|field| field.key != Key::Setting));
    out
}

/// A condition that `variable` matches the pattern.
fn match_one(variable: &str, pattern: &Pattern) -> String {
    if pattern.is_prefix() {
        format!("startswith({variable}, {})", quote(pattern.text()))
    } else {
        format!("{variable} == {}", quote(pattern.text()))
    }
}

fn set_of(items: impl IntoIterator<Item = String>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| quote(&item)).collect();
    if items.is_empty() { "set()".into() } else { format!("{{{}}}", items.join(", ")) }
}

/// The rule as Rego rules named `name`.
fn write_rule(name: &str, field: &Field, rule: &Rule) -> String {
    let fact = format!("input[\"{}\"]", field.key.path());
    let head = format!("\n# {}\n", field.path);
    let single =
        |condition: &str| format!("{head}{name} if {{\n\tx := {fact}\n\t{condition}\n}}\n");
    if rule.is_empty() && !field.kind.is_list() {
        return format!("{head}{name} if false\n");
    }
    match rule {
        Rule::Range(range) => {
            let mut ends = Vec::new();
            if range.min() > 0 {
                ends.push(format!("X >= {}", range.min()));
            }
            if range.max() < u64::MAX {
                ends.push(format!("X <= {}", range.max()));
            }
            let ends = ends.join("\n\t");
            if field.kind.is_list() {
                let ends = if range.is_empty() { "false" } else { &ends };
                let inner = ends.replace('X', "e").replace("\n\t", "; ");
                single(&format!("is_array(x)\n\tevery e in x {{ {inner} }}"))
            } else {
                single(&format!("is_number(x)\n\t{}", ends.replace('X', "x")))
            }
        }
        Rule::Bytes(set) => {
            let members = set_of(set.members().iter().map(crate::lattice::Bytes::to_hex));
            let not = if set.is_except() { "not " } else { "" };
            single(&format!("is_string(x)\n\t{not}x in {members}"))
        }
        Rule::Names(patterns) => write_names(name, field, patterns, &head, &fact, false),
        Rule::Forbidden(forbidden) => {
            write_names(name, field, forbidden.patterns(), &head, &fact, true)
        }
        Rule::Required(required) => match required.texts() {
            Some(texts) => {
                let texts = set_of(texts.iter().map(ToString::to_string));
                single(&format!("is_array(x)\n\tevery t in {texts} {{ t in x }}"))
            }
            None => format!("{head}{name} if false\n"),
        },
        Rule::Bits(bits) => {
            let Kind::Bits(names) = field.kind else { return format!("{head}{name} if false\n") };
            let (must, not) = (bit_list(bits.must(), names), bit_list(bits.must_not(), names));
            single(&format!(
                "is_array(x)\n\tevery b in {} {{ b in x }}\n\tevery b in x {{ not b in {} }}",
                set_of(must),
                set_of(not)
            ))
        }
        Rule::Choice(choice) => write_choice(*choice, field.kind, single),
        Rule::Tcb(floors) => Tcb::GENERATIONS
            .iter()
            .zip(floors.floors())
            .filter_map(|(generation, floor)| {
                let levels = Tcb::PARTS.iter().zip((*floor)?);
                let levels: String =
                    levels.map(|(part, level)| format!("\n\tx.{part} >= {level}")).collect();
                Some(single(&format!("x.generation == \"{generation}\"{levels}")))
            })
            .collect(),
        Rule::Egress(set) => write_egress(name, set, single),
        Rule::Limit(limit) => single(&format!(
            "x.in_second <= {}\n\tx.total <= {}",
            limit.per_second(),
            limit.total()
        )),
    }
}

fn write_egress(name: &str, set: &EgressSet, single: impl Fn(&str) -> String) -> String {
    let helper: String = set
                .blocks()
                .map(|b| {
                    let icmp = b.protocol == Protocol::Icmp;
                    let ports = if icmp {
                        String::new()
                    } else {
                        format!("; e.port >= {}; e.port <= {}", b.ports.0, b.ports.1)
                    };
                    format!(
                        "\n{name}_one(e) if {{ e.protocol == \"{}\"; e.hex >= \"{}\"; e.hex <= \"{}\"{ports} }}\n",
                        b.protocol.name(),
                        hex_address(b.first),
                        hex_address(b.last)
                    )
                })
                .collect();
    let condition = if set.is_empty() { "false".into() } else { format!("{name}_one(e)") };
    format!("{}{helper}", single(&format!("is_array(x)\n\tevery e in x {{ {condition} }}")))
}

fn write_choice(choice: Choice, kind: Kind, single: impl Fn(&str) -> String) -> String {
    match kind {
        Kind::Choice(names) => {
            let count = u64::try_from(names.len()).unwrap_or(0);
            let admitted = (0..count).filter(|index| choice.admits(*index));
            let names = set_of(admitted.map(|index| choice_name(kind, index).to_owned()));
            single(&format!("x in {names}"))
        }
        Kind::FlagEach => {
            let on = [false, true].into_iter().filter(|on| choice.admits(u64::from(*on)));
            let on: Vec<String> = on.map(|on| format!("e == {on}")).collect();
            let condition = on.first().cloned().unwrap_or_else(|| "false".into());
            single(&format!("is_array(x)\n\tevery e in x {{ {condition} }}"))
        }
        _ => single(&format!("x == {}", choice.admits(1))),
    }
}

fn write_names(
    name: &str,
    field: &Field,
    patterns: &Patterns,
    head: &str,
    fact: &str,
    forbidden: bool,
) -> String {
    let helper: String = patterns
        .patterns()
        .iter()
        .map(|pattern| format!("\n{name}_one(e) if {}\n", match_one("e", pattern)))
        .collect();
    let matches = if patterns.is_empty() { "false".to_owned() } else { format!("{name}_one(e)") };
    let condition = if forbidden { format!("not {name}_one(e)") } else { matches };
    let body = if field.kind.is_list() {
        format!("is_array(x)\n\tevery e in x {{ {condition} }}")
    } else {
        format!("is_string(x)\n\t{}", condition.replace("(e)", "(x)"))
    };
    format!("{head}{name} if {{\n\tx := {fact}\n\t{body}\n}}\n{helper}")
}

/// An address as text whose order is the order of addresses, families apart.
pub(super) fn hex_address(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(v4) => format!("v4-{:08x}", v4.to_bits()),
        IpAddr::V6(v6) => format!("v6-{:032x}", v6.to_bits()),
    }
}
