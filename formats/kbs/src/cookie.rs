//! Headers that carry a session: `Cookie` and `Authorization` of a request, `Set-Cookie` of an
//! answer.

use crate::{KbsError, What};

/// Longest header that is read, in bytes.
pub const MAX_HEADER: usize = 8 * 1024;
/// Longest value of a session's cookie, and longest token, in bytes: what every store of cookies
/// has to keep (RFC 6265, section 6.1), less the name.
pub const MAX_CREDENTIAL: usize = 4000;
/// The cookie's name.
const NAME: &str = "kbs-session-id";

/// A value that stands in a header as it is: letters, digits, `-`, `.`, `_`.
fn credential(text: &str) -> Result<&str, KbsError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    if text.is_empty() || text.len() > MAX_CREDENTIAL || !text.bytes().all(plain) {
        let why = "a session that is not 1 to 4000 letters, digits, -, . and _";
        return Err(KbsError::value(What::Header, why));
    }
    Ok(text)
}

fn header(bytes: &[u8]) -> Result<&str, KbsError> {
    let what = What::Header;
    if bytes.len() > MAX_HEADER {
        return Err(KbsError::TooLong { what, found: bytes.len(), most: MAX_HEADER });
    }
    let text = std::str::from_utf8(bytes).ok().filter(|text| !text.contains(char::is_control));
    text.ok_or(KbsError::value(what, "not a line of text"))
}

/// The session in a `Cookie` header; none when there are only cookies of other names.
///
/// # Errors
/// [`KbsError`]; two sessions are one too many: whichever was taken, somebody could mean the other.
pub fn session_cookie(value: &[u8]) -> Result<Option<&str>, KbsError> {
    let cookies = header(value)?.split(';').filter_map(|pair| pair.trim().split_once('='));
    let mut ours = cookies.filter(|(name, _)| *name == NAME).map(|(_, value)| value);
    let Some(first) = ours.next() else { return Ok(None) };
    if ours.next().is_some() {
        return Err(KbsError::value(What::Header, "two cookies named kbs-session-id"));
    }
    credential(first).map(Some)
}

/// The token in an `Authorization` header: `Bearer`, in any case (RFC 9110, section 11.1), a blank,
/// the token.
///
/// # Errors
/// [`KbsError`].
pub fn bearer(value: &[u8]) -> Result<&str, KbsError> {
    let wrong = KbsError::value(What::Header, "Authorization that is not Bearer and a token");
    let (scheme, token) = header(value)?.trim().split_once(' ').ok_or(wrong.clone())?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(wrong);
    }
    credential(token.trim_start_matches(' '))
}

/// The value of `Set-Cookie` for a session that lasts so many seconds.
///
/// Without `Secure`, which a client on plain HTTP would not send back; with `Max-Age` and not
/// `Expires`, because the guest has no clock that could judge a date.
#[must_use]
pub fn set_cookie(session: &str, seconds: u64) -> String {
    format!("{NAME}={session}; Path=/kbs/v0; Max-Age={seconds}; HttpOnly; SameSite=Strict")
}

/// The session that a `Set-Cookie` header sets; none when it sets something else. What follows the
/// value is for stores of cookies, and a guest keeps one session anyway.
///
/// # Errors
/// [`KbsError`].
pub fn set_cookie_session(value: &[u8]) -> Result<Option<&str>, KbsError> {
    let first = header(value)?.split(';').next().unwrap_or_default();
    match first.trim().split_once('=') {
        Some((NAME, session)) => credential(session.trim()).map(Some),
        _ => Ok(None),
    }
}

/// The value of a `Cookie` header.
#[must_use]
pub fn cookie_header(session: &str) -> String {
    format!("{NAME}={session}")
}

/// The value of an `Authorization` header.
#[must_use]
pub fn bearer_header(token: &str) -> String {
    format!("Bearer {token}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_found_among_other_cookies_and_is_one() {
        let found = |text: &str| session_cookie(text.as_bytes()).map(|s| s.map(str::to_owned));
        for text in [
            "kbs-session-id=ab.C_1-",
            "a=b;  kbs-session-id=ab.C_1- ; c=",
            "x; kbs-session-id=ab.C_1-",
        ] {
            assert_eq!(found(text), Ok(Some("ab.C_1-".to_owned())), "{text}");
        }
        for text in ["", "a=b", "kbs-session-id", "KBS-session-id=a", "xkbs-session-id=a"] {
            assert_eq!(found(text), Ok(None), "{text}");
        }
        for text in [
            "kbs-session-id=a; kbs-session-id=a",
            "kbs-session-id=",
            "kbs-session-id=\"a\"",
            "kbs-session-id=a b",
            "kbs-session-id=a\n",
        ] {
            assert!(found(text).is_err(), "{text}");
        }
        let long = cookie_header(&"a".repeat(MAX_CREDENTIAL + 1));
        assert!(found(&long).is_err());
        assert!(session_cookie(&[0xff; 4]).is_err());
        assert!(session_cookie(&vec![b'a'; MAX_HEADER + 1]).is_err());
    }

    #[test]
    fn what_is_written_is_read_back() {
        let set = set_cookie("a.b-c_9", 300);
        assert_eq!(set_cookie_session(set.as_bytes()), Ok(Some("a.b-c_9")));
        // As Trustee writes it.
        let theirs = b"kbs-session-id=0123abcd; Expires=Wed, 21 Oct 2026 07:28:00 GMT";
        assert_eq!(set_cookie_session(theirs), Ok(Some("0123abcd")));
        assert_eq!(set_cookie_session(b"other=1; Path=/"), Ok(None));
        assert_eq!(session_cookie(cookie_header("a.b").as_bytes()), Ok(Some("a.b")));
        assert_eq!(bearer(bearer_header("a.b").as_bytes()), Ok("a.b"));
        assert_eq!(bearer(b"bearer  a.b"), Ok("a.b"));
        for bad in ["", "Bearer", "Bearer ", "Basic a", "Bearer a b", "Bearer a=="] {
            assert!(bearer(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
