//! What a key broker, or whoever plays it, sends a guest: answers over HTTP/1.1, as PID 1 reads
//! them, and what its session makes of each.
//!
//! Oracles: no panic; bounded memory; an answer is the same however its bytes come; a session asks
//! a bounded number of times, proves itself at most twice, and gives no more secrets than it asked
//! for; every error is one plain line.

use casemate_broker_client::{Answer, ClientError, Next, Reader, Session, seconds_of_date};
use casemate_foreign_text as foreign;
use casemate_kbs::{Resource, SessionKey};

const FLOOR: u64 = 2 * 1024 * 1024;
/// Longest body.
const MOST: usize = 64 * 1024;
/// Steps of a session: three secrets, two proofs, a few waits.
const STEPS: usize = 64;

fn bounded(data: &[u8], body: impl FnOnce()) {
    crate::bounded(FLOOR + 256 * data.len() as u64, body);
}

fn plain(error: &ClientError) {
    let text = error.to_string();
    assert!(text.chars().all(foreign::is_plain) && text.len() < 8192, "{text:?}");
}

/// An answer in one piece.
fn whole(data: &[u8]) -> Option<Answer> {
    match Reader::new(MOST).push(data) {
        Ok(answer) => answer,
        Err(error) => {
            plain(&error);
            None
        }
    }
}

/// The bytes of an answer.
pub fn answer(data: &[u8]) {
    bounded(data, || {
        let _ = seconds_of_date(data);
        let Some(answer) = whole(data) else { return };
        assert!((200..1000).contains(&answer.status) && answer.body.len() <= MOST);
        assert!(data.ends_with(&answer.body));
        let mut reader = Reader::new(MOST);
        let mut parts = data.chunks(7).peekable();
        while let Some(part) = parts.next() {
            let read = reader.push(part).expect("the same bytes");
            assert_eq!(read.is_some(), parts.peek().is_none());
            assert!(read.is_none_or(|read| read == answer));
        }
    });
}

/// Answers to a session, one behind the other: each a status, 0 to 3, and a length before its body.
pub fn session(data: &[u8]) {
    bounded(data, || {
        let names = ["a/b/c", "a/b/d", "a/b/e"].map(|name| Resource::read(name).unwrap());
        let key = SessionKey::new(&[0x11; 32]).unwrap();
        let mut session = Session::new(key, names.to_vec(), Some("text".into()));
        let (mut rest, mut proofs) = (data, 0);
        for step in 0.. {
            assert!(step < STEPS + data.len());
            match session.step() {
                Next::Done(secrets) => {
                    assert_eq!(secrets.len(), names.len());
                    return;
                }
                Next::Wait(time) => assert!(time.as_secs() <= 10),
                Next::Report(_) => {
                    proofs += 1;
                    assert!(proofs <= 2);
                    session.evidence(Some(&[0; 1184])).unwrap();
                }
                Next::Ask(request) => {
                    assert!(!request.to_bytes().is_empty());
                    let Some(([status, low, high], more)) = rest.split_first_chunk() else {
                        return;
                    };
                    let length = usize::from(u16::from_le_bytes([*low, *high])).min(more.len());
                    let (body, more) = more.split_at(length);
                    rest = more;
                    let status = *[200, 401, 403, 429].get(usize::from(status % 4)).unwrap();
                    let answer = Answer { status, body: body.to_vec(), ..Answer::default() };
                    if let Err(error) = session.answer(&answer) {
                        return plain(&error);
                    }
                }
            }
        }
    });
}
