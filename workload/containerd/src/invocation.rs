//! How containerd calls the program: flags, an action, and from 2.3 on a message on its standard
//! input.

use crate::error::RuntimeError;
use casemate_foreign_text::value;
use std::path::PathBuf;

/// What the program is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Make a runtime for a pod, or find the one there is; print its address.
    Start,
    /// Leave nothing of a pod behind.
    Delete,
    /// Be the runtime: the program's own word, of [`Action::Start`] to its child.
    Serve,
    /// Say which program this is, and end.
    Version,
}

/// A call of the program, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    /// What to do.
    pub action: Action,
    /// containerd's namespace.
    pub namespace: String,
    /// The container's id.
    pub id: String,
    /// containerd's address: in the name of the runtime's own.
    pub address: String,
    /// The bundle; the working folder where it is not said.
    pub bundle: Option<PathBuf>,
}

/// Longest id or namespace: containerd's own bound (pkg/identifiers).
const MAX_ID: usize = 76;
/// Longest path.
const MAX_PATH: usize = 4096;
/// Most words of a command line.
const MAX_WORDS: usize = 64;

impl Invocation {
    /// Reads the words behind the program's name. Flags are written as Go's package `flag` reads
    /// them, with one dash or two, and their values behind a blank or `=`.
    ///
    /// # Errors
    /// [`RuntimeError::Use`].
    pub fn read(words: &[String]) -> Result<Self, RuntimeError> {
        let wrong = |what: String| RuntimeError::Use(what);
        if words.len() > MAX_WORDS {
            return Err(wrong(format!("more than {MAX_WORDS} arguments")));
        }
        let mut call = Self {
            action: Action::Version,
            namespace: String::new(),
            id: String::new(),
            address: String::new(),
            bundle: None,
        };
        let (mut action, mut version) = (None, false);
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let Some(flag) = word.strip_prefix('-') else {
                let one = match word.as_str() {
                    "start" => Action::Start,
                    "delete" => Action::Delete,
                    "serve" => Action::Serve,
                    other => return Err(wrong(format!("no action {}", value(other)))),
                };
                if action.replace(one).is_some() {
                    return Err(wrong("more than one action".into()));
                }
                continue;
            };
            let flag = flag.strip_prefix('-').unwrap_or(flag);
            let (flag, given) = match flag.split_once('=') {
                Some((flag, given)) => (flag, Some(given)),
                None => (flag, None),
            };
            match flag {
                "debug" => continue,
                "v" | "info" => {
                    version = true;
                    continue;
                }
                _ => {}
            }
            let given = match given {
                Some(given) => given,
                None => words
                    .next()
                    .map(String::as_str)
                    .ok_or_else(|| wrong(format!("flag -{} has no value", value(flag))))?,
            };
            if given.len() > MAX_PATH {
                return Err(wrong(format!("flag -{}: too long", value(flag))));
            }
            match flag {
                "namespace" => call.namespace = given.into(),
                "id" => call.id = given.into(),
                "address" => call.address = given.into(),
                "bundle" if !given.is_empty() => call.bundle = Some(given.into()),
                // Not needed: events go over ttrpc, and the socket's place is its own.
                "bundle" | "publish-binary" | "socket" => {}
                other => return Err(wrong(format!("no flag -{}", value(other)))),
            }
        }
        if version {
            return Ok(call);
        }
        call.action = action.ok_or_else(|| {
            wrong("this is a runtime that containerd calls, with start or delete".into())
        })?;
        for (what, text) in [("-namespace", &call.namespace), ("-id", &call.id)] {
            if !is_identifier(text) {
                return Err(wrong(format!("{what} {} is no identifier", value(text))));
            }
        }
        Ok(call)
    }
}

/// Whether a text is an identifier of containerd: letters and digits, and `.`, `_`, `-` between
/// them. It becomes part of paths: neither `..` nor a slash is one.
#[must_use]
pub fn is_identifier(text: &str) -> bool {
    let plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-');
    let ends = |c: Option<&u8>| c.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    bytes.len() <= MAX_ID
        && bytes.iter().all(|c| plain(*c))
        && ends(bytes.first())
        && ends(bytes.last())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Invocation, RuntimeError> {
        Invocation::read(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn containerd_s_own_calls_are_read() {
        // 1.6.20 and 1.7.24, as seen.
        let start = read(
            "-namespace k8s.io -address /run/c.sock -publish-binary /usr/bin/containerd \
            -id abc -debug start",
        )
        .unwrap();
        assert_eq!((start.action, start.id.as_str()), (Action::Start, "abc"));
        assert_eq!((start.namespace.as_str(), start.address.as_str()), ("k8s.io", "/run/c.sock"));
        let delete = read(
            "-namespace default -address /a -publish-binary /b -id x -bundle /s/x \
            delete",
        )
        .unwrap();
        assert_eq!(delete.action, Action::Delete);
        assert_eq!(delete.bundle, Some("/s/x".into()));
        assert_eq!(read("--namespace=n --id=i --address= start").unwrap().id, "i");
        assert_eq!(read("-v").unwrap().action, Action::Version);
    }

    #[test]
    fn what_could_leave_its_folder_is_no_identifier() {
        for id in ["", "..", "a/b", "a/../b", ".a", "a.", "-a", "a b", "a\n", &"a".repeat(77)] {
            assert!(!is_identifier(id), "{id:?}");
        }
        assert!(is_identifier("a") && is_identifier("a.b-c_d") && is_identifier(&"a".repeat(76)));
        assert!(read("-namespace n -id ../x start").is_err());
    }

    #[test]
    fn other_words_are_refused() {
        assert!(read("start stop").is_err());
        assert!(read("-namespace n -id i start delete").is_err());
        assert!(read("-namespace n -id").is_err());
        assert!(read("-namespace n -id i -x y start").is_err());
        assert!(read("-namespace n -id i").is_err());
    }
}
