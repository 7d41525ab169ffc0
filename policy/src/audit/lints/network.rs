//! `[network]`: what a running guest may reach.

use super::{Lint, lint};
use crate::audit::Level::{Error, Warning};
use crate::audit::danger::{Ask, Bad, Witness};
use crate::audit::strangers;
use crate::fact::Fact;
use crate::lattice::{EgressBlock, EgressSet, Protocol};
use crate::rule::Rule;
use std::net::IpAddr;

const RATE: &str = "the guest's requests have no rate that matters";
/// Connections in a second that no guest opens on purpose.
const CONNECTIONS: u64 = 10_000;
/// A 64th of the IPv4 Internet, and a 16,777,216th of that of IPv6, which is 256 times what a
/// provider has.
const MANY: [u128; 2] = [1 << 26, 1 << 104];

/// Every address that is not private, loopback or link-local.
fn public() -> Option<EgressSet> {
    // A table of spans for every protocol: what is asked is which addresses, over anything.
    let blocks = |spans: &[(&str, &str)]| -> Option<EgressSet> {
        let mut out = Vec::new();
        for (first, last) in spans {
            let (first, last): (IpAddr, IpAddr) = (first.parse().ok()?, last.parse().ok()?);
            for (_, protocol) in Protocol::ALL {
                let ports = if protocol == Protocol::Icmp { (0, 0) } else { (0, u16::MAX) };
                out.push(EgressBlock { first, last, ports, protocol });
            }
        }
        Some(EgressSet::new(&out))
    };
    // The Internet is what is left of all addresses when the private ones (RFC 1918, 6598, 3927,
    // 4193, 4291) are taken out.
    let all = [("0.0.0.0", "255.255.255.255"), ("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")];
    let private = [
        ("10.0.0.0", "10.255.255.255"),
        ("100.64.0.0", "100.127.255.255"),
        ("127.0.0.0", "127.255.255.255"),
        ("169.254.0.0", "169.254.255.255"),
        ("172.16.0.0", "172.31.255.255"),
        ("192.168.0.0", "192.168.255.255"),
        ("fc00::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ];
    Some(blocks(&all)?.without(&blocks(&private)?))
}

/// So many addresses of the Internet over one port that nobody can have meant each.
fn internet(ask: &Ask<'_>) -> Option<Witness> {
    let public = public()?;
    // Every rule on egress narrows what is reached: only what all of them admit counts.
    let reached = ask.own_rules().filter_map(|rule| match rule {
        Rule::Egress(set) => Some(set),
        _ => None,
    });
    let reached = reached.fold(public, |left, set| crate::lattice::Lattice::meet(&left, set));
    let wide = MANY.into_iter().zip([false, true]).find_map(|(many, v6)| {
        let (count, endpoint) = reached.widest(v6)?;
        (count >= many).then_some(endpoint)
    });
    ask.own(Bad::One(vec![Fact::Endpoint(wide?)]))
}

pub(super) const LINTS: &[Lint] = &[
    lint(
        "CM040",
        Error,
        "network.egress",
        internet,
        "a large part of the Internet may be reached: data can be carried out to anyone",
    ),
    lint(
        "CM041",
        Warning,
        "network.egress",
        |ask| ask.own(strangers::metadata()),
        "the metadata service of a cloud may be reached: it gives out the host's credentials",
    ),
    lint(
        "CM043",
        Warning,
        "network.egress",
        |ask| ask.own(strangers::loopback()),
        "services of the host itself may be reached over its loopback address",
    ),
    lint("CM042", Warning, "network.rate", |ask| ask.own(strangers::rate_above(CONNECTIONS)), RATE),
];
