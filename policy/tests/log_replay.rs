//! A logged decision, asked of another policy: what the log keeps decides, what it does not keep is
//! said.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests: functions that tests share"
)]

use casemate_policy::log::{Chain, DecisionRecord, Entry, LogId, Record, Replayed};
use casemate_policy::{Facts, Key, Point, Policy, Verdict};

fn policy(rules: &str) -> Policy {
    let base = Policy::permissive_text().split("[launch]").next().unwrap();
    let text = format!(
        "{base}[launch]\nprotection = \"any\"\ntenants = \"any\"\nmeasurement = \"any\"\n\
         kernel = \"any\"\ninitrd = \"any\"\nid_key = \"any\"\nauthor_key = \"any\"\n\
         guest_policy = \"any\"\nguest_svn = \"any\"\nfamily_id = \"any\"\nimage_id = \"any\"\n\
         host_data = \"any\"\n{rules}\n"
    );
    Policy::load(&text, "test").unwrap()
}

/// A decision that allows, by way of the line that it is in a log.
fn logged(facts: &Facts) -> DecisionRecord {
    let loose = policy("cmdline_allow = \"any\"");
    let decision = loose.decide(Point::Launch, facts);
    assert!(decision.is_allow(), "{decision}");
    let record = DecisionRecord::new(loose.hash(), Point::Launch, facts, &decision);
    let (line, _) = Chain::new(LogId([1; 16])).append(1, Entry::Decision(record));
    match Record::parse(line.trim_end().as_bytes()).unwrap().0.entry {
        Entry::Decision(decision) => decision,
        _ => unreachable!(),
    }
}

fn boot(line: &str) -> Facts {
    Facts::new().text(Key::LaunchTenant, "uid-7").command_line(line)
}

#[test]
fn secrets_of_a_command_line_are_in_no_part_of_a_record() {
    let line = "console=ttyS0 quiet rootflags=password=hunter2 k3s_token=hunter2 rd.luks.key=\"hunter2 x\" -- \
         --password hunter2";
    let facts = boot(line);
    for rules in ["cmdline_allow = \"any\"", "cmdline_allow = [\"quiet\"]", "tenants = []"] {
        let strict = policy(&rules.replace("tenants = []", "cmdline_forbid = [\"k3s_token=*\"]"));
        let decision = strict.decide(Point::Launch, &facts);
        let record = DecisionRecord::new([0; 32], Point::Launch, &facts, &decision);
        let (text, _) = Chain::new(LogId([1; 16])).append(1, Entry::Decision(record));
        assert!(!text.contains("hunter2"), "{text}");
        assert!(text.contains("console=ttyS0") && text.contains("k3s_token="), "{text}");
    }
}

#[test]
fn a_decision_on_what_was_kept_is_replayed_exactly() {
    let record = logged(&boot("console=ttyS0 quiet"));
    assert!(record.redacted.is_empty());
    assert_eq!(record.replay(&policy("cmdline_allow = \"any\"")), Replayed::Same);
    assert_eq!(
        record.replay(&policy("cmdline_allow = [\"console=*\", \"quiet\"]")),
        Replayed::Same
    );
    let Replayed::Changed(decision) = record.replay(&policy("cmdline_allow = [\"quiet\"]")) else {
        unreachable!()
    };
    assert_eq!((decision.verdict, decision.reasons.len()), (Verdict::Deny, 1));
    assert_eq!(decision.reasons[0].rule, "launch.cmdline_allow");
}

#[test]
fn a_rule_decides_a_redacted_word_only_if_it_would_decide_so_whatever_stood_there() {
    let record = logged(&boot("quiet token=secret"));
    assert_eq!(record.redacted, [Key::LaunchCmdline]);
    for (rules, same) in [
        ("cmdline_allow = \"any\"", true),
        ("cmdline_allow = [\"quiet\", \"token=*\"]", true),
        ("cmdline_allow = \"any\"\ncmdline_forbid = [\"debug\"]", true),
        ("cmdline_allow = \"any\"\ncmdline_require = [\"quiet\"]", true),
        ("cmdline_allow = [\"token=*\"]", false),
        ("cmdline_allow = [\"quiet\"]", false),
        ("cmdline_allow = \"any\"\ncmdline_forbid = [\"token*\"]", false),
        ("cmdline_allow = \"any\"\ncmdline_require = [\"debug\"]", false),
        ("cmdline_allow = \"nothing\"", false),
    ] {
        let answer = record.replay(&policy(rules));
        assert_eq!(answer == Replayed::Same, same, "{rules}: {answer:?}");
        assert!(same || matches!(answer, Replayed::Changed(_)), "{rules}: {answer:?}");
    }
    for (rules, field) in [
        ("cmdline_allow = [\"quiet\", \"token=secret\"]", "launch.cmdline_allow"),
        ("cmdline_allow = \"any\"\ncmdline_forbid = [\"token=other\"]", "launch.cmdline_forbid"),
        ("cmdline_allow = \"any\"\ncmdline_require = [\"token=secret\"]", "launch.cmdline_require"),
    ] {
        let answer = record.replay(&policy(rules));
        assert_eq!(answer, Replayed::Undecidable(vec![field.into()]), "{rules}");
    }
    // Another rule that denies for certain makes up for it.
    let rules = "cmdline_allow = [\"quiet\", \"token=secret\"]\ncmdline_forbid = [\"quiet\"]";
    let Replayed::Changed(decision) = record.replay(&policy(rules)) else { unreachable!() };
    assert_eq!(decision.reasons.len(), 1, "{decision}");
}

#[test]
fn a_redacted_value_that_hid_words_of_its_own_decides_no_rule_about_words() {
    // Programs of the guest cut a line at every blank; what stood in the quotes is gone.
    let record = logged(&boot("quiet token=\"x init=/bin/sh\""));
    let rules = "cmdline_allow = \"any\"\ncmdline_forbid = [\"init=*\"]";
    let undecidable = Replayed::Undecidable(vec!["launch.cmdline_forbid".into()]);
    assert_eq!(record.replay(&policy(rules)), undecidable);
    // Behind `--` there may have been anything, too.
    let record = logged(&boot("quiet -- init=/bin/sh"));
    assert_eq!(record.replay(&policy(rules)), undecidable);
    // Without quotes and blanks a value is one word for every reader.
    let record = logged(&boot("quiet token=init=/bin/sh"));
    assert_eq!(record.replay(&policy(rules)), Replayed::Same);
    // The last of a name counts, redacted or not.
    let record = logged(&boot("token=a quiet token=b"));
    let rules = "cmdline_allow = \"any\"\ncmdline_require = [\"token=a\"]";
    let undecidable = Replayed::Undecidable(vec!["launch.cmdline_require".into()]);
    assert_eq!(record.replay(&policy(rules)), undecidable);
}

#[test]
fn what_was_not_valid_is_not_taken_for_a_text() {
    // A number where a text belongs is the caller's mistake; the record must not make it a good
    // tenant.
    let facts = Facts::new().number(Key::LaunchTenant, 7).command_line("quiet");
    let tenant = policy("cmdline_allow = \"any\"");
    let decision = tenant.decide(Point::Launch, &facts);
    assert!(!decision.is_allow());
    let record = DecisionRecord::new([0; 32], Point::Launch, &facts, &decision);
    assert_eq!(record.invalid, [Key::LaunchTenant]);
    assert_eq!(record.replay(&tenant), Replayed::Same);
}

#[test]
fn an_input_too_long_to_keep_loses_its_longest_fact_and_says_so() {
    let facts = boot("quiet").text(Key::LaunchTenant, &"x".repeat(20_000));
    let record = logged(&facts);
    assert_eq!(record.redacted, [Key::LaunchTenant]);
    assert_eq!(record.replay(&policy("cmdline_allow = [\"quiet\"]")), Replayed::Same);
    let answer = record.replay(&Policy::builtin_permissive());
    assert!(matches!(answer, Replayed::Changed(_)), "protection is not known, and not any");
}

/// HOST_DATA of a guest whose initdata holds the document is kept by its word, not as a digest of
/// no bytes. Cannot tell which document that was: the record has its hash.
#[test]
fn initdata_is_in_a_record_as_initdata() {
    let facts = boot("quiet").host_data_of_this_document();
    let record = logged(&facts);
    let kept = record.facts().unwrap();
    assert_eq!(kept.get(Key::LaunchHostData), facts.get(Key::LaunchHostData));
    let other = policy("cmdline_allow = \"any\"");
    assert_eq!(record.replay(&other), Replayed::Same);
    // What another document would be told is the hash of that initdata, which is not kept.
    let text = policy("cmdline_allow = \"any\"").canonical();
    for listed in ["00".repeat(32), "initdata".into()] {
        let strict = text.replace("host_data = \"any\"", &format!("host_data = [\"{listed}\"]"));
        assert_ne!(strict, text);
        let strict = Policy::load(&strict, "strict").unwrap();
        let open = Replayed::Undecidable(vec!["launch.host_data".into()]);
        assert_eq!(record.replay(&strict), open, "{listed}");
        // Asked of the very document it decides.
        let own = DecisionRecord { policy: strict.hash(), ..record.clone() };
        assert_eq!(own.replay(&strict) == Replayed::Same, listed == "initdata");
    }
}
