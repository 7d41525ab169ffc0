//! Flows that are known: a table of a fixed size.
//!
//! A guest, and anybody who reaches it, makes flows at will. So the table is made once; one that is
//! full forgets the flow of its row that was used longest ago. What is forgotten is decided about
//! anew when its next packet comes: that is no loss where the guest may go there, and where
//! somebody else had begun, they have to begin again.

use crate::frame::Flow;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// How many are known at most.
pub const FLOWS: usize = ROWS * WAYS;
const ROWS: usize = 256;
const WAYS: usize = 8;

/// How long a flow without a packet is known: of TCP as long as an established connection is to be
/// kept at least (RFC 5382, REQ-5), of others as long as a translator of addresses would (RFC
/// 4787, REQ-5, is 2 minutes at least).
const TCP: Duration = Duration::from_mins(125);
const OTHERS: Duration = Duration::from_mins(3);

#[derive(Debug, Clone, Copy)]
struct Known {
    flow: Flow,
    used: Duration,
}

/// The table.
#[derive(Debug)]
pub(crate) struct Flows {
    rows: Vec<[Option<Known>; WAYS]>,
    /// Of random numbers: who fills a row on purpose cannot choose which.
    hasher: RandomState,
}

impl Flows {
    pub(crate) fn new() -> Self {
        Self { rows: vec![[None; WAYS]; ROWS], hasher: RandomState::new() }
    }

    fn row(&mut self, flow: &Flow) -> &mut [Option<Known>] {
        let index = usize::try_from(self.hasher.hash_one(flow)).unwrap_or(0) % ROWS;
        self.rows.get_mut(index).map_or(&mut [], |row| row)
    }

    /// Whether it is known; if so, it is used now.
    pub(crate) fn uses(&mut self, flow: &Flow, now: Duration) -> bool {
        let found = self.row(flow).iter_mut().flatten().find(|known| known.flow == *flow);
        let Some(known) = found else { return false };
        let most = if flow.protocol == 6 { TCP } else { OTHERS };
        let fresh = now.saturating_sub(known.used) <= most;
        if fresh {
            known.used = now;
        }
        fresh
    }

    /// Knows it from now on.
    pub(crate) fn learn(&mut self, flow: Flow, now: Duration) {
        let row = self.row(&flow);
        let same = row.iter().position(|known| known.is_some_and(|known| known.flow == flow));
        let oldest = || {
            let by_age = |(_, known): &(usize, &Option<Known>)| known.map(|known| known.used);
            row.iter().enumerate().min_by_key(by_age).map(|(index, _)| index)
        };
        let place = same.or_else(oldest).and_then(|index| row.get_mut(index));
        if let Some(place) = place {
            *place = Some(Known { flow, used: now });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{FLOWS, Flow, Flows};
    use std::time::Duration;

    fn flow(protocol: u8, port: u16) -> Flow {
        let (guest, other) = ("10.0.0.2".parse().unwrap(), "10.0.0.1".parse().unwrap());
        Flow { guest, other, port, other_port: 9, protocol }
    }

    #[test]
    fn a_flow_is_known_as_long_as_it_is_used() {
        let mut flows = Flows::new();
        let at = |seconds| Duration::from_secs(seconds);
        assert!(!flows.uses(&flow(17, 1), at(0)));
        flows.learn(flow(17, 1), at(0));
        flows.learn(flow(6, 1), at(0));
        assert!(flows.uses(&flow(17, 1), at(180)) && flows.uses(&flow(17, 1), at(360)));
        assert!(!flows.uses(&flow(17, 1), at(541)) && flows.uses(&flow(6, 1), at(541)));
        assert!(!flows.uses(&flow(17, 2), at(360)));
    }

    /// Protects the host's memory, and the flow that is used: whoever makes flows without end makes
    /// others forgotten.
    #[test]
    fn flows_without_end_do_not_displace_one_that_is_used() {
        let mut flows = Flows::new();
        flows.learn(flow(6, 0), Duration::ZERO);
        let rows = flows.rows.len();
        for port in 1..=u16::MAX {
            let now = Duration::from_millis(port.into());
            flows.learn(flow(17, port), now);
            assert!(flows.uses(&flow(6, 0), now));
        }
        let known =
            (0..=u16::MAX).filter(|port| flows.uses(&flow(17, *port), Duration::from_secs(66)));
        let known = known.count();
        assert!(known < FLOWS && known > FLOWS * 9 / 10, "{known}");
        assert_eq!(flows.rows.len(), rows);
    }
}
