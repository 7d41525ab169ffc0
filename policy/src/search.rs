//! Facts that some rules admit and another does not: the witnesses of a comparison, the samples of
//! a test and the targets of a smallest change.
//!
//! For each lattice finitely many candidates meet every region that the rules can tell apart, so a
//! search that finds nothing is a proof that there is nothing.

use crate::cmdline::parameter;
use crate::fact::Fact;
use crate::facts::{Facts, command_line};
use crate::fields::{Field, Key, Kind};
use crate::lattice::{ByteSet, Bytes, Choice, Lattice, Pattern, Patterns};
use crate::rule::Rule;
use std::collections::BTreeSet;

/// Most command lines that are tried for one word more. Of words that all rules admit by themselves
/// nearly every one fits; what does not overrides a required one.
const MOST_LINES: usize = 256;

/// The rules on one fact: all must admit it, and one may have to refuse it.
#[derive(Debug, Clone)]
pub(crate) struct Wanted<'r> {
    pub(crate) key: Key,
    pub(crate) admitted_by: Vec<&'r Rule>,
    pub(crate) refused_by: Option<&'r Rule>,
}

impl<'r> Wanted<'r> {
    /// The rules on one fact: those of `rules` whose field has this key.
    pub(crate) fn of(key: Key, rules: impl Iterator<Item = (&'static Field, &'r Rule)>) -> Self {
        let admitted_by =
            rules.filter(|(field, _)| field.key == key).map(|(_, rule)| rule).collect();
        Self { key, admitted_by, refused_by: None }
    }

    /// Whether a fact is admitted by all, and refused by the one that has to refuse it.
    pub(crate) fn fits(&self, fact: &Fact) -> bool {
        self.admitted_by.iter().all(|rule| rule.admits(fact))
            && !self.refused_by.is_some_and(|rule| rule.admits(fact))
    }

    fn rules(&self) -> impl Iterator<Item = &'r Rule> + '_ {
        self.admitted_by.iter().copied().chain(self.refused_by)
    }

    /// A fact that fits, or the proof that there is none.
    pub(crate) fn find(&self) -> Option<Fact> {
        let kind = self.key.kind();
        let elements = candidates(kind, &self.rules().collect::<Vec<_>>());
        if kind.is_list() {
            return self.find_list(elements);
        }
        elements.into_iter().find(|fact| self.fits(fact))
    }

    /// A list with one element where one fits, for it is the better example, else without. Elements
    /// are judged by themselves; lists as long as documents can make them would take for ever
    /// otherwise.
    fn find_list(&self, elements: Vec<Fact>) -> Option<Fact> {
        if self.key == Key::LaunchCmdline {
            return self.find_line(elements);
        }
        let empty = Fact::List(Vec::new());
        // Rules on lists judge each element by itself, so an element is asked as a fact.
        let admitted = |element: &Fact| self.admitted_by.iter().all(|rule| rule.admits(element));
        let refused = |fact: &Fact| self.refused_by.is_none_or(|rule| !rule.admits(fact));
        // When the empty list is refused already, any admitted element will do; else the element
        // has to be what is refused.
        let refused_already = refused(&empty);
        let fits = |element: &Fact| admitted(element) && (refused_already || refused(element));
        match elements.into_iter().find(fits) {
            Some(element) => Some(Fact::List(vec![element])),
            None => (self.fits(&empty)).then_some(empty),
        }
    }

    /// A command line: what must be in it, with one more word where one fits. A line is read as a
    /// whole, so words are sieved one by one before lines are tried.
    fn find_line(&self, words: Vec<Fact>) -> Option<Fact> {
        // Required words first: a line without them would be refused for that alone.
        let base = self.required();
        let plain = self.whole(Fact::List(base.clone()));
        // A word more takes nothing away that is not allowed, and brings nothing back that is
        // missing.
        if !self.admitted_by.iter().all(|rule| rule.admits(&plain)) {
            return None;
        }
        let refused_already = self.refused_by.is_none_or(|rule| !rule.admits(&plain));
        let passes =
            // A required text is no demand on a single word.
            |rule: &Rule, word: &Fact| matches!(rule, Rule::Required(_)) || rule.admits(word);
        let admitted = |word: &Fact| self.admitted_by.iter().all(|rule| passes(rule, word));
        let refuses = |word: &Fact| match self.refused_by {
            Some(rule @ (Rule::Names(_) | Rule::Forbidden(_))) => {
                refused_already || !rule.admits(word)
            }
            _ => true,
        };
        let sieved = words.into_iter().filter(|word| admitted(word) && refuses(word));
        let lines = sieved
            .take(MOST_LINES)
            .map(|word| self.whole(Fact::List(base.iter().cloned().chain([word]).collect())));
        let mut lines = lines.filter(|line| self.fits(line));
        lines.next().or_else(|| Some(plain).filter(|line| self.fits(line)))
    }

    /// A list as the fact of this key: of words of the command line, what a line of them is for the
    /// kernel.
    pub(crate) fn whole(&self, list: Fact) -> Fact {
        if self.key == Key::LaunchCmdline { command_line(list) } else { list }
    }

    pub(crate) fn required(&self) -> Vec<Fact> {
        // All rules at once, each text once, in one order.
        let texts = self.admitted_by.iter().filter_map(|rule| match rule {
            Rule::Required(required) => required.texts(),
            _ => None,
        });
        let texts: BTreeSet<&Box<str>> = texts.flatten().collect();
        texts.into_iter().map(|text| Fact::Text(text.clone())).collect()
    }

    /// The admitted fact that changes `from` least.
    pub(crate) fn nearest(&self, from: Option<&Fact>) -> Option<Fact> {
        // Nothing to be near to: any fact that fits will do.
        let Some(from) = from else { return self.find() };
        let moved = match from {
            Fact::List(elements) => self.nearest_list(elements),
            Fact::CommandLine(line) => {
                // A word goes when any reader would find in it what is refused.
                let words = line.words().iter().map(|word| Fact::Text(word.clone()));
                let words = words.filter(|word| {
                    let alone = self.whole(Fact::List(vec![word.clone()]));
                    let mut rules = self.admitted_by.iter();
                    rules.all(|rule| matches!(rule, Rule::Required(_)) || rule.admits(&alone))
                });
                self.nearest_list(&words.collect::<Vec<_>>()).map(|list| self.whole(list))
            }
            // Rule after rule: each moves the fact as little as it must. If a later one moves it
            // out of an earlier one again, what fits is searched for from the start.
            one => self.admitted_by.iter().try_fold(one.clone(), |fact, rule| nearest(rule, &fact)),
        };
        moved.filter(|fact| self.fits(fact)).or_else(|| self.find())
    }

    fn nearest_list(&self, elements: &[Fact]) -> Option<Fact> {
        let admitted = |fact: &Fact| {
            self.admitted_by
                .iter()
                .all(|rule| matches!(rule, Rule::Required(_)) || rule.admits(fact))
        };
        // Elements that may simply be left out are dropped; numbers, flags and the like of each
        // device are moved, since a device is not to lose a fact.
        let drops = matches!(
            self.key.kind(),
            Kind::Names { .. } | Kind::NamesForbidden | Kind::NamesRequired | Kind::Egress
        );
        let mut out = Vec::with_capacity(elements.len());
        for element in elements {
            if admitted(element) {
                out.push(element.clone());
            } else if !drops {
                let rules = self.admitted_by.iter();
                out.push(
                    rules.copied().try_fold(element.clone(), |fact, rule| nearest(rule, &fact))?,
                );
            }
        }
        let required = self.required();
        // More texts than a line has bytes cannot stand in a line.
        if required.len() > crate::cmdline::MAX_LINE {
            return None;
        }
        // What is overridden is not there: others of the same name go, and what is required stands
        // before any `--`.
        let name = |fact: &Fact| match fact {
            Fact::Text(text) => parameter(text).to_owned(),
            _ => String::new(),
        };
        let rivals: BTreeSet<String> = required.iter().map(name).collect();
        out.retain(|word| required.contains(word) || !rivals.contains(&name(word)));
        let separator = out.iter().position(|word| *word == Fact::Text("--".into()));
        let mut at = separator.unwrap_or(out.len());
        for text in required {
            if !out.iter().take(at).any(|word| *word == text) {
                out.insert(at, text);
                at += 1;
            }
        }
        Some(Fact::List(out))
    }
}

/// The fact nearest to `fact` that the rule admits.
fn nearest(rule: &Rule, fact: &Fact) -> Option<Fact> {
    if rule.admits(fact) {
        return Some(fact.clone());
    }
    Some(match (rule, fact) {
        (Rule::Range(range), Fact::Number(n)) => Fact::Number(range.nearest(*n)?),
        (Rule::Bits(bits), Fact::Number(n)) => Fact::Number(bits.nearest(*n)?),
        (Rule::Tcb(floors), Fact::Tcb(tcb)) => Fact::Tcb(floors.nearest(tcb)?),
        (Rule::Limit(limit), Fact::Usage(usage)) => Fact::Usage(limit.nearest(usage)?),
        (Rule::Names(patterns), Fact::Text(text))
            if text.starts_with('/') || directory(patterns).is_some() =>
        {
            // The same file name below the first directory; the first word where there is none.
            let file = text.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
            match directory(patterns) {
                Some(directory) => Fact::Text(format!("{}{file}/", directory.text()).into()),
                None => Fact::Text(patterns.sample()?.into()),
            }
        }
        _ => candidates_of(rule).into_iter().find(|fact| rule.admits(fact))?,
    })
}

/// The first directory of a set of them. No other pattern begins and ends so and is a prefix.
fn directory(patterns: &Patterns) -> Option<&Pattern> {
    let is = |pattern: &&Pattern| {
        pattern.is_prefix() && pattern.text().starts_with('/') && pattern.text().ends_with('/')
    };
    patterns.patterns().iter().find(is)
}

fn candidates_of(rule: &Rule) -> Vec<Fact> {
    let kind = match rule {
        // The length of the field is not known here; its members', or a digest's, is the best guess
        // for an example.
        Rule::Bytes(set) => Kind::BytesAllowed(
            set.members().first().map_or(48, |b| u8::try_from(b.as_slice().len()).unwrap_or(48)),
        ),
        Rule::Choice(_) => Kind::Flag,
        _ => Kind::NAMES,
    };
    candidates(kind, &[rule])
}

/// Facts that tell apart any two regions that these rules can describe.
pub(crate) fn candidates(kind: Kind, rules: &[&Rule]) -> Vec<Fact> {
    match kind {
        Kind::BytesAllowed(len) | Kind::BytesDenied(len) => byte_candidates(len, rules),
        Kind::HostData => {
            let mut all = byte_candidates(32, rules);
            all.push(Fact::Bytes(Bytes::INITDATA));
            all
        }
        Kind::Names { .. } | Kind::NamesForbidden | Kind::NamesRequired | Kind::Roots(_) => {
            text_candidates(kind, rules)
        }
        Kind::Flag | Kind::FlagEach => [0, 1].map(Fact::Number).to_vec(),
        Kind::Choice(names) => {
            let known = 0..u64::try_from(names.len()).unwrap_or(0);
            known.chain([Choice::UNKNOWN]).map(Fact::Number).collect()
        }
        // Ranges, masks, floors and the like: their ends, and the differences between each two.
        _ => pairwise(rules),
    }
}

fn byte_candidates(len: u8, rules: &[&Rule]) -> Vec<Fact> {
    let sets = rules.iter().filter_map(|rule| match rule {
        Rule::Bytes(set) => Some(set),
        _ => None,
    });
    // Every member of any set, and one byte string that no set lists: sets given by members can
    // tell no others apart.
    let members: Vec<Bytes> = sets.flat_map(|set| set.members().iter().copied()).collect();
    let fresh = ByteSet::except(members.clone()).sample(len);
    members.into_iter().chain(fresh).map(Fact::Bytes).collect()
}

/// Every pattern's text, and that text with a character that no pattern has: between them they meet
/// every region of prefixes and literals.
fn text_candidates(kind: Kind, rules: &[&Rule]) -> Vec<Fact> {
    let mut texts: BTreeSet<String> = BTreeSet::from([String::new()]);
    let add = |patterns: &Patterns, texts: &mut BTreeSet<String>| {
        texts.extend(patterns.patterns().iter().map(|pattern| pattern.text().to_owned()));
    };
    for rule in rules {
        match rule {
            Rule::Names(patterns) => add(patterns, &mut texts),
            Rule::Forbidden(forbidden) => add(forbidden.patterns(), &mut texts),
            Rule::Required(required) => {
                texts.extend(required.texts().unwrap_or_default().iter().map(ToString::to_string));
            }
            _ => {}
        }
    }
    // One character that occurs nowhere: behind any text it makes one that only patterns covering
    // the text match.
    let used: BTreeSet<char> = texts.iter().flat_map(|text| text.chars()).collect();
    let fresh = ('a'..='z').chain('A'..='Z').chain('\u{100}'..).find(|c| !used.contains(c));
    let fresh = fresh.unwrap_or('\u{10ffff}');
    let longer: Vec<String> = texts.iter().map(|text| format!("{text}{fresh}")).collect();
    // Paths are absolute and end with `/`, as the facts are written.
    if let Kind::Roots(words) = kind {
        let paths = longer.into_iter().map(|text| {
            let text = if text.starts_with('/') { text } else { format!("/{text}") };
            Fact::Text(format!("{text}/").into())
        });
        return paths.chain(words.iter().map(|word| Fact::Text((*word).into()))).collect();
    }
    // Longer texts first, the empty one last: an example with something in it shows more.
    let all = longer.into_iter().chain(texts.into_iter().filter(|text| !text.is_empty()));
    all.chain([String::new()]).map(|text| Fact::Text(text.into())).collect()
}

/// Witnesses of each rule against each other one, against everything and against nothing.
fn pairwise(rules: &[&Rule]) -> Vec<Fact> {
    let mut out = Vec::new();
    // A meet is a candidate too: its ends come from different rules.
    let all = rules.iter().try_fold(None::<Rule>, |meet, rule| match meet {
        None => Some(Some((*rule).clone())),
        Some(meet) => meet.meet(rule).map(Some),
    });
    let meet = all.flatten();
    let with_meet = || rules.iter().copied().chain(&meet);
    for a in with_meet() {
        out.extend(sample(a));
        for b in with_meet() {
            out.extend(witness(a, b));
        }
    }
    out
}

fn sample(rule: &Rule) -> Option<Fact> {
    // 1 is a better example than 0 where both are possible.
    match rule {
        Rule::Range(range) if range.is_any() => Some(Fact::Number(1)),
        Rule::Range(range) => {
            let one = Some(1).filter(|n| range.admits(*n));
            one.or(range.nearest(range.min())).map(Fact::Number)
        }
        Rule::Bits(bits) => bits.nearest(bits.must()).map(Fact::Number),
        Rule::Tcb(floors) => floors.sample().map(Fact::Tcb),
        Rule::Egress(set) => set.sample().map(Fact::Endpoint),
        Rule::Limit(limit) => {
            limit.nearest(&crate::lattice::Usage { in_second: 1, total: 1 }).map(Fact::Usage)
        }
        _ => None,
    }
}

fn witness(a: &Rule, b: &Rule) -> Option<Fact> {
    match (a, b) {
        (Rule::Range(a), Rule::Range(b)) => a.witness_against(b).map(Fact::Number),
        (Rule::Bits(a), Rule::Bits(b)) => a.witness_against(b).map(Fact::Number),
        (Rule::Tcb(a), Rule::Tcb(b)) => a.witness_against(b).map(Fact::Tcb),
        (Rule::Egress(a), Rule::Egress(b)) => a.witness_against(b).map(Fact::Endpoint),
        (Rule::Limit(a), Rule::Limit(b)) => a.witness_against(b).map(Fact::Usage),
        _ => None,
    }
}

/// The keys that the fields constrain, each once.
pub(crate) fn keys(fields: &'static [Field]) -> Vec<Key> {
    let mut keys = Vec::new();
    for field in fields {
        if field.key != Key::Setting && !keys.contains(&field.key) {
            keys.push(field.key);
        }
    }
    keys
}

/// Facts that all rules admit, or the first key for which there is none.
pub(crate) fn admitted(
    fields: &'static [Field],
    rules: &[(&'static Field, &Rule)],
) -> Result<Facts, Key> {
    admitted_with(fields, rules, &Facts::new())
}

/// The same with some facts given. They fit together where the rules let them.
pub(crate) fn admitted_with(
    fields: &'static [Field],
    rules: &[(&'static Field, &Rule)],
    given: &Facts,
) -> Result<Facts, Key> {
    let mut facts = given.clone();
    for key in keys(fields) {
        // What is given stays, whatever else would fit.
        if given.get(key).is_none() {
            let fact = Wanted::of(key, rules.iter().copied()).find().ok_or(key)?;
            facts.set(key, fact);
        }
    }
    let fits = |key: Key, fact: &Fact| Wanted::of(key, rules.iter().copied()).fits(fact);
    Ok(crate::whole::made_whole(facts, given, fits))
}
