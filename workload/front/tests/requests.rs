//! Protects the keeper and every client from requests that two readers read differently: what is
//! one request here is one for everybody, in whatever pieces it comes, and everything else is
//! refused with a status that says why. Cannot tell what TLS, sockets or the keeper make of it.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use casemate_front::http::{MAX_HEAD, MAX_HEADERS, MAX_LINE, Method, Reader, Refusal, Step};
use casemate_front::http::{answer, refuse};
use casemate_relay::{Answer, MAX_BODY, MAX_PATH};
use proptest::prelude::*;

/// What a connection was, from its first byte to its last.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Read {
    Request(Method, String, Option<Vec<u8>>, Option<Vec<u8>>, Vec<u8>, bool),
    Refused(Refusal),
    Begun(bool),
}

/// Gives the pieces to a reader as a connection would, and takes each request as it is whole.
fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Read> {
    let (mut reader, mut read) = (Reader::new(), Vec::new());
    let take = |reader: &mut Reader, read: &mut Vec<Read>| {
        while let Step::Whole(request) = reader.step() {
            read.push(Read::Request(
                request.method,
                request.path.into(),
                request.cookie.map(Into::into),
                request.authorization.map(Into::into),
                request.body.into(),
                request.close,
            ));
            reader.next();
        }
    };
    for mut piece in pieces {
        while !piece.is_empty() {
            let taken = reader.push(piece);
            piece = &piece[taken..];
            take(&mut reader, &mut read);
            assert!(reader.held() <= MAX_HEAD * 3 + MAX_BODY * 2, "{}", reader.held());
            if taken == 0 {
                break;
            }
        }
    }
    match reader.step() {
        Step::Refused(refusal) => read.push(Read::Refused(refusal)),
        Step::Begun { waits } => read.push(Read::Begun(waits)),
        Step::Nothing | Step::Whole(_) => {}
    }
    read
}

fn one(bytes: &[u8]) -> Read {
    let [read] = <[Read; 1]>::try_from(read([bytes])).unwrap();
    let alone: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(self::read(alone), std::slice::from_ref(&read), "in single bytes");
    read
}

fn status(bytes: &[u8]) -> u16 {
    match one(bytes) {
        Read::Refused(refusal) => refusal.status,
        other => panic!("{other:?} of {}", String::from_utf8_lossy(bytes)),
    }
}

const GOOD: &str = "POST /kbs/v0/auth HTTP/1.1\r\nHost: b\r\nContent-Length: 2\r\n";

#[test]
fn a_request_is_what_was_sent_and_what_comes_behind_it_is_the_next() {
    let first = "POST /kbs/v0/attest?a=b HTTP/1.1\r\nHost: broker\r\nCookie: kbs-session-id=x\r\n\
                 Content-Length: 3\r\nX-Other: \tsome thing \r\n\r\na\nb";
    let second = "GET /kbs/v0/resource/a/b/c HTTP/1.1\r\nhost:\r\nAUTHORIZATION: Bearer t\r\n\
                  connection: keep-alive, Close\r\n\r\n";
    let bytes = [first.as_bytes(), second.as_bytes(), b"GET"].concat();
    let cookie = Some(b"kbs-session-id=x".to_vec());
    let token = Some(b"Bearer t".to_vec());
    let path = "/kbs/v0/resource/a/b/c".into();
    let expected = [
        Read::Request(
            Method::Post,
            "/kbs/v0/attest?a=b".into(),
            cookie,
            None,
            b"a\nb".to_vec(),
            false,
        ),
        Read::Request(Method::Get, path, None, token, vec![], true),
        Read::Begun(false),
    ];
    assert_eq!(read([&bytes[..]]), expected);
}

#[test]
fn nothing_of_the_next_request_is_taken_before_the_first_is_answered() {
    let bytes = format!("{GOOD}\r\n{{}}{GOOD}\r\n{{}}");
    let mut reader = Reader::new();
    assert_eq!(reader.push(bytes.as_bytes()), bytes.len());
    for _ in 0..2 {
        let Step::Whole(request) = reader.step() else { panic!("{:?}", reader.step()) };
        assert_eq!((request.body, reader.room()), (&b"{}"[..], 0));
        reader.next();
    }
    assert_eq!((reader.step(), reader.held() <= 4096), (Step::Nothing, true));
}

#[test]
fn every_way_to_smuggle_a_request_is_refused() {
    let post = |headers: &str| {
        status(format!("POST /a HTTP/1.1\r\nHost: b\r\n{headers}\r\nAB").as_bytes())
    };
    for twice in [
        "Content-Length: 2\r\nContent-Length: 2\r\n",
        "Content-Length: 2\r\ncontent-length: 3\r\n",
        "Content-Length: 2, 2\r\n",
        "Content-Length: +2\r\n",
        "Content-Length: -2\r\n",
        "Content-Length: 0x2\r\n",
        "Content-Length: 2 3\r\n",
        "Content-Length:\r\n",
        "Content-Length: \u{b2}\r\n",
        "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 2\r\nTransfer-Encoding: identity\r\n",
        "Content-Length : 2\r\n",
        "Content-Length: 2\r\n X: folded\r\n",
        "Content-Length: 2\r\n\tX: folded\r\n",
        "Content-Length: 2\nX: lone LF\r\n",
        "Content-Length: 2\rX: lone CR\r\n",
        "Content-Length: 2\r\nX: a\0b\r\n",
        "Content-Length: 2\r\nX: a\x0bb\r\n",
        "Content-Length: 2\r\nX: a\x7fb\r\n",
        "Content-Length: 2\r\nHost: c\r\n",
        "Content-Length: 2\r\nCookie: a=b\r\nCookie: c=d\r\n",
        "Content-Length: 2\r\nAuthorization: a\r\nAuthorization: b\r\n",
        "Content-Length: 2\r\nno colon\r\n",
        "Content-Length: 2\r\n: no name\r\n",
        "Content-Length: 2\r\nX Y: space\r\n",
        "Content-Length: 2\r\nX\u{e9}: letter\r\n",
    ] {
        assert_eq!(post(twice), 400, "{twice:?}");
    }
    for without in ["", "Transfer-Encoding: chunked\r\n", "Transfer-Encoding: gzip, chunked\r\n"] {
        assert_eq!(post(without), 411, "{without:?}");
    }
    for line in [
        "\r\nGET / HTTP/1.1",
        "\nGET / HTTP/1.1",
        " GET / HTTP/1.1",
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET\t/ HTTP/1.1",
        "GET /a b HTTP/1.1",
        "GET /a#b HTTP/1.1",
        "GET /\u{e9} HTTP/1.1",
        "GET http://b/ HTTP/1.1",
        "GET * HTTP/1.1",
        "GET b:443 HTTP/1.1",
        "GET",
        "G(T / HTTP/1.1",
        "\x16\x03\x01\x02\x00\x01",
    ] {
        assert_eq!(status(format!("{line}\r\nHost: b\r\n\r\n").as_bytes()), 400, "{line:?}");
    }
    assert_eq!(status(b"GET / HTTP/1.1\r\n\r\n"), 400, "no host");
}

#[test]
fn what_is_not_served_is_refused_by_its_own_status() {
    for method in ["HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "BREW", "get"] {
        let Read::Refused(refusal) =
            one(format!("{method} / HTTP/1.1\r\nHost: b\r\n\r\n").as_bytes())
        else {
            panic!("{method}")
        };
        assert_eq!((refusal.status, refusal.bodiless), (405, method == "HEAD"), "{method}");
        let written = String::from_utf8(refuse(&refusal, 0)).unwrap();
        assert!(written.contains("\r\nAllow: GET, POST\r\n"), "{written}");
        assert_eq!(written.ends_with("\r\n\r\n"), method == "HEAD", "{written}");
    }
    for version in ["HTTP/1.0", "HTTP/2.0", "HTTP/0.9", "HTTP/1.2"] {
        assert_eq!(status(format!("GET / {version}\r\nHost: b\r\n\r\n").as_bytes()), 505);
    }
    assert_eq!(status(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 505);
    let expect = |what: &str| format!("{GOOD}Expect: {what}\r\n\r\n");
    assert_eq!(status(expect("a-miracle").as_bytes()), 417);
    assert_eq!(one(expect("100-Continue").as_bytes()), Read::Begun(true));
    assert_eq!(one(format!("{}{{", expect("100-continue")).as_bytes()), Read::Begun(false));
}

#[test]
fn the_longest_of_everything_passes_and_a_byte_more_does_not() {
    let path = |length: usize| {
        format!("GET /{} HTTP/1.1\r\nHost: b\r\n\r\n", "a".repeat(length - 1)).into_bytes()
    };
    assert!(matches!(one(&path(MAX_PATH)), Read::Request(..)));
    assert_eq!(status(&path(MAX_PATH + 1)), 414);
    assert_eq!(status(&vec![b'A'; MAX_LINE + 1]), 414);
    assert_eq!(one(&vec![b'A'; MAX_LINE]), Read::Begun(false));

    let headers = |count: usize| {
        format!("GET / HTTP/1.1\r\nHost: b\r\n{}\r\n", "X: y\r\n".repeat(count - 1)).into_bytes()
    };
    assert!(matches!(one(&headers(MAX_HEADERS)), Read::Request(..)));
    assert_eq!(status(&headers(MAX_HEADERS + 1)), 431);
    let head = |length: usize| {
        let begin = "GET / HTTP/1.1\r\nHost: b\r\nX: ";
        format!("{begin}{}\r\n\r\n", "y".repeat(length - begin.len() - 4)).into_bytes()
    };
    assert!(matches!(one(&head(MAX_HEAD)), Read::Request(..)));
    assert_eq!(status(&head(MAX_HEAD + 1)), 431);
    let cookie = |length| {
        format!("GET / HTTP/1.1\r\nHost: b\r\nCookie: {}\r\n\r\n", "y".repeat(length)).into_bytes()
    };
    assert!(matches!(one(&cookie(8192)), Read::Request(..)));
    assert_eq!(status(&cookie(8193)), 431);

    let body = |said: &str, sent: usize| {
        let head = format!("POST / HTTP/1.1\r\nHost: b\r\nContent-Length: {said}\r\n\r\n");
        [head.into_bytes(), vec![0; sent]].concat()
    };
    assert!(matches!(one(&body("65536", MAX_BODY)), Read::Request(..)));
    // Leading zeros are digits (RFC 9110, section 8.6).
    assert!(matches!(one(&body("0002", 2)), Read::Request(..)));
    assert_eq!(status(&body("65537", 0)), 413);
    assert_eq!(status(&body(&"9".repeat(100), 0)), 413);
}

#[test]
fn an_answer_says_where_it_ends_and_whether_the_connection_does() {
    let headers = vec![("Set-Cookie", "a=b")];
    let message = Answer { status: 200, headers, body: b"{}" };
    let written = String::from_utf8(answer(&message, false, 784_111_777)).unwrap();
    assert_eq!(
        written,
        "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
         Content-Type: application/json\r\nCache-Control: no-store\r\nContent-Length: 2\r\n\
         Set-Cookie: a=b\r\n\r\n{}"
    );
    let closed = String::from_utf8(answer(&message, true, 0)).unwrap();
    assert!(closed.contains("\r\nConnection: close\r\n"));
    let busy = String::from_utf8(refuse(&Refusal::BUSY, 0)).unwrap();
    assert!(busy.starts_with("HTTP/1.1 503 ") && busy.contains("\r\nRetry-After: 5\r\n"));
    let body = busy.split_once("\r\n\r\n").unwrap().1;
    let read = casemate_kbs::ErrorInformation::read(body.as_bytes()).unwrap();
    assert!(read.detail.contains("busy"), "{read:?}");
    assert!(busy.contains(&format!("\r\nContent-Length: {}\r\n", body.len())));
}

proptest! {
    /// Requests of which some are wrong somewhere, one behind the other.
    #[test]
    fn pieces_make_no_difference(
        texts in prop::collection::vec(
            prop_oneof![
                Just(format!("{GOOD}\r\n{{}}")),
                Just(format!("{GOOD}Expect: 100-continue\r\n\r\n{{}}")),
                Just("GET / HTTP/1.1\r\nHost: b\r\n\r\n".to_owned()),
                Just("GET / HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n".to_owned()),
                Just("POST / HTTP/1.1\r\nHost: b\r\nContent-Length: 5\r\n\r\nabc".to_owned()),
                "[ -~\r\n\t]{0,40}",
            ],
            1..5,
        ),
        flip in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
        sizes in prop::collection::vec(1_usize..50, 1..10),
    ) {
        let mut bytes = texts.concat().into_bytes();
        if let (Some((at, to)), false) = (flip, bytes.is_empty()) {
            let at = at.index(bytes.len());
            bytes[at] = to;
        }
        let (mut pieces, mut rest) = (Vec::new(), &bytes[..]);
        for size in sizes.iter().cycle() {
            let (piece, after) = rest.split_at(rest.len().min(*size));
            pieces.push(piece);
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(read(pieces), read([&bytes[..]]));
    }
}
