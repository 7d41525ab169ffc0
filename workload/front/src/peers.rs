//! Who is connected, how often each, and how fast they ask.

use crate::limits::Limits;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Peers that are kept in mind beside those that are connected.
const MOST: usize = 8192;

/// Whoever is told apart from others: an IPv4 address, or the 64 bits of an IPv6 address that a
/// network gives to one of its own (RFC 4291, section 2.5.1), who can have any address below.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Who([u8; 8], bool);

impl Who {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => {
                let [a, b, c, d] = address.octets();
                Self([a, b, c, d, 0, 0, 0, 0], false)
            }
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, h, ..] = address.octets();
                Self([a, b, c, d, e, f, g, h], true)
            }
        }
    }
}

#[derive(Debug)]
struct Seen {
    connections: u32,
    /// What may be asked at once, in thousandths.
    tokens: u64,
    at: Instant,
}

/// Whether two addresses are one peer.
pub(crate) fn are_one(one: Option<IpAddr>, other: Option<IpAddr>) -> bool {
    one.map(Who::of) == other.map(Who::of)
}

/// Everybody who is connected or was of late.
#[derive(Debug)]
pub(crate) struct Peers {
    seen: BTreeMap<Who, Seen>,
    per_peer: u32,
    rate: u64,
    burst: u64,
}

impl Peers {
    pub(crate) fn new(limits: &Limits) -> Self {
        let burst = u64::from(limits.burst) * 1000;
        let (per_peer, rate) = (limits.per_peer, limits.rate.into());
        Self { seen: BTreeMap::new(), per_peer, rate, burst }
    }

    /// Somebody has a connection more; false when it has as many as it may.
    pub(crate) fn enter(&mut self, address: Option<IpAddr>, now: Instant) -> bool {
        let Some(address) = address else { return true };
        let most = self.per_peer;
        let seen = self.seen(address, now);
        let room = seen.connections < most;
        seen.connections += u32::from(room);
        room
    }

    /// A connection of somebody is over.
    pub(crate) fn leave(&mut self, address: Option<IpAddr>) {
        if let Some(seen) = address.and_then(|address| self.seen.get_mut(&Who::of(address))) {
            seen.connections = seen.connections.saturating_sub(1);
        }
    }

    /// Somebody asks for something.
    ///
    /// # Errors
    /// Not before so many seconds.
    pub(crate) fn ask(&mut self, address: Option<IpAddr>, now: Instant) -> Result<(), u32> {
        let Some(address) = address else { return Ok(()) };
        let rate = self.rate;
        let seen = self.seen(address, now);
        match seen.tokens.checked_sub(1000) {
            Some(left) => {
                seen.tokens = left;
                Ok(())
            }
            None => {
                let seconds = (1000 - seen.tokens).div_ceil(rate * 1000).max(1);
                Err(u32::try_from(seconds).unwrap_or(u32::MAX))
            }
        }
    }

    /// What is known of somebody now.
    fn seen(&mut self, address: IpAddr, now: Instant) -> &mut Seen {
        self.forget(now);
        let (rate, burst) = (self.rate, self.burst);
        let fresh = || Seen { connections: 0, tokens: burst, at: now };
        let seen = self.seen.entry(Who::of(address)).or_insert_with(fresh);
        seen.fill(now, rate, burst);
        seen
    }

    /// Keeps the table within its bound: who is not connected and could ask as much as somebody new
    /// is somebody new. Where that does not do, whoever is not connected: who comes from so many
    /// addresses is not held back by what is known of one.
    fn forget(&mut self, now: Instant) {
        if self.seen.len() < MOST {
            return;
        }
        let (rate, burst) = (self.rate, self.burst);
        self.seen.retain(|_, seen| {
            seen.fill(now, rate, burst);
            seen.connections > 0 || seen.tokens < burst
        });
        if self.seen.len() >= MOST {
            self.seen.retain(|_, seen| seen.connections > 0);
        }
    }
}

impl Seen {
    fn fill(&mut self, now: Instant, rate: u64, burst: u64) {
        let passed = now.checked_duration_since(self.at).unwrap_or(Duration::ZERO);
        let passed = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
        if passed > 0 {
            self.tokens = self.tokens.saturating_add(passed.saturating_mul(rate)).min(burst);
            self.at = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{MOST, Peers, are_one};
    use crate::limits::Limits;
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::{Duration, Instant};

    fn peers() -> Peers {
        Peers::new(&Limits { per_peer: 2, rate: 10, burst: 5, ..Limits::default() })
    }

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    /// Protects everybody else from one who connects and asks as fast as it can.
    #[test]
    fn a_peer_gets_its_share_and_no_other_pays_for_it() {
        let (mut peers, now) = (peers(), Instant::now());
        let (one, other) = (address("192.0.2.1"), address("192.0.2.2"));
        assert!(peers.enter(one, now) && peers.enter(one, now));
        assert!(!peers.enter(one, now) && peers.enter(other, now));
        peers.leave(one);
        assert!(peers.enter(one, now));
        assert!((0..5).all(|_| peers.ask(one, now) == Ok(())));
        assert_eq!((peers.ask(one, now), peers.ask(other, now)), (Err(1), Ok(())));
        let later = now + Duration::from_millis(100);
        assert_eq!([peers.ask(one, later), peers.ask(one, later)], [Ok(()), Err(1)]);
        // Quiet for long is no more than the burst.
        let much_later = now + Duration::from_secs(3600);
        assert!((0..5).all(|_| peers.ask(one, much_later) == Ok(())));
        assert_eq!(peers.ask(one, much_later), Err(1));
    }

    #[test]
    fn addresses_of_one_network_are_one_peer_and_sockets_of_the_file_system_are_none() {
        let (mut peers, now) = (peers(), Instant::now());
        let mut enter = |text| peers.enter(address(text), now);
        assert!(enter("2001:db8::1") && enter("2001:db8::ffff:1") && !enter("2001:db8::2"));
        assert!(enter("2001:db8:0:1::2"));
        // An IPv4 address is the same one in the clothes of the other kind.
        assert!(enter("192.0.2.1") && enter("::ffff:192.0.2.1") && !enter("192.0.2.1"));
        assert!(are_one(address("::ffff:192.0.2.1"), address("192.0.2.1")));
        assert!(!are_one(None, address("192.0.2.1")) && are_one(None, None));
        assert!((0..100).all(|_| peers.enter(None, now) && peers.ask(None, now) == Ok(())));
    }

    #[test]
    fn a_million_addresses_take_the_memory_of_some_thousands() {
        let (mut peers, now) = (peers(), Instant::now());
        let who = address("198.51.100.1");
        assert!(peers.enter(who, now) && peers.enter(who, now));
        for number in 0..1_000_000 {
            assert_eq!(peers.ask(Some(Ipv4Addr::from(number).into()), now), Ok(()));
            assert!(peers.seen.len() <= MOST);
        }
        assert!(!peers.enter(who, now), "it is forgotten");
    }
}
