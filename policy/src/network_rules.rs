//! What a guest may reach over the network, ready for the process of its network device, which has
//! no policy: that process decides about each new connection, by the engine's own comparisons.

use crate::decide::Verdict;
use crate::lattice::{EgressBlock, EgressSet, Endpoint, Lattice, Limit, Protocol};
use crate::limits::{RequestLimit, VERDICTS};
use crate::policy::Policy;
use crate::rule::Rule;
use crate::runtime_rule::NetRule;
use std::net::IpAddr;

/// Bytes of a block on its way: family, protocol, two ports, two addresses.
const BLOCK: usize = 38;
/// Bytes before the blocks: a limit and what its denial is.
const HEAD: usize = 17;
/// Blocks at most; a document has fewer.
const MOST: usize = 1024;

/// End points that may be reached, and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkRules {
    egress: EgressSet,
    rate: RequestLimit,
}

impl NetworkRules {
    /// Rules that admit everything.
    #[must_use]
    pub fn any() -> Self {
        let rate = RequestLimit { limit: Limit::top(), on_denied: VERDICTS[0] };
        Self { egress: EgressSet::top(), rate }
    }

    /// Whether nothing is ever denied.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.egress == EgressSet::top() && self.rate.limit == Limit::top()
    }

    /// Whether a guest that opens too many connections is to be ended.
    #[must_use]
    pub fn ends_guest(&self) -> bool {
        self.rate.limit != Limit::top() && self.rate.on_denied == Verdict::Kill
    }

    /// Whether a connection to this end point may be opened.
    #[must_use]
    pub fn admits(&self, endpoint: &Endpoint) -> bool {
        self.egress.admits(endpoint)
    }

    /// How many may be opened.
    #[must_use]
    pub const fn rate(&self) -> &RequestLimit {
        &self.rate
    }

    /// The rules for the `index`th of `devices` network devices of one guest, whose processes do
    /// not know of each other: together they admit no more connections than these rules do, each an
    /// equal part, and the first ones what does not go round. So a device beyond the number of
    /// connections that a guest may open opens none.
    #[must_use]
    pub fn share_of(&self, index: u64, devices: u64) -> Self {
        let RequestLimit { limit, on_denied } = self.rate;
        let share = |all: u64| match (all, all.checked_div(devices), all.checked_rem(devices)) {
            // What has no ceiling has none when it is shared.
            (u64::MAX, ..) => all,
            (_, Some(part), Some(over)) => part + u64::from(index < over),
            _ => all,
        };
        let limit = Limit::new(share(limit.per_second()), share(limit.total()));
        Self { egress: self.egress.clone(), rate: RequestLimit { limit, on_denied } }
    }

    /// The rules for another process.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let RequestLimit { limit, on_denied } = self.rate;
        let denied = VERDICTS.iter().position(|verdict| *verdict == on_denied).unwrap_or(0);
        let mut bytes = Vec::new();
        bytes.extend(limit.per_second().to_le_bytes());
        bytes.extend(limit.total().to_le_bytes());
        bytes.push(u8::try_from(denied).unwrap_or(0));
        for EgressBlock { first, last, ports, protocol } in self.egress.blocks() {
            let protocol = Protocol::ALL.iter().position(|(_, known)| *known == protocol);
            bytes.push(if first.is_ipv4() { 4 } else { 6 });
            bytes.push(protocol.and_then(|at| u8::try_from(at).ok()).unwrap_or(u8::MAX));
            bytes.extend(ports.0.to_le_bytes());
            bytes.extend(ports.1.to_le_bytes());
            bytes.extend(wide(first));
            bytes.extend(wide(last));
        }
        bytes
    }

    /// The rules in these bytes; None when no policy has such rules.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (head, blocks) = bytes.split_first_chunk::<HEAD>()?;
        let [p0, p1, p2, p3, p4, p5, p6, p7, total @ .., denied] = *head;
        let per_second = u64::from_le_bytes([p0, p1, p2, p3, p4, p5, p6, p7]);
        let total = u64::from_le_bytes(total);
        let on_denied = *VERDICTS.get(usize::from(denied))?;
        let limit = Limit::new(per_second, total);
        // One limit has one spelling, that of `Limit::new`.
        if (limit.per_second(), limit.total()) != (per_second, total) {
            return None;
        }
        let (blocks, rest) = blocks.as_chunks::<BLOCK>();
        if !rest.is_empty() || blocks.len() > MOST {
            return None;
        }
        let blocks: Option<Vec<EgressBlock>> = blocks.iter().map(block).collect();
        let egress = EgressSet::new(&blocks?);
        Some(Self { egress, rate: RequestLimit { limit, on_denied } })
    }
}

/// An address in 16 bytes; which family it is of stands beside it.
fn wide(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()).to_be_bytes(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

fn block(bytes: &[u8; BLOCK]) -> Option<EgressBlock> {
    let ([family, protocol, a, b, c, d], addresses) = bytes.split_first_chunk()?;
    let (first, last) = addresses.split_first_chunk::<16>()?;
    let address = |bytes: &[u8; 16]| {
        let number = u128::from_be_bytes(*bytes);
        match *family {
            4 => Some(IpAddr::V4(u32::try_from(number).ok()?.into())),
            6 => Some(IpAddr::V6(number.into())),
            _ => None,
        }
    };
    let (first, last) = (address(first)?, address(last.first_chunk()?)?);
    let (_, protocol) = *Protocol::ALL.get(usize::from(*protocol))?;
    let ports = (u16::from_le_bytes([*a, *b]), u16::from_le_bytes([*c, *d]));
    let ordered = first <= last && ports.0 <= ports.1;
    ordered.then_some(EgressBlock { first, last, ports, protocol })
}

impl Policy {
    /// The rules on network traffic, ready for a process without a policy.
    #[must_use]
    pub fn network_rules(&self) -> NetworkRules {
        // A rule of another kind is none that admits anything: the strict side.
        let egress = match self.rule(NetRule::Egress.path()) {
            Some(Rule::Egress(set)) => set.clone(),
            _ => EgressSet::bottom(),
        };
        NetworkRules { egress, rate: self.connection_limit() }
    }
}

#[cfg(test)]
mod tests {
    use super::NetworkRules;
    use crate::decide::Verdict;
    use crate::lattice::{Endpoint, Protocol};
    use crate::limits::Counter;
    use crate::policy::Policy;

    fn rules(network: &str) -> NetworkRules {
        let text = format!(
            "schema_version = 1\nmin_engine = \"0.1.0\"\nname = \"n\"\n[network]\n{network}\n"
        );
        Policy::load(&text, "n.toml").unwrap().network_rules()
    }

    fn to(address: &str, port: u16) -> Endpoint {
        Endpoint { address: address.parse().unwrap(), port, protocol: Protocol::Tcp }
    }

    /// Protects the host's network: what a policy says is what its process is told.
    #[test]
    fn rules_survive_the_trip_and_admit_what_they_say() {
        let written = rules(
            "egress = [{ cidr = \"10.1.0.0/16\", ports = 443, protocol = \"tcp\" }, \
             { cidr = \"fd00::/8\", ports = [1, 9], protocol = \"tcp\" }]\n\
             rate = { per_second = 5, total = 7 }\non_rate = \"kill\"",
        );
        let told = NetworkRules::from_bytes(&written.to_bytes()).unwrap();
        assert_eq!(told, written);
        assert!(told.admits(&to("10.1.2.3", 443)) && told.admits(&to("fd00::1", 9)));
        assert!(!told.admits(&to("10.2.2.3", 443)) && !told.admits(&to("10.1.2.3", 444)));
        let (verdict, _) = told.rate().step(Counter::new(), 0, 6);
        assert_eq!(verdict, Verdict::Kill);
        assert!(!told.is_any() && NetworkRules::any().is_any());
        let any = NetworkRules::from_bytes(&NetworkRules::any().to_bytes()).unwrap();
        assert!(any.is_any());
        assert!(Policy::builtin_permissive().network_rules().is_any());
    }

    #[test]
    fn bytes_that_no_policy_has_are_no_rules() {
        let whole = rules("egress = [{ cidr = \"10.1.0.0/16\", ports = 443, protocol = \"tcp\" }]");
        let bytes = whole.to_bytes();
        assert!(
            (0..bytes.len())
                .filter(|len| *len != 17)
                .all(|len| { NetworkRules::from_bytes(&bytes[..len]).is_none() })
        );
        for (at, byte) in [(16, 3), (17, 5), (18, 3), (20, 0xff)] {
            let mut wrong = bytes.clone();
            wrong[at] = byte;
            assert_eq!(NetworkRules::from_bytes(&wrong), None, "{at}");
        }
    }

    /// Protects a limit from being multiplied by devices.
    #[test]
    fn devices_share_a_limit_and_never_have_more_together() {
        let all = rules("rate = { per_second = 5, total = 7 }");
        let admits = |devices, index, amount| {
            let one = all.share_of(index, devices);
            one.rate().step(Counter::new(), 0, amount).0 == Verdict::Allow
        };
        for devices in 1..8 {
            let most = |index| (1..9).take_while(|amount| admits(devices, index, *amount)).count();
            let shares: Vec<usize> = (0..devices).map(most).collect();
            assert_eq!(shares.iter().sum::<usize>(), 5, "{shares:?}");
            assert!(shares.iter().all(|share| shares[0] - share <= 1), "{shares:?}");
        }
        assert!(NetworkRules::any().share_of(2, 3).is_any());
    }
}
