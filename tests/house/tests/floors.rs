//! Arrows run one way. Protects: that a crate or module imports only what ARCHITECTURE.md's table
//! lets it, and that no folder has a circle. Cannot tell: whether the table is wise, and what a
//! trait object does at run time.
#![allow(clippy::unwrap_used, reason = "tests")]

use casemate_house::graph::{Graph, circle};
use casemate_house::imports::{self, Named, PassedOn};
use casemate_house::source::{Crate, crates};
use casemate_house::table::{Rows, floors, rows};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap()
}

fn document() -> String {
    std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap()
}

/// Arrows between places, each with a file that has it.
type Arrows = BTreeMap<(String, String), String>;

fn between_crates(house: &[Crate]) -> Arrows {
    let folder: BTreeMap<_, _> = house.iter().map(|c| (c.name.clone(), &c.folder)).collect();
    let mut arrows = Arrows::new();
    for from in house {
        for dependency in &from.dependencies {
            if let Some(to) = folder.get(&dependency.replace('-', "_")) {
                arrows.insert((from.folder.clone(), (*to).clone()), "its Cargo.toml".into());
            }
        }
        for file in &from.files {
            for Named { other, .. } in imports::of(file) {
                if let Some(to) = other.and_then(|name| folder.get(&name).copied())
                    && *to != from.folder
                {
                    let file = file.path.display().to_string();
                    arrows.insert((from.folder.clone(), to.clone()), file);
                }
            }
        }
    }
    arrows
}

/// Arrows between the modules of a crate that stand directly below the module `below`.
fn between_modules(house: &Crate, below: &[String]) -> Arrows {
    let passed_on = PassedOn::of(house);
    let room = |module: &[String]| -> Option<String> {
        let inside = module.strip_prefix(below)?;
        Some(inside.first().cloned().unwrap_or_else(|| "mod".into()))
    };
    let mut arrows = Arrows::new();
    for file in &house.files {
        let Some(from) = room(&file.module) else { continue };
        for named in imports::of(file) {
            // In a folder's own file, a path that begins with a child's name is the folder's own.
            let path =
                match named.other {
                    None => named.path,
                    Some(name) if file.is_folder => {
                        let mut path = file.module.clone();
                        path.push(name);
                        path.extend(named.path);
                        if !house.files.iter().any(|f| {
                            path.starts_with(&f.module) && f.module.len() > file.module.len()
                        }) {
                            continue;
                        }
                        path
                    }
                    Some(_) => continue,
                };
            let to = passed_on.file(house, &path).and_then(|index| house.files.get(index));
            if let Some(to) = to.and_then(|to| room(&to.module))
                && from != to
            {
                arrows.insert((from.clone(), to), file.path.display().to_string());
            }
        }
    }
    arrows
}

fn refused(arrows: &Arrows, allowed: &Rows, prefix: &str) -> Vec<String> {
    let name = |room: &str| format!("{prefix}{room}");
    let lacks = |(from, to): &(String, String)| {
        allowed.get(&name(from)).is_none_or(|row| !row.contains(&name(to)))
    };
    arrows
        .iter()
        .filter(|(arrow, _)| lacks(arrow))
        .map(|((from, to), file)| format!("{} -> {} ({file})", name(from), name(to)))
        .collect()
}

fn graph(arrows: &Arrows) -> Graph {
    let mut graph = Graph::new();
    for (from, to) in arrows.keys() {
        graph.entry(from.clone()).or_default().insert(to.clone());
    }
    graph
}

/// `cargo test -p casemate-house -- --ignored --nocapture print_arrows`: what the tables would say
/// of the code as it is. Look at what is new before you write it into ARCHITECTURE.md: an arrow may
/// only point down.
#[test]
#[ignore = "prints, and checks nothing"]
fn print_arrows() {
    let house = crates(root()).unwrap();
    let hypervisor = house.iter().find(|c| c.folder == "hypervisor").unwrap();
    let tables = [("crate", between_crates(&house)), ("module", between_modules(hypervisor, &[]))];
    for (table, arrows) in tables {
        for (from, to) in arrows.keys().filter(|(from, _)| from != "mod") {
            println!("ARROW {table} {from} {to}");
        }
    }
}

#[test]
fn every_import_between_crates_is_in_the_table() {
    let refused = refused(
        &between_crates(&crates(root()).unwrap()),
        &rows(&document(), "crate", "may import"),
        "",
    );
    assert!(refused.is_empty(), "not in ARCHITECTURE.md's table: {refused:#?}");
}

/// Protects the map that a newcomer reads: it names every folder that product code is in, and no
/// arrow leads to the same line or to a later one.
#[test]
fn every_import_between_crates_leads_down_the_map() {
    let floors = floors(&document(), "folder");
    let floor = |folder: &str| {
        // The images are one line of the map, and everything of theirs is in it.
        let place = |name: &String| name == folder || folder.starts_with(&format!("{name}/"));
        floors.iter().position(|floor| floor.iter().any(place))
    };
    let mut wrong = Vec::new();
    for ((from, to), file) in between_crates(&crates(root()).unwrap()) {
        match (floor(&from), floor(&to)) {
            (Some(upper), Some(lower)) if lower < upper => {}
            _ => wrong.push(format!("{from} -> {to} ({file})")),
        }
    }
    assert!(wrong.is_empty(), "not down the map of ARCHITECTURE.md: {wrong:#?}");
}

#[test]
fn every_import_between_modules_of_the_hypervisor_is_in_the_table() {
    let house = crates(root()).unwrap();
    let hypervisor = house.iter().find(|c| c.folder == "hypervisor").unwrap();
    let mut arrows = between_modules(hypervisor, &[]);
    arrows.retain(|(from, _), _| from != "mod");
    let refused = refused(&arrows, &rows(&document(), "module", "may import"), "");
    assert!(refused.is_empty(), "not in ARCHITECTURE.md's table: {refused:#?}");
}

#[test]
fn the_tables_name_what_is_there_and_allow_no_more_than_is_used() {
    let house = crates(root()).unwrap();
    let hypervisor = house.iter().find(|c| c.folder == "hypervisor").unwrap();
    let tables = [("crate", between_crates(&house)), ("module", between_modules(hypervisor, &[]))];
    for (table, arrows) in tables {
        for (from, row) in rows(&document(), table, "may import") {
            for to in row {
                assert!(
                    arrows.contains_key(&(from.clone(), to.clone())),
                    "the table of each {table} allows {from} -> {to}, which nothing uses"
                );
            }
        }
    }
}

#[test]
fn no_folder_has_a_circle() {
    let mut circles = Vec::new();
    for house in crates(root()).unwrap() {
        let mut folders: BTreeSet<Vec<String>> = BTreeSet::from([Vec::new()]);
        for file in &house.files {
            folders.extend((0..file.module.len()).map(|n| file.module[..n].to_vec()));
        }
        for folder in folders {
            // A folder's own file stands for the folder: it may pass on and use what its children
            // are.
            let mut arrows = between_modules(&house, &folder);
            arrows.retain(|(from, _), _| from != "mod");
            if let Some(circle) = circle(&graph(&arrows)) {
                let files: Vec<_> = arrows
                    .iter()
                    .filter(|((from, to), _)| circle.contains(from) && circle.contains(to))
                    .collect();
                circles.push(format!(
                    "{}/{}: {circle:?} {files:?}",
                    house.folder,
                    folder.join("/")
                ));
            }
        }
    }
    assert!(circles.is_empty(), "{circles:#?}");
}

#[test]
fn crates_that_only_some_may_use_are_used_by_no_other() {
    let allowed = rows(&document(), "library", "only in");
    assert!(!allowed.is_empty());
    for house in crates(root()).unwrap() {
        for dependency in &house.dependencies {
            if let Some(row) = allowed.get(dependency) {
                assert!(row.contains(&house.folder), "{} may not use {dependency}", house.folder);
            }
        }
    }
}

#[test]
fn only_programs_print_and_exit() {
    let printing = ["println", "eprintln", "print", "eprint", "dbg"];
    let allowed = ["casemate", "images/", "guest/init", "guest/boot", "release"];
    let mut found = Vec::new();
    for house in crates(root()).unwrap() {
        if allowed.iter().any(|a| house.folder.starts_with(a)) {
            continue;
        }
        for file in &house.files {
            let text: String = file.tokens.iter().map(|t| format!("{t} ")).collect();
            for name in printing {
                if text.contains(&format!(" {name} !")) || text.contains(&format!("{{ {name} !")) {
                    found.push(format!("{}: {name}!", file.path.display()));
                }
            }
            if text.contains("process :: exit") || text.contains("std :: io :: stderr") {
                found.push(format!("{}: exits or writes to the terminal", file.path.display()));
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}
