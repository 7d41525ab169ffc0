//! HTTP/1.1, as far as the protocol needs it: a request in one piece, an answer with a length.
//!
//! An answer whose end is another one than a number of bytes is refused: neither brokers of ours
//! nor Trustee's send one, and every further way to say where an answer ends is one to disagree
//! about.

use crate::{ClientError, seconds_of_date};
use casemate_kbs::{MAX_BODY, MAX_SECRET, set_cookie_session};

/// Longest head of an answer, in bytes.
const MAX_HEAD: usize = 8 * 1024;
const MAX_HEADERS: usize = 64;
/// Longest body of an answer with a secret in it: base64 of it, and some members.
const MAX_SEALED: usize = MAX_SECRET / 3 * 4 + 4096;

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Path, of characters that stand in a request's first line as they are.
    pub path: String,
    /// The value of `Cookie`.
    pub cookie: Option<String>,
    /// JSON, sent by POST; without one it is a GET.
    pub body: Option<String>,
}

impl Request {
    /// As it is sent. The host's name is nobody's: a broker is not known by one.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let Self { path, cookie, body } = self;
        let method = if body.is_some() { "POST" } else { "GET" };
        let mut text = format!(
            "{method} {path} HTTP/1.1\r\nHost: broker\r\nUser-Agent: casemate\r\n\
             Accept: application/json\r\n"
        );
        if let Some(cookie) = cookie {
            text.push_str(&format!("Cookie: {cookie}\r\n"));
        }
        if let Some(body) = body {
            let length = body.len();
            text.push_str(&format!(
                "Content-Type: application/json\r\nContent-Length: {length}\r\n"
            ));
        }
        text.push_str("\r\n");
        text.push_str(body.as_deref().unwrap_or_default());
        text.into_bytes()
    }

    /// Longest body of its answer, in bytes: a secret's, or any other one's.
    #[must_use]
    pub const fn most(&self) -> usize {
        if self.body.is_some() { MAX_BODY } else { MAX_SEALED }
    }
}

/// An answer, as far as anything follows from it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The session that a `Set-Cookie` sets.
    pub session: Option<String>,
    /// `Date`, in seconds since 1970; None where there is none that is one.
    pub date: Option<u64>,
    /// `Retry-After`, in seconds.
    pub retry_after: Option<u64>,
    /// The connection ends behind it.
    pub last: bool,
    /// The body.
    pub body: Vec<u8>,
}

/// What a head says, and where the body begins and ends.
struct Head {
    answer: Answer,
    begin: usize,
    end: usize,
}

/// Bytes of an answer as they come.
#[derive(Debug)]
pub struct Reader {
    bytes: Vec<u8>,
    /// Longest body.
    most: usize,
}

impl Reader {
    /// For an answer with a body of so many bytes at most.
    #[must_use]
    pub const fn new(most: usize) -> Self {
        Self { bytes: Vec::new(), most }
    }

    /// Takes more bytes; gives the answer when it is whole.
    ///
    /// # Errors
    /// [`ClientError::Http`] and [`ClientError::Protocol`]: what is too long is refused before all
    /// of it is there, and bytes behind the answer, which nobody asked for, are refused, too.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Option<Answer>, ClientError> {
        self.bytes.extend_from_slice(bytes);
        let Some(Head { mut answer, begin, end }) = self.head()? else {
            return if self.bytes.len() > MAX_HEAD {
                Err(ClientError::Http("a head of more than 8 KiB"))
            } else {
                Ok(None)
            };
        };
        match (self.bytes.len().cmp(&end), self.bytes.get(begin..end)) {
            (std::cmp::Ordering::Equal, Some(body)) => {
                answer.body = body.to_vec();
                Ok(Some(answer))
            }
            (std::cmp::Ordering::Greater, _) => {
                Err(ClientError::Http("more bytes than its length says"))
            }
            _ => Ok(None),
        }
    }

    fn head(&self) -> Result<Option<Head>, ClientError> {
        let wrong = ClientError::Http;
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut parsed = httparse::Response::new(&mut headers);
        let searched = self.bytes.get(..MAX_HEAD.min(self.bytes.len())).unwrap_or_default();
        let begin = match parsed.parse(searched) {
            Ok(httparse::Status::Complete(begin)) => begin,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err(wrong("not a head of HTTP/1.1")),
        };
        if parsed.version != Some(1) {
            return Err(wrong("not HTTP/1.1"));
        }
        let status = parsed.code.filter(|code| *code >= 200);
        let mut answer =
            Answer { status: status.ok_or(wrong("no final status"))?, ..Answer::default() };
        let mut length = None;
        for header in parsed.headers.iter() {
            let named = |name: &str| header.name.eq_ignore_ascii_case(name);
            if named("content-length") {
                let value = number(header.value).ok_or(wrong("a length that is none"))?;
                if length.replace(value).is_some() {
                    return Err(wrong("two lengths"));
                }
            } else if named("transfer-encoding") || named("content-encoding") {
                return Err(wrong("a body in another form than bytes of a length"));
            } else if named("set-cookie") {
                let session = set_cookie_session(header.value)?;
                answer.session = session.map(str::to_owned).or(answer.session);
            } else if named("date") {
                answer.date = seconds_of_date(header.value);
            } else if named("retry-after") {
                answer.retry_after = number(header.value);
            } else if named("connection") {
                answer.last = header.value.eq_ignore_ascii_case(b"close");
            }
        }
        let length = length.ok_or(wrong("no length"))?;
        let length = usize::try_from(length).ok().filter(|length| *length <= self.most);
        let length = length.ok_or(wrong("longer than any that is asked for"))?;
        let end = begin.checked_add(length).ok_or(wrong("no length"))?;
        Ok(Some(Head { answer, begin, end }))
    }
}

/// Digits, and few enough of them.
fn number(value: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(value).ok()?;
    let plain = (1..=10).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GOOD: &str = "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
        Set-Cookie: kbs-session-id=a.b; Max-Age=300\r\ncontent-length: 4\r\n\r\nbody";

    fn read(text: &str, most: usize) -> Result<Option<Answer>, ClientError> {
        Reader::new(most).push(text.as_bytes())
    }

    #[test]
    fn an_answer_is_read_however_its_bytes_come() {
        let whole = read(GOOD, 4).unwrap().unwrap();
        assert_eq!((whole.status, &whole.body[..]), (200, &b"body"[..]));
        assert_eq!((whole.session.as_deref(), whole.date), (Some("a.b"), Some(784_111_777)));
        assert!(!whole.last && whole.retry_after.is_none());
        let mut slowly = Reader::new(4);
        let (last, before) = GOOD.as_bytes().split_last().unwrap();
        for byte in before {
            assert_eq!(slowly.push(&[*byte]).unwrap(), None);
        }
        assert_eq!(slowly.push(&[*last]).unwrap(), Some(whole));
        let closing = GOOD.replace("Date", "Connection: close\r\nRetry-After: 7\r\nDate");
        let closing = read(&closing, 4).unwrap().unwrap();
        assert!(closing.last && closing.retry_after == Some(7));
    }

    /// Protects PID 1 from answers without an end, and from two readings of one answer.
    #[test]
    fn an_answer_whose_end_is_not_one_number_is_refused() {
        let refused = |text: &str, most| read(text, most).unwrap_err().to_string();
        let with = |from: &str, to: &str| GOOD.replace(from, to);
        assert!(refused(GOOD, 3).contains("longer"));
        assert!(refused(&with("length: 4", "length: 3"), 9).contains("more bytes"));
        assert!(refused(&with("length: 4", "length: +4"), 9).contains("length"));
        assert!(refused(&with("content-length: 4\r\n", ""), 9).contains("no length"));
        assert!(refused(&with("Date:", "content-length: 4\r\nDate:"), 9).contains("two lengths"));
        let chunked = with("Date:", "Transfer-Encoding: chunked\r\nDate:");
        assert!(refused(&chunked, 9).contains("another form"));
        assert!(refused(&with("HTTP/1.1", "HTTP/1.0"), 9).contains("not HTTP/1.1"));
        assert!(refused(&with("200 OK", "100 Continue"), 9).contains("no final status"));
        assert!(
            refused(&format!("HTTP/1.1 200 OK\r\nA: {}", "x".repeat(9000)), 9).contains("8 KiB")
        );
        assert!(refused("SSH-2.0-x\r\n", 9).contains("not a head"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_do_more_than_refuse(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..5),
        ) {
            let mut reader = Reader::new(100);
            for part in parts {
                if reader.push(&part).is_err() {
                    break;
                }
            }
        }
    }

    #[test]
    fn a_request_is_one_piece() {
        let ask = Request { path: "/kbs/v0/auth".into(), cookie: None, body: Some("{}".into()) };
        let text = String::from_utf8(ask.to_bytes()).unwrap();
        assert!(text.starts_with("POST /kbs/v0/auth HTTP/1.1\r\nHost: broker\r\n"), "{text}");
        assert!(text.ends_with("Content-Length: 2\r\n\r\n{}"), "{text}");
        let get = Request { cookie: Some("kbs-session-id=a".into()), body: None, ..ask };
        let text = String::from_utf8(get.to_bytes()).unwrap();
        assert!(text.starts_with("GET ") && text.ends_with("Cookie: kbs-session-id=a\r\n\r\n"));
    }
}
