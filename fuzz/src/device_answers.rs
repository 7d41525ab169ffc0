//! What a device process, or a program of others, answers to the vmm process: the front end's side
//! of the messages, over a whole life of a back end.
//!
//! Everything that is answered is in the socket before it is asked for, and nothing comes after, so
//! no wait is ever as long as a back end's patience.
//!
//! Oracles: every call returns; what was sent is whole messages of the protocol, in an order that
//! answers cannot change; memory is handed over once, and no descriptor arrives; an error is the
//! end, and its words are one line of ours; honest answers are a life without errors; nothing
//! grows with what comes.

use crate::bounded;
use arbitrary::{Result, Unstructured};
use casemate_device_transport::{Activation, Ring, VERSION_1};
use casemate_hypervisor::event::Event;
use casemate_hypervisor::vhost_user::{
    BackEnd, BackEndError, Begin, Greeted, Heard, Offer, QueueEvents, RingEvents, Stopping, Wish,
};
use casemate_values::GpaRange;
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use rustix::pipe::{PipeFlags, pipe_with};
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

const QUEUES: u16 = 2;
const CONFIG: usize = 60;
const PROTOCOL_FEATURES: u64 = 1 << 30;
/// MQ, REPLY_ACK, CONFIG.
const OFFERED: u64 = 1 << 0 | 1 << 3 | 1 << 9;
/// Requests that are only acknowledged, and those with an answer of their own.
const ACKNOWLEDGED: [u32; 9] = [2, 5, 8, 9, 10, 12, 13, 14, 18];

/// A back end's answers.
pub fn answers(data: &[u8]) {
    let _ = answers_of(&mut Unstructured::new(data));
}

/// The requests that have an answer, in the order of a life without errors: greeting, memory and
/// events, activation, stop, activation.
fn asked(others: bool) -> Vec<u32> {
    let greeting = [1, 15, 17, 24];
    let (before, ring): (&[u32], &[u32]) = if others {
        (&[5], &[8, 9, 10, 13, 12, 18])
    } else {
        (&[2, 5, 12, 13, 14, 12, 13, 14, 18], &[8, 9, 10, 18])
    };
    let activate = [&[2], ring, ring].concat();
    [&greeting, before, &activate, &[11, 11], &activate].concat()
}

/// The honest answer: its body.
fn honest(request: u32, ring: u32) -> Vec<u8> {
    let number = |value: u64| value.to_le_bytes().to_vec();
    match request {
        1 => number(VERSION_1 | PROTOCOL_FEATURES | 1 << 9),
        15 => number(OFFERED),
        17 => number(QUEUES.into()),
        24 => {
            let head = [0, CONFIG as u32, 0].map(u32::to_le_bytes).concat();
            [&head[..], &[8; CONFIG]].concat()
        }
        11 => [ring.to_le_bytes(), 7_u32.to_le_bytes()].concat(),
        _ => number(0),
    }
}

fn answers_of(u: &mut Unstructured) -> Result<()> {
    let others: bool = u.arbitrary()?;
    let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
    // Whoever has a descriptor of `sent`, holds the pipe open.
    let (kept, sent) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC).expect("a pipe");
    let (mut stopped, mut is_honest) = (0..2, true);
    for request in asked(others) {
        let ring = if request == 11 { stopped.next().unwrap_or(0) } else { 0 };
        let (bytes, with_fds) = answer(u, request, ring, &mut is_honest)?;
        if bytes.is_empty() {
            break;
        }
        send(&theirs, &bytes, with_fds.then_some(&sent));
    }
    drop(sent);
    theirs.shutdown(Shutdown::Write).expect("an open socket");
    let mut lived = None;
    // A message of 272 bytes, a configuration of 60, and what an error is made of.
    bounded(16 * 1024, || lived = Some(life(ours, others)));
    let lived = lived.expect("it was called");
    match &lived {
        Ok(offer) => assert_eq!(offer.config.len(), CONFIG),
        Err(error) => {
            assert!(!is_honest, "honest answers are refused: {error}");
            let said = error.to_string();
            assert!(!said.is_empty() && said.chars().all(|c| !c.is_control()), "{said:?}");
        }
    }
    check_sent(&theirs, others, lived.is_ok());
    drop(theirs);
    assert_eq!(rustix::io::read(&kept, &mut [0; 1]), Ok(0), "a descriptor came with an answer");
    Ok(())
}

/// One answer: mostly the honest one, else one of the ways not to be; empty for the end.
fn answer(
    u: &mut Unstructured,
    request: u32,
    ring: u32,
    is_honest: &mut bool,
) -> Result<(Vec<u8>, bool)> {
    let mut body = honest(request, ring);
    let (mut number, mut flags, mut len) = (request, 5_u32, None);
    let kind = if u.is_empty() { 0 } else { u.int_in_range(0..=31_u8)? };
    match kind {
        0..=23 => {}
        24 => number = u.arbitrary()?,
        25 => flags = u.arbitrary()?,
        26 => len = Some(u.arbitrary()?),
        27 => {
            let at = u.int_in_range(0..=body.len() - 1)?;
            body[at] ^= u.arbitrary::<u8>()?;
        }
        28 => {
            for byte in &mut body {
                *byte = u.arbitrary()?;
            }
        }
        29 => body.truncate(u.int_in_range(0..=body.len())?),
        30 => {
            let more = usize::from(u.arbitrary::<u8>()?).min(u.len());
            body.extend(u.bytes(more)?);
        }
        _ => {}
    }
    *is_honest &= kind <= 23;
    if kind == 31 {
        return Ok((Vec::new(), false));
    }
    let len = len.unwrap_or(body.len() as u32);
    let mut bytes = [number, flags, len].map(u32::to_le_bytes).concat();
    bytes.extend(body);
    // Descriptors with an honest answer do no harm either.
    Ok((bytes, !u.is_empty() && u.ratio(1, 16)?))
}

fn send(socket: &UnixStream, bytes: &[u8], with: Option<&OwnedFd>) {
    let fds = with.map(|fd| [fd.as_fd(); 2]);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if let Some(fds) = &fds {
        assert!(control.push(SendAncillaryMessage::ScmRights(fds)));
    }
    let sent = sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL);
    assert_eq!(sent, Ok(bytes.len()));
}

fn activation() -> Activation {
    let ring = |at| Ring { size: 64, descriptors: at, available: at + 0x400, used: at + 0x800 };
    let mut rings = [None; 16];
    (rings[0], rings[1]) = (Some(ring(0x1_0000)), Some(ring(0x2_0000)));
    Activation { features: VERSION_1 | 1 << 9, rings }
}

/// A whole life, as far as the back end plays.
fn life(socket: UnixStream, others: bool) -> std::result::Result<Offer, BackEndError> {
    let wish = Wish { queues: QUEUES, least: QUEUES, config: CONFIG };
    // Nothing is waited for: the other end is closed behind what it has sent.
    let (greeted, offer) = Greeted::greet(socket.into(), wish, Duration::from_secs(60))?;
    let memory = memfd_create("ram", MemfdFlags::CLOEXEC).expect("a memory file");
    let event = || Event::new().expect("an event");
    let (kicks, calls, error) = ([event(), event()], [event(), event()], event());
    let ranges = [GpaRange::new(0, 0x10_0000).expect("a range")];
    let pairs = || kicks.iter().zip(&calls);
    let mut back_end: BackEnd = if others {
        let events =
            pairs().map(|(kick, call)| RingEvents { kick: kick.clone(), call: call.clone() });
        greeted.hand_over_to_others(memory.as_fd(), &ranges, events.collect())?
    } else {
        let events: Vec<_> = pairs()
            .map(|(kick, call)| QueueEvents { kick: kick.as_fd(), call: call.as_fd() })
            .collect();
        greeted.hand_over(memory.as_fd(), &ranges, &events, error.as_fd())?
    };
    back_end.activate(&activation(), Begin::Anew)?;
    // Answers are there already: nobody has to wait for one before going on.
    let mut stopping = back_end.begin_to_stop()?;
    while stopping == Stopping::Asked {
        stopping = back_end.go_on_stopping()?;
    }
    back_end.activate(&activation(), Begin::Anew)?;
    // What is left is looked at, and no more: the end, or too much.
    assert_ne!(back_end.heard(), Heard::Nothing);
    Ok(offer)
}

/// What the back end was sent: the beginning of a life without errors, all of it where there was
/// none, with as many descriptors as each message has.
fn check_sent(socket: &UnixStream, others: bool, whole: bool) {
    let mut expected = asked(others).into_iter();
    let mut memories = 0;
    loop {
        let mut header = [0; 12];
        let fds = receive(socket, &mut header);
        let Some(fds) = fds else { break };
        let word = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().unwrap());
        let (request, flags, len) = (word(0), word(4), word(8) as usize);
        let mut body = vec![0; len];
        assert!(len == 0 || receive(socket, &mut body).is_some(), "half a message");
        // Owner and protocol features have no answer; nobody waits for one.
        if matches!(request, 3 | 16) {
            assert_eq!((flags, fds), (1, 0));
            continue;
        }
        let mut next = expected.next().expect("a request that has no place in a life");
        if next == 17 && request != 17 {
            // Not asked of who has not said MQ.
            next = expected.next().expect("a request behind");
        }
        assert_eq!(request, next, "answers changed the order of requests");
        let acknowledged = if ACKNOWLEDGED.contains(&request) { 9 } else { 1 };
        assert_eq!(flags, acknowledged, "{request}");
        assert_eq!(fds, usize::from(matches!(request, 5 | 12..=14)), "{request}");
        memories += u32::from(request == 5);
    }
    assert!(memories <= 1, "memory was handed over twice");
    assert!(!whole || expected.next().is_none(), "a life without errors stopped early");
}

/// Fills `bytes`; how many descriptors came with them, None at the end.
fn receive(socket: &UnixStream, bytes: &mut [u8]) -> Option<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::WAITALL | RecvFlags::CMSG_CLOEXEC;
    let wanted = bytes.len();
    let got = recvmsg(socket, &mut [IoSliceMut::new(bytes)], &mut control, flags).ok()?;
    let fds = control.drain().map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => fds.count(),
        _ => 0,
    });
    (got.bytes == wanted).then(|| fds.sum())
}
