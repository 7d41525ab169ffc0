//! Policies, inputs, test cases and decision logs: documents that anyone may have written.

use allocation_counter::measure;
use casemate_policy::audit::{Audited, Suite, check, lint, sarif};
use casemate_policy::log::{Entry, Record, Verifier};
use casemate_policy::{CommandLine, Facts, Input, Key, MAX_LINE, Point, Policy, WhyNot, export};

/// Memory that reading a document may take at once: a fixed part, and so much for each byte of it.
fn bounded<T>(text: &str, mut read: impl FnMut() -> T) -> T {
    let mut out = None;
    let info = measure(|| out = Some(read()));
    let limit = 4_000_000 + 2_000 * u64::try_from(text.len()).unwrap();
    assert!(info.bytes_max < limit, "{} bytes for {} of text", info.bytes_max, text.len());
    out.unwrap()
}

/// A policy document: refused with places, or loaded to a policy whose canonical form is itself.
pub fn document(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let policy = match bounded(text, || Policy::load(text, "fuzz")) {
        Ok(policy) => policy,
        Err(error) => {
            assert!(!error.diagnostics.is_empty() && error.diagnostics.len() <= 101);
            assert!(error.diagnostics.iter().all(|d| d.site.line >= 1 && d.site.column >= 1));
            return;
        }
    };
    let canonical = policy.canonical();
    let again =
        Policy::load(&canonical, "canonical").unwrap_or_else(|e| panic!("{e}\n{canonical}"));
    assert_eq!(again.canonical(), canonical);
    assert!(policy.diff(&again).differences.is_empty());
    let findings: Vec<_> = check(&policy).into_iter().chain(lint(&policy, None)).collect();
    assert!(sarif(&[Audited { file: "fuzz", findings: &findings }], "").len() > 100);
    assert!(export::rego(&policy).len() > 100);
    assert!(export::cedar(&policy).map_or(true, |text| text.len() > 100));
    for point in Point::ALL {
        let decision = policy.decide(point, &Facts::new());
        assert_eq!(decision.is_allow(), decision.reasons.is_empty());
    }
}

/// A kernel command line: refused for its length or a zero; else its views are ordered, it reads
/// back from an input, and what is in force is nothing that another word overrides.
pub fn cmdline(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let read = bounded(text, || CommandLine::parse(text));
    let Ok(line) = read else {
        assert!(text.len() > MAX_LINE || text.contains('\0'));
        return;
    };
    let name = |word: &str| {
        let value = word.bytes().skip(1).position(|byte| byte == b'=');
        word.get(..value.map_or(word.len(), |at| at + 1)).unwrap_or_default().to_owned()
    };
    let separator = line.words().iter().position(|word| **word == *"--");
    let parameters = &line.words()[..separator.unwrap_or(line.words().len())];
    for word in line.words() {
        assert!(line.seen().contains(word));
        assert!(!name(word).contains('-') || **word == *"--", "{word:?}");
    }
    for word in line.taken() {
        let last = parameters.iter().rfind(|other| name(other) == name(word));
        assert_eq!(last, Some(word), "{text:?}");
    }
    let facts = Facts::new().command_line(text);
    let json = Input { point: Some(Point::Launch), facts: facts.clone() }.to_json();
    let again = Input::load(&json, "again").unwrap_or_else(|error| panic!("{error}\n{json}"));
    assert_eq!(again.facts.get(Key::LaunchCmdline), facts.get(Key::LaunchCmdline));
    // Whatever words come of it, a line of them is a line.
    let words = line.seen().iter().map(|word| &**word);
    let longer = CommandLine::of_words(words);
    assert!(longer.is_ok() || text.len() > MAX_LINE / 8, "{text:?}");
}

/// An input document: refused, or read to facts that are written back and decided.
pub fn input(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(input) = bounded(text, || Input::load(text, "fuzz")) else { return };
    let json = input.to_json();
    let again = Input::load(&json, "again").unwrap_or_else(|error| panic!("{error}\n{json}"));
    assert_eq!(again, input);
    for policy in [Policy::builtin_strict(), Policy::builtin_permissive()] {
        for point in Point::ALL {
            let (decision, rows) = policy.explain(point, &input.facts);
            assert!(point == Point::Secrets || !rows.is_empty());
            let answer = policy.why_not(point, &input.facts);
            assert_eq!(decision.is_allow(), answer == WhyNot::Admitted);
            if let WhyNot::Change(_) = &answer {
                assert!(policy.decide(point, &answer.apply(&input.facts)).is_allow());
            }
            let _ = export::rego_input(&Input { point: Some(point), facts: input.facts.clone() });
            let _ = export::cedar_request(point, &input.facts);
        }
    }
}

/// Two documents, apart at the first zero byte: their merge is below both, and every witness is
/// one.
pub fn compare(data: &[u8]) {
    let mut halves = data.splitn(2, |b| *b == 0).map(std::str::from_utf8);
    let (Some(Ok(a)), Some(Ok(b))) = (halves.next(), halves.next()) else { return };
    let (Ok(a), Ok(b)) = (Policy::load(a, "a"), Policy::load_layer(b, "b")) else { return };
    let merged = a.merge(&b);
    assert!(!a.diff(&merged).is_looser());
    for difference in a.diff(&b).differences {
        for (input, yes, no) in [(difference.only_first, &a, &b), (difference.only_second, &b, &a)]
        {
            let Some(input) = input else { continue };
            let point = input.point.unwrap();
            assert!(yes.decide(point, &input.facts).is_allow(), "{}", difference.rule);
            assert!(!no.decide(point, &input.facts).is_allow(), "{}", difference.rule);
        }
    }
}

/// A document of test cases: refused, or run.
pub fn cases(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(suite) = bounded(text, || Suite::load(text, "fuzz")) else { return };
    let policy = Policy::builtin_strict();
    for case in &suite.cases {
        let _ = policy.decide(case.point, &case.facts);
    }
}

/// A decision log: no line is taken for a record that would not be written so.
pub fn log(data: &[u8]) {
    let strict = Policy::builtin_strict();
    let mut verifier = Verifier::new(None, None);
    let mut lines = data.split(|b| *b == b'\n');
    let rest = lines.next_back().unwrap_or_default();
    let mut records = 0;
    for line in lines {
        if let Some(record) = verifier.line(line) {
            assert_eq!(record.line().0.as_bytes(), line);
            records += 1;
            if let Entry::Decision(decision) = &record.entry {
                let _ = decision.replay(&strict);
            }
        }
        if let Ok((record, hash)) = Record::parse(line) {
            assert_eq!(record.line().1, hash);
        }
    }
    let report = verifier.finish(rest);
    assert_eq!(report.records, records);
    assert!(report.problems.len() <= 101);
}
