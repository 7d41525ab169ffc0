//! The page of `casemate audit`, read as XML and, where there is a browser, drawn by it: what it
//! shows, that it asks for nothing, that names stay names. Cannot tell whether it is pleasant.
#![cfg(feature = "vm")]
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code"
)]

mod page;

use casemate_test_support::bzimage::bzimage;
use page::{parse, rows, shown};
use roxmltree::Node;
use std::fs::{read_to_string, write};
use std::path::PathBuf;
use std::process::Command;

/// A folder with a kernel, a disk and configurations, removed at the end.
struct Place(PathBuf);

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Place {
    fn new(test: &str) -> Self {
        let name = format!("casemate-audit-{test}-{}", std::process::id());
        let place = Self(std::env::temp_dir().join(name));
        let _ = std::fs::remove_dir_all(&place.0);
        std::fs::create_dir(&place.0).unwrap();
        write(place.0.join("kernel"), bzimage(&[])).unwrap();
        write(place.0.join("disk"), vec![0; 1 << 20]).unwrap();
        for protection in ["none", "sev-snp"] {
            let text = format!(
                "protection = \"{protection}\"\nkernel = \"kernel\"\nmemory = \"512M\"\n\
                 name = \"shown\"\ncmdline = \"console=ttyS0 token=hunter2\"\n\
                 console = {{ file = \"console\" }}\n[[disk]]\npath = \"disk\"\nname = \"data\"\n"
            );
            write(place.0.join(format!("{protection}.toml")), text).unwrap();
        }
        place
    }

    fn page(&self, words: &[&str]) -> String {
        let words = [&["audit"], words, &["-o", "page.html"]].concat();
        let mut command = Command::new(env!("CARGO_BIN_EXE_casemate"));
        let out = command.args(&words).current_dir(&self.0).output().unwrap();
        assert!(out.status.success(), "{words:?}: {out:?}");
        read_to_string(self.0.join("page.html")).unwrap()
    }
}

/// Protects who opens a page that somebody sent: it runs nothing, asks for nothing, and is of a
/// size that can be sent. Protects who reads it: every kind of fact is there, and no secret.
#[test]
fn the_page_shows_processes_policy_and_launch_and_asks_for_nothing() {
    let place = Place::new("shows");
    for protection in ["none", "sev-snp"] {
        let file = format!("{protection}.toml");
        let page = place.page(&[&file]);
        assert!(page.len() < 500_000, "{}", page.len());
        let document = parse(&page);
        for node in document.descendants().filter(Node::is_element) {
            let name = node.tag_name().name();
            assert!(
                !["script", "img", "iframe", "link", "object", "form"].contains(&name),
                "{name}"
            );
            for attribute in node.attributes() {
                let (name, value) = (attribute.name(), attribute.value());
                assert!(!name.starts_with("on") && name != "style" && name != "src", "{name}");
                assert!(name != "href" || value.starts_with('#'), "{value}");
            }
        }
        assert!(!page.contains("url(") && !page.contains("@import"));
        assert!(!page.contains("hunter2"), "the command line is left out");
        let summary = rows(&document, "The VM");
        let of = |name: &str| summary.iter().find(|row| row[0] == name).unwrap()[1].clone();
        assert_eq!((of("name"), of("protection")), ("shown".into(), protection.into()));
        assert_eq!(of("the policy decides"), if protection == "none" { "allow" } else { "deny" });
        let text = shown(document.root_element());
        for process in ["(vmm)", "block (block-data)", "supervisor (supervisor)"] {
            assert!(text.contains(process), "{process}");
        }
        let reach =
            if protection == "none" { "all of it" } else { "the pages that the guest shares" };
        assert!(text.contains(&format!("Memory of the guest that it can reach: {reach}.")));
        assert!(text.contains("Memory of the guest that it can reach: none."), "the supervisor");
        assert_eq!(rows(&document, "Layers of its lock").len(), 22);
        assert!(rows(&document, "Rules of launch").iter().all(|row| row.len() == 5));
        let calls = rows(&document, "Any other call ends the process");
        assert!(calls.len() > 5 && calls.iter().all(|row| !row[1].is_empty()));
        // Each link of the navigation leads to a heading.
        for link in document.descendants().filter(|node| node.has_tag_name("a")) {
            let id = link.attribute("href").unwrap().trim_start_matches('#');
            assert!(document.descendants().any(|node| node.attribute("id") == Some(id)), "{id}");
        }
        if protection == "sev-snp" {
            let mut measure = Command::new(env!("CARGO_BIN_EXE_casemate"));
            let measured = measure.args(["measure", &file]).current_dir(&place.0).output().unwrap();
            let digest = String::from_utf8(measured.stdout).unwrap();
            assert!(text.contains(&format!("Launch digest {}", digest.trim())), "{digest}");
            assert!(rows(&document, "Launched pages").len() > 5);
        }
    }
}

/// Protects an auditor from the names that they audit.
/// Protects a secret on a command line that a policy refuses: the page says which rule did, and not
/// what it found.
#[test]
fn a_refused_word_of_the_command_line_is_not_on_the_page() {
    let place = Place::new("refused");
    let mut policy = Command::new(env!("CARGO_BIN_EXE_casemate"));
    let policy =
        policy.args(["policy", "from", "none.toml"]).current_dir(&place.0).output().unwrap();
    let policy = String::from_utf8(policy.stdout).unwrap();
    // As it was written for the VM, but that it does not know the secret.
    write(place.0.join("policy.toml"), policy.replace("token=hunter2", "token=other")).unwrap();
    let page = place.page(&["none.toml", "--policy", "policy.toml"]);
    assert!(!page.contains("hunter2"), "a word that was refused");
    let document = parse(&page);
    let vm = rows(&document, "The VM");
    assert!(
        vm.iter().any(|row| row[0] == "denied by" && row[1].contains("cmdline_allow")),
        "{vm:?}"
    );
}

/// Protects what the page is about: it is never written over.
#[test]
fn the_page_replaces_no_file_that_it_is_about() {
    let place = Place::new("over");
    for file in ["kernel", "disk", "none.toml"] {
        let before = std::fs::read(place.0.join(file)).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_casemate"));
        let out = command.args(["audit", "none.toml", "-o", file]).current_dir(&place.0);
        assert_eq!(out.output().unwrap().status.code(), Some(2), "{file}");
        assert!(std::fs::read(place.0.join(file)).unwrap() == before, "{file}");
    }
}

#[test]
fn a_name_of_a_policy_makes_no_element_of_the_page() {
    let place = Place::new("names");
    let hostile = "</td></table><script>alert(1)</script><b onclick='x'>\\u202e";
    let text = format!("schema_version = 1\nmin_engine = \"0.1.0\"\nname = \"{hostile}\"\n");
    write(place.0.join("policy.toml"), text).unwrap();
    let page = place.page(&["none.toml", "--policy", "policy.toml"]);
    let document = parse(&page);
    assert!(
        document.descendants().all(|node| !node.has_tag_name("script") && !node.has_tag_name("b"))
    );
    assert!(shown(document.root_element()).contains("<script>alert(1)</script>"));
    assert!(!page.contains('\u{202e}'));
}

/// Protects who is shown evidence: every check is there as it was made again, with what the record
/// is worth, and a record that was altered makes no page.
#[test]
fn the_page_shows_evidence_on_record_and_what_that_is_worth() {
    let place = Place::new("evidence");
    let vector = |name: &str| {
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/reports").join(name)
    };
    let mut verify = Command::new(env!("CARGO_BIN_EXE_casemate"));
    verify.args(["attest", "verify"]).arg(vector("oak_genoa_oc.bin"));
    verify.arg("--cert").arg(vector("oak_genoa_oc.vcek.der"));
    verify.args(["--at", "2025-10-01", "--record", "record.json"]).current_dir(&place.0);
    assert_eq!(verify.output().unwrap().status.code(), Some(3));
    let page = place.page(&["sev-snp.toml", "--record", "record.json"]);
    let document = parse(&page);
    let verdict = rows(&document, "The verdict");
    assert!(verdict.contains(&vec!["verdict".into(), "AUTHENTIC".into()]), "{verdict:?}");
    assert!(verdict.contains(&vec!["it is of this page's launch".into(), "NO".into()]));
    let checks = rows(&document, "Every check, from the report up to the root");
    let signature = checks.iter().find(|row| row[0] == "REPORT_SIGNATURE").unwrap();
    assert_eq!(signature[1], "passed");
    assert!(shown(document.root_element()).contains("under the record's own roots"));
    let record = read_to_string(place.0.join("record.json")).unwrap();
    write(place.0.join("record.json"), record.replace("authentic", "accepted")).unwrap();
    let mut audit = Command::new(env!("CARGO_BIN_EXE_casemate"));
    audit.args(["audit", "sev-snp.toml", "--record", "record.json", "-o", "no.html"]);
    assert_eq!(audit.current_dir(&place.0).output().unwrap().status.code(), Some(1));
    assert!(!place.0.join("no.html").exists());
}

/// Protects who reads it in a browser: it draws the page, alike in size, in both schemes. SKIPPED
/// where there is no Chromium.
#[test]
fn a_browser_draws_the_page() {
    let place = Place::new("draws");
    place.page(&["sev-snp.toml"]);
    let url = format!("file://{}", place.0.join("page.html").display());
    let profile = format!("--user-data-dir={}", place.0.join("profile").display());
    let common =
        ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=1000", &profile];
    let run = |more: &[&str]| Command::new("chromium").args(common).args(more).arg(&url).output();
    let Ok(drawn) = run(&["--dump-dom"]) else {
        println!("SKIPPED: no Chromium");
        return;
    };
    let dom = String::from_utf8_lossy(&drawn.stdout);
    for word in ["<h1>What VM shown may do</h1>", "Launched pages", "block (block-data)"] {
        assert!(dom.contains(word), "{word}: {drawn:?}");
    }
    for dark in [false, true] {
        let file = place.0.join(format!("{dark}.png"));
        let shot = format!("--screenshot={}", file.display());
        let scheme = format!("--blink-settings=preferredColorScheme={}", u8::from(!dark));
        run(&[&shot, &scheme, "--window-size=1200,1600"]).unwrap();
        assert!(std::fs::metadata(&file).unwrap().len() > 10_000);
    }
}
