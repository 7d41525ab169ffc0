//! Cedar: one `permit` for each point and grant; nothing else permits anything.
//!
//! One request is the whole question: an export whose `Allow` had to be confirmed by further
//! requests would admit whatever a caller forgets to ask. Cedar cannot quantify over a set with a
//! pattern or a range, so a list of texts or end points is a record with its `count` and one
//! optional attribute for each element ([`slots`]); the permit checks that exactly the first
//! `count` are there, and each of them. More elements than the record can hold are denied; a policy
//! whose permit would grow beyond all bounds is refused ([`CedarError`]). An error skips a permit,
//! which denies.

use super::cedar_schema::{attribute, by_element, slots};
use super::{CedarError, bit_list, choice_name, fact_path};
use crate::fields::{Field, Key, Kind, Point};
use crate::lattice::{Choice, EgressBlock, Lattice, Pattern, Patterns, Protocol, Tcb};
use crate::policy::Policy;
use crate::rule::Rule;
use std::net::IpAddr;

/// Most bytes of the condition of one rule. Every slot repeats the rule's patterns or blocks;
/// 20,000 patterns in 64 slots would be a document that no engine reads.
const MOST_BYTES: usize = 4 << 20;

/// A Cedar string literal.
pub(super) fn text(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        // Cedar's escapes for what could end a literal or is not printable; all else is written as
        // it is.
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\u{{{:x}}}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn set_of(items: impl IntoIterator<Item = String>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| text(&item)).collect();
    format!("[{}]", items.join(", "))
}

fn pattern(variable: &str, pattern: &Pattern) -> String {
    if pattern.is_prefix() {
        // In `like`, `*` is a wildcard and `\*` a star; the closing quote is taken off to put the
        // star in.
        let literal = text(pattern.text()).replace('*', "\\*");
        let open = literal.get(..literal.len().saturating_sub(1)).unwrap_or_default();
        format!("{variable} like {open}*\"")
    } else {
        format!("{variable} == {}", text(pattern.text()))
    }
}

fn one_of(variable: &str, patterns: &Patterns) -> String {
    // Exact texts go into one set, which Cedar looks up; patterns are asked one by one.
    let (open, exact): (Vec<&Pattern>, Vec<&Pattern>) =
        patterns.patterns().iter().partition(|p| p.is_prefix());
    let mut all: Vec<String> = open.into_iter().map(|p| pattern(variable, p)).collect();
    if !exact.is_empty() {
        let exact = set_of(exact.into_iter().map(|p| p.text().to_owned()));
        all.push(format!("{exact}.contains({variable})"));
    }
    if all.is_empty() { "false".into() } else { format!("({})", all.join(" || ")) }
}

/// The policy as Cedar policies. Use them with [`super::cedar_schema`].
///
/// # Errors
/// A rule whose condition would be longer than 4 MiB.
pub fn cedar(policy: &Policy) -> Result<String, CedarError> {
    let mut out = format!("// Policy {} (SHA-256 {})\n", text(policy.name()), policy.hash_hex());
    // Every point has its own permit, and what no permit allows is denied: an empty export admits
    // nothing.
    for point in Point::ALL.into_iter().filter(|point| *point != Point::Secrets) {
        let rules = policy.rules(point).map(|(field, rule, _)| condition(field, rule));
        let conditions: Result<Vec<_>, _> = rules.collect();
        out.push_str(&permit(point, conditions?.into_iter().flatten()));
    }
    for grant in policy.grants() {
        let resource = attribute(Key::SecretResource.path());
        let variable = format!("context.{resource}");
        // The resource's name is one condition among the others, so that a request without it is an
        // error, which denies.
        let name = format!("context has {resource} && {}", pattern(&variable, grant.resource()));
        let rules = grant.rules().map(|(field, rule, _)| condition(field, rule));
        let conditions: Result<Vec<_>, _> = rules.collect();
        let all = std::iter::once(name).chain(conditions?.into_iter().flatten());
        out.push_str(&permit(Point::Secrets, all));
    }
    Ok(out)
}

fn permit(point: Point, conditions: impl Iterator<Item = String>) -> String {
    let head = format!("\npermit (principal, action == Action::\"{point}\", resource)");
    let body: String = conditions.map(|c| format!("\nwhen {{ {c} }}")).collect();
    format!("{head}{body};\n")
}

/// What the request has to fulfil for the rule; `None` when it is not looked at.
fn condition(field: &Field, rule: &Rule) -> Result<Option<String>, CedarError> {
    if field.key == Key::Setting || rule.is_any() {
        return Ok(None);
    }
    // `has` stands before every use of an attribute: without it a missing fact would be an error,
    // and the reader of an export could not tell it from a broken policy.
    let name = attribute(&fact_path(field));
    let here = format!("context has {name}");
    let x = format!("context.{name}");
    let condition = match rule {
        _ if by_element(field.kind) => elements(field, rule, &x)?,
        Rule::Choice(choice) if field.kind == Kind::FlagEach => {
            let on = [false, true].into_iter().filter(|on| choice.admits(u64::from(*on)));
            let on: Vec<String> = on.map(|on| on.to_string()).collect();
            // An empty set literal has no type; a list of devices can be empty all the same.
            if on.is_empty() {
                format!("{x}.isEmpty()")
            } else {
                format!("[{}].containsAll({x})", on.join(", "))
            }
        }
        // The attribute is the greatest element, -1 for none.
        Rule::Range(range) if field.kind == Kind::CeilingEach => {
            let max =
                if range.is_empty() { -1 } else { i64::try_from(range.max()).unwrap_or(i64::MAX) };
            format!("{x} <= {max}")
        }
        _ if rule.is_empty() => "false".into(),
        rule => scalar(field.kind, rule, &x).unwrap_or_else(|| "false".into()),
    };
    Ok(Some(format!("{here} && {condition}")))
}

/// A condition on the record of a list: that its slots are filled from the first on, `count` of
/// them, and what the rule demands of each, or of all together.
fn elements(field: &Field, rule: &Rule, x: &str) -> Result<String, CedarError> {
    let slots = slots(field.kind);
    let mut out = format!("{x}.count >= 0 && {x}.count <= {slots}");
    for slot in 0..slots {
        // Slot by slot: the element is there exactly when the count says so. A request that leaves
        // a gap, or says less than it holds, fulfils no permit.
        out.push_str(&format!(" && ({x} has e{slot}) == ({x}.count > {slot})"));
    }
    let too_long = |bytes: usize| CedarError::TooLong { rule: field.path, bytes };
    // A required text has to be in one of the slots; the other rules hold for each slot that is
    // filled.
    if let Rule::Required(required) = rule {
        let Some(texts) = required.texts() else { return Ok("false".into()) };
        for wanted in texts {
            let wanted = text(wanted);
            let one = |slot: usize| format!("({x} has e{slot} && {x}.e{slot} == {wanted})");
            let any: Vec<String> = (0..slots).map(one).collect();
            out.push_str(&format!(" && ({})", any.join(" || ")));
            if out.len() > MOST_BYTES {
                return Err(too_long(out.len()));
            }
        }
        return Ok(out);
    }
    for slot in 0..slots {
        let element = format!("{x}.e{slot}");
        let condition = element_condition(rule, &element);
        // Each slot costs as much as the first, so the first one tells.
        let bytes = condition.len().saturating_mul(slots);
        if bytes > MOST_BYTES {
            return Err(too_long(bytes));
        }
        out.push_str(&format!(" && (if {x} has e{slot} then {condition} else true)"));
    }
    Ok(out)
}

fn scalar(kind: Kind, rule: &Rule, x: &str) -> Option<String> {
    Some(match rule {
        Rule::Range(range) => {
            // Cedar's numbers are signed and of 64 bits. An end beyond them is no bound to a number
            // that fits.
            let min = i64::try_from(range.min()).unwrap_or(i64::MAX);
            let mut all = vec![format!("{x} >= {min}")];
            if let Ok(max) = i64::try_from(range.max()) {
                all.push(format!("{x} <= {max}"));
            }
            all.join(" && ")
        }
        Rule::Bytes(set) => {
            let members = set_of(set.members().iter().map(|bytes| bytes.to_text()));
            format!("{}{members}.contains({x})", if set.is_except() { "!" } else { "" })
        }
        Rule::Names(patterns) => one_of(x, patterns),
        Rule::Bits(bits) => {
            let Kind::Bits(names) = kind else { return None };
            let mut all = Vec::new();
            if bits.must() != 0 {
                all.push(format!("{x}.containsAll({})", set_of(bit_list(bits.must(), names))));
            }
            if bits.must_not() != 0 {
                all.push(format!(
                    "!({x}.containsAny({}))",
                    set_of(bit_list(bits.must_not(), names))
                ));
            }
            all.join(" && ")
        }
        Rule::Choice(choice) => choice_condition(*choice, kind, x),
        Rule::Tcb(floors) => {
            let each =
                Tcb::GENERATIONS.iter().zip(floors.floors()).filter_map(|(generation, floor)| {
                    // A generation without a floor has no alternative of its own, and so is not
                    // admitted.
                    let levels = Tcb::PARTS.iter().zip((*floor)?);
                    let levels: String =
                        levels.map(|(part, level)| format!(" && {x}.{part} >= {level}")).collect();
                    Some(format!("({x}.generation == \"{generation}\"{levels})"))
                });
            format!("({})", each.collect::<Vec<_>>().join(" || "))
        }
        Rule::Limit(limit) => {
            let end = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
            let (per, total) = (end(limit.per_second()), end(limit.total()));
            format!("{x}.in_second <= {per} && {x}.total <= {total}")
        }
        Rule::Forbidden(_) | Rule::Required(_) | Rule::Egress(_) => return None,
    })
}

fn choice_condition(choice: Choice, kind: Kind, x: &str) -> String {
    match kind {
        Kind::Choice(names) => {
            let count = u64::try_from(names.len()).unwrap_or(0);
            let admitted = (0..count).filter(|index| choice.admits(*index));
            let names = set_of(admitted.map(|index| choice_name(kind, index).to_owned()));
            format!("{names}.contains({x})")
        }
        _ => format!("{x} == {}", choice.admits(1)),
    }
}

/// What one element has to fulfil for the rule.
fn element_condition(rule: &Rule, x: &str) -> String {
    match rule {
        Rule::Names(patterns) => one_of(x, patterns),
        Rule::Forbidden(forbidden) => format!("!({})", one_of(x, forbidden.patterns())),
        Rule::Egress(set) if !set.is_empty() => {
            let blocks: Vec<String> = set.blocks().map(|b| block(&b, x)).collect();
            format!("({})", blocks.join(" || "))
        }
        _ => "false".into(),
    }
}

fn block(b: &EgressBlock, x: &str) -> String {
    let ranges: Vec<String> = networks(b.first, b.last)
        .into_iter()
        .map(|network| format!("{x}.address.isInRange(ip(\"{network}\"))"))
        .collect();
    let ports = if b.protocol == Protocol::Icmp {
        String::new()
    } else {
        format!(" && {x}.port >= {} && {x}.port <= {}", b.ports.0, b.ports.1)
    };
    format!("({x}.protocol == \"{}\"{ports} && ({}))", b.protocol.name(), ranges.join(" || "))
}

/// The CIDR networks whose union is the range of addresses.
fn networks(first: IpAddr, last: IpAddr) -> Vec<String> {
    let (mut at, end, width) = match (first, last) {
        // Both families as numbers of 128 bits; the width is what tells them apart.
        (IpAddr::V4(a), IpAddr::V4(b)) => (u128::from(a.to_bits()), u128::from(b.to_bits()), 32u32),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits(), b.to_bits(), 128),
        _ => return Vec::new(),
    };
    let mut out = Vec::new();
    loop {
        // The largest network that begins here and does not go beyond the end.
        // A network begins at a multiple of its size, so the trailing zeros of the address bound
        // it.
        let mut bits = at.trailing_zeros().min(width);
        let last_of = |bits: u32| at | 1u128.checked_shl(bits).map_or(u128::MAX, |size| size - 1);
        while bits > 0 && last_of(bits) > end {
            bits -= 1;
        }
        let address = if width == 32 {
            IpAddr::V4(u32::try_from(at).unwrap_or(u32::MAX).into())
        } else {
            IpAddr::V6(at.into())
        };
        out.push(format!("{address}/{}", width - bits));
        // Every network begins right behind the last and ends at or before the end: the union is
        // exact, and the loop takes at most twice the width.
        match last_of(bits).checked_add(1) {
            Some(next) if next <= end => at = next,
            _ => return out,
        }
    }
}
