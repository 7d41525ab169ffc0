//! What an image runs: its configuration's words and what is written over them, looked up in its
//! own files, so that the guest finds everything ready.

use crate::oci;
use crate::tree::{Kind, NodeId, Tree};
use crate::{ImageError, Spool, users};
use casemate_foreign_text::value;
use casemate_manifest::{MAX_STRINGS, Process};
use serde::{Deserialize, Serialize};

/// What is written over an image's configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Changes {
    /// The program and all its arguments, in place of entrypoint and command.
    pub args: Vec<String>,
    /// Variables, each in place of the image's of this name.
    pub env: Vec<String>,
    /// User and group.
    pub user: Option<String>,
    /// Where it starts.
    pub working_dir: Option<String>,
}

/// What Docker sets where an image says nothing.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Longest `/etc/passwd` and `/etc/group`.
const MAX_USERS: u64 = 1 << 20;
/// `EM_X86_64`.
const X86_64: [u8; 2] = [62, 0];

/// Signals by name, as signal(7) has them for x86-64.
const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

fn unfit(why: impl Into<String>) -> ImageError {
    ImageError::Workload(why.into())
}

/// The process of an image: `config` is empty for a folder and a tar file, which say nothing.
///
/// # Errors
/// [`ImageError::Workload`] with what is missing or impossible.
pub fn resolve(
    tree: &Tree,
    spool: &Spool,
    config: &oci::Process,
    changes: &Changes,
) -> Result<Process, ImageError> {
    let args: Vec<String> = if changes.args.is_empty() {
        config.entrypoint.iter().chain(&config.cmd).cloned().collect()
    } else {
        changes.args.clone()
    };
    let name = args.first().filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| {
        unfit("nothing says what to run: the image has no entrypoint; write `-- PROGRAM ARGUMENT…`")
    })?;
    let users = users::find(
        changes.user.as_deref().unwrap_or(&config.user),
        &text(tree, spool, b"/etc/passwd")?,
        &text(tree, spool, b"/etc/group")?,
    )?;
    let working_dir = match changes.working_dir.as_deref().unwrap_or(&config.working_dir) {
        "" => "/",
        dir if dir.starts_with('/') => dir,
        dir => {
            return Err(unfit(format!(
                "its working directory {} is no path from the root",
                value(dir)
            )));
        }
    };
    let env = environment(config, changes, users.home.as_deref())?;
    let path = env.iter().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or_default();
    Ok(Process {
        program: program(tree, spool, name, path, working_dir)?,
        args,
        env,
        user: users.user,
        working_dir: working_dir.to_owned(),
        stop_signal: signal(&config.stop_signal)?,
        ports: config.exposed_ports.keys().cloned().collect(),
    })
}

/// A small text file of the image; nothing where there is none.
fn text(tree: &Tree, spool: &Spool, path: &[u8]) -> Result<String, ImageError> {
    let Some(Kind::File(content)) = tree.find(path).map(|id| &tree.node(id).kind) else {
        return Ok(String::new());
    };
    let size = usize::try_from(content.len).ok().filter(|_| content.len <= MAX_USERS);
    let size = size.ok_or_else(|| {
        unfit(format!("its {} has more than 1 MiB", casemate_foreign_text::bytes(path)))
    })?;
    let mut bytes = vec![0; size];
    spool.read(*content, 0, &mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn environment(
    config: &oci::Process,
    changes: &Changes,
    home: Option<&str>,
) -> Result<Vec<String>, ImageError> {
    fn name(entry: &str) -> Option<&str> {
        entry.split_once('=').map(|(name, _)| name).filter(|name| !name.is_empty())
    }
    // As many as a manifest may have, before each is compared with all others.
    if config.env.len().saturating_add(changes.env.len()) > MAX_STRINGS {
        return Err(unfit(format!("it has more than {MAX_STRINGS} variables")));
    }
    let mut env: Vec<String> = Vec::new();
    for entry in config.env.iter().chain(&changes.env) {
        let name_here = name(entry).ok_or_else(|| {
            unfit(format!("the variable {} is not NAME=VALUE", value(entry).at_most(64)))
        })?;
        // A name that is there twice means one thing to some programs and another to others.
        match env.iter_mut().find(|other| name(other) == Some(name_here)) {
            Some(other) => entry.clone_into(other),
            None => env.push(entry.clone()),
        }
    }
    let has = |env: &[String], wanted| env.iter().any(|entry| name(entry) == Some(wanted));
    if !has(&env, "PATH") {
        env.insert(0, PATH.into());
    }
    if !has(&env, "HOME") {
        env.push(format!("HOME={}", home.unwrap_or("/")));
    }
    Ok(env)
}

fn signal(text: &str) -> Result<u8, ImageError> {
    let text = if text.is_empty() { "SIGTERM" } else { text };
    let name = text.strip_prefix("SIG").unwrap_or(text);
    let known = (1u8..).zip(SIGNALS).find(|(_, known)| *known == name).map(|(number, _)| number);
    let number = known.or_else(|| text.parse().ok().filter(|number| (1..=31).contains(number)));
    number.ok_or_else(|| {
        unfit(format!("its stop signal {} is none that is known", value(text).at_most(64)))
    })
}

/// The file of a program: a path, or a name that is looked for in `path` as execvp(3) does. It must
/// be one that this processor can run, so that a wrong image is refused before it is a disk.
fn program(
    tree: &Tree,
    spool: &Spool,
    name: &str,
    path: &str,
    working_dir: &str,
) -> Result<String, ImageError> {
    let missing = || unfit(format!("there is no program {} in the image", value(name)));
    let found = if name.contains('/') {
        Some(absolute(name, working_dir)).filter(|path| runs(tree, path).is_some())
    } else {
        let folders = path.split(':').map(|folder| if folder.is_empty() { "." } else { folder });
        let paths = folders.map(|folder| absolute(&format!("{folder}/{name}"), working_dir));
        paths.take(256).find(|path| runs(tree, path).is_some())
    };
    let found = found.ok_or_else(missing)?;
    let Some(Kind::File(content)) = runs(tree, &found).map(|id| &tree.node(id).kind) else {
        return Err(missing());
    };
    let mut start = [0; 20];
    let size = start.len().min(usize::try_from(content.len).unwrap_or(start.len()));
    let part = start.get_mut(..size).unwrap_or_default();
    spool.read(*content, 0, part)?;
    // e_ident and e_machine; what is no ELF file is a script, whose interpreter is the kernel's to
    // find.
    if part.starts_with(b"\x7fELF")
        && (part.get(4) != Some(&2) || part.get(18..20) != Some(&X86_64))
    {
        let why = format!("its program {} is for another processor than x86-64", value(&found));
        return Err(unfit(why));
    }
    Ok(found)
}

fn absolute(path: &str, working_dir: &str) -> String {
    if path.starts_with('/') {
        return path.to_owned();
    }
    let path = path.strip_prefix("./").unwrap_or(path);
    format!("{}/{path}", working_dir.trim_end_matches('/'))
}

/// The regular file at a path, if it may be executed by somebody.
fn runs(tree: &Tree, path: &str) -> Option<NodeId> {
    let id = tree.find(path.as_bytes())?;
    let node = tree.node(id);
    (matches!(node.kind, Kind::File(_)) && node.meta.mode & 0o111 != 0).then_some(id)
}
