//! Names of secrets, and the paths of requests.

use crate::{KbsError, What};

/// Longest path of a request, in bytes.
pub const MAX_PATH: usize = 1024 + ROOT.len() + RESOURCE.len();
/// Longest name of a resource, in bytes.
const MAX_NAME: usize = 1024;
const ROOT: &str = "/kbs/v0/";
const RESOURCE: &str = "resource/";

/// The name of a secret: `repository/type/tag`, each segment of letters, digits, `_`, `-` and, not
/// first, `.`.
///
/// Nothing else is a name: `a/../b/c`, an empty segment or a percent sign would mean one thing to a
/// policy's pattern and another to the store behind it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Resource(String);

impl Resource {
    /// Reads `repository/type/tag`.
    ///
    /// # Errors
    /// [`KbsError::Value`].
    pub fn read(name: &str) -> Result<Self, KbsError> {
        let wrong = |why| Err(KbsError::value(What::Path, why));
        if name.len() > MAX_NAME {
            return wrong("a resource's name of more than 1024 bytes");
        }
        if name.split('/').count() != 3 {
            return wrong("a resource is named repository/type/tag");
        }
        if !name.split('/').all(is_segment) {
            return wrong("a segment that is not of A-Z, a-z, 0-9, _, - and, not first, .");
        }
        Ok(Self(name.to_owned()))
    }

    /// Reads `kbs:///repository/type/tag`, as configurations of guests write it. An authority
    /// between the slashes, which would name a broker, is refused.
    ///
    /// # Errors
    /// [`KbsError::Value`].
    pub fn read_uri(uri: &str) -> Result<Self, KbsError> {
        let name = uri.strip_prefix("kbs:///").ok_or(KbsError::value(
            What::Path,
            "a resource's address begins with kbs:/// and names no broker",
        ))?;
        Self::read(name)
    }

    /// `repository/type/tag`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }

    /// The path of the request for it.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{ROOT}{RESOURCE}{}", self.0)
    }
}

impl std::fmt::Display for Resource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_segment(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    text.bytes().next().is_some_and(plain) && text.bytes().all(|byte| plain(byte) || byte == b'.')
}

/// What a path asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// A challenge.
    Auth,
    /// A session.
    Attest,
    /// A secret.
    Resource(Resource),
}

impl Route {
    /// Reads the path of a request, as it stands in the request's first line: nothing in it is
    /// decoded, and a query is none of the protocol's.
    ///
    /// # Errors
    /// [`KbsError`].
    pub fn read(path: &str) -> Result<Self, KbsError> {
        let what = What::Path;
        if path.len() > MAX_PATH {
            return Err(KbsError::TooLong { what, found: path.len(), most: MAX_PATH });
        }
        let none = KbsError::value(
            what,
            "not /kbs/v0/auth, /kbs/v0/attest or /kbs/v0/resource/repository/type/tag",
        );
        match path.strip_prefix(ROOT).ok_or(none.clone())? {
            "auth" => Ok(Self::Auth),
            "attest" => Ok(Self::Attest),
            rest => Resource::read(rest.strip_prefix(RESOURCE).ok_or(none)?).map(Self::Resource),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_of_three_and_a_resource_has_three_plain_segments() {
        assert_eq!(Route::read("/kbs/v0/auth"), Ok(Route::Auth));
        assert_eq!(Route::read("/kbs/v0/attest"), Ok(Route::Attest));
        for good in ["a/b/c", "db/key/1.2.3", "A_-/b.c/x--y", "0/0/0", "a/b/c.."] {
            let Ok(Route::Resource(resource)) = Route::read(&format!("/kbs/v0/resource/{good}"))
            else {
                panic!("{good}")
            };
            assert_eq!(resource.name(), good);
            assert_eq!(Route::read(&resource.path()), Ok(Route::Resource(resource.clone())));
            assert_eq!(Resource::read_uri(&format!("kbs:///{good}")), Ok(resource));
        }
        for bad in [
            "",
            "/",
            "/kbs/v0",
            "/kbs/v0/",
            "/kbs/v0/auth/",
            "/kbs/v0/auth?x",
            "/kbs/v1/auth",
            "//kbs/v0/auth",
            "kbs/v0/auth",
            "/kbs/v0/resource",
            "/kbs/v0/resource/",
            "/kbs/v0/resource/a/b",
            "/kbs/v0/resource/a/b/c/d",
            "/kbs/v0/resource/a//c",
            "/kbs/v0/resource/a/../c",
            "/kbs/v0/resource/./b/c",
            "/kbs/v0/resource/a/b/%63",
            "/kbs/v0/resource/a/b/c?version=1",
            "/kbs/v0/resource/a/b/c#x",
            "/kbs/v0/resource/a/b/ü",
            "/kbs/v0/resource/a/b/c\0",
            "/kbs/v0/resource-policy",
            "/kbs/v0/reference-value/x",
        ] {
            assert!(Route::read(bad).is_err(), "{bad}");
        }
        assert!(Route::read(&format!("/kbs/v0/resource/a/b/{}", "c".repeat(1021))).is_err());
        for bad in ["kbs://host/a/b/c", "kbs:///a/b", "kbs+x:///a/b/c", "a/b/c"] {
            assert!(Resource::read_uri(bad).is_err(), "{bad}");
        }
    }
}
