//! What a front is told at its start.
//!
//! Its descriptors come beside it, in this order: `control` (SEQPACKET, to its supervisor),
//! `keeper` (STREAM: calls and answers), `signer` (STREAM: signatures), then what it listens on, in
//! the order of [`Plan::listeners`].
//!
//! It believes its supervisor, who could do worse than lie to it; it decodes totally all the same.

use crate::error::{MAX_CHAIN, MAX_CHAIN_BYTES, MAX_LISTENERS, PlanError};
use crate::limits::Limits;
use std::time::Duration;

/// What a socket to listen on is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    /// TCP: its peers have addresses.
    Tcp,
    /// A socket in the file system.
    Unix,
}

/// By what kind of key the broker's certificate is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// ECDSA on P-256, with SHA-256. Signatures are DER.
    P256,
    /// ECDSA on P-384, with SHA-384. Signatures are DER.
    P384,
}

impl Scheme {
    const ALL: [Self; 2] = [Self::P256, Self::P384];
}

/// What a front is told at its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Its bounds.
    pub limits: Limits,
    /// How the keeper signs.
    pub scheme: Scheme,
    /// The broker's certificate, DER, and those that stand behind it, if any.
    pub chain: Vec<Vec<u8>>,
    /// What the listening sockets are.
    pub listeners: Vec<Listener>,
}

impl Plan {
    /// Whether the plan is one that a front takes.
    ///
    /// # Errors
    /// [`PlanError`]: the first thing that is wrong.
    pub fn check(&self) -> Result<(), PlanError> {
        self.limits.check()?;
        let bytes: usize = self.chain.iter().map(Vec::len).sum();
        let empty = self.chain.iter().any(Vec::is_empty);
        if self.chain.is_empty() || self.chain.len() > MAX_CHAIN || empty || bytes > MAX_CHAIN_BYTES
        {
            return Err(PlanError::Chain);
        }
        if self.listeners.is_empty() || self.listeners.len() > MAX_LISTENERS {
            return Err(PlanError::Listeners);
        }
        Ok(())
    }

    /// The bytes of an image's start.
    ///
    /// # Errors
    /// As [`Plan::check`].
    pub fn encode(&self) -> Result<Vec<u8>, PlanError> {
        self.check()?;
        let Limits { connections, per_peer, rate, burst, calls, .. } = self.limits;
        let Limits { handshake, request, idle, keeper, answer, .. } = self.limits;
        let mut out = Vec::new();
        for number in [connections, per_peer, rate, burst, calls] {
            out.extend(number.to_le_bytes());
        }
        for time in [handshake, request, idle, keeper, answer] {
            out.extend(u32::try_from(time.as_millis()).unwrap_or(u32::MAX).to_le_bytes());
        }
        out.push(Scheme::ALL.iter().position(|s| *s == self.scheme).map_or(0, small));
        out.push(small(self.listeners.len()));
        out.extend(self.listeners.iter().map(|listener| u8::from(*listener == Listener::Unix)));
        for certificate in &self.chain {
            out.extend(u32::try_from(certificate.len()).unwrap_or(u32::MAX).to_le_bytes());
            out.extend(certificate);
        }
        Ok(out)
    }

    /// The plan of these bytes.
    ///
    /// # Errors
    /// [`PlanError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, PlanError> {
        let plan = Self::read(bytes).ok_or(PlanError::Nonsense)?;
        plan.check().map(|()| plan)
    }

    fn read(mut rest: &[u8]) -> Option<Self> {
        let mut take = |len: usize| -> Option<&[u8]> {
            let (taken, after) = rest.split_at_checked(len)?;
            rest = after;
            Some(taken)
        };
        let number = |bytes: &[u8]| bytes.try_into().ok().map(u32::from_le_bytes);
        let mut numbers = [0; 5];
        for one in &mut numbers {
            *one = number(take(4)?)?;
        }
        let mut times = [Duration::ZERO; 5];
        for one in &mut times {
            *one = Duration::from_millis(number(take(4)?)?.into());
        }
        let [connections, per_peer, rate, burst, calls] = numbers;
        let [handshake, request, idle, keeper, answer] = times;
        let limits = Limits {
            connections,
            per_peer,
            rate,
            burst,
            calls,
            handshake,
            request,
            idle,
            keeper,
            answer,
        };
        let scheme = *Scheme::ALL.get(usize::from(*take(1)?.first()?))?;
        let count = usize::from(*take(1)?.first()?);
        let kind = |byte: &u8| match byte {
            0 => Some(Listener::Tcp),
            1 => Some(Listener::Unix),
            _ => None,
        };
        let listeners = take(count)?.iter().map(kind).collect::<Option<_>>()?;
        let mut chain = Vec::new();
        while let Some(length) = take(4) {
            let length = usize::try_from(number(length)?).ok()?;
            chain.push(take(length).filter(|_| chain.len() < MAX_CHAIN)?.to_vec());
        }
        rest.is_empty().then_some(Self { limits, scheme, chain, listeners })
    }
}

/// A count that [`Plan::check`] has bounded.
fn small(number: usize) -> u8 {
    u8::try_from(number).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::{Listener, MAX_CHAIN_BYTES, Plan, PlanError, Scheme};
    use crate::limits::Limits;
    use proptest::prelude::*;
    use std::time::Duration;

    fn plan() -> Plan {
        Plan {
            limits: Limits { idle: Duration::from_millis(1234), ..Limits::default() },
            scheme: Scheme::P384,
            chain: vec![vec![1; 700], vec![2; 9]],
            listeners: vec![Listener::Tcp, Listener::Unix],
        }
    }

    /// Protects a front from serving within other bounds than its supervisor's.
    #[test]
    fn a_plan_survives_the_trip_and_no_part_of_it_is_a_plan() {
        for scheme in Scheme::ALL {
            let plan = Plan { scheme, ..plan() };
            let bytes = plan.encode().unwrap();
            assert_eq!(Plan::decode(&bytes), Ok(plan));
        }
        let bytes = plan().encode().unwrap();
        for length in 0..bytes.len() {
            // All but where the second certificate is left out.
            let whole = Plan::decode(&bytes[..length]).is_ok();
            assert_eq!(whole, length == bytes.len() - 9 - 4, "{length}");
        }
    }

    #[test]
    fn a_plan_without_sense_is_refused_with_what_is_wrong() {
        let of = |limits: Limits| Plan { limits, ..plan() }.encode().unwrap_err().to_string();
        let usual = Limits::default();
        assert_eq!(of(Limits { connections: 0, ..usual }), "connections is not 1 to 16384");
        assert_eq!(of(Limits { calls: 257, ..usual }), "calls is not 1 to 256");
        assert_eq!(
            of(Limits { request: Duration::from_secs(3601), ..usual }),
            "request is not 100 ms to 3600000 ms"
        );
        let without = [
            (Plan { chain: vec![], ..plan() }, PlanError::Chain),
            (Plan { chain: vec![vec![]], ..plan() }, PlanError::Chain),
            (Plan { chain: vec![vec![0; MAX_CHAIN_BYTES + 1]], ..plan() }, PlanError::Chain),
            (Plan { listeners: vec![], ..plan() }, PlanError::Listeners),
            (Plan { listeners: vec![Listener::Tcp; 17], ..plan() }, PlanError::Listeners),
        ];
        for (plan, error) in without {
            assert_eq!(plan.encode(), Err(error));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_plan_or_none(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(plan) = Plan::decode(&bytes) {
                prop_assert_eq!(plan.encode(), Ok(bytes));
            }
        }
    }
}
