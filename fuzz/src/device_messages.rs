//! What a front end sends to a device process: messages, whole and broken, with descriptors.
//!
//! Oracles: the session ends when the socket does; every answer is a whole message of the protocol,
//! to a request that was sent; nothing is asked of the front end.

use arbitrary::{Result, Unstructured};
use casemate_device_backend::{Mode, Session};
use casemate_device_template::{Counter, Echo};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use std::io::{IoSlice, Read};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// Messages of one input. Their answers fit into a socket's buffer, so that nobody has to read
/// while they are made.
const MESSAGES: usize = 40;

/// A session of one front end that says what the input says, and then closes.
pub fn messages(data: &[u8]) {
    let _ = messages_of(&mut Unstructured::new(data));
}

fn messages_of(u: &mut Unstructured) -> Result<()> {
    let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
    let memory = memfd_create("guest", MemfdFlags::CLOEXEC).expect("a memory file");
    ftruncate(&memory, 0x1_0000).expect("its size");
    let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).expect("an event");
    let mut sent = Vec::new();
    for _ in 0..MESSAGES {
        if u.is_empty() {
            break;
        }
        let request: u32 = if u.ratio(15, 16)? { u.int_in_range(1..=44)? } else { u.arbitrary()? };
        let flags: u32 = *u.choose(&[1, 9, 9, 9, 5, 0, 2])?;
        let body = body(u, request)?;
        let len = if u.ratio(31, 32)? { body.len() as u32 } else { u.arbitrary()? };
        let mut bytes = Vec::with_capacity(12 + body.len());
        [request, flags, len].iter().for_each(|word| bytes.extend(word.to_le_bytes()));
        bytes.extend(&body);
        let files: &[&OwnedFd] = match request {
            5 | 37 if u.ratio(15, 16)? => &[&memory],
            12..=14 if u.ratio(15, 16)? => &[&event],
            _ if u.ratio(1, 16)? => &[&event, &memory],
            _ => &[],
        };
        let fds: Vec<_> = files.iter().map(|file| file.as_fd()).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(fds.is_empty() || control.push(SendAncillaryMessage::ScmRights(&fds)));
        let whole = sendmsg(&ours, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL);
        assert_eq!(whole, Ok(bytes.len()));
        sent.push(request);
    }
    ours.shutdown(Shutdown::Write).expect("an open socket");
    let device = Echo { host: Counter::default() };
    let session = Session::set_up(theirs, device, Mode::Foreign, Box::new(|_, _| Ok(())));
    let _ = session.map(|mut session| session.serve());
    check_answers(ours, &sent);
    Ok(())
}

/// A body: mostly one that the request has, with numbers near those that mean something.
fn body(u: &mut Unstructured, request: u32) -> Result<Vec<u8>> {
    let near = |u: &mut Unstructured| -> Result<u64> {
        if u.ratio(7, 8)? {
            Ok(*u.choose(&[0, 1, 2, 8, 0x1000, 0x2000, 0x3000, 0x1_0000, 1 << 30 | 1 << 32])?)
        } else {
            u.arbitrary()
        }
    };
    if u.ratio(1, 16)? {
        let len = usize::from(u.arbitrary::<u8>()?).min(u.len());
        return Ok(u.bytes(len)?.to_vec());
    }
    let mut body = Vec::new();
    let words = |u: &mut Unstructured, body: &mut Vec<u8>, count: usize| -> Result<()> {
        for _ in 0..count {
            body.extend((near(u)? as u32).to_le_bytes());
        }
        Ok(())
    };
    match request {
        2 | 16 => body.extend(near(u)?.to_le_bytes()),
        5 => {
            body.extend([1, 0, 0, 0, 0, 0, 0, 0]);
            for number in [0, 0x1_0000, near(u)?, near(u)?] {
                body.extend(u64::to_le_bytes(number));
            }
        }
        8 | 10 | 11 | 18 => words(u, &mut body, 2)?,
        9 => {
            words(u, &mut body, 2)?;
            for _ in 0..4 {
                body.extend(near(u)?.to_le_bytes());
            }
        }
        12..=14 => body.extend((near(u)? & 0x101).to_le_bytes()),
        24 | 25 => {
            let size = u.int_in_range(0..=300_u32)?;
            for word in [near(u)? as u32, size, u.int_in_range(0..=3)?] {
                body.extend(word.to_le_bytes());
            }
            body.resize(12 + size as usize, 0);
        }
        _ => {}
    }
    Ok(body)
}

/// Every answer is a whole message: of version 1, a reply, to the next request that it can be to.
fn check_answers(mut socket: UnixStream, sent: &[u32]) {
    let mut bytes = Vec::new();
    // The other end may have gone with messages unread; what it wrote is there all the same.
    let _ = socket.read_to_end(&mut bytes);
    let (mut rest, mut sent) = (&bytes[..], sent.iter());
    while !rest.is_empty() {
        let word =
            |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().expect("a header is whole"));
        let (request, flags, len) = (word(0), word(4), word(8) as usize);
        assert_eq!(flags & 7, 5, "an answer is a reply of version 1");
        assert!(sent.any(|asked| *asked == request), "nobody asked for {request}");
        assert!(len <= 4096, "longer than a message can be");
        rest = rest.get(12 + len..).expect("an answer is whole");
    }
}
