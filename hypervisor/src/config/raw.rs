//! The configuration as written: every key optional, nothing checked but names and types.

use super::size::with_unit;
use super::{ConfigError, ConsoleTo, RawCgroup, RawDisk, RawForeign, RawNet, RawRng, RawVsock};
use casemate_diagnostics::event;
use casemate_foreign_text::value;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::path::{Path, PathBuf};

/// Longest configuration file: far beyond any real one.
const MAX_FILE: u64 = 1 << 20;

/// The keys of `vm.toml`, as `casemate run --help` shows them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawConfig {
    /// Name, unique among a user's running VMs.
    pub name: Option<String>,
    /// Kernel image: a bzImage or an ELF vmlinux.
    pub kernel: Option<PathBuf>,
    /// Initial RAM file system.
    pub initrd: Option<PathBuf>,
    /// Command line of the kernel.
    pub cmdline: Option<String>,
    /// How many virtual processors.
    pub vcpus: Option<u32>,
    /// RAM, such as "256M".
    #[serde(default, deserialize_with = "with_unit")]
    pub memory: Option<String>,
    /// Serial console: "stdio", "raw", "pty" or { file = "…" }.
    pub console: Option<RawConsole>,
    /// Whether there is a virtio console, too.
    pub virtio_console: Option<bool>,
    /// How long a reader of the console that takes nothing is waited for; "forever".
    #[serde(default, deserialize_with = "with_unit")]
    pub console_wait: Option<String>,
    /// To what size a console file grows before it is set aside.
    #[serde(default, deserialize_with = "with_unit")]
    pub console_limit: Option<String>,
    /// The key that begins a command at a terminal, such as "ctrl-a"; "none".
    pub escape: Option<String>,
    /// Longest run, such as "90s" or "10m".
    #[serde(default, deserialize_with = "with_unit")]
    pub timeout: Option<String>,
    /// From the power button to the end, such as "15s".
    #[serde(default, deserialize_with = "with_unit")]
    pub grace: Option<String>,
    /// Disks, in the order of the guest's bus.
    #[serde(default)]
    pub disk: Vec<RawDisk>,
    /// Socket device.
    pub vsock: Option<RawVsock>,
    /// Network devices.
    #[serde(default)]
    pub net: Vec<RawNet>,
    /// Source of random numbers.
    pub rng: Option<RawRng>,
    /// Devices that programs of others serve.
    #[serde(default)]
    pub vhost_user: Vec<RawForeign>,
    /// Control groups.
    pub cgroup: Option<RawCgroup>,
    /// Memory protection: "none" or "sev-snp".
    pub protection: Option<String>,
    /// What an SEV-SNP launch is given; only with that protection.
    pub snp: Option<super::RawSnp>,
    /// What of the lock this host may lack.
    pub sandbox: Option<RawSandbox>,
}

/// The `[sandbox]` table as written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawSandbox {
    /// Layers that this host may lack.
    #[serde(default)]
    pub optional: Vec<String>,
}

/// The console as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RawConsole {
    /// "stdio": standard input and output, filtered at a terminal.
    Stdio,
    /// "raw": the same, and a terminal gets every byte.
    Raw,
    /// "pty": a new pseudo-terminal.
    Pty,
    /// { file = "…" }.
    File(PathBuf),
}

/// What to write for a console in a file.
const CONSOLES: &str = "\"stdio\", \"raw\", \"pty\" or { file = \"PATH\" }";

/// By hand: what a derived reader says of `console = "file:x"`, which is the flag's notation, helps
/// nobody ("unit variant, expected newtype variant").
impl<'de> Deserialize<'de> for RawConsole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = RawConsole;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(CONSOLES)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<RawConsole, E> {
                match text {
                    "stdio" => Ok(RawConsole::Stdio),
                    "raw" => Ok(RawConsole::Raw),
                    "pty" => Ok(RawConsole::Pty),
                    _ => {
                        let path = text.strip_prefix("file:").unwrap_or("PATH");
                        let write = format_args!("{{ file = {path:?} }}");
                        Err(E::custom(match text.starts_with("file") {
                            true => format!("write a console's file as {write}"),
                            false => format!("unknown console {text:?}, expected {CONSOLES}"),
                        }))
                    }
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawConsole, A::Error> {
                let wrong = || A::Error::custom(format!("expected {CONSOLES}"));
                let console = match map.next_key::<String>()?.as_deref() {
                    Some("file") => RawConsole::File(map.next_value()?),
                    _ => return Err(wrong()),
                };
                match map.next_key::<String>()? {
                    None => Ok(console),
                    Some(_) => Err(wrong()),
                }
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

impl RawConsole {
    pub(super) fn into_console(self) -> ConsoleTo {
        match self {
            Self::Stdio => ConsoleTo::Stdio,
            Self::Raw => ConsoleTo::Raw,
            Self::Pty => ConsoleTo::Pty,
            Self::File(path) => ConsoleTo::File(path),
        }
    }

    /// The console of a flag: `stdio`, `raw`, `pty` or `file:PATH`.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`].
    pub fn from_flag(flag: &str) -> Result<Self, ConfigError> {
        match (flag, flag.strip_prefix("file:")) {
            ("stdio", _) => Ok(Self::Stdio),
            ("raw", _) => Ok(Self::Raw),
            ("pty", _) => Ok(Self::Pty),
            (_, Some(path)) if !path.is_empty() => Ok(Self::File(path.into())),
            _ => Err(ConfigError::invalid("console", flag, "use stdio, raw, pty or file:PATH")),
        }
    }
}

impl RawConfig {
    /// Parses a document; `name` is what errors call it.
    ///
    /// # Errors
    /// [`ConfigError::Parse`] with line, column and key.
    pub fn from_toml(text: &str, name: &str) -> Result<Self, ConfigError> {
        toml::from_str(text).map_err(|e| {
            let line =
                e.span().map(|span| text.get(..span.start).unwrap_or("").matches('\n').count() + 1);
            let source = line.and_then(|line| text.lines().nth(line - 1)).unwrap_or("").trim();
            let place = line.map_or(String::new(), |line| format!("line {line}: "));
            let what = in_words(e.message());
            let reason = format!("{place}{} in `{source}`", what.replace('\n', "; "));
            ConfigError::Parse { path: name.into(), reason }
        })
    }

    /// Reads a file, `-` for standard input; paths in it are relative to its directory.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let name = path.display().to_string();
        let text = casemate_files::read_input_text(path, MAX_FILE)
            .map_err(|e| ConfigError::Read(e.to_string()))?;
        let mut raw = Self::from_toml(&text, &name)?;
        event!(DEBUG, Config, "a configuration is read", path = value(&name));
        let directory = path.parent().unwrap_or(Path::new(""));
        for path in [&mut raw.kernel, &mut raw.initrd].into_iter().flatten() {
            *path = directory.join(&*path);
        }
        raw.disk.iter_mut().for_each(|disk| disk.resolve(directory));
        raw.vhost_user.iter_mut().for_each(|foreign| foreign.resolve(directory));
        raw.vsock.iter_mut().for_each(|vsock| vsock.resolve(directory));
        raw.cgroup.iter_mut().for_each(|cgroup| cgroup.resolve(directory));
        if let Some(snp) = &mut raw.snp {
            snp.resolve(directory);
        }
        if let Some(RawConsole::File(path)) = &mut raw.console {
            *path = directory.join(&*path);
        }
        Ok(raw)
    }

    /// `self`, with what `over` names taken from there.
    #[must_use]
    pub fn overridden_by(self, over: Self) -> Self {
        Self {
            name: over.name.or(self.name),
            kernel: over.kernel.or(self.kernel),
            initrd: over.initrd.or(self.initrd),
            cmdline: over.cmdline.or(self.cmdline),
            vcpus: over.vcpus.or(self.vcpus),
            memory: over.memory.or(self.memory),
            console: over.console.or(self.console),
            virtio_console: over.virtio_console.or(self.virtio_console),
            console_wait: over.console_wait.or(self.console_wait),
            console_limit: over.console_limit.or(self.console_limit),
            escape: over.escape.or(self.escape),
            timeout: over.timeout.or(self.timeout),
            grace: over.grace.or(self.grace),
            disk: if over.disk.is_empty() { self.disk } else { over.disk },
            vhost_user: if over.vhost_user.is_empty() { self.vhost_user } else { over.vhost_user },
            vsock: over.vsock.or(self.vsock),
            net: if over.net.is_empty() { self.net } else { over.net },
            rng: over.rng.or(self.rng),
            cgroup: over.cgroup.or(self.cgroup),
            protection: over.protection.or(self.protection),
            snp: over.snp.or(self.snp),
            sandbox: over.sandbox.or(self.sandbox),
        }
    }
}

/// The parser's message with its own names of types put into words of the language of the file.
fn in_words(message: &str) -> String {
    const ENDS: [(&str, &str); 7] = [
        ("expected u32", "expected a whole number without quotes, such as 2"),
        ("expected u64", "expected a whole number without quotes, such as 0x30000"),
        ("expected path string", "expected a path in quotes"),
        ("expected a string", "expected a text in quotes"),
        ("expected a boolean", "expected true or false"),
        ("map, expected a sequence", "table, expected a list of tables: begin each with [[name]]"),
        ("expected a sequence", "expected a list, such as [\"a\", \"b\"]"),
    ];
    let ended = ENDS.iter().find_map(|(end, words)| Some((message.strip_suffix(end)?, words)));
    let message =
        ended.map_or_else(|| message.to_owned(), |(start, words)| format!("{start}{words}"));
    message.replacen("invalid type: sequence", "invalid type: list", 1)
}
