//! Floors of the security patch levels of a platform (its TCB), one vector for each processor
//! generation.

use super::Lattice;

/// The security patch levels of one platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tcb {
    /// Index into [`Tcb::GENERATIONS`]; any other number is a generation that is not known.
    pub generation: u8,
    /// Levels in the order of [`Tcb::PARTS`]. FMC exists from Turin on and is zero before.
    pub levels: [u8; 5],
}

impl Tcb {
    /// Processor generations, in the order used by every index.
    pub const GENERATIONS: [&'static str; 4] = ["milan", "genoa", "turin", "venice"];
    /// Names of the parts of a TCB version, in the order used by every index.
    pub const PARTS: [&'static str; 5] = ["fmc", "bootloader", "tee", "snp", "microcode"];
}

/// Admits a TCB whose generation is listed and whose every part is at or above its floor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcbFloors {
    floors: [Option<[u8; 5]>; 4],
    unknown: bool,
}

impl TcbFloors {
    /// Adds or replaces the floor of one generation (an index into [`Tcb::GENERATIONS`]).
    #[must_use]
    pub fn with(mut self, generation: usize, floor: [u8; 5]) -> Self {
        if let Some(slot) = self.floors.get_mut(generation) {
            *slot = Some(floor);
        }
        self
    }

    /// The floor of each generation, `None` where the generation is not admitted.
    #[must_use]
    pub fn floors(&self) -> &[Option<[u8; 5]>; 4] {
        &self.floors
    }

    /// Whether the platform is admitted.
    #[must_use]
    pub fn admits(&self, tcb: &Tcb) -> bool {
        // A generation that is not known has no floor to be held against: only `any` admits it.
        match self.floors.get(usize::from(tcb.generation)) {
            None => self.unknown,
            Some(None) => false,
            Some(Some(floor)) => above(&tcb.levels, floor),
        }
    }

    /// The nearest admitted TCB: the same generation with levels raised, or another generation.
    #[must_use]
    pub fn nearest(&self, tcb: &Tcb) -> Option<Tcb> {
        if self.admits(tcb) {
            return Some(*tcb);
        }
        match self.floors.get(usize::from(tcb.generation)) {
            Some(Some(floor)) => {
                // Raising each level to its floor is the least change within the generation.
                let mut levels = tcb.levels;
                for (level, floor) in levels.iter_mut().zip(floor) {
                    *level = (*level).max(*floor);
                }
                Some(Tcb { generation: tcb.generation, levels })
            }
            _ => self.sample(),
        }
    }

    /// A TCB that is admitted: the floor of the oldest generation that has one; none if none has.
    #[must_use]
    pub fn sample(&self) -> Option<Tcb> {
        (0..4u8)
            .zip(&self.floors)
            .find_map(|(generation, floor)| floor.map(|levels| Tcb { generation, levels }))
    }

    /// A TCB that `self` admits and `other` does not.
    #[must_use]
    pub fn witness_against(&self, other: &Self) -> Option<Tcb> {
        // Index 4 is beyond the known generations and stands for all of them.
        let unknown = Tcb { generation: 4, levels: [0; 5] };
        // The floors themselves are the lowest TCBs that this rule admits; if the other admits
        // them, it admits what is above.
        (0..4u8)
            .zip(&self.floors)
            .filter_map(|(generation, floor)| floor.map(|levels| Tcb { generation, levels }))
            .chain(std::iter::once(unknown))
            .find(|tcb| self.admits(tcb) && !other.admits(tcb))
    }

    fn combine(
        &self,
        other: &Self,
        unknown: bool,
        op: impl Fn(Option<[u8; 5]>, Option<[u8; 5]>) -> Option<[u8; 5]>,
    ) -> Self {
        let mut floors = [None; 4];
        for ((slot, a), b) in floors.iter_mut().zip(self.floors).zip(other.floors) {
            *slot = op(a, b);
        }
        Self { floors, unknown }
    }
}

fn above(levels: &[u8; 5], floor: &[u8; 5]) -> bool {
    levels.iter().zip(floor).all(|(level, floor)| level >= floor)
}

fn each(mut a: [u8; 5], b: [u8; 5], op: impl Fn(u8, u8) -> u8) -> [u8; 5] {
    for (x, y) in a.iter_mut().zip(b) {
        *x = op(*x, y);
    }
    a
}

impl Lattice for TcbFloors {
    fn top() -> Self {
        Self { floors: [Some([0; 5]); 4], unknown: true }
    }
    fn bottom() -> Self {
        Self { floors: [None; 4], unknown: false }
    }
    fn meet(&self, other: &Self) -> Self {
        // Both must admit, so floors are raised, and a generation that one leaves out is out.
        self.combine(other, self.unknown && other.unknown, |a, b| Some(each(a?, b?, u8::max)))
    }
    fn join(&self, other: &Self) -> Self {
        self.combine(other, self.unknown || other.unknown, |a, b| match (a, b) {
            // The least above both in each generation: per part the lower floor. Where one has no
            // floor the other's stands.
            (Some(a), Some(b)) => Some(each(a, b, u8::min)),
            (one, None) | (None, one) => one,
        })
    }
    fn le(&self, other: &Self) -> bool {
        (!self.unknown || other.unknown)
            && self.floors.iter().zip(&other.floors).all(|(a, b)| match (a, b) {
                (None, _) => true,
                (Some(_), None) => false,
                (Some(a), Some(b)) => above(a, b),
            })
    }
}
