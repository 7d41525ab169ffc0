//! Which fuzz targets a change concerns: paths of changed files on standard input, one a line;
//! names of targets on standard output.
//!
//! A target is concerned when a file of its own changed (its source, its seeds, the module that has
//! its body or a module that this one uses), or a file of a crate that these modules name, or of a
//! crate that such a crate depends on. What says how everything is built (the lock file, the
//! workspace, the compiler) concerns all. Names are looked for in the text of the modules: a name
//! too many makes a target run in vain, and there is no way to use a crate without its name.
#![allow(clippy::indexing_slicing, reason = "of JSON, where what is not there is null")]

use casemate_fuzz::TARGETS;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, stdin};
use std::path::Path;
use std::process::{Command, ExitCode};

/// Names and, of each, those that it uses.
type Uses = BTreeMap<String, BTreeSet<String>>;

fn main() -> ExitCode {
    match concerned() {
        Ok(targets) => {
            targets.iter().for_each(|target| println!("{target}"));
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("changed_targets: {why}");
            ExitCode::FAILURE
        }
    }
}

fn concerned() -> Result<Vec<&'static str>, String> {
    let changed: Vec<String> =
        stdin().lock().lines().collect::<Result<_, _>>().map_err(|e| format!("input: {e}"))?;
    let crates = crates()?;
    let modules = modules(&crates)?;
    let bodies = bodies()?;
    let mut targets = Vec::new();
    for (target, _) in TARGETS {
        let body = bodies.get(*target).ok_or(format!("fuzz/src/lib.rs: no body of {target}"))?;
        let mut used = BTreeSet::from([format!("fuzz/src/{body}.rs")]);
        follow(&format!("fuzz/src/{body}.rs"), &modules, &mut used);
        used.insert(format!("fuzz/fuzz_targets/{target}.rs"));
        used.insert(format!("fuzz/seeds/{target}/"));
        if changed.iter().any(|path| of_all(path) || used.iter().any(|use_| path.starts_with(use_)))
        {
            targets.push(*target);
        }
    }
    Ok(targets)
}

/// Whether a file says how every target is built.
fn of_all(path: &str) -> bool {
    let names = ["Cargo.lock", "Cargo.toml", "rust-toolchain.toml", "fuzz/Cargo.toml", "fuzz/run"];
    names.contains(&path) || path == "fuzz/src/lib.rs"
}

/// Adds to `found` whatever `from` uses, and what that uses.
fn follow(from: &str, uses: &Uses, found: &mut BTreeSet<String>) {
    for next in uses.get(from).into_iter().flatten() {
        if found.insert(next.clone()) {
            follow(next, uses, found);
        }
    }
}

/// The crates of the workspace by their folders, which end with a slash, each with those that it
/// depends on; what only their tests need is no part of a target.
fn crates() -> Result<Uses, String> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .output()
        .map_err(|e| format!("cargo metadata: {e}"))?;
    let all: Value =
        serde_json::from_slice(&output.stdout).map_err(|e| format!("cargo metadata: {e}"))?;
    let root = all["workspace_root"].as_str().ok_or("cargo metadata: no workspace")?;
    let folder = |path: &str| {
        let inner = Path::new(path).strip_prefix(root).ok()?.to_str()?;
        Some(format!("{inner}/"))
    };
    let mut uses = Uses::new();
    for package in all["packages"].as_array().into_iter().flatten() {
        let manifest = package["manifest_path"].as_str().unwrap_or_default();
        let Some(place) = folder(manifest.trim_end_matches("/Cargo.toml")) else { continue };
        let needs = package["dependencies"].as_array().into_iter().flatten();
        let needs = needs.filter(|need| need["kind"] != "dev");
        uses.insert(place, needs.filter_map(|need| folder(need["path"].as_str()?)).collect());
    }
    Ok(uses)
}

/// The files of the targets' bodies, each with the other files and the crates that it names, and
/// the crates as [`crates`] has them.
fn modules(crates: &Uses) -> Result<Uses, String> {
    let own = "fuzz/";
    let named = |place: &String| {
        let text = std::fs::read_to_string(format!("{place}Cargo.toml")).ok()?;
        let name = text.lines().find_map(|line| line.strip_prefix("name = \""))?;
        Some((name.trim_end_matches('"').replace('-', "_"), place.clone()))
    };
    let names: Vec<(String, String)> =
        crates.keys().filter(|place| *place != own).filter_map(named).collect();
    let files = std::fs::read_dir("fuzz/src").map_err(|e| format!("fuzz/src: {e}"))?;
    let files: Vec<String> = files
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter_map(|name| Some(name.strip_suffix(".rs")?.to_owned()))
        .collect();
    let mut uses = crates.clone();
    for file in &files {
        let path = format!("fuzz/src/{file}.rs");
        let text = std::fs::read_to_string(&path).map_err(|e| format!("{path}: {e}"))?;
        let others = files.iter().filter(|other| {
            *other != file
                && (text.contains(&format!("crate::{other}"))
                    || text.contains(&format!("super::{other}")))
        });
        let crates = names.iter().filter(|(name, _)| has_word(&text, name));
        let all = others.map(|other| format!("fuzz/src/{other}.rs"));
        uses.insert(path, all.chain(crates.map(|(_, place)| place.clone())).collect());
    }
    Ok(uses)
}

/// Whether `text` has `word` and not only as part of a longer one.
fn has_word(text: &str, word: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        !before.is_some_and(inner) && !after.is_some_and(inner)
    })
}

/// The module of each target's body, as the list of targets writes it: `("name", module::body)`.
fn bodies() -> Result<BTreeMap<String, String>, String> {
    let text = std::fs::read_to_string("fuzz/src/lib.rs").map_err(|e| format!("lib.rs: {e}"))?;
    let entry = |line: &str| {
        let (name, body) = line.trim().strip_prefix("(\"")?.split_once("\", ")?;
        Some((name.to_owned(), body.split_once("::")?.0.to_owned()))
    };
    Ok(text.lines().filter_map(entry).collect())
}
