//! The page of a running VM: what its supervisor says, and what the kernel says of each process.

use super::{Titled, calls};
use crate::Failure;
use crate::html::Page;
use crate::sandbox::{read_back, running};
use crate::vms::facts;
use casemate_hypervisor::vm::name::Running;
use casemate_sandbox::InForce;
use serde_json::{Value, json};

/// Fills the page; its title, and the launch digest.
pub(super) fn show(page: &mut Page, name: &str) -> Result<Titled, Failure> {
    let facts = facts(name)?;
    page.section("Summary", "What its supervisor says; the kernel vouches for who that is.");
    let mut rows = Vec::new();
    flatten("", &json!(facts.vm), &mut rows);
    page.table("The VM", &["what", "is"], &rows);
    let processes = running(name)?;
    page.section(
        "Processes",
        "Read back from the kernel. Landlock cannot be read back by \
        another process: that it is in force was checked when the process was locked.",
    );
    for (process, in_force) in read_back(&processes)? {
        page.part(&format!("{} (process {})", process.kind, in_force.pid), true, |page| {
            of_process(page, process, &in_force);
        });
    }
    Ok((format!("What VM {name} is doing"), facts.vm.launch_digest))
}

fn of_process(page: &mut Page, process: &Running, in_force: &InForce) {
    for layer in &process.without {
        page.line(&format!(
            "It runs WITHOUT {}: optional, and this host could not give it.",
            layer.name()
        ));
    }
    // The same lines as `sandbox show` has them, in their order: name, then what is in force.
    let all = in_force.to_string();
    let line = |line: &str| {
        let (name, what) = line.split_at_checked(19).unwrap_or((line, ""));
        vec![name.trim().to_owned(), what.trim().to_owned()]
    };
    let rows: Vec<Vec<String>> = all.lines().map(line).collect();
    let (held, others): (Vec<_>, Vec<_>) =
        rows.into_iter().partition(|row| row.first().is_some_and(|name| name == "descriptor"));
    page.table("In force", &["what", "is"], &others);
    page.table("Descriptors that it holds", &["what", "number and what it leads to"], &held);
    calls(page, process.kind.profile());
}

/// An object as rows, each by the way to it; what is empty is left out.
fn flatten(name: &str, value: &Value, rows: &mut Vec<Vec<String>>) {
    let below =
        |part: &str| if name.is_empty() { part.to_owned() } else { format!("{name}.{part}") };
    match value {
        Value::Null => {}
        Value::Object(fields) => {
            fields.iter().for_each(|(key, value)| flatten(&below(key), value, rows));
        }
        Value::Array(items) => {
            (1..).zip(items).for_each(|(number, value): (u32, _)| {
                flatten(&below(&number.to_string()), value, rows);
            });
        }
        Value::String(text) => rows.push(vec![name.to_owned(), text.clone()]),
        other => rows.push(vec![name.to_owned(), other.to_string()]),
    }
}
