//! Where the values of a property come from.

/// A source of values: each call is one variable of the property.
pub trait Values {
    /// A number below `count`, which is not 0: every one of them.
    fn below(&mut self, count: u64) -> u64;
    /// Any number; where not all can be tried, each of `corners`.
    fn number(&mut self, corners: &[u64]) -> u64;
}

/// What every property asks of a source beyond its numbers.
impl dyn Values + '_ {
    /// Either.
    pub(crate) fn flag(&mut self) -> bool {
        self.below(2) == 1
    }

    /// One of `choices`, which are some.
    pub(crate) fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        let at = self.below(choices.len() as u64);
        choices[usize::try_from(at).unwrap_or(0)]
    }
}

/// Every combination, one after the other: like the wheels of a counter, each as far as its number
/// of choices, the last the fastest. How many wheels there are may depend on those before.
#[derive(Debug, Default)]
pub struct Corners {
    wheels: Vec<(u64, u64)>,
    next: usize,
}

impl Corners {
    fn turn(&mut self) -> bool {
        self.wheels.truncate(self.next);
        self.next = 0;
        while let Some((at, count)) = self.wheels.pop() {
            if at + 1 < count {
                self.wheels.push((at + 1, count));
                return true;
            }
        }
        false
    }
}

impl Values for Corners {
    fn below(&mut self, count: u64) -> u64 {
        if self.next == self.wheels.len() {
            self.wheels.push((0, count));
        }
        let (at, known) = self.wheels[self.next];
        assert!(count == known && count > 0, "a property whose choices are not its own");
        self.next += 1;
        at
    }

    fn number(&mut self, corners: &[u64]) -> u64 {
        let at = self.below(corners.len() as u64);
        corners[usize::try_from(at).unwrap_or(0)]
    }
}

/// Runs a property for every combination of its values; how many there were.
#[cfg(not(kani))]
#[must_use]
pub fn every_combination(body: fn(&mut dyn Values)) -> u64 {
    let mut corners = Corners::default();
    let mut runs = 0;
    loop {
        body(&mut corners);
        runs += 1;
        if !corners.turn() {
            return runs;
        }
    }
}

/// Any value at all.
#[cfg(kani)]
pub(crate) struct Any;

#[cfg(kani)]
impl Values for Any {
    fn below(&mut self, count: u64) -> u64 {
        let value = kani::any();
        kani::assume(value < count);
        value
    }

    fn number(&mut self, _corners: &[u64]) -> u64 {
        kani::any()
    }
}

#[cfg(all(test, not(kani)))]
mod tests {
    //! Protects that every combination is run, once: without it no property says what it says.

    use super::{Values, every_combination};
    use std::sync::Mutex;

    static SEEN: Mutex<Vec<(u64, u64, Option<u64>)>> = Mutex::new(Vec::new());

    fn body(values: &mut dyn Values) {
        let (a, b) = (values.below(3), values.number(&[7, 9]));
        // A third value only sometimes: combinations of different lengths.
        let c = (a == 1).then(|| values.below(2));
        if let Ok(mut seen) = SEEN.lock() {
            seen.push((a, b, c));
        }
    }

    #[test]
    fn every_combination_is_run_once() {
        assert_eq!(every_combination(body), 8);
        let all = |a, c| [(a, 7, c), (a, 9, c)];
        let mut wanted = [all(0, None), all(1, Some(0)), all(1, Some(1)), all(2, None)].concat();
        let mut seen = SEEN.lock().map(|seen| seen.clone()).unwrap_or_default();
        wanted.sort_unstable();
        seen.sort_unstable();
        assert_eq!(seen, wanted);
    }
}
