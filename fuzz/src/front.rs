//! Bodies for what the network side of a key broker reads: requests, and the plan of its start.
//!
//! Oracles: no panic; memory within bounds whatever comes; the same requests, or the same refusal,
//! in whatever pieces the bytes come; what is taken for a request is one for the keeper, and an
//! answer has no more than one beginning.

use casemate_front::Plan;
use casemate_front::http::{MAX_HEAD, Reader, Request, Step, refuse};
use casemate_kbs::ErrorInformation;
use casemate_relay::{Call, MAX_BODY, Message, ToKeeper, split};

/// The most that a connection's reader may hold at once: a head and its copy, or a body and what
/// grows for it.
const MOST: usize = 4 * (MAX_HEAD + MAX_BODY);

/// The first byte says how large the pieces are, the second how they differ.
pub fn http(data: &[u8]) {
    let Some((&[first, second], bytes)) = data.split_first_chunk() else { return };
    let mut sizes = [usize::from(first) + 1, usize::from(second) + 1].into_iter().cycle();
    let mut rest = bytes;
    let pieces = std::iter::from_fn(|| {
        let (piece, after) = rest.split_at(rest.len().min(sizes.next()?));
        rest = after;
        (!piece.is_empty()).then_some(piece)
    });
    let pieces: Vec<&[u8]> = pieces.collect();
    crate::bounded(256 * 1024 + (MOST + 16 * data.len()) as u64, || {
        assert_eq!(read(pieces), read(vec![bytes]));
    });
}

/// What a connection was: each request as the keeper is asked it, and how it ends.
fn read(pieces: Vec<&[u8]>) -> (Vec<Vec<u8>>, String) {
    let (mut reader, mut asked) = (Reader::new(), Vec::new());
    for mut piece in pieces {
        while !piece.is_empty() {
            let taken = reader.push(piece);
            assert!(reader.held() <= MOST, "{} bytes are held", reader.held());
            piece = &piece[taken..];
            while let Step::Whole(request) = reader.step() {
                asked.push(ask(&request));
                reader.next();
            }
            if taken == 0 {
                break;
            }
        }
    }
    let ends = match reader.step() {
        Step::Refused(refusal) => {
            assert_eq!(reader.room(), 0);
            let answer = String::from_utf8(refuse(&refusal, 0)).unwrap();
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with(&format!("HTTP/1.1 {} ", refusal.status)), "{head}");
            assert!(refusal.bodiless == body.is_empty());
            if !refusal.bodiless {
                ErrorInformation::read(body.as_bytes()).unwrap();
            }
            answer
        }
        step => format!("{step:?}"),
    };
    (asked, ends)
}

/// The request as the keeper is asked it, which takes every one that is taken here.
fn ask(request: &Request<'_>) -> Vec<u8> {
    let Request { method, path, cookie, authorization, body, close: _ } = *request;
    let method = method.name();
    let call = Call { peer: None, method, path, cookie, authorization, body };
    let mut frame = Vec::new();
    ToKeeper::Call { id: 0, call }.write(&mut frame).unwrap();
    assert_eq!(split(&frame), Ok(Some((ToKeeper::Call { id: 0, call }, frame.len()))));
    frame
}

/// The start of a front.
pub fn plan(data: &[u8]) {
    crate::bounded(64 * 1024 + 8 * data.len() as u64, || {
        if let Ok(plan) = Plan::decode(data) {
            assert_eq!(plan.encode().unwrap(), data);
        }
    });
}
