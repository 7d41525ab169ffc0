//! One bit for each page of RAM: shared with the host, or private.

use super::{GpaRange, PAGE_SIZE, RamMap, Visibility};

const WORD: u64 = u64::BITS as u64;

/// The state of every page of RAM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageMap {
    ram: RamMap,
    /// A bit for each page, in the order of RAM's ranges; set: shared.
    words: Vec<u64>,
    shared: u64,
}

impl PageMap {
    /// All pages of `ram` are private but those of `shared` that are RAM.
    #[must_use]
    pub fn new(ram: RamMap, shared: &[GpaRange]) -> Self {
        let words = usize::try_from(ram.size().div_ceil(PAGE_SIZE * WORD)).unwrap_or(0);
        let mut map = Self { ram, words: vec![0; words], shared: 0 };
        for range in shared {
            map.set(*range, Visibility::Shared);
        }
        map
    }

    /// How many pages of RAM there are.
    #[must_use]
    pub fn pages(&self) -> u64 {
        self.ram.size() / PAGE_SIZE
    }

    /// Pages that are shared.
    #[must_use]
    pub fn shared(&self) -> u64 {
        self.shared
    }

    /// Whether all of `range` is RAM.
    #[must_use]
    pub fn covers(&self, range: GpaRange) -> bool {
        self.ram.covers(range)
    }

    /// How many pages of `range` are shared.
    #[must_use]
    pub fn shared_in(&self, range: GpaRange) -> u64 {
        let words = self.parts(range).filter_map(|(at, mask)| Some(self.words.get(at)? & mask));
        words.map(|bits| u64::from(bits.count_ones())).sum()
    }

    /// Makes every page of `range` that is RAM `to`; gives the number of pages that were not.
    pub fn set(&mut self, range: GpaRange, to: Visibility) -> u64 {
        let mut changed = 0;
        let parts: Vec<_> = self.bounds(range).collect();
        for (at, mask) in parts.into_iter().flat_map(words) {
            let Some(word) = self.words.get_mut(at) else { continue };
            let new = match to {
                Visibility::Shared => *word | mask,
                Visibility::Private => *word & !mask,
            };
            changed += u64::from((*word ^ new).count_ones());
            *word = new;
        }
        self.shared = match to {
            Visibility::Shared => self.shared.saturating_add(changed),
            Visibility::Private => self.shared.saturating_sub(changed),
        };
        changed
    }

    fn parts(&self, range: GpaRange) -> impl Iterator<Item = (usize, u64)> + '_ {
        self.bounds(range).flat_map(words)
    }

    /// The part of each range of RAM that `range` has, as first and last bit.
    fn bounds(&self, range: GpaRange) -> impl Iterator<Item = (u64, u64)> + '_ {
        let mut before = 0;
        self.ram.ranges().iter().filter_map(move |ram| {
            let first = before;
            before += ram.pages();
            let part = ram.intersection(range)?;
            let start = first + (part.start() - ram.start()) / PAGE_SIZE;
            Some((start, start + part.pages() - 1))
        })
    }
}

/// The words that hold bits `first` to `last`, each with the mask of those bits.
fn words((first, last): (u64, u64)) -> impl Iterator<Item = (usize, u64)> {
    (first / WORD..=last / WORD).map(move |at| {
        let low = if at == first / WORD { u64::MAX << (first % WORD) } else { u64::MAX };
        let high = if at == last / WORD { u64::MAX >> (WORD - 1 - last % WORD) } else { u64::MAX };
        (usize::try_from(at).unwrap_or(usize::MAX), low & high)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{HOLE_END, HOLE_START};
    use proptest::prelude::*;

    #[test]
    fn pages_beyond_the_hole_have_bits_of_their_own() {
        let ram = RamMap::new(HOLE_START + 3 * PAGE_SIZE).unwrap();
        let last = GpaRange::new(HOLE_END + 2 * PAGE_SIZE, PAGE_SIZE).unwrap();
        let mut map = PageMap::new(ram, &[last]);
        assert_eq!((map.shared(), map.pages()), (1, HOLE_START / PAGE_SIZE + 3));
        let low = GpaRange::new(HOLE_START - PAGE_SIZE, PAGE_SIZE).unwrap();
        assert_eq!((map.shared_in(low), map.shared_in(last)), (0, 1));
        assert_eq!(map.set(low, Visibility::Shared), 1);
        assert_eq!(map.set(last, Visibility::Private), 1);
        assert_eq!((map.shared_in(low), map.shared_in(last), map.shared()), (1, 0, 1));
    }

    proptest! {
        #[test]
        fn the_map_is_a_set_of_pages(steps in proptest::collection::vec((0_u64..300, 1_u64..300, any::<bool>()), 1..40)) {
            let mut map = PageMap::new(RamMap::new(400 * PAGE_SIZE).unwrap(), &[]);
            let mut model = std::collections::BTreeSet::new();
            for (start, pages, share) in steps {
                let range = GpaRange::new(start * PAGE_SIZE, pages * PAGE_SIZE).unwrap();
                let inside = start..(start + pages).min(400);
                let had = inside.clone().filter(|page| model.contains(page)).count() as u64;
                prop_assert_eq!(map.shared_in(range), had);
                let to = if share { Visibility::Shared } else { Visibility::Private };
                let changed = map.set(range, to);
                let all = inside.end - inside.start;
                prop_assert_eq!(changed, if share { all - had } else { had });
                for page in inside {
                    if share { model.insert(page); } else { model.remove(&page); }
                }
                prop_assert_eq!(map.shared(), model.len() as u64);
            }
        }
    }
}
