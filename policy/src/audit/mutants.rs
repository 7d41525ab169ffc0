//! Mutants of a policy: each stated rule removed, and each loosened by one step at every end it
//! has. A suite that notices only removals lets an edit of one digit through.

use crate::fields::{FLAG, Field, GRANT_FIELDS, Kind, Point};
use crate::lattice::{
    Bits, ByteSet, Bytes, Choice, EgressBlock, EgressSet, Forbidden, Lattice, Limit, Pattern,
    Patterns, Protocol, Range, Required, Tcb, TcbFloors,
};
use crate::policy::Policy;
use crate::render;
use crate::rule::Rule;
use crate::rules::Origin;
use std::net::IpAddr;

/// Most ends of one rule that are moved: a list of 60,000 digests is not tested one by one.
const MOST: usize = 128;

/// A policy with one rule changed.
pub(super) struct Changed {
    pub(super) rule: String,
    pub(super) origin: Origin,
    /// What became of the rule, as the end of a sentence.
    pub(super) change: String,
    pub(super) policy: Policy,
}

/// Every mutant of every stated rule, one changed rule each.
pub(super) fn mutants(policy: &Policy) -> impl Iterator<Item = Changed> + '_ {
    let points = Point::ALL.into_iter().flat_map(move |point| {
        policy.rules(point).enumerate().flat_map(move |(index, (field, rule, origin))| {
            looser(field, rule, origin).into_iter().filter_map(move |(change, rule)| {
                let mut mutant = policy.clone();
                // By index: a point has several rules on one fact.
                mutant.points.get_mut(point.index())?.state(index, rule, origin.clone());
                let (rule, origin) = (field.path.to_owned(), origin.clone());
                Some(Changed { rule, origin, change, policy: mutant })
            })
        })
    });
    let grants = policy.grants().iter().enumerate().flat_map(move |(at, grant)| {
        grant.rules().enumerate().flat_map(move |(index, (field, rule, origin))| {
            looser(field, rule, origin).into_iter().filter_map(move |(change, rule)| {
                let mut mutant = policy.clone();
                debug_assert!(index < GRANT_FIELDS.len());
                mutant.grants.get_mut(at)?.rules.state(index, rule, origin.clone());
                let (rule, origin) = (grant.path(field), origin.clone());
                Some(Changed { rule, origin, change, policy: mutant })
            })
        })
    });
    points.chain(grants)
}

/// Looser rules than a stated one, each with a word on the difference.
fn looser(field: &Field, rule: &Rule, origin: &Origin) -> Vec<(String, Rule)> {
    // A default is nobody's rule, and the loosest cannot be loosened.
    if *origin == Origin::Default || rule.is_loosest(field.kind) {
        return Vec::new();
    }
    let mut out = vec![("is removed".to_owned(), field.kind.any())];
    let steps = steps(field.kind, rule).into_iter();
    // A flag that is loosened is a flag that is removed.
    // Steps that tighten, or that go all the way to "removed", are not mutants of their own.
    let steps = steps.filter(|(_, looser)| !looser.is_loosest(field.kind) && rule.le(looser));
    out.extend(steps.take(MOST).map(|(what, looser)| (format!("also admits {what}"), looser)));
    out
}

/// The rule with each of its ends moved by one step.
fn steps(kind: Kind, rule: &Rule) -> Vec<(String, Rule)> {
    // What admits nothing has no ends.
    if rule.is_empty() {
        return Vec::new();
    }
    match rule {
        Rule::Range(range) => ranges(kind, *range),
        Rule::Bytes(set) => byte_sets(kind, set),
        Rule::Names(patterns) if matches!(kind, Kind::Roots(_)) => roots(patterns),
        Rule::Names(patterns) => names(patterns),
        Rule::Forbidden(forbidden) => allowed_again(forbidden),
        Rule::Required(required) => {
            let texts = required.texts().unwrap_or_default();
            let without = |left: &str| {
                let rest = texts.iter().filter(|text| ***text != *left).cloned();
                let what = format!("a list without {:?}", render::shorten(left));
                (what, Rule::Required(Required::all(rest)))
            };
            texts.iter().take(MOST).map(|text| without(text)).collect()
        }
        Rule::Bits(bits) => masks(kind, *bits),
        Rule::Choice(choice) => choices(kind, *choice),
        Rule::Tcb(floors) => tcb_floors(floors),
        Rule::Egress(set) => egress(set),
        Rule::Limit(limit) => limits(*limit),
    }
}

fn ranges(kind: Kind, range: Range) -> Vec<(String, Rule)> {
    let (min, max) = (range.min(), range.max());
    let below = match kind {
        // The version before 1.55.0 is 1.54 with the greatest last part that a document can have.
        Kind::Version => version_before(min),
        _ => min.checked_sub(1),
    };
    let shown = |n: u64| render::fact(kind, &crate::fact::Fact::Number(n));
    let lower = below.map(|n| (shown(n), Rule::Range(Range::new(n, max))));
    let upper = match kind {
        Kind::Action(_) => None,
        _ => max.checked_add(1).map(|n| (shown(n), Rule::Range(Range::new(min, n)))),
    };
    lower.into_iter().chain(upper).collect()
}

fn version_before(packed: u64) -> Option<u64> {
    const LAST: u64 = 999_999;
    // Packed as in a document: 20 bits each of minor and last part.
    let (major, minor, patch) = (packed >> 40, packed >> 20 & 0xf_ffff, packed & 0xf_ffff);
    match (major, minor, patch) {
        (0, 0, 0) => None,
        (major, 0, 0) => Some((major - 1) << 40 | LAST << 20 | LAST),
        (major, minor, 0) => Some(major << 40 | (minor - 1) << 20 | LAST),
        _ => Some(packed - 1),
    }
}

fn byte_sets(kind: Kind, set: &ByteSet) -> Vec<(String, Rule)> {
    if set.is_except() {
        let without = |left: &Bytes| {
            let rest = set.members().iter().filter(|member| *member != left).copied().collect();
            let what: String = left.to_hex().chars().take(16).collect();
            (what, Rule::Bytes(ByteSet::except(rest)))
        };
        return set.members().iter().take(MOST).map(without).collect();
    }
    // What stands where nothing was set, and what differs from a member in its last bit.
    let Some(len) = kind.byte_len() else { return Vec::new() };
    let with = |what: &str, more: Bytes| {
        let all = set.members().iter().copied().chain([more]).collect();
        (what.to_owned(), Rule::Bytes(ByteSet::only(all)))
    };
    let flipped = set.members().iter().find_map(|member| {
        let mut bytes = member.as_slice().to_vec();
        *bytes.last_mut()? ^= 1;
        Bytes::new(&bytes).filter(|changed| !set.admits(changed))
    });
    let mut out = vec![with("unset", Bytes::zero(len))];
    out.extend(flipped.map(|bytes| with("the first with its last bit changed", bytes)));
    out.retain(|(_, rule)| *rule != Rule::Bytes(set.clone()));
    out
}

/// Each text with a star behind it, each beginning one character shorter.
fn names(patterns: &Patterns) -> Vec<(String, Rule)> {
    let wider = |pattern: &Pattern| {
        // A prefix is made shorter by a character; an exact text becomes the prefix of everything
        // that begins so.
        let mut text = pattern.text().to_owned();
        if pattern.is_prefix() {
            text.pop();
        }
        let wide = Pattern::prefix(&text);
        let what = wide.to_string();
        let all = patterns.patterns().iter().cloned().chain([wide]).collect();
        (format!("{:?}", render::shorten(&what)), Rule::Names(Patterns::new(all)))
    };
    patterns.patterns().iter().take(MOST).map(wider).collect()
}

/// The directory above each; what is above the first ones is everything, and that is a removal.
fn roots(patterns: &Patterns) -> Vec<(String, Rule)> {
    let wider = |pattern: &Pattern| {
        // A root ends in `/`: the directory above is what stands before the last name.
        let own = pattern.text().trim_end_matches('/');
        let above =
            own.rsplit_once('/').map(|(above, _)| above).filter(|above| !above.is_empty())?;
        let all = patterns.patterns().iter().cloned();
        let all = all.chain([Pattern::prefix(&format!("{above}/"))]).collect();
        Some((format!("{:?}", render::shorten(above)), Rule::Names(Patterns::new(all))))
    };
    patterns.patterns().iter().take(MOST).filter_map(wider).collect()
}

/// Without each of the forbidden patterns, and with only the text of each that has a star.
fn allowed_again(forbidden: &Forbidden) -> Vec<(String, Rule)> {
    let all = forbidden.patterns().patterns();
    let instead = |left: &Pattern, new: Option<Pattern>| {
        let rest = all.iter().filter(|pattern| *pattern != left).cloned().chain(new).collect();
        Rule::Forbidden(Forbidden::new(rest))
    };
    let mut out = Vec::new();
    for pattern in all.iter().take(MOST) {
        let text = pattern.to_string();
        out.push((format!("{:?}", render::shorten(&text)), instead(pattern, None)));
        if pattern.is_prefix() && !pattern.text().is_empty() {
            let what = format!("{:?} but for its star", render::shorten(&text));
            out.push((what, instead(pattern, Some(Pattern::exact(pattern.text())))));
        }
    }
    out
}

fn masks(kind: Kind, bits: Bits) -> Vec<(String, Rule)> {
    let Kind::Bits(names) = kind else { return Vec::new() };
    let mut out = Vec::new();
    let mut unnamed = 0u64;
    // Bits without a name are one step together: nobody writes a test for each of them.
    for bit in 0..64u8 {
        let mask = 1u64 << bit;
        let name = names.names.iter().find(|(number, _)| *number == bit).map(|(_, name)| *name);
        if bits.must() & mask != 0 {
            let what = format!("masks without {}", name.unwrap_or("an unnamed bit"));
            out.push((what, Rule::Bits(Bits::new(bits.must() & !mask, bits.must_not()))));
        } else if bits.must_not() & mask != 0 {
            match name {
                Some(name) => {
                    let looser = Bits::new(bits.must(), bits.must_not() & !mask);
                    out.push((format!("masks with {name}"), Rule::Bits(looser)));
                }
                None => unnamed |= mask,
            }
        }
    }
    if unnamed != 0 {
        let looser = Bits::new(bits.must(), bits.must_not() & !unnamed);
        out.push(("masks with bits that have no name".into(), Rule::Bits(looser)));
    }
    out
}

fn choices(kind: Kind, choice: Choice) -> Vec<(String, Rule)> {
    let names = match kind {
        Kind::Choice(names) => names,
        _ => FLAG,
    };
    // The unknown value has an index too, but no name, so no step leads to it.
    let indexed = (0u64..).zip(names.iter());
    let with = |(index, name): (u64, &&str)| {
        (!choice.admits(index)).then(|| {
            let all = (0..=Choice::UNKNOWN).filter(|i| choice.admits(*i) || *i == index);
            (format!("\"{name}\""), Rule::Choice(Choice::only(all)))
        })
    };
    indexed.filter_map(with).collect()
}

fn tcb_floors(floors: &TcbFloors) -> Vec<(String, Rule)> {
    let mut out = Vec::new();
    let generations = Tcb::GENERATIONS.iter().zip(floors.floors()).enumerate();
    for (index, (generation, floor)) in generations {
        // A generation without a floor is refused. Its mildest admission is by the strictest floor
        // that a report can meet, all levels at their most; for the two older generations any level
        // is taken.
        let Some(floor) = floor else {
            let newest = floors.with(index, [if index < 2 { 0 } else { u8::MAX }; 5]);
            out.push(((*generation).to_owned(), Rule::Tcb(newest)));
            continue;
        };
        for (part, name) in Tcb::PARTS.iter().enumerate() {
            let mut lower = *floor;
            let Some(level) = lower.get_mut(part).filter(|level| **level > 0) else { continue };
            *level -= 1;
            let what = format!("{generation} with {name} {level}");
            out.push((what, Rule::Tcb(floors.with(index, lower))));
        }
    }
    out
}

fn next(address: IpAddr, up: bool) -> Option<IpAddr> {
    Some(match address {
        IpAddr::V4(v4) => {
            let bits = v4.to_bits();
            let moved = if up { bits.checked_add(1) } else { bits.checked_sub(1) };
            IpAddr::V4(moved?.into())
        }
        IpAddr::V6(v6) => {
            let bits = v6.to_bits();
            let moved = if up { bits.checked_add(1) } else { bits.checked_sub(1) };
            IpAddr::V6(moved?.into())
        }
    })
}

/// Each block with one address, one port or one protocol more.
fn egress(set: &EgressSet) -> Vec<(String, Rule)> {
    let mut out = Vec::new();
    // A block has up to five steps: a quarter of the bound in blocks leaves each of them most of
    // its own.
    for block in set.blocks().take(MOST / 4) {
        let mut push = |what: String, more: EgressBlock| {
            out.push((what, Rule::Egress(set.join(&EgressSet::new(&[more])))));
        };
        for (address, up) in [(block.first, false), (block.last, true)] {
            if let Some(next) = next(address, up) {
                push(next.to_string(), EgressBlock { first: next, last: next, ..block });
            }
        }
        // ICMP has no ports, so its step is to a protocol that has.
        let other = match block.protocol {
            Protocol::Tcp => Protocol::Udp,
            Protocol::Udp | Protocol::Icmp => Protocol::Tcp,
        };
        push(
            format!("{} over {}", block.first, other.name()),
            EgressBlock { protocol: other, ..block },
        );
        if block.protocol == Protocol::Icmp {
            continue;
        }
        let (low, high) = block.ports;
        for port in [low.checked_sub(1), high.checked_add(1)].into_iter().flatten() {
            push(
                format!("{} port {port}", block.first),
                EgressBlock { ports: (port, port), ..block },
            );
        }
    }
    out.retain(|(_, rule)| *rule != Rule::Egress(set.clone()));
    out
}

fn limits(limit: Limit) -> Vec<(String, Rule)> {
    let (per_second, total) = (limit.per_second(), limit.total());
    // A rate above the total would be the same limit.
    let faster = per_second.checked_add(1).filter(|n| *n <= total);
    let faster = faster.map(|n| (format!("{n} in a second"), Limit::new(n, total)));
    let more = total.checked_add(1).map(|n| (format!("{n} in all"), Limit::new(per_second, n)));
    let both = faster.into_iter().chain(more);
    both.map(|(what, limit)| (what, Rule::Limit(limit))).collect()
}
