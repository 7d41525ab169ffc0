//! Secrets that a guest asks a key broker for before its workload starts, and which broker that is.
//!
//! The names of secrets are of the key broker protocol's grammar, which is repeated here: this
//! crate is read where nobody speaks that protocol. A test of the guest's side holds both to be
//! the same.

use crate::hash::bytes_of;
use serde::{Deserialize, Serialize};

/// Secrets of an image, at most: each is a question to the broker before the workload starts.
pub const MAX_SECRETS: usize = 64;
/// Keys of a broker, at most: the one that it has, and the one that it is to have.
pub const MAX_BROKER_KEYS: usize = 2;
/// Longest name of a secret, in bytes.
const MAX_RESOURCE: usize = 1024;
/// Longest name of a file, in bytes: that of a file system.
const MAX_FILE: usize = 255;

/// A secret, and the file in memory that the workload finds it in: of its user, mode 0400.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Secret {
    /// Its name at the broker: `repository/type/tag`.
    pub resource: String,
    /// The name of its file in the folder of secrets.
    pub file: String,
}

/// How the guest knows its broker: by the hash of its public key, never by a name, a CA or a date.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Broker {
    /// By keys that are measured with the image.
    Measured(Keys),
    /// By the keys in initdata, which whoever launches the guest writes. Whoever releases a secret
    /// to such a guest has to compare HOST_DATA.
    Word(Word),
}

/// The one word in place of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Word {
    /// The keys are in initdata.
    Initdata,
}

/// Keys of a broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keys {
    /// SHA-256 of each public key (its `SubjectPublicKeyInfo` in DER), in hexadecimal.
    pub keys: Vec<String>,
}

impl Keys {
    /// The hashes; None where there is none, too many, one twice, or one that is no hash.
    #[must_use]
    pub fn hashes(&self) -> Option<Vec<[u8; 32]>> {
        let Self { keys } = self;
        let twice = keys.iter().enumerate().any(|(at, key)| keys.iter().take(at).any(|k| k == key));
        if keys.is_empty() || keys.len() > MAX_BROKER_KEYS || twice {
            return None;
        }
        keys.iter().map(|key| bytes_of(key)).collect()
    }
}

/// What is wrong with secrets and their broker: the key, and why.
pub(crate) fn check(
    secrets: &[Secret],
    broker: Option<&Broker>,
) -> Result<(), (&'static str, &'static str)> {
    if secrets.len() > MAX_SECRETS {
        return Err(("secrets", "have more than 64 entries"));
    }
    if secrets.iter().any(|secret| !is_resource(&secret.resource)) {
        let why = "name one that is not repository/type/tag of letters, digits, _, - and .";
        return Err(("secrets.resource", why));
    }
    if secrets.iter().any(|secret| !is_file(&secret.file)) {
        let why = "name one that is not 1 to 255 letters, digits, _, - and, not first, .";
        return Err(("secrets.file", why));
    }
    let twice = |at: usize, secret: &Secret| {
        secrets.iter().take(at).any(|before| before.file == secret.file)
    };
    if secrets.iter().enumerate().any(|(at, secret)| twice(at, secret)) {
        return Err(("secrets.file", "names one file twice"));
    }
    match broker {
        None if secrets.is_empty() => Ok(()),
        None => Err(("broker", "is missing: nobody could be asked for the secrets")),
        Some(_) if secrets.is_empty() => Err(("broker", "is there, and no secret to ask it for")),
        Some(Broker::Measured(keys)) if keys.hashes().is_none() => {
            Err(("broker.keys", "are not one or two hashes of 64 hexadecimal digits"))
        }
        Some(_) => Ok(()),
    }
}

/// Whether a text is a name of the key broker protocol: three segments of letters, digits, `_`, `-`
/// and, not first, `.`.
#[must_use]
pub fn is_resource(name: &str) -> bool {
    name.len() <= MAX_RESOURCE && name.split('/').count() == 3 && name.split('/').all(is_segment)
}

fn is_file(name: &str) -> bool {
    name.len() <= MAX_FILE && is_segment(name)
}

fn is_segment(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    text.bytes().next().is_some_and(plain) && text.bytes().all(|byte| plain(byte) || byte == b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(resource: &str, file: &str) -> Secret {
        Secret { resource: resource.into(), file: file.into() }
    }

    fn pinned(keys: &[&str]) -> Broker {
        Broker::Measured(Keys { keys: keys.iter().map(|key| (*key).into()).collect() })
    }

    /// Protects a guest from a file outside of its folder, from a secret over another one, and from
    /// asking nobody or anybody.
    #[test]
    fn secrets_have_plain_names_and_a_broker_that_is_known() {
        let key = "ab".repeat(32);
        let broker = pinned(&[&key]);
        let one = secret("acme/db/key", "db.key");
        assert_eq!(check(std::slice::from_ref(&one), Some(&broker)), Ok(()));
        assert_eq!(check(std::slice::from_ref(&one), Some(&Broker::Word(Word::Initdata))), Ok(()));
        assert_eq!(check(&[], None), Ok(()));
        for (bad, field) in [
            (secret("acme/db", "f"), "secrets.resource"),
            (secret("acme/../key", "f"), "secrets.resource"),
            (secret("acme/db/key/more", "f"), "secrets.resource"),
            (secret("acme/db/", "f"), "secrets.resource"),
            (secret("acme/db/key", ""), "secrets.file"),
            (secret("acme/db/key", ".."), "secrets.file"),
            (secret("acme/db/key", "a/b"), "secrets.file"),
            (secret("acme/db/key", &"x".repeat(256)), "secrets.file"),
        ] {
            assert_eq!(check(&[bad], Some(&broker)).unwrap_err().0, field);
        }
        let twice = [one.clone(), secret("acme/db/other", "db.key")];
        assert_eq!(check(&twice, Some(&broker)).unwrap_err().0, "secrets.file");
        assert_eq!(check(std::slice::from_ref(&one), None).unwrap_err().0, "broker");
        assert_eq!(check(&[], Some(&broker)).unwrap_err().0, "broker");
        let many = vec![one.clone(); MAX_SECRETS + 1];
        assert_eq!(check(&many, Some(&broker)).unwrap_err().0, "secrets");
        let (other, third) = ("cd".repeat(32), "ef".repeat(32));
        let (key, other, third) = (&*key, &*other, &*third);
        assert_eq!(check(std::slice::from_ref(&one), Some(&pinned(&[key, other]))), Ok(()));
        for keys in [&[][..], &[key, key], &[&key[1..]], &["XY"], &[key, other, third]] {
            let bad = pinned(keys);
            assert_eq!(check(std::slice::from_ref(&one), Some(&bad)).unwrap_err().0, "broker.keys");
        }
    }

    #[test]
    fn a_broker_is_keys_or_one_word() {
        let read = |text: &str| serde_json::from_str::<Broker>(text);
        assert_eq!(read("\"initdata\"").unwrap(), Broker::Word(Word::Initdata));
        assert_eq!(read("{\"keys\":[\"a\"]}").unwrap(), pinned(&["a"]));
        for bad in ["\"any\"", "{}", "{\"keys\":[\"a\"],\"name\":\"b\"}", "[\"a\"]", "true"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
