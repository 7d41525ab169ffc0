//! SECURITY.md names the test that holds each promise. Protects: that every test which is named
//! there exists, and that no row of a table of promises names none. Cannot tell: whether the test
//! holds what the row says.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::path::Path;

fn functions(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        if path.is_dir() {
            if name != "target" && name != ".git" && name != "seeds" {
                functions(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            for part in text.split("fn ").skip(1) {
                let name = part.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next();
                found.insert(name.unwrap_or_default().to_owned());
            }
        }
    }
}

/// The rows of every table whose last column is headed `test`.
fn promises(document: &str) -> Vec<&str> {
    let mut rows = Vec::new();
    let mut in_table = false;
    for line in document.lines() {
        if !line.starts_with('|') {
            in_table = false;
        } else if line.trim_end().ends_with("| test |") {
            in_table = true;
        } else if in_table && !line.starts_with("|---") {
            rows.push(line);
        }
    }
    rows
}

#[test]
fn every_promise_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let document = std::fs::read_to_string(root.join("SECURITY.md")).unwrap();
    let mut known = BTreeSet::new();
    functions(root, &mut known);
    let rows = promises(&document);
    assert!(rows.len() > 5, "SECURITY.md has no table of promises");
    for row in rows {
        let last = row.trim_end().trim_end_matches('|').rsplit('|').next().unwrap();
        let tests: Vec<&str> = last.split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty(), "names no test: {row}");
        for test in tests {
            // `snp_faults: ROW` names a row of a table of one test.
            let name = test.rsplit("::").next().unwrap().split(':').next().unwrap();
            assert!(known.contains(name), "{test} does not exist: {row}");
        }
    }
}
