//! What reading a pod needs, and gathers.

use crate::choices::Choices;
use crate::finding::Findings;
use crate::image::Image;
use crate::yaml::{self, Value};
use crate::{Hashes, quantity};
use std::collections::BTreeMap;

/// A part of the guest's memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Memory {
    /// For what.
    pub what: String,
    /// How much at most, in MiB; None where the pod sets no bound.
    pub mebibytes: Option<u64>,
}

/// What reading a pod needs and gathers.
pub(crate) struct Reader<'r> {
    pub findings: Findings,
    pub choices: &'r Choices,
    pub images: &'r BTreeMap<String, Image>,
    /// Files of volumes, which the tenant named.
    pub files: &'r BTreeMap<String, Hashes>,
    /// Texts of the ConfigMaps that are in the same file.
    pub maps: BTreeMap<String, BTreeMap<String, String>>,
    pub name: Option<String>,
    pub namespace: Option<String>,
    pub hostname: Option<String>,
    pub layers: Vec<casemate_pod::Layer>,
    pub memory: Vec<Memory>,
}

impl Reader<'_> {
    /// The entries of a map that is expected to be one.
    pub fn entries<'v>(&mut self, value: &'v Value, field: &str) -> &'v [(yaml::Key, Value)] {
        if let Some(entries) = value.entries() {
            return entries;
        }
        if value.kind != yaml::Kind::Null {
            self.findings.refuse(value.line, field, "is no map");
        }
        &[]
    }

    /// Refuses each key of a map that is none of `known`: what is not known here might matter.
    pub fn only(&mut self, value: &Value, field: &str, known: &[&str]) {
        for (key, _) in self.entries(value, field) {
            if !known.contains(&key.name.as_str()) {
                let field = format!("{field}.{}", key.name);
                self.findings.refuse(key.line, &field, "is not known here");
            }
        }
    }

    /// The values of a list that is expected to be one.
    pub fn list<'v>(&mut self, value: &'v Value, field: &str) -> &'v [Value] {
        if let Some(list) = value.list() {
            return list;
        }
        if value.kind != yaml::Kind::Null {
            self.findings.refuse(value.line, field, "is no list");
        }
        &[]
    }

    /// A text that is expected to be one.
    pub fn text(&mut self, value: &Value, field: &str) -> Option<String> {
        let text = value.text().map(str::to_owned);
        if text.is_none() {
            let why = "is no text: a number or a word such as true stands in quotes";
            self.findings.refuse(value.line, field, why);
        }
        text
    }

    /// `true` or `false`.
    pub fn flag(&mut self, value: &Value, field: &str) -> bool {
        let flag = value.flag();
        if flag.is_none() && value.kind != yaml::Kind::Null {
            self.findings.refuse(value.line, field, "is neither true nor false");
        }
        flag.unwrap_or(false)
    }

    /// A container's limit of memory, as a part of the sum.
    pub fn limit(&mut self, name: &str, limit: Option<&Value>) {
        let mebibytes = limit.and_then(Value::word).and_then(quantity::mebibytes).map(u64::from);
        self.memory.push(Memory { what: format!("programs of container {name}"), mebibytes });
    }
}
