//! Cedar: a schema, and one `permit` for each point and grant; nothing else permits anything.
//!
//! Cedar cannot quantify over a list with a pattern or a range, so a list of texts or end points is
//! decided by one more request for each element, with the action named after the fact: a request is
//! admitted when the request of its point and those of all elements are. An error skips a permit, which
//! denies.

use super::{bit_list, choice_name};
use crate::fields::{Field, GRANT_FIELDS, Key, Kind, Point};
use crate::lattice::{Choice, EgressBlock, Lattice, Pattern, Patterns, Protocol, Tcb};
use crate::policy::Policy;
use crate::rule::Rule;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// A fact's path as a Cedar attribute.
pub(super) fn attribute(key: Key) -> String {
    key.path().replace('.', "_")
}

/// Whether the elements of the fact are decided by requests of their own.
pub(super) const fn by_element(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Names { list: true }
            | Kind::NamesForbidden
            | Kind::NamesRequired
            | Kind::Roots
            | Kind::Egress
    )
}

/// A Cedar string literal.
pub(super) fn text(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
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
        let literal = text(pattern.text()).replace('*', "\\*");
        let open = literal.get(..literal.len().saturating_sub(1)).unwrap_or_default();
        format!("{variable} like {open}*\"")
    } else {
        format!("{variable} == {}", text(pattern.text()))
    }
}

fn one_of(variable: &str, patterns: &Patterns) -> String {
    let all: Vec<String> = patterns.patterns().iter().map(|p| pattern(variable, p)).collect();
    if all.is_empty() { "false".into() } else { format!("({})", all.join(" || ")) }
}

/// The policy as Cedar policies. Use them with [`cedar_schema`].
#[must_use]
pub fn cedar(policy: &Policy) -> String {
    let mut out = format!("// Policy {} (SHA-256 {})\n", text(policy.name()), policy.hash_hex());
    for point in Point::ALL.into_iter().filter(|point| *point != Point::Secrets) {
        let rules: Vec<(&Field, &Rule)> = policy.rules(point).map(|(f, r, _)| (f, r)).collect();
        let conditions = rules.iter().flat_map(|(field, rule)| conditions(field, rule));
        out.push_str(&permit(point.name(), conditions.collect()));
        let mut seen = BTreeSet::new();
        for (field, _) in &rules {
            if by_element(field.kind) && seen.insert(field.key) {
                let of_key = rules.iter().filter(|(other, _)| other.key == field.key);
                let elements = of_key.filter_map(|(_, rule)| element_condition(rule));
                out.push_str(&permit(field.key.path(), elements.collect()));
            }
        }
    }
    for grant in policy.grants() {
        let resource = attribute(Key::SecretResource);
        let variable = format!("context.{resource}");
        let mut all =
            vec![format!("context has {resource} && {}", pattern(&variable, grant.resource()))];
        for (field, rule, _) in grant.rules() {
            all.extend(conditions(field, rule));
        }
        out.push_str(&permit(Point::Secrets.name(), all));
    }
    out
}

fn permit(action: &str, conditions: Vec<String>) -> String {
    let head = format!("\npermit (principal, action == Action::\"{action}\", resource)");
    let body: String = conditions.into_iter().map(|c| format!("\nwhen {{ {c} }}")).collect();
    format!("{head}{body};\n")
}

/// What the request of the point has to fulfil for the rule.
fn conditions(field: &Field, rule: &Rule) -> Option<String> {
    if field.key == Key::Setting || rule.is_any() {
        return None;
    }
    let name = attribute(field.key);
    let here = format!("context has {name}");
    let x = format!("context.{name}");
    let condition = match rule {
        // The elements have requests of their own; that there is a list is decided here.
        Rule::Names(_) | Rule::Forbidden(_) if by_element(field.kind) => "true".into(),
        Rule::Egress(_) => "true".into(),
        Rule::Required(required) => match required.texts() {
            Some(texts) => {
                format!("{x}.containsAll({})", set_of(texts.iter().map(ToString::to_string)))
            }
            None => "false".into(),
        },
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
        rule => scalar(field.kind, rule, &x)?,
    };
    Some(format!("{here} && {condition}"))
}

fn scalar(kind: Kind, rule: &Rule, x: &str) -> Option<String> {
    Some(match rule {
        Rule::Range(range) => {
            let min = i64::try_from(range.min()).unwrap_or(i64::MAX);
            let mut all = vec![format!("{x} >= {min}")];
            if let Ok(max) = i64::try_from(range.max()) {
                all.push(format!("{x} <= {max}"));
            }
            all.join(" && ")
        }
        Rule::Bytes(set) => {
            let members = set_of(set.members().iter().map(crate::lattice::Bytes::to_hex));
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

/// What the request of an element has to fulfil for the rule.
fn element_condition(rule: &Rule) -> Option<String> {
    if rule.is_any() {
        return None;
    }
    match rule {
        Rule::Names(patterns) => Some(one_of("context.element", patterns)),
        Rule::Forbidden(forbidden) => {
            Some(format!("!({})", one_of("context.element", forbidden.patterns())))
        }
        Rule::Egress(set) => {
            let blocks: Vec<String> = set.blocks().map(|b| block(&b)).collect();
            Some(if blocks.is_empty() { "false".into() } else { blocks.join(" || ") })
        }
        _ => None,
    }
}

fn block(b: &EgressBlock) -> String {
    let ranges: Vec<String> = networks(b.first, b.last)
        .into_iter()
        .map(|network| format!("context.address.isInRange(ip(\"{network}\"))"))
        .collect();
    let ports = if b.protocol == Protocol::Icmp {
        String::new()
    } else {
        format!(" && context.port >= {} && context.port <= {}", b.ports.0, b.ports.1)
    };
    format!("(context.protocol == \"{}\"{ports} && ({}))", b.protocol.name(), ranges.join(" || "))
}

/// The CIDR networks whose union is the range of addresses.
fn networks(first: IpAddr, last: IpAddr) -> Vec<String> {
    let (mut at, end, width) = match (first, last) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (u128::from(a.to_bits()), u128::from(b.to_bits()), 32u32),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits(), b.to_bits(), 128),
        _ => return Vec::new(),
    };
    let mut out = Vec::new();
    loop {
        // The largest network that begins here and does not go beyond the end.
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
        match last_of(bits).checked_add(1) {
            Some(next) if next <= end => at = next,
            _ => return out,
        }
    }
}

/// The type of a fact in the Cedar schema.
fn cedar_type(kind: Kind) -> &'static str {
    match kind {
        Kind::Flag => "Bool",
        Kind::FlagEach => "Set<Bool>",
        Kind::Choice(_) | Kind::BytesAllowed(_) | Kind::BytesDenied(_) | Kind::Names { list: false } => {
            "String"
        }
        Kind::Names { list: true }
        | Kind::Roots
        | Kind::NamesForbidden
        | Kind::NamesRequired
        | Kind::Bits(_)
        // End points have requests of their own; the list is only known to be there.
        | Kind::Egress => "Set<String>",
        Kind::Tcb => {
            "{ generation: String, fmc: Long, bootloader: Long, tee: Long, snp: Long, microcode: Long }"
        }
        Kind::Limit => "{ in_second: Long, total: Long }",
        _ => "Long",
    }
}

/// The Cedar schema of every policy's export.
#[must_use]
pub fn cedar_schema() -> String {
    let mut out = String::from("entity Host;\nentity Guest;\n");
    let applies = "appliesTo { principal: [Host], resource: [Guest], context:";
    for point in Point::ALL {
        let secret = point == Point::Secrets;
        let fields = if secret { GRANT_FIELDS } else { point.fields() };
        let mut attributes = Vec::new();
        let mut elements = Vec::new();
        if secret {
            attributes.push(format!("{}?: String", attribute(Key::SecretResource)));
        }
        for key in crate::search::keys(fields) {
            attributes.push(format!("{}?: {}", attribute(key), cedar_type(key.kind())));
            if by_element(key.kind()) {
                let element = if key.kind() == Kind::Egress {
                    "address: ipaddr, port: Long, protocol: String"
                } else {
                    "element: String"
                };
                elements.push(format!("action \"{}\" {applies} {{ {element} }} }};\n", key.path()));
            }
        }
        out.push_str(&format!(
            "action \"{point}\" {applies} {{ {} }} }};\n",
            attributes.join(", ")
        ));
        out.extend(elements);
    }
    out
}
