//! Inputs as a whole: facts that contradict each other, and examples in which none do.
//!
//! Rules judge facts one by one, which is what keeps comparison and merging exact. That the facts
//! are of one world is a question to the input, not to the policy: three disks are not one device,
//! a report of a Genoa has no Milan's patch levels. An input that contradicts itself is refused
//! where it is read.

use crate::decide::Cause;
use crate::fact::Fact;
use crate::facts::{DeviceKind, Facts};
use crate::fields::{Key, Point};
use crate::lattice::Tcb;
use crate::policy::Policy;

/// Keys of which the second is the patch levels of the processor that the first names.
const GENERATIONS: [(Key, Key); 3] = [
    (Key::HostGeneration, Key::HostTcb),
    (Key::ReportGeneration, Key::ReportTcb),
    (Key::ReportGeneration, Key::ReportLaunchTcb),
];
/// Identity key, and what only an ID block with one can state.
const ID_BLOCKS: [(Key, Key); 2] =
    [(Key::LaunchIdKey, Key::LaunchAuthorKey), (Key::ReportIdKey, Key::ReportAuthorKey)];
/// Facts that count uses, in a second and in all.
const USAGES: [Key; 3] = [Key::NetworkUsage, Key::PageStateUsage, Key::GuestRequestUsage];
/// Index of the signer whose certificate names a provider.
const VLEK: u64 = 1;

fn number(facts: &Facts, key: Key) -> Option<u64> {
    match facts.get(key) {
        Some(Fact::Number(n)) => Some(*n),
        _ => None,
    }
}

fn list(facts: &Facts, key: Key) -> Option<&[Fact]> {
    match facts.get(key) {
        Some(Fact::List(items)) => Some(items),
        _ => None,
    }
}

fn length(facts: &Facts, key: Key) -> Option<u64> {
    list(facts, key).map(|items| u64::try_from(items.len()).unwrap_or(u64::MAX))
}

fn sum(facts: &Facts, key: Key) -> Option<u64> {
    let items = list(facts, key)?;
    items.iter().try_fold(0u64, |sum, item| match item {
        // Sums saturate: a total beyond all numbers is a contradiction to whatever was stated.
        Fact::Number(n) => Some(sum.saturating_add(*n)),
        _ => None,
    })
}

fn tcb(facts: &Facts, key: Key) -> Option<&Tcb> {
    match facts.get(key) {
        Some(Fact::Tcb(tcb)) => Some(tcb),
        _ => None,
    }
}

fn is_zero(facts: &Facts, key: Key) -> Option<bool> {
    match facts.get(key) {
        Some(Fact::Bytes(bytes)) => Some(bytes.as_slice().iter().all(|byte| *byte == 0)),
        _ => None,
    }
}

/// The lists of a kind of device, of which each has an element for each device.
fn lists(kind: DeviceKind) -> impl Iterator<Item = Key> {
    let (_, foreign, queues, file) = kind.keys();
    let (path, read_only) = file.unzip();
    [Some(foreign), Some(queues), path, read_only].into_iter().flatten()
}

fn counts() -> [Key; 6] {
    DeviceKind::ALL.map(|kind| kind.keys().0)
}

impl Facts {
    /// What contradicts what in these facts, each as a sentence; nothing is assumed of facts that
    /// are not there.
    #[must_use]
    pub fn contradictions(&self) -> Vec<String> {
        // In the order of the points, devices first. Every contradiction is told, not only the
        // first.
        let mut out = Vec::new();
        self.device_contradictions(&mut out);
        self.size_contradictions(&mut out);
        self.processor_contradictions(&mut out);
        // An author vouches for the ID key, so there is none without one.
        for (id, author) in ID_BLOCKS {
            if is_zero(self, id) == Some(true) && is_zero(self, author) == Some(false) {
                let (id, author) = (id.path(), author.path());
                out.push(format!(
                    "{author} is set, but {id} is not: there is no author of nothing"
                ));
            }
        }
        for key in USAGES {
            if let Some(Fact::Usage(usage)) = self.get(key)
                && usage.in_second > usage.total
            {
                let path = key.path();
                out.push(format!("{path}: more in this second than in all seconds together"));
            }
        }
        if number(self, Key::SharedPercent).is_some_and(|percent| percent > 100) {
            out.push(format!("{}: more than 100 percent", Key::SharedPercent.path()));
        }
        out
    }

    fn device_contradictions(&self, out: &mut Vec<String>) {
        for kind in DeviceKind::ALL {
            let count = kind.keys().0;
            // What is not stated contradicts nothing: the count first, then only the lists that are
            // there.
            let Some(devices) = number(self, count) else { continue };
            for key in lists(kind) {
                if let Some(length) = length(self, key).filter(|length| *length != devices) {
                    let (path, count) = (key.path(), count.path());
                    out.push(format!("{path} has {length} elements, but {count} is {devices}"));
                }
            }
        }
        let Some(all) = number(self, Key::DevicesCount) else { return };
        // Kinds that are not stated may make up the rest, but not less than nothing.
        let known: Vec<u64> = counts().iter().filter_map(|key| number(self, *key)).collect();
        let together = known.iter().fold(0u64, |sum, n| sum.saturating_add(*n));
        if together > all || (known.len() == counts().len() && together != all) {
            let path = Key::DevicesCount.path();
            out.push(format!("{path} is {all}, but the kinds of devices together are {together}"));
        }
    }

    fn size_contradictions(&self, out: &mut Vec<String>) {
        let (disk, total) = (Key::ResourcesDisk, Key::ResourcesDiskTotal);
        // Sizes and total are two views of one fact, and have to agree where both are stated.
        if let (Some(sizes), Some(stated)) = (sum(self, disk), number(self, total))
            && sizes != stated
        {
            let (disk, total) = (disk.path(), total.path());
            out.push(format!("{total} is {stated}, but the disks of {disk} together are {sizes}"));
        }
        // A disk is a block device; other block devices may have no size.
        if let (Some(sizes), Some(count)) = (length(self, disk), number(self, Key::BlockCount))
            && sizes > count
        {
            let (disk, block) = (disk.path(), Key::BlockCount.path());
            out.push(format!("{disk} has {sizes} disks, but {block} is {count}"));
        }
        let queues = DeviceKind::ALL.iter().filter_map(|kind| sum(self, kind.keys().2));
        let (used, key) = (queues.fold(0u64, u64::saturating_add), Key::ResourcesQueues);
        if let Some(stated) = number(self, key).filter(|stated| used > *stated) {
            let path = key.path();
            out.push(format!("{path} is {stated}, but the devices together have {used}"));
        }
    }

    fn processor_contradictions(&self, out: &mut Vec<String>) {
        for (generation, levels) in GENERATIONS {
            let (Some(index), Some(tcb)) = (number(self, generation), tcb(self, levels)) else {
                continue;
            };
            // Both may be generations that are not known here, and then agree in that.
            let named = usize::try_from(index).ok().filter(|i| *i < Tcb::GENERATIONS.len());
            let own = usize::from(tcb.generation);
            if named != Some(own).filter(|own| *own < Tcb::GENERATIONS.len()) {
                let name = |i: Option<usize>| {
                    i.and_then(|i| Tcb::GENERATIONS.get(i).copied()).unwrap_or("unknown")
                };
                let (path, levels) = (generation.path(), levels.path());
                let (named, own) = (name(named), name(Some(own)));
                out.push(format!("{path} is {named}, but {levels} are those of {own}"));
            }
        }
        for key in [Key::HostTcb, Key::ReportTcb, Key::ReportLaunchTcb] {
            // Index 0 and 1 are Milan and Genoa, whose first level does not exist.
            let old = tcb(self, key).filter(|tcb| tcb.generation < 2);
            if old.is_some_and(|tcb| tcb.levels.first().is_some_and(|fmc| *fmc > 0)) {
                out.push(format!("{}: this processor has no FMC", key.path()));
            }
        }
        let provider = match self.get(Key::ReportCsp) {
            Some(Fact::Text(text)) => Some(!text.is_empty()),
            _ => None,
        };
        // A signer that is not known here says nothing about a provider.
        let by_provider = number(self, Key::ReportSigner).filter(|signer| *signer <= VLEK);
        let (signer, csp) = (Key::ReportSigner.path(), Key::ReportCsp.path());
        match (by_provider, provider) {
            (Some(VLEK), Some(false)) => {
                out.push(format!("{signer} is vlek, but {csp} names no provider"));
            }
            (Some(0), Some(true)) => {
                out.push(format!("{signer} is vcek, whose certificate has no {csp}"));
            }
            _ => {}
        }
    }
}

impl Policy {
    /// What contradicts what in an input for this policy: the facts among themselves, and with what
    /// the policy says of them. A request for a secret that claims an attested report must not show
    /// one that the attestation section denies.
    #[must_use]
    pub fn contradictions(&self, point: Point, facts: &Facts) -> Vec<String> {
        let mut out = facts.contradictions();
        // The claim "attested" is the verifier's; held against it is what the input shows of the
        // report itself.
        let attested = number(facts, Key::SecretAttested) == Some(1);
        if point == Point::Secrets && attested {
            let claim = Key::SecretAttested.path();
            for (field, rule, _) in self.rules(Point::Attestation) {
                let cause = crate::decide::cause(field, rule, facts);
                // What the input does not say, the verifier may have seen.
                if cause.is_some_and(|cause| cause != Cause::Missing) {
                    let (path, fact) = (field.path, field.key.path());
                    out.push(format!(
                        "{claim} is true, but {path} denies the {fact} of the report"
                    ));
                }
            }
        }
        out
    }
}

/// Makes an example whole: the facts of one world, as far as the rules (`fits`) admit one. What is
/// `given` stays.
pub(crate) fn made_whole(facts: Facts, given: &Facts, fits: impl Fn(Key, &Fact) -> bool) -> Facts {
    // Lists are made as long as their counts first: everything below counts on that.
    let mut facts = crate::devices::consistent(facts);
    // What the caller gave is what the example is about: it stays, and the rest is fitted to it
    // where the rules let it.
    let free = |key: Key| given.get(key).is_none();
    fit_total(&mut facts, &free, &fits);
    fit_disks(&mut facts, &free, &fits);
    for (generation, levels) in GENERATIONS {
        fit_generation(&mut facts, (generation, levels), &free, &fits);
    }
    let none = Fact::Text("".into());
    if number(&facts, Key::ReportSigner) == Some(0) && free(Key::ReportCsp) {
        // A VCEK's certificate names no provider; where the rules want one, the report can only be
        // under a VLEK.
        if fits(Key::ReportCsp, &none) {
            facts.set(Key::ReportCsp, none);
        } else if free(Key::ReportSigner) && fits(Key::ReportSigner, &Fact::Number(VLEK)) {
            facts.set(Key::ReportSigner, Fact::Number(VLEK));
        }
    }
    for (id, author) in ID_BLOCKS {
        let unset = Fact::Bytes(crate::lattice::Bytes::zero(48));
        let both = is_zero(&facts, id) == Some(true) && is_zero(&facts, author) == Some(false);
        if both && free(author) && fits(author, &unset) {
            facts.set(author, unset);
        }
    }
    facts
}

/// The number of all devices is that of the kinds together; kinds that nobody asked for go until it
/// fits.
fn fit_total(facts: &mut Facts, free: &impl Fn(Key) -> bool, fits: &impl Fn(Key, &Fact) -> bool) {
    let together = |facts: &Facts| {
        // Only when every kind has a count is their sum the total.
        counts().iter().try_fold(0u64, |sum, key| sum.checked_add(number(facts, *key)?))
    };
    if !free(Key::DevicesCount) || facts.get(Key::DevicesCount).is_none() {
        return;
    }
    // Kinds are dropped from the last on: the first ones are those that most policies are about.
    for kind in DeviceKind::ALL.into_iter().rev() {
        let Some(sum) = together(facts).map(Fact::Number) else { return };
        if fits(Key::DevicesCount, &sum) {
            facts.set(Key::DevicesCount, sum);
            return;
        }
        let (count, empty) = (kind.keys().0, Fact::List(Vec::new()));
        let droppable = free(count)
            && fits(count, &Fact::Number(0))
            && lists(kind).all(|key| free(key) && fits(key, &empty));
        if droppable {
            facts.set(count, Fact::Number(0));
            lists(kind).for_each(|key| facts.set(key, empty.clone()));
        }
    }
    if let Some(sum) = together(facts).map(Fact::Number).filter(|s| fits(Key::DevicesCount, s)) {
        facts.set(Key::DevicesCount, sum);
    }
}

/// The size of all disks is that of each together; without disks where nothing else fits.
fn fit_disks(facts: &mut Facts, free: &impl Fn(Key) -> bool, fits: &impl Fn(Key, &Fact) -> bool) {
    let (disk, total) = (Key::ResourcesDisk, Key::ResourcesDiskTotal);
    let Some(stated) = number(facts, total) else { return };
    // In the order of how little is changed: the sizes as they are, one disk of the stated total,
    // no disk.
    let tries = [
        (list(facts, disk).map(<[Fact]>::to_vec), sum(facts, disk)),
        (Some(vec![Fact::Number(stated)]), Some(stated)),
        (Some(Vec::new()), Some(0)),
    ];
    for (sizes, sum) in tries {
        let (Some(sizes), Some(sum)) = (sizes.map(Fact::List), sum.map(Fact::Number)) else {
            continue;
        };
        let keeps = |key: Key, fact: &Fact| free(key) || facts.get(key) == Some(fact);
        if fits(disk, &sizes) && fits(total, &sum) && keeps(disk, &sizes) && keeps(total, &sum) {
            facts.set(disk, sizes);
            facts.set(total, sum);
            return;
        }
    }
}

/// One processor for a generation and its patch levels: the levels' own first, then each that is
/// known.
fn fit_generation(
    facts: &mut Facts,
    (generation, levels): (Key, Key),
    free: &impl Fn(Key) -> bool,
    fits: &impl Fn(Key, &Fact) -> bool,
) {
    let (Some(named), Some(own)) = (number(facts, generation), tcb(facts, levels).copied()) else {
        return;
    };
    if u64::from(own.generation) == named {
        return;
    }
    // All levels at their most: a report of that generation with the best firmware there can be.
    let newest = |generation: u8| {
        let fmc = if generation < 2 { 0 } else { u8::MAX };
        let levels = [fmc, u8::MAX, u8::MAX, u8::MAX, u8::MAX];
        Fact::Tcb(Tcb { generation, levels })
    };
    // The levels decide where they were given: they are what the example is about.
    if free(generation) {
        // Other patch levels of the report are of the same processor.
        let index = Fact::Number(u64::from(own.generation));
        if fits(generation, &index) && !free(levels) {
            facts.set(generation, index);
            return;
        }
    }
    // Otherwise the levels follow the generation.
    if let Some(tcb) = u8::try_from(named).ok().map(newest)
        && free(levels)
        && fits(levels, &tcb)
    {
        facts.set(levels, tcb);
    }
}
