//! What a file names of other places.

use crate::source::{Crate, File};
use proc_macro2::{Delimiter, TokenTree};
use std::collections::{BTreeMap, BTreeSet};

/// A path as a file names it, from the root of the crate that it is in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Named {
    /// The crate, as code names it; none for the file's own.
    pub other: Option<String>,
    /// The rest.
    pub path: Vec<String>,
}

/// Every path that `file` names with `crate::`, `super::` or another crate's name in front.
#[must_use]
pub fn of(file: &File) -> BTreeSet<Named> {
    let mut found = BTreeSet::new();
    scan(&file.tokens, file, &mut found);
    found
}

fn scan(tokens: &[TokenTree], file: &File, found: &mut BTreeSet<Named>) {
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        match token {
            TokenTree::Group(group) => {
                let inner: Vec<_> = group.stream().into_iter().collect();
                scan(&inner, file, found);
                at += 1;
            }
            TokenTree::Ident(_) if !follows_colons(tokens, at) => {
                let starts = colons(tokens, at + 1);
                if starts {
                    at = path(tokens, at, Vec::new(), file, found);
                } else {
                    at += 1;
                }
            }
            _ => at += 1,
        }
    }
}

fn is_punct(tokens: &[TokenTree], at: usize, wanted: char) -> bool {
    matches!(tokens.get(at), Some(TokenTree::Punct(p)) if p.as_char() == wanted)
}

fn colons(tokens: &[TokenTree], at: usize) -> bool {
    is_punct(tokens, at, ':') && is_punct(tokens, at + 1, ':')
}

fn follows_colons(tokens: &[TokenTree], at: usize) -> bool {
    at >= 2 && colons(tokens, at - 2)
}

/// Reads the path at `at`, with the groups of a `use` tree; gives the index behind it.
fn path(
    tokens: &[TokenTree],
    mut at: usize,
    mut so_far: Vec<String>,
    file: &File,
    found: &mut BTreeSet<Named>,
) -> usize {
    loop {
        match tokens.get(at) {
            Some(TokenTree::Ident(ident)) => {
                so_far.push(ident.to_string());
                at += 1;
            }
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                let inner: Vec<_> = group.stream().into_iter().collect();
                let mut from = 0;
                while from < inner.len() {
                    from = path(&inner, from, so_far.clone(), file, found);
                    // To the next of the list, over `as x` and the comma.
                    while from < inner.len() && !is_punct(&inner, from, ',') {
                        from += 1;
                    }
                    from += 1;
                }
                return at + 1;
            }
            _ => at += 1,
        }
        if colons(tokens, at) {
            at += 2;
        } else {
            found.extend(resolve(&so_far, file));
            return at;
        }
    }
}

fn resolve(path: &[String], file: &File) -> Option<Named> {
    let mut own: Vec<String> = Vec::new();
    let mut rest = path;
    match path.first()?.as_str() {
        "crate" => rest = rest.get(1..)?,
        "super" | "self" => {
            own.clone_from(&file.module);
            while let Some((first, others)) = rest.split_first() {
                match first.as_str() {
                    "super" => drop(own.pop()),
                    "self" => {}
                    _ => break,
                }
                rest = others;
            }
        }
        other => {
            return Some(Named { other: Some(other.to_owned()), path: rest.get(1..)?.to_vec() });
        }
    }
    own.extend(rest.iter().cloned());
    Some(Named { other: None, path: own })
}

/// Where each name that a folder's `mod.rs` passes on comes from: folder and name, to the module's
/// path.
#[derive(Debug)]
pub struct PassedOn(BTreeMap<(Vec<String>, String), Vec<String>>);

impl PassedOn {
    /// The re-exports of a crate.
    #[must_use]
    pub fn of(house: &Crate) -> Self {
        let mut all = BTreeMap::new();
        for file in house.files.iter().filter(|file| file.is_folder) {
            let tokens = &file.tokens;
            for at in 0..tokens.len() {
                let is_use = matches!(tokens.get(at), Some(TokenTree::Ident(i)) if i == "use");
                let is_public = at.checked_sub(1).and_then(|before| tokens.get(before));
                let is_public = match is_public {
                    Some(TokenTree::Ident(i)) => i == "pub",
                    Some(TokenTree::Group(g)) => g.delimiter() == Delimiter::Parenthesis,
                    _ => false,
                };
                if is_use && is_public {
                    let end = (at..tokens.len()).find(|end| is_punct(tokens, *end, ';'));
                    let mut names = BTreeSet::new();
                    let part = tokens.get(at + 1..end.unwrap_or(tokens.len())).unwrap_or(&[]);
                    path(part, 0, Vec::new(), file, &mut names);
                    for Named { other, path } in names {
                        if let Some(name) = path.last().cloned() {
                            // `pub use child::Name`: the first word is a child of this folder.
                            let mut from = file.module.clone();
                            from.extend(other);
                            from.extend(path);
                            from.pop();
                            all.insert((file.module.clone(), name), from);
                        }
                    }
                }
            }
        }
        Self(all)
    }

    /// The file of the crate that `path` leads to: its index, through what folders pass on.
    #[must_use]
    pub fn file(&self, house: &Crate, path: &[String]) -> Option<usize> {
        let (index, known) = longest(house, path)?;
        let next = path.get(known).cloned().unwrap_or_default();
        match self.0.get(&(path.get(..known)?.to_vec(), next)) {
            Some(from) => longest(house, from).map(|(index, _)| index),
            None => Some(index),
        }
    }
}

/// The file whose module is the longest beginning of `path`, and how long that is.
fn longest(house: &Crate, path: &[String]) -> Option<(usize, usize)> {
    let files = house.files.iter().enumerate();
    files
        .filter(|(_, file)| path.starts_with(&file.module))
        .map(|(index, file)| (index, file.module.len()))
        .max_by_key(|(_, known)| *known)
}
