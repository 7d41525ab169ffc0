//! Which limits of its control groups a VM has met, as the janitor of the groups tells it.

/// Which limits a VM has met: a bit for each group, the VM's first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LimitsMet {
    /// The kernel has killed a process of the group because memory had run out, anywhere.
    pub killed: u64,
    /// The group had all the memory that it may have, and more was asked for.
    pub memory: u64,
    /// The kernel has refused a process or thread to the group.
    pub pids: u64,
}

impl LimitsMet {
    const SIZE: usize = 24;

    pub(crate) fn encode(self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        let numbers = [self.killed, self.memory, self.pids];
        for (to, number) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(numbers) {
            *to = number.to_le_bytes();
        }
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let [killed, memory, pids] = *bytes.as_chunks::<8>().0 else { return None };
        let number = u64::from_le_bytes;
        (bytes.len() == Self::SIZE).then(|| Self {
            killed: number(killed),
            memory: number(memory),
            pids: number(pids),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::LimitsMet;

    #[test]
    fn what_was_met_survives_the_trip_and_nothing_else_is_it() {
        let met = LimitsMet { killed: 1, memory: 1 << 63, pids: 6 };
        assert_eq!(LimitsMet::decode(&met.encode()), Some(met));
        assert_eq!(LimitsMet::decode(&met.encode()[1..]), None);
        assert_eq!(LimitsMet::decode(&[0; 25]), None);
    }
}
