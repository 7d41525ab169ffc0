//! Rego (version 1): one rule for each field, one conjunction for each point.
//!
//! Every rule is written positively and names the fact it needs, so that a missing fact leaves it
//! undefined and the request denied. Engines differ in the corners of the language (one evaluates
//! `not` inside `every` to the opposite, and admits what the policy forbids), so that neither is
//! written: for all elements of a list a rule says that as many elements fulfil it as there are,
//! for none that their number is zero; sets are intersected. Rego orders values of all types (null
//! and booleans are below every number, texts above), so whatever is compared is known to have its
//! type.

use super::{bit_list, choice_name};
use crate::document::json::quote;
use crate::fields::{Field, GRANT_FIELDS, Key, Kind, Point};
use crate::lattice::{
    Bits, Choice, EgressSet, Lattice, Pattern, Patterns, Protocol, Range, Tcb, TcbFloors,
};
use crate::policy::Policy;
use crate::rule::Rule;
use std::net::IpAddr;

/// The policy as a Rego module `casemate` with `allow`.
#[must_use]
pub fn rego(policy: &Policy) -> String {
    let mut out = String::from("package casemate\n\nimport rego.v1\n\ndefault allow := false\n");
    out.push_str(&format!("\n# Policy {} (SHA-256 {})\n", quote(policy.name()), policy.hash_hex()));
    // A point is allowed by one conjunction over its rules; several `allow` rules are alternatives,
    // so there is one a point and one a grant.
    for point in Point::ALL.into_iter().filter(|point| *point != Point::Secrets) {
        let mut body = Vec::new();
        for (field, rule, _) in policy.rules(point) {
            // `any` leaves no trace: a rule that were always true would still be undefined without
            // its fact.
            if field.key != Key::Setting && !rule.is_any() {
                let name = format!("rule_{}", field.path.replace('.', "_"));
                out.push_str(&write_rule(&name, field, rule));
                body.push(name);
            }
        }
        let conjunction = body.iter().map(|name| format!("\t{name}\n")).collect::<String>();
        out.push_str(&format!("\nallow if {{\n\tinput.point == \"{point}\"\n{conjunction}}}\n"));
    }
    // Grants overlap nowhere, so at most one of these can be true of a resource.
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
    let fact = format!("input[\"{}\"]", super::fact_path(field));
    let head = format!("\n# {}\n", field.path);
    let single =
        |condition: &str| format!("{head}{name} if {{\n\tx := {fact}\n\t{condition}\n}}\n");
    // Nothing is admitted: `false` says so in every engine. A list may still be empty.
    if rule.is_empty() && !field.kind.is_list() {
        return format!("{head}{name} if false\n");
    }
    match rule {
        Rule::Range(range) => single(&range_condition(*range, field.kind)),
        Rule::Bytes(set) => {
            let members = set_of(set.members().iter().map(|bytes| bytes.to_text()));
            // Sets are intersected, and the number of what is common compared: with `x` as the only
            // member it is 1 or 0. No negation is needed.
            let count = u8::from(!set.is_except());
            single(&format!("is_string(x)\n\tcount({{x}} & {members}) == {count}"))
        }
        Rule::Names(patterns) => write_names(name, field, patterns, single),
        Rule::Forbidden(forbidden) => {
            // None of the patterns: the number of elements that one of them matches is zero.
            let condition = format!("is_array(x)\n\t{} == 0", number_of(&format!("{name}_one(e)")));
            format!("{}{}", single(&condition), matcher(name, forbidden.patterns()))
        }
        Rule::Required(required) => match required.texts() {
            Some(texts) => {
                let all = set_of(texts.iter().map(ToString::to_string));
                single(&format!("is_array(x)\n\t{} == {}", common(&all), texts.len()))
            }
            None => format!("{head}{name} if false\n"),
        },
        Rule::Bits(bits) => single(&bits_condition(*bits, field.kind)),
        Rule::Choice(choice) => write_choice(*choice, field.kind, single),
        Rule::Tcb(floors) => write_tcb(floors, single),
        Rule::Egress(set) => write_egress(name, set, single),
        Rule::Limit(limit) => single(&format!(
            "{}\n\t{}",
            at_most("x.in_second", limit.per_second()),
            at_most("x.total", limit.total())
        )),
    }
}

/// That the number `x`, or each number of the list `x`, lies in the range.
fn range_condition(range: Range, kind: Kind) -> String {
    let ends = |x: &str| {
        let mut all = vec![format!("is_number({x})")];
        if range.min() > 0 {
            all.push(format!("{x} >= {}", range.min()));
        }
        if range.max() < u64::MAX {
            all.push(format!("{x} <= {}", range.max()));
        }
        all
    };
    // A list is judged element by element: all of them, or none at all where nothing is admitted.
    if !kind.is_list() {
        ends("x").join("\n\t")
    } else if range.is_empty() {
        none_at_all()
    } else {
        each(&ends("e").join("; "))
    }
}

/// Each generation with a floor is a rule of the same name; in Rego these are alternatives.
fn write_tcb(floors: &TcbFloors, single: impl Fn(&str) -> String) -> String {
    let one = |(generation, floor): (&&str, &Option<[u8; 5]>)| {
        let levels = Tcb::PARTS.iter().zip((*floor)?);
        let levels: String = levels
            .map(|(part, level)| format!("\n\tis_number(x.{part})\n\tx.{part} >= {level}"))
            .collect();
        Some(single(&format!("x.generation == \"{generation}\"{levels}")))
    };
    Tcb::GENERATIONS.iter().zip(floors.floors()).filter_map(one).collect()
}

fn at_most(x: &str, most: u64) -> String {
    // The greatest number is written by leaving the end out.
    let end = if most == u64::MAX { String::new() } else { format!("\n\t{x} <= {most}") };
    format!("is_number({x}){end}")
}

/// How many bits of both masks the list of set bits `x` has.
fn bits_condition(bits: Bits, kind: Kind) -> String {
    let Kind::Bits(names) = kind else { return "false".into() };
    let mut body = String::from("is_array(x)");
    // Every `must` bit has to be among the set ones, and none of `must_not`: counts of what is
    // common, once all and once zero.
    for (mask, count) in [(bits.must(), bits.must().count_ones()), (bits.must_not(), 0)] {
        if mask != 0 {
            let all = set_of(bit_list(mask, names));
            body.push_str(&format!("\n\t{} == {count}", common(&all)));
        }
    }
    body
}

/// How many elements `e` of the list `x` fulfil the condition.
fn number_of(condition: &str) -> String {
    format!("count([e | some e in x; {condition}])")
}

/// That every element `e` of the list `x` fulfils the condition.
fn each(condition: &str) -> String {
    format!("is_array(x)\n\t{} == count(x)", number_of(condition))
}

/// That the list `x` has no elements: all that a rule which admits nothing leaves.
fn none_at_all() -> String {
    "is_array(x)\n\tcount(x) == 0".into()
}

/// How many members of the set are elements of the list `x`.
fn common(set: &str) -> String {
    format!("count({{e | some e in x}} & {set})")
}

/// The function `NAME_one`, which is true of what one of the patterns matches.
fn matcher(name: &str, patterns: &Patterns) -> String {
    let one = |pattern: &Pattern| format!("\n{name}_one(e) if {}\n", match_one("e", pattern));
    patterns.patterns().iter().map(one).collect()
}

fn write_egress(name: &str, set: &EgressSet, single: impl Fn(&str) -> String) -> String {
    if set.is_empty() {
        return single(&none_at_all());
    }
    let mut out = single(&each(&format!("{name}_one(e)")));
    // Addresses are compared as texts of one length, of which order is that of the addresses; a
    // family has its own first letters.
    for b in set.blocks() {
        let ports = match b.protocol {
            Protocol::Icmp => String::new(),
            _ => format!("; is_number(e.port); e.port >= {}; e.port <= {}", b.ports.0, b.ports.1),
        };
        out.push_str(&format!(
            "\n{name}_one(e) if {{ e.protocol == \"{}\"; is_string(e.hex); e.hex >= \"{}\"; \
             e.hex <= \"{}\"{ports} }}\n",
            b.protocol.name(),
            hex_address(b.first),
            hex_address(b.last)
        ));
    }
    out
}

fn write_choice(choice: Choice, kind: Kind, single: impl Fn(&str) -> String) -> String {
    match kind {
        Kind::Choice(names) => {
            let count = u64::try_from(names.len()).unwrap_or(0);
            let admitted = (0..count).filter(|index| choice.admits(*index));
            let names = set_of(admitted.map(|index| choice_name(kind, index).to_owned()));
            single(&format!("count({{x}} & {names}) == 1"))
        }
        Kind::FlagEach => {
            // A flag of each device is either both, or one, or none: `any` was left out above, so
            // one value or nothing is left.
            let on = [false, true].into_iter().find(|on| choice.admits(u64::from(*on)));
            single(&on.map_or_else(none_at_all, |on| each(&format!("e == {on}"))))
        }
        _ => single(&format!("x == {}", choice.admits(1))),
    }
}

fn write_names(
    name: &str,
    field: &Field,
    patterns: &Patterns,
    single: impl Fn(&str) -> String,
) -> String {
    if patterns.is_empty() {
        return single(&none_at_all());
    }
    let condition = if field.kind.is_list() {
        each(&format!("{name}_one(e)"))
    } else {
        format!("is_string(x)\n\t{name}_one(x)")
    };
    format!("{}{}", single(&condition), matcher(name, patterns))
}

/// An address as text whose order is the order of addresses, families apart.
pub(super) fn hex_address(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(v4) => format!("v4-{:08x}", v4.to_bits()),
        IpAddr::V6(v6) => format!("v6-{:032x}", v6.to_bits()),
    }
}
