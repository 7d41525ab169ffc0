//! A container: what it is made of, what is run in it, and what the host may ask of it.

use crate::value::Mebibytes;
use crate::{Capability, OpenValue, Signal};
use std::fmt;
use std::str::FromStr;

/// A container of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Its name, a label of DNS; a pod has it once.
    pub name: String,
    /// When it is started.
    pub kind: Kind,
    /// Its layers, the lowest first: numbers of [`crate::Manifest::layers`].
    pub layers: Vec<u16>,
    /// Its program and arguments. A program without a slash is looked for in the directories of
    /// `PATH` of [`Self::env`], inside the container.
    pub args: Vec<String>,
    /// Where it starts; made in the container when it is not there.
    pub cwd: String,
    /// Whose it is.
    pub user: User,
    /// What it may have beyond a user's rights, in the order of names.
    pub caps: Vec<Capability>,
    /// Whether a set-user-ID program or a file's capabilities give rights (`no_new_privs` is not
    /// set).
    pub new_privileges: bool,
    /// What is above its layers.
    pub root: Root,
    /// File systems in memory, each empty at the start, by path.
    pub tmpfs: Vec<Tmpfs>,
    /// Variables as `NAME=VALUE`, each name once.
    pub env: Vec<String>,
    /// Variables whose values the host chooses, by type. One that it does not give is not set.
    pub env_open: Vec<OpenVariable>,
    /// What the host gets of its output, and gives as its input. Holds for [`Self::exec`] as well.
    pub stdio: Stdio,
    /// Programs with their arguments that may be run beside it, as its user, in its directory and
    /// with its variables: probes, hooks, what `kubectl exec` may ask for. Exact lists.
    pub exec: Vec<Vec<String>>,
    /// Signals that it may be sent, by number.
    pub signals: Vec<Signal>,
    /// Whether it may be started again when it has ended.
    pub restart: bool,
}

/// When a container is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One after the other before the main ones; the next begins when it has ended with status 0.
    Init,
    /// In its place among those, but it goes on.
    Sidecar,
    /// When all those have been started.
    Main,
}

/// A user by numbers, looked up in the image's own files when the manifest was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Supplementary groups, ascending.
    pub groups: Vec<u32>,
}

/// What is above a container's layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Root {
    /// Nothing: it cannot be written to. Written `read-only`.
    ReadOnly,
    /// So much of the guest's memory, lost when it ends. Written `memory:MIB`.
    Memory(Mebibytes),
    /// So much of a disk, encrypted with a key that never leaves the guest and is lost with it.
    /// Written `scratch:MIB`.
    Scratch(Mebibytes),
}

/// A file system in memory. Written `PATH=MIB`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tmpfs {
    /// Where it is.
    pub path: String,
    /// How large it may become.
    pub size: Mebibytes,
}

/// A variable whose value the host chooses. Written `NAME:TYPE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenVariable {
    /// Its name.
    pub name: String,
    /// What it may be.
    pub value: OpenValue,
}

/// What the host gets of a container's output, and gives as its input. What it does not get is read
/// and discarded, so that no program waits for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stdio {
    /// Nothing, neither way.
    None,
    /// Output.
    Out,
    /// Output and input.
    OutIn,
    /// Output, by a terminal.
    OutTty,
    /// Output and input, by a terminal.
    OutInTty,
}

const KINDS: [(Kind, &str); 3] =
    [(Kind::Init, "init"), (Kind::Sidecar, "sidecar"), (Kind::Main, "main")];
const STDIO: [(Stdio, &str); 5] = [
    (Stdio::None, "none"),
    (Stdio::Out, "out"),
    (Stdio::OutIn, "out+in"),
    (Stdio::OutTty, "out+tty"),
    (Stdio::OutInTty, "out+in+tty"),
];

fn find<T: Copy>(all: &[(T, &'static str)], text: &str) -> Option<T> {
    all.iter().find(|(_, word)| *word == text).map(|(value, _)| *value)
}

fn word<T: PartialEq>(all: &[(T, &'static str)], value: &T) -> &'static str {
    all.iter().find(|(one, _)| one == value).map_or("", |(_, word)| word)
}

impl Stdio {
    /// Whether the host gets output.
    #[must_use]
    pub fn output(self) -> bool {
        self != Self::None
    }

    /// Whether the host gives input.
    #[must_use]
    pub const fn input(self) -> bool {
        matches!(self, Self::OutIn | Self::OutInTty)
    }

    /// Whether there is a terminal.
    #[must_use]
    pub const fn terminal(self) -> bool {
        matches!(self, Self::OutTty | Self::OutInTty)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(word(&KINDS, self))
    }
}

impl FromStr for Kind {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        find(&KINDS, text).ok_or("is none of init, sidecar and main")
    }
}

impl fmt::Display for Stdio {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(word(&STDIO, self))
    }
}

impl FromStr for Stdio {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        find(&STDIO, text).ok_or("is none of none, out, out+in, out+tty and out+in+tty")
    }
}

impl fmt::Display for Root {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReadOnly => out.write_str("read-only"),
            Self::Memory(size) => write!(out, "memory:{}", size.get()),
            Self::Scratch(size) => write!(out, "scratch:{}", size.get()),
        }
    }
}

impl FromStr for Root {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            None if text == "read-only" => Ok(Self::ReadOnly),
            Some(("memory", size)) => size.parse().map(Self::Memory),
            Some(("scratch", size)) => size.parse().map(Self::Scratch),
            _ => Err("is none of read-only, memory:MIB and scratch:MIB"),
        }
    }
}

impl fmt::Display for Tmpfs {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}={}", self.path, self.size.get())
    }
}

impl FromStr for Tmpfs {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (path, size) = text.rsplit_once('=').ok_or("is not PATH=MIB")?;
        Ok(Self { path: path.to_owned(), size: size.parse()? })
    }
}

impl fmt::Display for OpenVariable {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.name, self.value)
    }
}

impl FromStr for OpenVariable {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, value) = text.rsplit_once(':').ok_or("is not NAME:TYPE")?;
        Ok(Self { name: name.to_owned(), value: value.parse()? })
    }
}
