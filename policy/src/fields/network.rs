//! `[network]`: what a guest may reach.

use super::{Enforcer, Field, Key, Kind, NOTHING, field};

const BY: &str = Enforcer::Network.text();

pub(super) const EGRESS: &[Field] = &[field(
    "network.egress",
    Key::NetworkEndpoint,
    Kind::Egress,
    [
        "[]",
        "End points that the guest may open connections to.",
        BY,
        "The guest reaches services of the host's network, or carries data out.",
    ],
)];

pub(super) const EGRESS_RATE: &[Field] = &[
    field(
        "network.rate",
        Key::NetworkUsage,
        Kind::Limit,
        [
            NOTHING,
            "New connections in a second and in all.",
            BY,
            "The guest scans or floods the network in the host's name.",
        ],
    ),
    field(
        "network.on_rate",
        Key::Setting,
        Kind::Action(&["kill", "deny", "throttle"]),
        [
            "\"deny\"",
            "What a connection beyond the rate does.",
            BY,
            "A guest that attacks the network keeps running.",
        ],
    ),
];
