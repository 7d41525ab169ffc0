//! The laws of every lattice, on random values from small domains, against plain set semantics.

use super::{
    Bits, ByteSet, Bytes, Choice, EgressBlock, EgressSet, Endpoint, Forbidden, Lattice, Limit,
    Pattern, Patterns, Protocol, Range, Required, Tcb, TcbFloors, Usage,
};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::test_runner::TestCaseError;
use std::fmt::Debug;
use std::net::IpAddr;

type Checked = Result<(), TestCaseError>;

/// Order and bounds, for any three values.
fn laws<L: Lattice + Debug>(a: &L, b: &L, c: &L) -> Checked {
    let (top, bottom) = (L::top(), L::bottom());
    prop_assert!(a.le(a) && bottom.le(a) && a.le(&top));
    prop_assert!(bottom.is_empty() && top.is_any() && !top.is_empty());
    prop_assert_eq!(a.is_empty(), *a == bottom);
    prop_assert_eq!(a.is_any(), *a == top);
    // Antisymmetry and transitivity.
    prop_assert_eq!(a.le(b) && b.le(a), a == b, "{:?} {:?}", a, b);
    prop_assert!(!(a.le(b) && b.le(c)) || a.le(c));
    // Meet and join: idempotent, commutative, associative, absorbing, and they define the order.
    prop_assert_eq!(&a.meet(a), a);
    prop_assert_eq!(&a.join(a), a);
    prop_assert_eq!(a.meet(b), b.meet(a));
    prop_assert_eq!(a.join(b), b.join(a));
    prop_assert_eq!(a.meet(b).meet(c), a.meet(&b.meet(c)));
    prop_assert_eq!(a.join(b).join(c), a.join(&b.join(c)));
    prop_assert_eq!(&a.meet(&a.join(b)), a);
    prop_assert_eq!(&a.join(&a.meet(b)), a);
    prop_assert_eq!(a.le(b), a.meet(b) == *a);
    prop_assert_eq!(a.le(b), a.join(b) == *b);
    Ok(())
}

/// Meet is intersection, join holds the union, and the order is inclusion, on the facts of
/// `domain`. `exact` says that the domain tells any two values apart.
fn semantics<L: Lattice + Debug, F: Debug>(
    (a, b): (&L, &L),
    domain: &[F],
    admits: impl Fn(&L, &F) -> bool,
    exact: bool,
) -> Checked {
    let (meet, join) = (a.meet(b), a.join(b));
    for fact in domain {
        let (in_a, in_b) = (admits(a, fact), admits(b, fact));
        prop_assert_eq!(admits(&meet, fact), in_a && in_b, "meet at {:?}", fact);
        prop_assert!(admits(&join, fact) || !(in_a || in_b), "join at {:?}", fact);
    }
    let included = domain.iter().all(|fact| !admits(a, fact) || admits(b, fact));
    prop_assert!(!a.le(b) || included);
    if exact {
        prop_assert_eq!(a.le(b), included, "{:?} {:?}", a, b);
        prop_assert_eq!(a.is_empty(), !domain.iter().any(|fact| admits(a, fact)));
    }
    Ok(())
}

/// A witness exists exactly when the first is not below the second, and is one.
fn witness<L: Lattice, F>(
    (a, b): (&L, &L),
    found: Option<F>,
    admits: impl Fn(&L, &F) -> bool,
) -> Checked {
    prop_assert_eq!(found.is_some(), !a.le(b));
    if let Some(fact) = found {
        prop_assert!(admits(a, &fact) && !admits(b, &fact));
    }
    Ok(())
}

fn range() -> impl Strategy<Value = Range> {
    let end = prop_oneof![0..9u64, Just(u64::MAX)];
    (end.clone(), end).prop_map(|(min, max)| Range::new(min, max))
}

fn byte_set() -> impl Strategy<Value = ByteSet> {
    (any::<bool>(), vec(0..5u8, 0..5)).prop_map(|(except, members)| {
        let members = members.into_iter().filter_map(|b| Bytes::new(&[b])).collect();
        if except { ByteSet::except(members) } else { ByteSet::only(members) }
    })
}

fn bits() -> impl Strategy<Value = Bits> {
    (0..16u64, 0..16u64).prop_map(|(must, must_not)| Bits::new(must, must_not))
}

fn choice() -> impl Strategy<Value = Choice> {
    vec(0..4u64, 0..5).prop_map(Choice::only)
}

fn pattern() -> impl Strategy<Value = Pattern> {
    ("[ab]{0,3}", any::<bool>()).prop_map(|(text, prefix)| {
        if prefix { Pattern::prefix(&text) } else { Pattern::exact(&text) }
    })
}

fn patterns() -> impl Strategy<Value = Patterns> {
    vec(pattern(), 0..5).prop_map(Patterns::new)
}

fn required() -> impl Strategy<Value = Required> {
    prop_oneof![
        vec("[abc]", 0..4).prop_map(|texts| Required::all(texts.into_iter().map(Into::into))),
        Just(Required::bottom()),
    ]
}

fn tcb() -> impl Strategy<Value = TcbFloors> {
    vec((0..4usize, [0..3u8, 0..3, 0..2, 0..3, 0..2]), 0..4).prop_map(|floors| {
        let start = TcbFloors::bottom();
        floors.into_iter().fold(start, |all, (generation, floor)| all.with(generation, floor))
    })
}

fn limit() -> impl Strategy<Value = Limit> {
    let count = prop_oneof![0..5u64, Just(u64::MAX)];
    (count.clone(), count).prop_map(|(per_second, total)| Limit::new(per_second, total))
}

fn v4(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

fn egress() -> impl Strategy<Value = EgressSet> {
    let block = (0..6u8, 0..6u8, 0..5u16, 0..5u16, any::<bool>(), any::<bool>());
    vec(block, 0..5).prop_map(|blocks| {
        let blocks: Vec<EgressBlock> = blocks
            .into_iter()
            .map(|(a, b, p, q, tcp, v6)| EgressBlock {
                first: if v6 {
                    IpAddr::from([0, 0, 0, 0, 0, 0, 1, u16::from(a.min(b))])
                } else {
                    v4(a.min(b))
                },
                last: if v6 {
                    IpAddr::from([0, 0, 0, 0, 0, 0, 1, u16::from(a.max(b))])
                } else {
                    v4(a.max(b))
                },
                ports: (p.min(q), p.max(q)),
                protocol: if tcp { Protocol::Tcp } else { Protocol::Udp },
            })
            .collect();
        EgressSet::new(&blocks)
    })
}

fn endpoints() -> Vec<Endpoint> {
    let mut out = Vec::new();
    for last in 0..7u8 {
        for port in 0..6 {
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                for address in [v4(last), IpAddr::from([0, 0, 0, 0, 0, 0, 1, u16::from(last)])] {
                    out.push(Endpoint { address, port, protocol });
                }
            }
        }
    }
    out
}

fn texts() -> Vec<String> {
    let mut out = vec![String::new()];
    for _ in 0..4 {
        let longer =
            out.iter().flat_map(|t| ['a', 'b', 'c'].map(|c| format!("{t}{c}"))).collect::<Vec<_>>();
        out.extend(longer);
        out.sort();
        out.dedup();
    }
    out
}

proptest! {
    #[test]
    fn ranges_are_a_lattice_of_intervals(a in range(), b in range(), c in range()) {
        laws(&a, &b, &c)?;
        let domain: Vec<u64> = (0..10).chain([u64::MAX - 1, u64::MAX]).collect();
        semantics((&a, &b), &domain, |r, x| r.admits(*x), true)?;
        witness((&a, &b), a.witness_against(&b), |r, x| r.admits(*x))?;
    }

    #[test]
    fn byte_sets_are_a_lattice_of_sets(a in byte_set(), b in byte_set(), c in byte_set()) {
        laws(&a, &b, &c)?;
        let domain: Vec<Bytes> = (0..=255u8).filter_map(|b| Bytes::new(&[b])).collect();
        semantics((&a, &b), &domain, ByteSet::admits, true)?;
        witness((&a, &b), a.witness_against(&b, 1), ByteSet::admits)?;
    }

    #[test]
    fn bit_masks_are_a_lattice_of_boxes(a in bits(), b in bits(), c in bits()) {
        laws(&a, &b, &c)?;
        let domain: Vec<u64> = (0..32).chain([u64::MAX]).collect();
        semantics((&a, &b), &domain, |m, x| m.admits(*x), true)?;
        witness((&a, &b), a.witness_against(&b), |m, x| m.admits(*x))?;
    }

    #[test]
    fn choices_are_a_lattice_of_subsets(a in choice(), b in choice(), c in choice()) {
        laws(&a, &b, &c)?;
        let domain: Vec<u64> = (0..32).collect();
        semantics((&a, &b), &domain, |m, x| m.admits(*x), true)?;
        witness((&a, &b), a.witness_against(&b), |m, x| m.admits(*x))?;
    }

    #[test]
    fn patterns_are_a_lattice_of_text_sets(a in patterns(), b in patterns(), c in patterns()) {
        laws(&a, &b, &c)?;
        semantics((&a, &b), &texts(), |p, t| p.admits(t), true)?;
        witness((&a, &b), a.witness_against(&b), |p, t| p.admits(t))?;
        // The single look-up finds what trying every pattern finds.
        for text in texts() {
            prop_assert_eq!(a.admits(&text), a.patterns().iter().any(|p| p.matches(&text)));
        }
    }

    #[test]
    fn forbidden_patterns_are_the_dual_lattice(a in patterns(), b in patterns(), c in patterns()) {
        let [a, b, c] = [a, b, c].map(|p| Forbidden::new(p.patterns().to_vec()));
        laws(&a, &b, &c)?;
        semantics((&a, &b), &texts(), |p, t| p.admits(t), true)?;
        witness((&a, &b), a.witness_against(&b), |p, t| p.admits(t))?;
    }

    #[test]
    fn required_texts_are_a_lattice_of_up_sets(a in required(), b in required(), c in required()) {
        laws(&a, &b, &c)?;
        let domain: Vec<Vec<&str>> = (0..8).map(|mask| {
            ["a", "b", "c"].into_iter().enumerate().filter(|(i, _)| mask >> i & 1 == 1).map(|(_, t)| t).collect()
        }).collect();
        let admits = |r: &Required, list: &Vec<&str>| {
            r.texts().is_some() && r.missing(|t| list.contains(&t)).is_none()
        };
        semantics((&a, &b), &domain, admits, true)?;
    }

    #[test]
    fn tcb_floors_are_a_lattice_of_vectors(a in tcb(), b in tcb(), c in tcb()) {
        laws(&a, &b, &c)?;
        let mut domain = Vec::new();
        for generation in 0..5 {
            for code in 0..108u8 {
                let levels = [code % 3, code / 3 % 3, code / 9 % 2, code / 18 % 3, code / 54];
                domain.push(Tcb { generation, levels });
            }
        }
        semantics((&a, &b), &domain, TcbFloors::admits, true)?;
        witness((&a, &b), a.witness_against(&b), TcbFloors::admits)?;
        laws(&TcbFloors::top(), &a, &b)?;
    }

    #[test]
    fn limits_are_a_lattice_of_ceilings(a in limit(), b in limit(), c in limit()) {
        laws(&a, &b, &c)?;
        // A second cannot use more than the total, and a use is at least one.
        let counts = [1, 2, 3, 4, 5, 6, u64::MAX];
        let domain: Vec<Usage> = counts.iter().flat_map(|total| {
            counts.iter().filter(move |per| *per <= total).map(|per| Usage { in_second: *per, total: *total })
        }).collect();
        semantics((&a, &b), &domain, super::limit::Limit::admits, true)?;
        witness((&a, &b), a.witness_against(&b), super::limit::Limit::admits)?;
    }

    #[test]
    fn egress_sets_are_a_lattice_of_end_points(a in egress(), b in egress(), c in egress()) {
        laws(&a, &b, &c)?;
        semantics((&a, &b), &endpoints(), EgressSet::admits, true)?;
        witness((&a, &b), a.witness_against(&b), EgressSet::admits)?;
        // For unions the join is exact, and the blocks of a set make the same set.
        let join = a.join(&b);
        for endpoint in endpoints() {
            prop_assert_eq!(join.admits(&endpoint), a.admits(&endpoint) || b.admits(&endpoint));
        }
        let written: Vec<EgressBlock> = a.blocks().collect();
        prop_assert_eq!(EgressSet::new(&written), a.clone());
        // Written in other blocks it is the same value, and written alike.
        let backwards: Vec<EgressBlock> = written.iter().rev().copied().collect();
        prop_assert!(EgressSet::new(&backwards).blocks().eq(written));
    }
}

#[test]
fn an_ipv4_address_written_as_ipv6_counts_as_ipv4() {
    let block =
        EgressBlock { first: v4(0), last: v4(255), ports: (443, 443), protocol: Protocol::Tcp };
    let set = EgressSet::new(&[block]);
    let mapped: IpAddr = "::ffff:10.0.0.7".parse().unwrap();
    assert!(set.admits(&Endpoint { address: mapped, port: 443, protocol: Protocol::Tcp }));
    assert!(!set.admits(&Endpoint { address: mapped, port: 444, protocol: Protocol::Tcp }));
    assert!(EgressSet::top().admits(&Endpoint {
        address: mapped,
        port: 0,
        protocol: Protocol::Icmp
    }));
}

/// 40 blocks with overlapping ports are 1,600 pieces when each port range has its own addresses.
#[test]
fn a_set_is_written_in_about_as_many_blocks_as_it_was_once_written_in() {
    let v4 = |n: u32| std::net::IpAddr::V4(n.into());
    let block = |n: u32, ports: (u16, u16)| {
        let first = 0x0a00_0000 + n * 512;
        EgressBlock { first: v4(first), last: v4(first + 255), ports, protocol: Protocol::Tcp }
    };
    let nested = |n: u16| block(n.into(), (1000 + 10 * n, 9000 - 10 * n));
    let stairs = |n: u16| block(n.into(), (10 * n, 10 * n + 2000));
    let bars = |n: u16| match n % 2 {
        // Every address over few ports, few addresses over every port: they cross.
        0 => EgressBlock { ports: (n * 100, n * 100 + 9), ..block(0, (0, 0)) },
        _ => EgressBlock {
            first: v4(0x0a00_0000 + u32::from(n)),
            last: v4(0x0a00_0000 + u32::from(n)),
            ..block(0, (0, u16::MAX))
        },
    };
    for (name, make) in
        [("nested", &nested as &dyn Fn(u16) -> EgressBlock), ("stairs", &stairs), ("bars", &bars)]
    {
        let blocks: Vec<EgressBlock> = (0..100).map(make).collect();
        let set = EgressSet::new(&blocks);
        let written: Vec<EgressBlock> = set.blocks().collect();
        assert!(written.len() <= blocks.len(), "{name}: {} blocks", written.len());
        assert_eq!(EgressSet::new(&written), set, "{name}");
        assert_eq!(set.meet(&set).blocks().count(), written.len(), "{name}");
    }
}

#[test]
fn a_set_meets_a_pattern_exactly_when_they_share_a_text() {
    let texts = ["", "a", "ab", "abc", "b", "ba", "c"];
    let all: Vec<Pattern> =
        texts.iter().flat_map(|text| [Pattern::exact(text), Pattern::prefix(text)]).collect();
    for a in &all {
        for b in &all {
            let set = Patterns::new(vec![a.clone(), b.clone()]);
            for pattern in &all {
                let own = Patterns::new(vec![pattern.clone()]);
                assert_eq!(set.meets(pattern), !set.meet(&own).is_empty(), "{set:?} {pattern}");
            }
        }
    }
}
