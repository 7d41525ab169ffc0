//! The facts on devices hang together: as many paths, flags and queue counts as there are devices.

use crate::fact::Fact;
use crate::facts::{DeviceKind, Facts};
use crate::fields::{Field, Key};
use crate::rule::Rule;

/// Most devices of a kind that an example lists one by one.
const MOST: u64 = 64;

fn number(facts: &Facts, key: Key) -> Option<u64> {
    match facts.get(key) {
        Some(Fact::Number(n)) => Some(*n),
        _ => None,
    }
}

/// Makes every list of devices as long as their count says, by repeating its first element.
pub(crate) fn consistent(mut facts: Facts) -> Facts {
    for kind in DeviceKind::ALL {
        let (count, foreign, queues, file) = kind.keys();
        // More than these are not listed one by one: the counts alone then say how many there are.
        let Some(wanted) = number(&facts, count).filter(|n| *n <= MOST) else { continue };
        let wanted = usize::try_from(wanted).unwrap_or(0);
        let (path, read_only) = file.unzip();
        // A list that is empty stays so unless the count is zero: nothing is known that it could be
        // filled with.
        for key in [Some(foreign), Some(queues), path, read_only].into_iter().flatten() {
            if let Some(Fact::List(list)) = facts.get(key)
                && (wanted == 0 || !list.is_empty())
            {
                let mut longer = list.clone();
                let fill = list.first().cloned().unwrap_or(Fact::Number(0));
                longer.resize(wanted, fill);
                facts.set(key, Fact::List(longer));
            }
        }
    }
    facts
}

/// Whether a field is about each device of a kind of which the rules admit none.
pub(crate) fn without_effect<'r>(
    field: &Field,
    mut rules: impl Iterator<Item = (&'static Field, &'r Rule)>,
) -> bool {
    let kind = DeviceKind::ALL.into_iter().find(|kind| {
        let (_, foreign, queues, file) = kind.keys();
        let files = file.is_some_and(|(path, read_only)| [path, read_only].contains(&field.key));
        files || [foreign, queues].contains(&field.key)
    });
    let Some(kind) = kind else { return false };
    // A ceiling of zero on the count is what makes the other rules of the kind idle.
    rules.any(|(field, rule)| {
        field.key == kind.keys().0 && matches!(rule, Rule::Range(range) if range.max() == 0)
    })
}
