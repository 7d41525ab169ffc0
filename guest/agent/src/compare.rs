//! What the host wishes for a process, against what the manifest says.
//!
//! Everything that is run comes from the manifest. The wish is looked at only so that a difference
//! is told, by name, before anything runs: a pod that was changed on its way does not run as
//! something that nobody asked for. The one thing taken from it is the value of a variable that the
//! manifest leaves open, and it must be of the type that the manifest gives it.

use casemate_agent::{Code, Refusal, Wish};
use casemate_pod::{Container, Manifest, Root, is_service_variable};
use std::fmt::Display;

/// Environment of a process, as it will be run.
pub type Environment = Vec<String>;

/// Most variables that the host may choose, and bytes of each of them.
const MAX_OPEN: usize = 1024;
const MAX_VALUE: usize = 4096;
/// Variables that an engine sets behind what it is asked for, or not at all: `HOME` is runc's own
/// doing and in no config.json, `HOSTNAME` is CRI's and not that of `ctr`. What the manifest says
/// of them is what is run; that a host does not ask for it is no difference.
const BY_ENGINES: [&str; 4] = ["HOME", "HOSTNAME", "PATH", "TERM"];

fn differs(container: &Container, what: impl Display) -> Refusal {
    Refusal::new(Code::Differs, format_args!("container {}: {what}", container.name))
}

/// A value as a sentence shows it: short, since the sentence has room for two.
fn shown(value: &impl std::fmt::Debug) -> String {
    let text = format!("{value:?}");
    match text.char_indices().nth(80) {
        Some((cut, _)) => format!("{}…", text.get(..cut).unwrap_or_default()),
        None => text,
    }
}

/// Refuses a wish for a container's own process that differs from the manifest.
///
/// # Errors
/// [`Code::Differs`], with the first difference.
pub fn own(
    manifest: &Manifest,
    container: &Container,
    wish: &Wish,
) -> Result<Environment, Refusal> {
    let same_args = wish.args == container.args;
    if !same_args {
        return Err(arguments(container, wish));
    }
    let root = container.root == Root::ReadOnly;
    if root != wish.readonly {
        let says = |read_only| if read_only { "read-only" } else { "writable" };
        let what = format!(
            "its root is to be {}, and {} by the manifest",
            says(wish.readonly),
            says(root)
        );
        return Err(differs(container, what));
    }
    around(manifest, container, wish)
}

/// Refuses a wish for a process beside a container's own that the manifest does not list.
///
/// # Errors
/// [`Code::Unlisted`], and [`Code::Differs`] of a listed one with another user or environment.
pub fn beside(
    manifest: &Manifest,
    container: &Container,
    wish: &Wish,
) -> Result<Environment, Refusal> {
    if !container.exec.contains(&wish.args) {
        let what = format_args!(
            "container {}: the manifest lists no command {}",
            container.name,
            shown(&wish.args)
        )
        .to_string();
        return Err(Refusal::new(Code::Unlisted, what));
    }
    around(manifest, container, wish)
}

/// The first argument that differs.
fn arguments(container: &Container, wish: &Wish) -> Refusal {
    let (host, ours) = (&wish.args, &container.args);
    let at = host.iter().zip(ours).position(|(one, other)| one != other);
    let at = at.unwrap_or_else(|| host.len().min(ours.len()));
    let of = |list: &[String]| list.get(at).map_or_else(|| "none".into(), shown);
    differs(
        container,
        format_args!("argument {at} is {}, and {} by the manifest", of(host), of(ours)),
    )
}

/// What a container's own process and those beside it have in common.
fn around(manifest: &Manifest, container: &Container, wish: &Wish) -> Result<Environment, Refusal> {
    let one = |what: &str, host: &dyn Display, ours: &dyn Display| {
        differs(container, format_args!("{what} {host}, and {ours} by the manifest"))
    };
    if wish.cwd != container.cwd {
        return Err(one("its folder is", &shown(&wish.cwd), &shown(&container.cwd)));
    }
    let user = &container.user;
    if (wish.uid, wish.gid) != (user.uid, user.gid) {
        let host = format!("{}:{}", wish.uid, wish.gid);
        return Err(one("its user is", &host, &format!("{}:{}", user.uid, user.gid)));
    }
    // Engines differ in whether they name the group itself among the further ones.
    let mut groups: Vec<u32> = wish.groups.iter().copied().filter(|gid| *gid != user.gid).collect();
    groups.sort_unstable();
    groups.dedup();
    let ours: Vec<u32> = user.groups.iter().copied().filter(|gid| *gid != user.gid).collect();
    if groups != ours {
        return Err(one("its further groups are", &shown(&groups), &shown(&ours)));
    }
    let capabilities = capabilities(container);
    if wish.capabilities != capabilities {
        let bits = |set| format!("{set:#x}");
        return Err(one("its capabilities are", &bits(wish.capabilities), &bits(capabilities)));
    }
    let terminal = container.stdio.terminal();
    // A process beside a container's own may do without: a probe has no terminal.
    if wish.terminal && !terminal {
        return Err(differs(container, "it is to have a terminal, and has none by the manifest"));
    }
    environment(manifest, container, &wish.env)
}

/// The bounding set of a container: a bit for each of its capabilities.
#[must_use]
pub fn capabilities(container: &Container) -> u64 {
    let bit = |number: u8| 1u64.checked_shl(number.into()).unwrap_or(0);
    container.caps.iter().fold(0, |set, one| set | bit(one.number()))
}

/// The manifest's variables, and the host's values of open ones.
fn environment(
    manifest: &Manifest,
    container: &Container,
    wish: &[String],
) -> Result<Environment, Refusal> {
    let mut environment = container.env.clone();
    let mut seen = Vec::new();
    for entry in wish {
        let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
        if seen.contains(&name) {
            let what = format_args!("variable {} comes twice", shown(&name)).to_string();
            return Err(differs(container, what));
        }
        if seen.len() >= MAX_OPEN {
            return Err(differs(container, format_args!("more than {MAX_OPEN} variables")));
        }
        seen.push(name);
        if container.env.contains(entry) {
            continue;
        }
        let exact =
            container.env.iter().any(|ours| ours.split_once('=').map(|e| e.0) == Some(name));
        let open = container.env_open.iter().find(|open| open.name == name);
        match open {
            Some(open) if !exact && value.len() <= MAX_VALUE && open.value.admits(value) => {
                environment.push(entry.clone());
            }
            Some(open) if !exact => {
                let what = format!(
                    "variable {name} is {}, and the manifest leaves open a value \
                    of type {}",
                    shown(&value),
                    open.value
                );
                return Err(differs(container, what));
            }
            // Those of services: given where the manifest says so, and dropped where it does not.
            None if !exact && is_service_variable(name, value) => {
                if manifest.pod.services {
                    environment.push(entry.clone());
                }
            }
            _ => {
                let what = format!("variable {} is not the manifest's", shown(&entry));
                return Err(differs(container, what));
            }
        }
    }
    let by_engines =
        |entry: &String| entry.split_once('=').is_some_and(|(name, _)| BY_ENGINES.contains(&name));
    let missing = container.env.iter().find(|ours| !wish.contains(ours) && !by_engines(ours));
    if let Some(missing) = missing {
        let what = format!("variable {} of the manifest is missing", shown(missing));
        return Err(differs(container, what));
    }
    Ok(environment)
}
