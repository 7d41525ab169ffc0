//! A request's head: its first line and its headers, as far as a broker cares.

use super::refusal::Refusal;
use casemate_relay::{MAX_BODY, MAX_HEADER, MAX_PATH};
use httparse::{EMPTY_HEADER, Error, Header, Status};

/// Most headers of a request.
pub const MAX_HEADERS: usize = 64;

/// What a request can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// `GET`.
    Get,
    /// `POST`.
    Post,
}

impl Method {
    /// As it stands in a request.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
        }
    }
}

/// A head that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) cookie: Option<Vec<u8>>,
    pub(crate) authorization: Option<Vec<u8>>,
    /// The body's length.
    pub(crate) length: usize,
    /// Whoever asks waits for a word before it sends the body.
    pub(crate) expects: bool,
    /// The connection is to end with the answer.
    pub(crate) close: bool,
}

/// The headers that decide something. Each may stand there once: of two, whichever was taken,
/// somebody between could have taken the other.
#[derive(Debug, Default)]
struct Known<'a> {
    host: Option<&'a [u8]>,
    length: Option<&'a [u8]>,
    coding: Option<&'a [u8]>,
    expect: Option<&'a [u8]>,
    cookie: Option<&'a [u8]>,
    authorization: Option<&'a [u8]>,
    close: bool,
}

impl<'a> Known<'a> {
    fn of(headers: &[Header<'a>]) -> Result<Self, Refusal> {
        let mut known = Self::default();
        for header in headers {
            known.take(header)?;
        }
        Ok(known)
    }

    fn take(&mut self, &Header { name, value }: &Header<'a>) -> Result<(), Refusal> {
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        let place = if is("host") {
            &mut self.host
        } else if is("content-length") {
            &mut self.length
        } else if is("transfer-encoding") {
            &mut self.coding
        } else if is("expect") {
            &mut self.expect
        } else if is("cookie") {
            &mut self.cookie
        } else if is("authorization") {
            &mut self.authorization
        } else {
            if is("connection") {
                let mut words = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
                self.close |= words.any(|word| word.eq_ignore_ascii_case(b"close"));
            }
            return Ok(());
        };
        if place.replace(value).is_some() {
            return Err(Refusal::new(400, "a header that may stand there once stands there twice"));
        }
        Ok(())
    }

    /// The body's length: said by one `Content-Length`, and in no other way.
    fn body(&self, method: Method) -> Result<usize, Refusal> {
        match (self.coding, self.length) {
            (Some(_), Some(_)) => {
                Err(Refusal::new(400, "Content-Length and Transfer-Encoding in one request"))
            }
            (Some(_), None) => {
                Err(Refusal::new(411, "Transfer-Encoding is not taken: say Content-Length"))
            }
            (None, None) if method == Method::Post => {
                Err(Refusal::new(411, "a POST without Content-Length"))
            }
            (None, None) => Ok(0),
            (None, Some(digits)) => length(digits),
        }
    }
}

/// How many words a request line has.
fn words(bytes: &[u8]) -> usize {
    let line = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
    line.split(|byte| *byte == b' ').count()
}

/// A length in digits; more of them than can be meant are not counted.
fn length(digits: &[u8]) -> Result<usize, Refusal> {
    let wrong = Refusal::new(400, "a Content-Length that is not a number");
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(wrong);
    }
    let text = std::str::from_utf8(digits).map_err(|_| wrong)?;
    match text.parse() {
        Ok(length) if length <= MAX_BODY => Ok(length),
        _ => Err(Refusal::new(413, "a body that is longer than 64 KiB")),
    }
}

impl Head {
    /// Reads a head that [`super::lines::Lines`] found.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, Refusal> {
        let mut headers = [EMPTY_HEADER; MAX_HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(bytes) {
            Ok(Status::Complete(length)) if length == bytes.len() => {}
            Err(Error::TooManyHeaders) => {
                return Err(Refusal::new(431, "more than 64 headers"));
            }
            // Of three words the last is a version; of more, nobody knows which.
            Err(Error::Version) if words(bytes) == 3 => {
                return Err(Refusal::new(505, "only HTTP/1.1 is spoken here"));
            }
            _ => return Err(Refusal::new(400, "what is sent is not HTTP/1.1")),
        }
        let (Some(method), Some(path)) = (request.method, request.path) else {
            return Err(Refusal::new(400, "what is sent is not HTTP/1.1"));
        };
        if request.version != Some(1) {
            return Err(Refusal::new(505, "only HTTP/1.1 is spoken here"));
        }
        // From here on the method is known, and with it whether an answer may have a body.
        let bodiless = method == "HEAD";
        Self::of(method, path, request.headers).map_err(|refusal| Refusal { bodiless, ..refusal })
    }

    fn of(method: &str, path: &str, headers: &[Header<'_>]) -> Result<Self, Refusal> {
        let known = Known::of(headers)?;
        // RFC 9112, section 3.2. What it says is of no meaning here: the broker is known by its
        // key.
        if known.host.is_none() {
            return Err(Refusal::new(400, "a request without Host"));
        }
        let method = match method {
            "GET" => Method::Get,
            "POST" => Method::Post,
            _ => return Err(Refusal::new(405, "only GET and POST are answered here")),
        };
        if path.len() > MAX_PATH {
            return Err(Refusal::new(414, "a path that is longer than 2 KiB"));
        }
        if !path.starts_with('/') || !path.bytes().all(|b| b.is_ascii_graphic() && b != b'#') {
            return Err(Refusal::new(400, "a request for what is not a path"));
        }
        if [known.cookie, known.authorization].iter().flatten().any(|v| v.len() > MAX_HEADER) {
            return Err(Refusal::new(431, "a cookie or token that is longer than 8 KiB"));
        }
        let expects = known.expect.is_some();
        if known.expect.is_some_and(|what| !what.eq_ignore_ascii_case(b"100-continue")) {
            return Err(Refusal::new(417, "only 100-continue can be expected"));
        }
        let length = known.body(method)?;
        let owned = |value: Option<&[u8]>| value.map(<[u8]>::to_vec);
        let (cookie, authorization) = (owned(known.cookie), owned(known.authorization));
        let (path, close) = (path.to_owned(), known.close);
        Ok(Self { method, path, cookie, authorization, length, expects, close })
    }
}
