//! The manifest: `/.casemate/manifest.json` of the root file system.

use crate::hash::is_hash;
use crate::secrets::{Broker, Secret};
use serde::{Deserialize, Serialize};

/// Where it is in the root file system.
pub const PATH: &str = "/.casemate/manifest.json";
/// The version of this format. Another one is refused: what a manifest does not say in words that
/// are known, nobody may guess.
pub const VERSION: u32 = 1;
/// Longest manifest, in bytes. What one execve takes is bounded by 128 KiB a string
/// (`MAX_ARG_STRLEN`) and a quarter of the stack for all of them.
pub const MAX_SIZE: usize = 512 * 1024;
/// Arguments, and variables of the environment, at most.
pub const MAX_STRINGS: usize = 4096;
/// Longest argument or variable, in bytes: `MAX_ARG_STRLEN` with its final zero.
const MAX_STRING: usize = 128 * 1024 - 1;
/// Supplementary groups, at most: more than any user of an image has, and a bounded list.
const MAX_GROUPS: usize = 1024;
/// Recipients of results, at most.
pub const MAX_RECIPIENTS: usize = 16;
/// Other lists: modules, ports.
const MAX_LIST: usize = 1024;

/// What an image says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`VERSION`].
    pub version: u32,
    /// What was built from, and with what.
    pub built: Built,
    /// Kernel and initramfs.
    pub boot: Boot,
    /// The workload.
    pub process: Process,
    /// What may go to the console, which the host reads.
    pub console: Console,
    /// The kernel's messages go to the console, too: for looking for faults, never for secrets.
    pub debug: bool,
    /// To whom results are sealed. An image without recipients has no word of it, so that it is the
    /// same image as before there were any.
    #[serde(default, skip_serializing_if = "Results::is_none")]
    pub results: Results,
    /// What the guest asks a key broker for. No word of an image without, as with results.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<Secret>,
    /// Which broker: there when there are secrets, and only then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broker: Option<Broker>,
    /// Seconds since 1970 that the clock is at least at. The guest has no clock that is not the
    /// host's, so this is the builder's word, and nothing of the builder's clock.
    pub time_floor: u64,
}

/// What becomes of what the workload leaves in its folder for results.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Results {
    /// Keys to which it is sealed, X25519 in 64 hexadecimal digits; none: nothing leaves the guest.
    pub recipients: Vec<String>,
}

impl Results {
    /// Whether nothing leaves the guest.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.recipients.is_empty()
    }
}

/// What an image was built from, and with what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Built {
    /// Version of Casemate.
    pub casemate: String,
    /// SHA-256 of the container image's configuration, as `sha256:HEX`: the image's identity in
    /// `docker` and `podman`. None of a folder or a tar file.
    pub image: Option<String>,
}

/// What the guest boots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Boot {
    /// SHA-256 of the kernel file, in hexadecimal like the others.
    pub kernel: String,
    /// SHA-256 of the initramfs.
    pub initrd: String,
    /// SHA-256 of the program that is PID 1.
    pub init: String,
    /// Kernel modules, in the order in which they are loaded.
    pub modules: Vec<Module>,
}

/// A kernel module of the initramfs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Module {
    /// Its name, as `/proc/modules` has it.
    pub name: String,
    /// SHA-256 of its file, uncompressed.
    pub sha256: String,
}

/// The workload: what is started, as whom, where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Process {
    /// Path of the program, from the root.
    pub program: String,
    /// Its arguments, its own name first.
    pub args: Vec<String>,
    /// Its whole environment, as `NAME=VALUE`.
    pub env: Vec<String>,
    /// Whose it is.
    pub user: User,
    /// Where it starts.
    pub working_dir: String,
    /// The signal that asks it to end, by number.
    pub stop_signal: u8,
    /// Ports it says it listens on, such as `8080/tcp`. Nothing follows from them.
    pub ports: Vec<String>,
}

/// A user by numbers: names were looked up when the image was built, in its own `/etc/passwd` and
/// `/etc/group`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

/// What may go to the console. The host reads it, so what goes there is told to everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Console {
    /// Nothing, and no exit status: that the guest has ended, and why it could not start.
    None,
    /// The exit status and sentences of PID 1; nothing that the workload writes.
    Status,
    /// Also what the workload writes: the image's author says that it is no secret.
    Public,
}

impl Console {
    /// As the manifest writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Status => "status",
            Self::Public => "public",
        }
    }
}

/// Bytes that are no manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Longer than [`MAX_SIZE`].
    #[error("the manifest has more than {MAX_SIZE} bytes")]
    TooLong,
    /// Not JSON of its shape; the text may quote the document.
    #[error("the manifest is not one: {0}")]
    Shape(#[from] serde_json::Error),
    /// Of another version.
    #[error("the manifest is of version {0}, and this is a reader of version {VERSION}")]
    Version(u32),
    /// A value that no guest can start with.
    #[error("the manifest's {field} {why}")]
    Value {
        /// The key.
        field: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
}

impl Manifest {
    /// The manifest in these bytes, checked.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ManifestError> {
        if bytes.len() > MAX_SIZE {
            return Err(ManifestError::TooLong);
        }
        /// Read first, so that one of another version says so, whatever else it has.
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let Version { version } = serde_json::from_slice(bytes)?;
        if version != VERSION {
            return Err(ManifestError::Version(version));
        }
        let manifest: Self = serde_json::from_slice(bytes)?;
        manifest.check()?;
        Ok(manifest)
    }

    /// The bytes of the manifest: the same for the same values.
    ///
    /// # Errors
    /// [`ManifestError`] where a reader would refuse them.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ManifestError> {
        self.check()?;
        let mut bytes = serde_json::to_vec_pretty(self)?;
        bytes.push(b'\n');
        if bytes.len() > MAX_SIZE {
            return Err(ManifestError::TooLong);
        }
        Ok(bytes)
    }

    fn check(&self) -> Result<(), ManifestError> {
        let wrong = |field, why| Err(ManifestError::Value { field, why });
        if self.version != VERSION {
            return Err(ManifestError::Version(self.version));
        }
        let Process { program, args, env, user, working_dir, stop_signal, ports } = &self.process;
        for (field, strings) in [("process.args", args), ("process.env", env)] {
            if strings.len() > MAX_STRINGS {
                return wrong(field, "has more than 4096 entries");
            }
            if strings.iter().any(|text| !fits(text)) {
                return wrong(field, "has an entry with a zero byte or of more than 131071 bytes");
            }
        }
        if args.is_empty() {
            return wrong("process.args", "is empty: there is no program");
        }
        if env.iter().any(|text| text.split_once('=').is_none_or(|(name, _)| name.is_empty())) {
            return wrong("process.env", "has an entry that is not NAME=VALUE");
        }
        for (field, path) in [("process.program", program), ("process.working_dir", working_dir)] {
            if !path.starts_with('/') || !fits(path) {
                return wrong(field, "is no path from the root");
            }
        }
        // Those above have numbers that the C library moves (SIGRTMIN).
        if !(1..=31).contains(stop_signal) {
            return wrong("process.stop_signal", "is no signal (1 to 31)");
        }
        if user.groups.len() > MAX_GROUPS {
            return wrong("process.user.groups", "has more than 1024 entries");
        }
        // All ones is "no change" to setresuid(2), so the workload would stay root.
        if [user.uid, user.gid].iter().chain(&user.groups).any(|id| *id == u32::MAX) {
            return wrong("process.user", "has a number that no user can have");
        }
        let recipients = &self.results.recipients;
        // That each is a key is found where it is used: this crate knows nothing of keys.
        if recipients.len() > MAX_RECIPIENTS || recipients.iter().any(|key| !is_hash(key)) {
            return wrong(
                "results.recipients",
                "are not 16 keys of 64 hexadecimal digits, or less",
            );
        }
        crate::secrets::check(&self.secrets, self.broker.as_ref())
            .map_err(|(field, why)| ManifestError::Value { field, why })?;
        let Boot { kernel, initrd, init, modules } = &self.boot;
        if ports.len() > MAX_LIST || modules.len() > MAX_LIST {
            return wrong("lists", "have more than 1024 entries");
        }
        let hashes = modules.iter().map(|module| &module.sha256);
        if [kernel, initrd, init].into_iter().chain(hashes).any(|hash| !is_hash(hash)) {
            return wrong("boot", "has a hash that is not 64 lower-case hexadecimal digits");
        }
        Ok(())
    }
}

/// What execve(2) can take.
fn fits(text: &str) -> bool {
    text.len() <= MAX_STRING && !text.contains('\0')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let hash = "0f".repeat(32);
        Manifest {
            version: VERSION,
            built: Built { casemate: "0.1.0".into(), image: None },
            boot: Boot {
                kernel: hash.clone(),
                initrd: hash.clone(),
                init: hash.clone(),
                modules: vec![Module { name: "erofs".into(), sha256: hash }],
            },
            process: Process {
                program: "/bin/app".into(),
                args: vec!["app".into()],
                env: vec!["PATH=/bin".into(), "EMPTY=".into()],
                user: User { uid: 1, gid: 2, groups: vec![3] },
                working_dir: "/".into(),
                stop_signal: 15,
                ports: vec!["80/tcp".into()],
            },
            console: Console::Status,
            debug: false,
            results: Results { recipients: vec!["ab".repeat(32)] },
            secrets: vec![Secret { resource: "acme/db/key".into(), file: "db.key".into() }],
            broker: Some(Broker::Measured(crate::Keys { keys: vec!["cd".repeat(32)] })),
            time_floor: 7,
        }
    }

    #[test]
    fn what_is_written_is_read_back_and_the_same_bytes_again() {
        let bytes = manifest().to_bytes().unwrap();
        let read = Manifest::from_bytes(&bytes).unwrap();
        assert_eq!(read, manifest());
        assert_eq!(read.to_bytes().unwrap(), bytes);
    }

    /// Protects the guest from starting with what it half understood.
    #[test]
    fn what_is_not_known_or_said_twice_is_refused() {
        let text = String::from_utf8(manifest().to_bytes().unwrap()).unwrap();
        let read = |text: &str| Manifest::from_bytes(text.as_bytes()).map_err(|e| e.to_string());
        for (from, to) in [
            ("\"debug\": false", "\"debug\": false, \"new\": 1"),
            ("\"debug\": false", "\"debug\": false, \"debug\": true"),
            ("\"console\": \"status\"", "\"console\": \"all\""),
            ("\"uid\": 1", "\"uid\": -1"),
            ("\"uid\": 1", "\"uid\": 4294967295"),
            ("\"stop_signal\": 15", "\"stop_signal\": 0"),
            ("\"working_dir\": \"/\"", "\"working_dir\": \"\""),
            ("\"EMPTY=\"", "\"=x\""),
            ("\"app\"", "\"a\\u0000\""),
            ("0f0f", "0F0f"),
            ("abab", "abax"),
            ("\"recipients\"", "\"recipient\""),
            ("acme/db/key", "acme/db"),
            ("db.key\"", "../key\""),
            ("cdcd", "cdCD"),
            ("\"keys\"", "\"names\""),
        ] {
            assert!(text.contains(from), "{from}");
            assert!(read(&text.replacen(from, to, 1)).is_err(), "{to}");
        }
        let newer = text.replacen("\"version\": 1", "\"version\": 2, \"more\": []", 1);
        assert!(read(&newer).unwrap_err().contains("of version 2"));
        assert!(matches!(
            Manifest::from_bytes(&vec![b' '; MAX_SIZE + 1]),
            Err(ManifestError::TooLong)
        ));
    }

    /// Protects images that have no recipients and no secrets from being others than they were.
    #[test]
    fn a_manifest_without_recipients_or_secrets_says_nothing_of_them() {
        let none = Manifest {
            results: Results::default(),
            secrets: Vec::new(),
            broker: None,
            ..manifest()
        };
        let bytes = none.to_bytes().unwrap();
        let text = String::from_utf8(bytes.clone()).unwrap();
        assert!(!["results", "secrets", "broker"].iter().any(|word| text.contains(word)));
        assert_eq!(Manifest::from_bytes(&bytes).unwrap(), none);
        let recipients = vec!["ab".repeat(32); MAX_RECIPIENTS + 1];
        assert!(Manifest { results: Results { recipients }, ..manifest() }.to_bytes().is_err());
    }

    #[test]
    fn a_manifest_that_no_guest_could_start_is_not_written() {
        let mut none = manifest();
        none.process.args.clear();
        assert!(none.to_bytes().is_err());
        let mut long = manifest();
        long.process.args = vec!["x".repeat(120_000); 5];
        assert!(matches!(long.to_bytes(), Err(ManifestError::TooLong)));
    }
}
