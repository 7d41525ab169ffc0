//! What a socket device is: decided where its sockets are made, carried to the process that serves
//! it, and nowhere changed.

use crate::machine::Entry;

/// Most ports of the host that a guest may be let connect to.
pub const MAX_PORTS: usize = 64;
/// Most sockets by which the host reaches single ports of the guest.
pub const MAX_FORWARDS: usize = 16;
/// Bytes that a port's socket has more in its path than the device's: `_` and the port.
pub const PORT_ROOM: usize = 11;
/// Largest context id that is no other's: `VMADDR_CID_ANY` is not one (virtio 1.2, 5.10.4).
pub const MAX_CID: u64 = 0xffff_fffe;
/// Smallest one: those below are the host's and the hypervisor's.
pub const MIN_CID: u64 = 3;

/// Facts of a socket device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The guest's context id.
    pub cid: u64,
    /// What its listening sockets lead to, in the order in which the process is given them.
    pub entries: Vec<Entry>,
    /// Ports of the host that the guest may connect to. With any, a connector's socket comes behind
    /// the listening ones.
    pub ports: Vec<u32>,
}

impl Facts {
    /// How many descriptors the process is given of its own.
    #[must_use]
    pub fn descriptors(&self) -> usize {
        self.entries.len() + usize::from(!self.ports.is_empty())
    }

    /// For the start packet of a process.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut to = self.cid.to_le_bytes().to_vec();
        to.push(u8::try_from(self.entries.len()).unwrap_or(u8::MAX));
        for entry in &self.entries {
            let (kind, port) = match entry {
                Entry::Path => (PATH, 0),
                Entry::Port(port) => (PORT, *port),
            };
            to.push(kind);
            to.extend(port.to_le_bytes());
        }
        self.ports.iter().for_each(|port| to.extend(port.to_le_bytes()));
        to
    }

    /// Out of such a packet; None where it is none.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (cid, rest) = bytes.split_first_chunk()?;
        let (count, mut rest) = rest.split_first()?;
        let cid = Some(u64::from_le_bytes(*cid)).filter(|cid| (MIN_CID..=MAX_CID).contains(cid))?;
        let mut entries = Vec::new();
        for _ in 0..*count {
            let ([kind, port @ ..], more) = rest.split_first_chunk::<5>()?;
            entries.push(match (*kind, u32::from_le_bytes(*port)) {
                (PATH, 0) => Entry::Path,
                (PORT, port) => Entry::Port(port),
                _ => return None,
            });
            rest = more;
        }
        let (ports, []) = rest.as_chunks::<4>() else { return None };
        let ports: Vec<u32> = ports.iter().map(|port| u32::from_le_bytes(*port)).collect();
        let few = entries.len() <= MAX_FORWARDS + 1 && ports.len() <= MAX_PORTS;
        few.then_some(Self { cid, entries, ports })
    }
}

const PATH: u8 = 1;
const PORT: u8 = 2;

#[cfg(test)]
mod tests {
    use super::{Entry, Facts};
    use proptest::prelude::*;

    #[test]
    fn facts_survive_the_trip() {
        let facts =
            Facts { cid: 3, entries: vec![Entry::Path, Entry::Port(22)], ports: vec![1, u32::MAX] };
        assert_eq!(Facts::decode(&facts.encode()), Some(facts.clone()));
        assert_eq!(facts.descriptors(), 3);
        let none = Facts { entries: Vec::new(), ports: Vec::new(), ..facts };
        assert_eq!(Facts::decode(&none.encode()), Some(none));
    }

    proptest! {
        #[test]
        fn what_decodes_encodes_to_the_same(bytes in prop::collection::vec(0_u8..4, 0..40)) {
            if let Some(facts) = Facts::decode(&bytes) {
                prop_assert_eq!(facts.encode(), bytes);
            }
        }
    }
}
