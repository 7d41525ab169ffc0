//! Product source: which crates there are, and the tokens of their files.

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use std::path::{Path, PathBuf};
use syn::{Attribute, Item};

/// Folders whose crates are not part of the product: they may see everything.
const OUTSIDE: [&str; 2] = ["fuzz", "tests"];

/// Why the house cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A file that cannot be opened.
    #[error("{0}: {1}")]
    File(PathBuf, std::io::Error),
    /// A file that is not what its name says.
    #[error("{0}: {1}")]
    Contents(PathBuf, String),
}

/// One file of a crate.
#[derive(Debug)]
pub struct File {
    /// From the repository's root.
    pub path: PathBuf,
    /// `vm::start` is `["vm", "start"]`; a crate's root is empty.
    pub module: Vec<String>,
    /// Whether it is the `mod.rs` of a folder, or a crate's root.
    pub is_folder: bool,
    /// All tokens but those that only tests compile.
    pub tokens: Vec<TokenTree>,
}

/// One crate.
#[derive(Debug)]
pub struct Crate {
    /// Its folder, as ARCHITECTURE.md names it.
    pub folder: String,
    /// As code names it.
    pub name: String,
    /// Dependencies of the product: package names.
    pub dependencies: Vec<String>,
    /// Its files.
    pub files: Vec<File>,
}

fn read(path: &Path) -> Result<String, ReadError> {
    std::fs::read_to_string(path).map_err(|e| ReadError::File(path.into(), e))
}

fn manifest(path: &Path) -> Result<toml::Table, ReadError> {
    read(path)?
        .parse()
        .map_err(|e: toml::de::Error| ReadError::Contents(path.into(), e.to_string()))
}

/// The product's crates, of the workspace at `root`.
///
/// # Errors
/// [`ReadError`].
pub fn crates(root: &Path) -> Result<Vec<Crate>, ReadError> {
    let workspace = manifest(&root.join("Cargo.toml"))?;
    let members = workspace.get("workspace").and_then(|w| w.get("members")?.as_array());
    let mut found = Vec::new();
    for member in members.into_iter().flatten().filter_map(toml::Value::as_str) {
        if !OUTSIDE.iter().any(|outside| Path::new(member).starts_with(outside)) {
            found.push(one(root, member)?);
        }
    }
    Ok(found)
}

fn one(root: &Path, folder: &str) -> Result<Crate, ReadError> {
    let manifest = manifest(&root.join(folder).join("Cargo.toml"))?;
    let package = manifest.get("package").and_then(|p| p.get("name")?.as_str());
    let library = manifest.get("lib").and_then(|l| l.get("name")?.as_str());
    let name = library.or(package).unwrap_or_default().replace('-', "_");
    let table = |name| manifest.get(name).and_then(toml::Value::as_table);
    let targets = table("target").into_iter().flatten();
    let of_targets = targets.filter_map(|(_, t)| t.get("dependencies")?.as_table());
    let dependencies = table("dependencies").into_iter().chain(of_targets);
    let dependencies = dependencies.flat_map(|table| table.keys().cloned()).collect();
    let mut files = Vec::new();
    // The boot code's image is a program of its own beside its library.
    for source in ["src", "image"] {
        let source = Path::new(folder).join(source);
        if root.join(&source).is_dir() {
            folder_files(root, &source, &mut Vec::new(), &mut files)?;
        }
    }
    Ok(Crate { folder: folder.into(), name, dependencies, files })
}

fn folder_files(
    root: &Path,
    folder: &Path,
    module: &mut Vec<String>,
    files: &mut Vec<File>,
) -> Result<(), ReadError> {
    let here = root.join(folder);
    let entries = std::fs::read_dir(&here).map_err(|e| ReadError::File(here.clone(), e))?;
    let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
    names.sort();
    for name in names {
        let path = folder.join(&name);
        let name = name.to_string_lossy().into_owned();
        if root.join(&path).is_dir() {
            module.push(name);
            folder_files(root, &path, module, files)?;
            module.pop();
        } else if let Some(stem) = name.strip_suffix(".rs") {
            // `tests.rs` is named by a `#[cfg(test)] mod tests;`.
            if stem == "tests" || stem.ends_with("_tests") {
                continue;
            }
            let is_root = module.is_empty() && matches!(stem, "lib" | "main");
            let is_folder = is_root || stem == "mod" || here.join(stem).is_dir();
            let mut module = module.clone();
            if !is_root && stem != "mod" {
                module.push(stem.to_owned());
            }
            let tokens = product_tokens(&root.join(&path))?;
            files.push(File { path, module, is_folder, tokens });
        }
    }
    Ok(())
}

fn product_tokens(path: &Path) -> Result<Vec<TokenTree>, ReadError> {
    let mut file = syn::parse_file(&read(path)?)
        .map_err(|e| ReadError::Contents(path.into(), e.to_string()))?;
    let is_test = file.attrs.iter().any(only_for_tests);
    file.attrs.clear();
    without_tests(&mut file.items);
    let stream = if is_test { TokenStream::new() } else { file.into_token_stream() };
    Ok(stream.into_iter().collect())
}

fn without_tests(items: &mut Vec<Item>) {
    items.retain(|item| !attributes(item).iter().any(only_for_tests));
    for item in items {
        if let Item::Mod(module) = item
            && let Some((_, items)) = &mut module.content
        {
            without_tests(items);
        }
    }
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(i) => &i.attrs,
        Item::Enum(i) => &i.attrs,
        Item::Fn(i) => &i.attrs,
        Item::Impl(i) => &i.attrs,
        Item::Macro(i) => &i.attrs,
        Item::Mod(i) => &i.attrs,
        Item::Static(i) => &i.attrs,
        Item::Struct(i) => &i.attrs,
        Item::Trait(i) => &i.attrs,
        Item::Type(i) => &i.attrs,
        Item::Use(i) => &i.attrs,
        _ => &[],
    }
}

fn only_for_tests(attribute: &Attribute) -> bool {
    attribute.path().is_ident("cfg")
        && attribute.to_token_stream().to_string().replace(' ', "").contains("(test)")
}
