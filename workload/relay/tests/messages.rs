//! Protects what front and keeper say to each other: a message that is written is read as the same
//! however its bytes come, and what is none is refused within bounds. Cannot tell what either
//! process makes of a message.

#![allow(clippy::unwrap_used, reason = "a test ends by panicking")]

use casemate_relay::{
    Answer, Call, Inbox, MAX_ANSWER, MAX_ANSWER_HEADER, MAX_BODY, MAX_HEADER, MAX_METHOD, MAX_PATH,
    Message, RelayError, ToFront, ToKeeper, Transcript, split, stream,
};
use proptest::prelude::*;
use std::net::IpAddr;

fn call<'a>() -> Call<'a> {
    Call {
        peer: Some("192.0.2.7".parse().unwrap()),
        method: "POST",
        path: "/kbs/v0/auth?x=1",
        cookie: Some(b"kbs-session-id=abc"),
        authorization: None,
        body: b"{}",
    }
}

fn written<'a>(message: &impl Message<'a>) -> Vec<u8> {
    let mut out = Vec::new();
    message.write(&mut out).unwrap();
    out
}

/// What is owned of a message, to be drawn at random.
#[derive(Debug, Clone)]
struct Drawn {
    id: u64,
    peer: Option<IpAddr>,
    method: String,
    path: String,
    cookie: Option<Vec<u8>>,
    authorization: Option<Vec<u8>>,
    body: Vec<u8>,
    hash: Option<Vec<u8>>,
}

impl Drawn {
    fn message(&self) -> ToKeeper<'_> {
        let Self { id, peer, method, path, cookie, authorization, body, hash } = self;
        if let Some(hash) = hash {
            let transcript = Transcript::of_hash(hash).unwrap();
            return ToKeeper::Sign { id: *id, transcript };
        }
        let (cookie, authorization) = (cookie.as_deref(), authorization.as_deref());
        ToKeeper::Call {
            id: *id,
            call: Call { peer: *peer, method, path, cookie, authorization, body },
        }
    }
}

fn header() -> impl Strategy<Value = Option<Vec<u8>>> {
    let byte = prop_oneof![Just(b'\t'), 0x20_u8..=0x7e, 0x80_u8..=0xff];
    proptest::option::of(proptest::collection::vec(byte, 0..100))
}

prop_compose! {
    fn drawn()(
        id: u64,
        peer in proptest::option::of(any::<IpAddr>()),
        method in "[!-!A-Za-z~|]{1,20}",
        path in "[!-~]{1,100}",
        cookie in header(),
        authorization in header(),
        body in proptest::collection::vec(any::<u8>(), 0..300),
        hash in proptest::option::of(prop_oneof![
            proptest::collection::vec(any::<u8>(), 32),
            proptest::collection::vec(any::<u8>(), 48),
        ]),
    ) -> Drawn {
        Drawn { id, peer, method, path, cookie, authorization, body, hash }
    }
}

proptest! {
    #[test]
    fn what_is_asked_is_read_as_written_in_any_pieces(
        asked in proptest::collection::vec(drawn(), 1..5),
        sizes in proptest::collection::vec(1_usize..200, 1..20),
    ) {
        let mut bytes = Vec::new();
        for one in &asked {
            one.message().write(&mut bytes).unwrap();
        }
        let mut inbox = Inbox::new();
        let (mut rest, mut read) = (&bytes[..], asked.iter());
        for size in sizes.iter().cycle() {
            let (piece, after) = rest.split_at(rest.len().min(*size));
            inbox.push(piece);
            while let Some(message) = inbox.next::<ToKeeper<'_>>().unwrap() {
                prop_assert_eq!(message, read.next().unwrap().message());
            }
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert!(read.next().is_none() && inbox.is_empty());
    }

    #[test]
    fn what_is_answered_is_read_as_written(
        id: u64,
        status in 200_u16..600,
        headers in proptest::collection::vec(("X-[a-zA-Z-]{1,20}", "[ -~]{0,60}"), 0..=4),
        body in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let pairs = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let answer = Answer { status, headers: pairs, body: &body };
        let message = ToFront::Answer { id, answer };
        let bytes = written(&message);
        prop_assert_eq!(split(&bytes).unwrap(), Some((message, bytes.len())));
    }

    #[test]
    fn any_changed_byte_is_another_message_or_none(asked in drawn(), at: prop::sample::Index,
        change in 1_u8..) {
        let bytes = written(&asked.message());
        let mut changed = bytes.clone();
        changed[at.index(bytes.len())] ^= change;
        if let Ok(Some((message, length))) = split::<ToKeeper<'_>>(&changed) {
            // There is one way to write a message: what was read is what was changed.
            prop_assert_eq!(written(&message), &changed[..length]);
        }
    }
}

#[test]
fn a_message_that_is_not_whole_is_waited_for_and_one_too_long_is_not() {
    let bytes = written(&ToKeeper::Call { id: 1, call: call() });
    for length in 0..bytes.len() {
        assert_eq!(split::<ToKeeper<'_>>(&bytes[..length]), Ok(None), "{length}");
    }
    let longest = u32::try_from(<ToKeeper<'_> as Message<'_>>::MOST - 4).unwrap();
    assert_eq!(split::<ToKeeper<'_>>(&longest.to_le_bytes()), Ok(None));
    for length in [longest + 1, u32::MAX] {
        let bytes = length.to_le_bytes();
        let refused = split::<ToKeeper<'_>>(&bytes);
        assert!(matches!(refused, Err(RelayError::TooLong { .. })), "{refused:?}");
    }
}

#[test]
fn the_longest_of_everything_passes_and_a_byte_more_does_not() {
    let (path, header) = ("p".repeat(MAX_PATH + 1), vec![b'h'; MAX_HEADER + 1]);
    let (method, body) = ("M".repeat(MAX_METHOD + 1), vec![0; MAX_BODY + 1]);
    let most = Call {
        peer: Some("2001:db8::1".parse().unwrap()),
        method: &method[1..],
        path: &path[1..],
        cookie: Some(&header[1..]),
        authorization: Some(&header[1..]),
        body: &body[1..],
    };
    let message = ToKeeper::Call { id: u64::MAX, call: most };
    let bytes = written(&message);
    assert_eq!(bytes.len(), <ToKeeper<'_> as Message<'_>>::MOST);
    assert_eq!(split(&bytes), Ok(Some((message, bytes.len()))));
    let more = [
        Call { method: &method, ..most },
        Call { path: &path, ..most },
        Call { cookie: Some(&header), ..most },
        Call { authorization: Some(&header), ..most },
        Call { body: &body, ..most },
    ];
    for call in more {
        let mut out = Vec::new();
        let refused = ToKeeper::Call { id: 0, call }.write(&mut out);
        assert!(matches!(refused, Err(RelayError::TooLong { .. })) && out.is_empty());
    }

    let (value, body) = ("v".repeat(MAX_ANSWER_HEADER), vec![0; MAX_ANSWER]);
    let name = "n".repeat(MAX_ANSWER_HEADER);
    let answer = Answer { status: 200, headers: vec![(&name, &value); 4], body: &body };
    let bytes = written(&ToFront::Answer { id: 0, answer });
    assert_eq!(bytes.len(), <ToFront<'_> as Message<'_>>::MOST);
}

#[test]
fn a_request_has_no_character_that_could_mean_more_than_itself() {
    let wrong = [
        Call { method: "", ..call() },
        Call { method: "GET /", ..call() },
        Call { path: "", ..call() },
        Call { path: "/a b", ..call() },
        Call { path: "/ü", ..call() },
        Call { path: "/a\r\nb", ..call() },
        Call { cookie: Some(b"a\r\nb"), ..call() },
        Call { authorization: Some(b"a\0b"), ..call() },
        Call { cookie: Some(b"a\x7fb"), ..call() },
    ];
    for call in wrong {
        let refused = ToKeeper::Call { id: 0, call }.write(&mut Vec::new());
        assert!(matches!(refused, Err(RelayError::Value { .. })), "{call:?}");
    }
}

#[test]
fn an_answer_cannot_say_where_it_ends_nor_begin_another() {
    let good = Answer { status: 429, headers: vec![("Retry-After", "3")], body: b"{}" };
    let message = ToFront::Answer { id: 5, answer: good.clone() };
    assert_eq!(split::<ToFront<'_>>(&written(&message)).unwrap().unwrap().0, message);
    let one = |name, value| Answer { headers: vec![(name, value)], ..good.clone() };
    let wrong = [
        Answer { status: 100, ..good.clone() },
        Answer { status: 600, ..good.clone() },
        Answer { headers: vec![("A", "b"); 5], ..good.clone() },
        one("Set-Cookie", "a\r\nContent-Length: 0"),
        one("Set-Cookie", "a\tb"),
        one("Set-Cookie: a", "b"),
        one("", "b"),
        one("content-LENGTH", "0"),
        one("Transfer-Encoding", "chunked"),
        one("Connection", "close"),
    ];
    for answer in wrong {
        let refused = ToFront::Answer { id: 0, answer: answer.clone() }.write(&mut Vec::new());
        assert!(matches!(refused, Err(RelayError::Value { .. })), "{answer:?}");
    }
}

#[test]
fn only_the_certificate_verify_of_a_tls_1_3_server_can_be_asked_to_be_signed() {
    for length in [32, 48] {
        let transcript = Transcript::of_hash(&vec![7; length]).unwrap();
        let content = transcript.content();
        assert_eq!(&content[..64], [b' '; 64]);
        assert_eq!(&content[64..98], b"TLS 1.3, server CertificateVerify\0");
        assert_eq!(&content[98..], vec![7; length]);
        assert_eq!(Transcript::of_content(&content), Some(transcript));
        let message = ToKeeper::Sign { id: 3, transcript };
        assert_eq!(split::<ToKeeper<'_>>(&written(&message)).unwrap().unwrap().0, message);
        for at in 0..98 {
            let mut other = content.clone();
            other[at] ^= 1;
            assert_eq!(Transcript::of_content(&other), None, "{at}");
        }
    }
    let client = [&[b' '; 64][..], b"TLS 1.3, client CertificateVerify\0", &[7; 32]].concat();
    assert_eq!(Transcript::of_content(&client), None);
    for length in [0, 20, 31, 33, 47, 49, 64] {
        assert!(Transcript::of_hash(&vec![7; length]).is_err(), "{length}");
    }
}

#[test]
fn a_message_of_the_other_direction_or_with_more_behind_it_is_refused() {
    let signature = ToFront::Signature { id: 9, signature: Some(&[1; 70]) };
    let bytes = written(&signature);
    assert_eq!(split(&bytes), Ok(Some((signature, bytes.len()))));
    assert_eq!(split::<ToKeeper<'_>>(&bytes), Err(RelayError::UnknownKind(0x82)));
    let mut more = bytes.clone();
    more[0] += 1;
    more.push(0);
    assert_eq!(split::<ToFront<'_>>(&more), Err(RelayError::Trailing(1)));
    let neither = bytes.iter().enumerate().map(|(at, &byte)| if at == 13 { 2 } else { byte });
    let neither: Vec<u8> = neither.collect();
    assert!(matches!(split::<ToFront<'_>>(&neither), Err(RelayError::Value { .. })));
}

#[test]
fn a_stream_gives_its_messages_and_tells_an_end_from_a_torn_message() {
    let message = ToKeeper::Call { id: 1, call: call() };
    let mut bytes = Vec::new();
    stream::send(&message, &mut bytes).unwrap();
    stream::send(&message, &mut bytes).unwrap();
    let (mut inbox, mut whole) = (Inbox::new(), &bytes[..]);
    for _ in 0..2 {
        assert!(stream::wait::<ToKeeper<'_>>(&mut inbox, &mut whole).unwrap());
        assert_eq!(inbox.next(), Ok(Some(message)));
    }
    assert!(!stream::wait::<ToKeeper<'_>>(&mut inbox, &mut whole).unwrap());
    let torn = stream::wait::<ToKeeper<'_>>(&mut Inbox::new(), &mut &bytes[..20]);
    assert_eq!(torn.unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
    let garbage = stream::wait::<ToKeeper<'_>>(&mut Inbox::new(), &mut &[0xff; 20][..]);
    assert_eq!(garbage.unwrap_err().kind(), std::io::ErrorKind::InvalidData);
}
