//! `casemate attest verify`, `show` and `replay`: verdicts, their words and statuses.

use super::{all_demands, casemate, expect, path, scratch, vector};

/// Protects scripts that look at the status alone: each answer has its own, in every form of
/// output.
#[test]
fn verify_exits_0_for_accepted_1_for_refused_2_for_bad_use_and_3_for_authentic() {
    let (policy, demands) = all_demands();
    let demands: Vec<&str> = demands.iter().map(String::as_str).collect();
    let (out, _) = expect(0, &demands);
    assert!(out.ends_with("\nACCEPTED\n"));
    assert!(!out.contains("not proven"));
    assert_eq!(expect(0, &[&demands[..], &["-q"]].concat()), (String::new(), String::new()));
    // Without one of the demands.
    let less: Vec<&str> = demands.iter().copied().take(demands.len() - 4).collect();
    let less = [&less[..], &["--policy", path(&policy)]].concat();
    let (out, _) = expect(3, &less);
    assert!(out.ends_with("\nnot proven: freshness\nAUTHENTIC\n"), "{out}");
    std::fs::remove_file(policy).unwrap();

    let (report, cert) = (vector("reports/ms_turin.bin"), vector("reports/ms_turin.vcek.der"));
    let (report, cert) = (path(&report), path(&cert));
    let verify = ["attest", "verify", report, "--cert", cert, "--at", "2026-06-01"];
    let (out, _) = expect(3, &verify);
    let open = "not proven: measurement, freshness, revocation, TCB floor";
    assert!(out.ends_with(&format!("\n{open}\nAUTHENTIC\n")), "{out}");
    let (out, err) = expect(3, &[&verify[..], &["-q"]].concat());
    assert_eq!((out, err), (String::new(), format!("casemate: AUTHENTIC, not accepted; {open}\n")));
    let only = [&verify[..], &["--authenticity-only"]].concat();
    assert!(expect(0, &only).0.ends_with("\nAUTHENTIC\n"));
    assert_eq!(expect(0, &[&only[..], &["-q"]].concat()), (String::new(), String::new()));
    let (out, _) = expect(3, &[&verify[..], &["--json"]].concat());
    let value: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&value["conclusion"], &value["accepted"]), (&"authentic".into(), &false.into()));
    assert_eq!(value["authentic"], true);
    let names = serde_json::json!(["measurement", "freshness", "revocation", "tcb-floor"]);
    assert_eq!(value["not-proven"], names);

    let late = ["attest", "verify", report, "--cert", cert, "--at", "2020-01-01"];
    let (out, _) = expect(1, &[&late[..], &["--authenticity-only"]].concat());
    assert!(out.contains("VEK_VALIDITY") && out.contains("FAILED") && out.ends_with("REFUSED\n"));
    let (out, _) = expect(1, &["attest", "verify", report]);
    assert!(out.contains("https://kdsintf.amd.com/vcek/v1/Turin/59790fb1c39f35c1?fmcSPL=01"));
    let (_, err) = expect(2, &["attest", "verify", "/nonexistent"]);
    assert_eq!(err.lines().count(), 1);
    expect(2, &["attest", "verify", report, "--cert", cert, "--at", "yesterday"]);
    expect(2, &["attest", "verify", report, "--report-data", "00"]);
    expect(2, &["attest", "verify"]);
}

/// Protects against a Milan report that anyone may have forged: silence is no way past it.
#[test]
fn a_milan_report_is_refused_unless_its_broken_root_is_allowed_by_name() {
    let (report, cert) = (vector("reports/ms_milan.bin"), vector("reports/ms_milan.vcek.der"));
    let verify = ["attest", "verify", path(&report), "--cert", path(&cert), "--at", "2026-06-01"];
    let (out, err) = expect(1, &[&verify[..], &["-q", "--authenticity-only"]].concat());
    assert!(out.is_empty() && err.contains("GENERATION_ALLOWED") && err.contains("Milan"), "{err}");
    assert!(err.contains("--allow-broken-root milan"), "{err}");
    let allowed = [&verify[..], &["--allow-broken-root", "milan"]].concat();
    let (out, _) = expect(3, &allowed);
    assert!(out.contains("GENERATION_ALLOWED       WARNING"), "{out}");
    expect(2, &[&verify[..], &["--allow-broken-root", "genoa"]].concat());
}

#[test]
fn a_refusal_names_field_both_values_and_remedy_in_one_line() {
    let (report, cert) = (vector("reports/gsg_milan.bin"), vector("reports/gsg_milan.vcek.der"));
    let arguments =
        ["attest", "verify", path(&report), "--cert", path(&cert), "-q", "--at", "2026-06-01"];
    let arguments = [&arguments[..], &["--allow-broken-root", "milan"]].concat();
    let (out, err) = expect(1, &arguments);
    assert_eq!(out, "");
    assert_eq!(err.lines().count(), 1);
    assert!(err.contains(
        "POLICY_DEBUG: guest policy: debug: set, wanted clear; launch the guest with debug off"
    ));
}

#[test]
fn json_carries_every_check_and_the_report_only_when_it_is_verified() {
    let (report, cert) = (vector("reports/ms_genoa.bin"), vector("reports/ms_genoa.vcek.der"));
    let base = ["attest", "verify", path(&report), "--cert", path(&cert), "--json"];
    let parse = |text: String| serde_json::from_str::<serde_json::Value>(&text).unwrap();
    let good = parse(expect(3, &[&base[..], &["--at", "2026-06-01"]].concat()).0);
    assert_eq!(good["authentic"], true);
    assert_eq!(good["verified-report"]["generation"], "Genoa");
    let bad = parse(expect(1, &[&base[..], &["--at", "2020-01-01"]].concat()).0);
    assert_eq!(bad["accepted"], false);
    assert!(bad["verified-report"].is_null());
    assert_eq!(good["checks"].as_array().unwrap().len(), bad["checks"].as_array().unwrap().len());
}

#[test]
fn a_nonce_a_policy_and_a_record_go_through() {
    let (report, cert) = (vector("reports/gsg_milan.bin"), vector("reports/gsg_milan.vcek.der"));
    let (nonce, policy, record) = (scratch("nonce"), scratch("policy"), scratch("record"));
    std::fs::write(&nonce, [1, 2, 3, 4, 5]).unwrap();
    std::fs::write(&policy, "[guest-policy]\ndebug = 'any'\n").unwrap();
    let mut arguments = vec!["attest", "verify", path(&report), "--cert", path(&cert), "-q"];
    arguments.extend(["--at", "2026-06-01", "--nonce", path(&nonce), "--policy", path(&policy)]);
    arguments.extend(["--allow-broken-root", "milan", "--authenticity-only"]);
    expect(0, &[&arguments[..], &["--record", path(&record)]].concat());
    // The record's rules let debug pass; the caller's do not, unless the caller says so.
    let replay = ["attest", "replay", path(&record), "--at", "2026-06-01"];
    let replay = [&replay[..], &["--allow-broken-root", "milan"]].concat();
    assert!(expect(1, &replay).0.contains("POLICY_DEBUG             FAILED"));
    let (out, _) = expect(3, &[&replay[..], &["--policy", path(&policy)]].concat());
    assert!(out.contains("equals the record") && out.ends_with("AUTHENTIC\n"));
    let (_, err) = expect(3, &["attest", "replay", path(&record), "--own-terms"]);
    assert!(err.contains("the record's own roots, time and policy"), "{err}");
    for option in [["--at", "2026-06-01"], ["--decision-log", "log"], ["--facts", "facts"]] {
        expect(2, &[&["attest", "replay", path(&record), "--own-terms"][..], &option].concat());
    }
    std::fs::write(&nonce, [1, 2, 3, 4, 6]).unwrap();
    let (_, err) = expect(1, &arguments);
    assert!(err.contains("REPORT_DATA"));
    std::fs::write(&policy, "debug = 'any'\n").unwrap();
    let (_, err) = expect(2, &arguments);
    assert_eq!(err.lines().count(), 1);
    for file in [nonce, policy, record] {
        std::fs::remove_file(file).unwrap();
    }
}

#[test]
fn show_decodes_and_says_that_it_proves_nothing() {
    let report = vector("reports/ms_turin.bin");
    let (out, _) = expect(0, &["attest", "show", path(&report)]);
    assert!(out.starts_with("NOT VERIFIED"));
    assert!(out.contains("Turin, family 0x1a model 0x2"));
    let (out, _) = expect(0, &["attest", "show", path(&report), "--json"]);
    let value: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(value["verified"], false);
    assert_eq!(value["tcb"]["reported"]["microcode"], 0x51);
}

#[test]
fn an_isolation_policy_decides_a_report_and_its_decision_is_logged() {
    let (report, cert) = (vector("reports/ms_turin.bin"), vector("reports/ms_turin.vcek.der"));
    let [log, head, facts, policy] =
        ["policy.log", "policy.head", "facts.json", "policy.toml"].map(scratch);
    let _ = std::fs::remove_file(&log);
    // Everything open but the generation.
    let open = |line: &str| match line.split_once(" = ") {
        Some((key, _)) if !line.starts_with('#') => format!("{key} = \"any\"\n"),
        _ => String::new(),
    };
    let reference = casemate(&["policy", "hash", "--canonical", "builtin:strict"]);
    let text = String::from_utf8(reference.stdout).unwrap();
    let section = text.split("[attestation]\n").nth(1).unwrap().split("\n[").next().unwrap();
    let section: String = section.lines().map(open).collect();
    let write = |generation: &str| {
        let section =
            section.replace("generations = \"any\"", &format!("generations = [\"{generation}\"]"));
        let head = "schema_version = 1\nmin_engine = \"0.1.0\"\n[attestation]\n";
        std::fs::write(&policy, format!("{head}{section}")).unwrap();
    };
    let verify = |status: i32| {
        let arguments = [
            "attest",
            "verify",
            path(&report),
            "--cert",
            path(&cert),
            "--at",
            "2026-06-01",
            "--policy",
            path(&policy),
            "--decision-log",
            path(&log),
            "--log-head",
            path(&head),
            "--facts",
            path(&facts),
            "--authenticity-only",
        ];
        expect(status, &arguments).0
    };
    write("turin");
    assert!(verify(0).contains("28 rules, SHA-256"));
    write("genoa");
    let out = verify(1);
    assert!(out.contains("attestation.generations: \"turin\""), "{out}");
    assert!(out.contains("policy.toml"), "the rule has a place: {out}");
    let (out, _) = expect(1, &["policy", "why-not", path(&policy), "--input", path(&facts)]);
    assert!(out.contains("genoa"), "{out}");
    let (out, _) = expect(0, &["log", "verify", path(&log), "--head-file", path(&head)]);
    assert!(out.contains("2 decisions"), "{out}");
    let text = std::fs::read_to_string(&log).unwrap();
    let cut: Vec<&str> = text.split_inclusive('\n').collect();
    std::fs::write(&log, cut[..cut.len() - 1].concat()).unwrap();
    expect(0, &["log", "verify", path(&log)]);
    expect(1, &["log", "verify", path(&log), "--head-file", path(&head)]);
    // An appraisal decides nothing that could be logged.
    std::fs::write(&policy, "vmpl = [0]\n").unwrap();
    verify(2);
    for file in [log, head, facts, policy] {
        std::fs::remove_file(file).unwrap();
    }
}

/// Protects Azure users: evidence of Confidential Containers is read, the claims are shown, the
/// nonce is compared.
#[test]
fn azure_evidence_is_verified_with_its_claims_and_the_nonce_of_its_quote() {
    let evidence = vector("evidence/trustee_az_evidence_v1.json");
    let nonce = scratch("az-nonce");
    std::fs::write(&nonce, "challenge").unwrap();
    let verify =
        ["attest", "verify", path(&evidence), "--at", "2026-03-01", "--nonce", path(&nonce)];
    let verify = [&verify[..], &["--allow-broken-root", "milan"]].concat();
    let (out, _) = expect(3, &verify);
    assert!(out.contains("not proven: measurement, revocation, TCB floor\n"), "{out}");
    assert!(out.contains("vmUniqueId               26f8bc30-774e-4290-8e7a-535f3b672aee"), "{out}");
    assert!(out.contains("PCR 23 "), "{out}");
    let (out, _) = expect(3, &[&verify[..], &["--json"]].concat());
    let value: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(value["azure"]["secure-boot"], true);
    assert_eq!(value["azure"]["quote"]["nonce"], "6368616c6c656e6765");
    std::fs::write(&nonce, "another").unwrap();
    let (_, err) = expect(1, &[&verify[..], &["-q"]].concat());
    assert!(err.contains("REPORT_DATA") && err.contains("--nonce"), "{err}");
    let (out, _) = expect(0, &["attest", "show", path(&evidence)]);
    assert!(out.contains("secure boot          yes"), "{out}");
    std::fs::remove_file(nonce).unwrap();
}

/// Protects the stricter rule: an option does not replace what the document demands, and the
/// conflict is named.
#[test]
fn a_demanded_report_data_on_the_command_line_does_not_replace_the_appraisals() {
    let (report, cert) = (vector("reports/ms_turin.bin"), vector("reports/ms_turin.vcek.der"));
    let policy = scratch("report-data-policy");
    std::fs::write(&policy, format!("report-data = '{}'\n", "ab".repeat(64))).unwrap();
    let base =
        ["attest", "verify", path(&report), "--cert", path(&cert), "--at", "2026-06-01", "-q"];
    let zero = "00".repeat(64);
    let both = [&base[..], &["--policy", path(&policy), "--report-data", &zero]].concat();
    let (_, err) = expect(1, &both);
    assert!(err.contains("--report-data") && err.contains("the appraisal demands"), "{err}");
    // An empty document, or the first lines of one, is no rule at all: bad input.
    for nothing in ["", "# vmpl = [0]\n", "[tcb]\n"] {
        std::fs::write(&policy, nothing).unwrap();
        let (_, err) = expect(2, &[&base[..], &["--policy", path(&policy)]].concat());
        assert!(err.contains("says nothing") && err.lines().count() == 1, "{err}");
    }
    std::fs::remove_file(policy).unwrap();
}

/// Protects the terminal: whatever evidence, records, appraisals and paths hold, a message is one
/// line of plain characters.
#[test]
fn no_foreign_text_steers_the_terminal() {
    let folder = scratch("hostile\u{1b}[2J\nname");
    std::fs::create_dir_all(&folder).unwrap();
    let hostile = r#"\u001b[2J\u202e\u009b31m\nACCEPTED"#;
    let json = format!("{{\"{hostile}\":1}}");
    let files = [
        ("evidence.json", format!("{{\"attestation_report\":{json}}}")),
        ("az.json", format!("{{\"version\":1,\"tpm_quote\":{json},\"hcl_report\":\"{hostile}\"}}")),
        ("tsm.json", format!("{{\"outblob\":{json}}}")),
        ("record.json", json.clone()),
        ("policy.toml", format!("\"{hostile}\" = 1\n")),
        ("raw.toml", "vmpl = [0]\n\u{202e}\u{200b} = 1\n".to_owned()),
        ("isolation.toml", format!("schema_version = 1\n\"{hostile}\" = 1\n")),
        ("isolation.json", json),
        ("long.toml", format!("{} = 1\n", "x".repeat(300_000))),
    ];
    for (name, text) in &files {
        std::fs::write(folder.join(name), text).unwrap();
    }
    let file = |name: &str| path(&folder.join(name)).to_owned();
    let report = vector("reports/ms_turin.bin");
    let mut calls =
        vec![vec!["attest", "certs", "--dir"], vec!["attest", "table", "--out", "/nonexistent/x"]];
    calls.push(vec!["attest", "verify"]);
    let mut runs: Vec<Vec<String>> = Vec::new();
    for call in calls {
        runs.push(call.iter().map(|word| (*word).to_owned()).chain([file("absent")]).collect());
    }
    for (name, _) in &files {
        for command in ["verify", "show", "replay"] {
            runs.push(vec!["attest".into(), command.into(), file(name)]);
        }
        let verify = ["attest", "verify", path(&report), "--policy"].map(str::to_owned);
        runs.push([verify.to_vec(), vec![file(name)]].concat());
    }
    for run in runs {
        let words: Vec<&str> = run.iter().map(String::as_str).collect();
        let output = casemate(&words);
        for (what, bytes) in [("stdout", &output.stdout), ("stderr", &output.stderr)] {
            let text = String::from_utf8(bytes.clone()).unwrap();
            let plain = text.chars().all(|c| c == '\n' || casemate_foreign_text::is_plain(c));
            assert!(plain, "{words:?} {what}: {text:?}");
            assert!(!text.lines().any(|line| line.starts_with("ACCEPTED")), "{words:?}: {text}");
        }
        assert!(output.stderr.iter().filter(|byte| **byte == b'\n').count() <= 1, "{words:?}");
        assert!(output.stderr.len() < 16 * 1024, "{words:?}");
        assert!(output.status.code().is_some_and(|status| status != 0), "{words:?}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

/// Protects users of scripts from guessing: the help of both commands that judge names every
/// status.
#[test]
fn the_help_of_verify_and_replay_names_the_verdicts_and_their_statuses() {
    let verify = expect(0, &["attest", "verify", "--help"]).0.replace('\n', " ");
    for words in ["0 ACCEPTED", "1 REFUSED", "2 bad use", "3 AUTHENTIC", "--authenticity-only"] {
        assert!(verify.contains(words), "{words}: {verify}");
    }
    assert!(verify.contains("--allow-broken-root"));
    let replay = expect(0, &["attest", "replay", "--help"]).0;
    assert!(replay.contains("Exit status: that of the verdict") && replay.contains("--own-terms"));
}
