//! The front end against back ends that follow a script: an honest one, and each way to be hostile.
//!
//! Protects the vmm process from a device process that an attacker owns: whatever it does, every
//! call returns, with what it found. Cannot tell what a real back end makes of the messages: the
//! tests of the VM with a disk do.

use super::{
    BackEnd, BackEndError, Begin, Greeted, Heard, Offer, QueueEvents, Request, RingEvents,
    Stopping, Wish,
};
use crate::event::Event;
use casemate_device_transport::{Activation, Ring, VERSION_1};
use casemate_values::GpaRange;
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use std::io::{IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;
use std::time::Duration;

/// What a request was: number, flags, body, descriptors.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Asked {
    request: u32,
    flags: u32,
    body: Vec<u8>,
    fds: usize,
}

impl Asked {
    fn words(&self) -> Vec<u32> {
        self.body.chunks(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect()
    }
}

/// What a script does in place of an answer.
enum Answer {
    /// The honest one.
    Honest,
    /// These bytes.
    Bytes(Vec<u8>),
    /// The honest one, after a while.
    Late(Duration),
    /// These bytes, one every while.
    Trickle(Vec<u8>, Duration),
    /// The honest one, with descriptors.
    WithFds,
    /// None, for ever.
    Nothing,
    /// The end.
    Close,
}

fn read_request(socket: &UnixStream) -> Option<Asked> {
    let mut header = [0; 12];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let iov = &mut [IoSliceMut::new(&mut header)];
    let got = recvmsg(socket, iov, &mut control, RecvFlags::WAITALL).ok()?;
    if got.bytes < 12 {
        return None;
    }
    let fds = control.drain().map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => fds.count(),
        _ => 0,
    });
    let fds = fds.sum();
    let word = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().unwrap());
    let mut body = vec![0; usize::try_from(word(8)).unwrap()];
    (&*socket).read_exact(&mut body).ok()?;
    Some(Asked { request: word(0), flags: word(4), body, fds })
}

fn reply(request: u32, body: &[u8]) -> Vec<u8> {
    let words = [request, 5, u32::try_from(body.len()).unwrap()];
    words.iter().flat_map(|word| word.to_le_bytes()).chain(body.iter().copied()).collect()
}

/// What an honest back end with 4 queues and some configuration answers.
fn honest(asked: &Asked) -> Vec<u8> {
    let number = |value: u64| reply(asked.request, &value.to_le_bytes());
    match asked.request {
        1 => number(VERSION_1 | 1 << 30 | 1 << 9),
        15 => number(1 << 0 | 1 << 3 | 1 << 9 | 1 << 5),
        17 => number(4),
        11 => reply(11, &[&asked.body[..4], &7_u32.to_le_bytes()].concat()),
        24 => {
            let bytes: Vec<u8> = (1..).take(asked.body.len() - 12).collect();
            reply(24, &[&asked.body[..12], &bytes].concat())
        }
        _ if asked.flags & 8 != 0 => number(0),
        _ => Vec::new(),
    }
}

/// A back end that answers as `script` says, and keeps what it was asked.
fn peer(
    mut script: impl FnMut(&Asked) -> Answer + Send + 'static,
) -> (OwnedFd, JoinHandle<Vec<Asked>>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let thread = std::thread::spawn(move || {
        let mut log = Vec::new();
        while let Some(asked) = read_request(&theirs) {
            let answer = script(&asked);
            let honest = honest(&asked);
            log.push(asked);
            match answer {
                Answer::Honest => drop((&theirs).write_all(&honest)),
                Answer::Bytes(bytes) => drop((&theirs).write_all(&bytes)),
                Answer::Late(after) => {
                    std::thread::sleep(after);
                    drop((&theirs).write_all(&honest));
                }
                Answer::Trickle(bytes, every) => {
                    for byte in bytes {
                        std::thread::sleep(every);
                        if (&theirs).write_all(&[byte]).is_err() {
                            break;
                        }
                    }
                }
                Answer::WithFds => drop(send_with_fds(&theirs, &honest)),
                Answer::Nothing => {}
                Answer::Close => break,
            }
        }
        log
    });
    (ours.into(), thread)
}

fn send_with_fds(socket: &UnixStream, bytes: &[u8]) -> rustix::io::Result<usize> {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    let fds = [socket.as_fd(); 8];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
    sendmsg(socket, &[std::io::IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)
}

const WISH: Wish = Wish { queues: 2, least: 2, config: 16 };
/// For what will not come. An honest answer that a busy machine delays is `did not answer`, too.
const SHORT: Duration = Duration::from_millis(60);
/// For what comes.
const LONG: Duration = Duration::from_secs(60);

fn activation() -> Activation {
    let ring =
        |at: u64| Ring { size: 64, descriptors: at, available: at + 0x400, used: at + 0x800 };
    let mut rings = [None; 16];
    rings[0] = Some(ring(0x10_0000));
    rings[1] = Some(ring(0x1_0000_0000));
    Activation { features: VERSION_1 | 1 << 9, rings }
}

/// Everything up to and with a reset.
fn whole_life(socket: OwnedFd, patience: Duration) -> Result<(Offer, BackEnd), BackEndError> {
    let (greeted, offer) = Greeted::greet(socket, WISH, patience)?;
    let memory = memfd_create("ram", MemfdFlags::CLOEXEC).unwrap();
    let events: Vec<Event> = (0..5).map(|_| Event::new().unwrap()).collect();
    let queues =
        [0, 2].map(|at| QueueEvents { kick: events[at].as_fd(), call: events[at + 1].as_fd() });
    let ranges =
        [GpaRange::new(0, 0xc000_0000).unwrap(), GpaRange::new(0x1_0000_0000, 0x10_0000).unwrap()];
    let mut back_end = greeted.hand_over(memory.as_fd(), &ranges, &queues, events[4].as_fd())?;
    back_end.activate(&activation(), Begin::Anew)?;
    stop(&mut back_end)?;
    back_end.activate(&activation(), Begin::WhereUsed)?;
    Ok((offer, back_end))
}

/// A reset, waited for.
fn stop(back_end: &mut BackEnd) -> Result<(), BackEndError> {
    let mut stopping = back_end.begin_to_stop()?;
    while stopping == Stopping::Asked {
        stopping = back_end.go_on_stopping()?;
    }
    Ok(())
}

#[test]
fn a_back_end_is_told_what_it_needs_in_order_and_its_memory_once() {
    let (socket, peer) = peer(|_| Answer::Honest);
    let (offer, back_end) = whole_life(socket, LONG).unwrap();
    assert_eq!(offer.features, VERSION_1 | 1 << 30 | 1 << 9);
    assert_eq!(offer.config, (1..=16).collect::<Vec<u8>>());
    assert_eq!(back_end.heard(), Heard::Nothing);
    drop(back_end);
    let log = peer.join().unwrap();
    let requests: Vec<u32> = log.iter().map(|asked| asked.request).collect();
    let activate = [2, 8, 9, 10, 18, 8, 9, 10, 18];
    let expected = [
        &[3, 1, 15, 16, 17, 24, 2, 5, 12, 13, 14, 12, 13, 14, 18][..],
        &activate,
        &[11, 11],
        &activate,
    ];
    assert_eq!(requests, expected.concat());
    let find = |request: u32| log.iter().filter(move |asked| asked.request == request);
    // Only what is known: MQ, REPLY_ACK, CONFIG.
    assert_eq!(find(16).next().unwrap().words(), [0x209, 0]);
    let memory = find(5).next().unwrap();
    assert_eq!(memory.fds, 2);
    let words = [2, 0, 0, 0, 0xc000_0000, 0, 0, 0, 0, 0, 0, 1, 0x10_0000, 0, 0, 1, 0xc000_0000, 0];
    assert_eq!(memory.words(), words);
    let fds: Vec<usize> = log.iter().map(|asked| asked.fds).collect();
    assert_eq!(fds.iter().sum::<usize>(), 2 + 3 * 2, "nothing else is handed over");
    // Every setting is acknowledged, and every ring named by its own addresses.
    assert!(
        log.iter()
            .filter(|a| matches!(a.request, 2 | 5 | 8..=10 | 12..=14 | 18))
            .all(|a| a.flags == 9)
    );
    let rings: Vec<Vec<u32>> = find(9).map(Asked::words).take(2).collect();
    assert_eq!(rings[0], [0, 0, 0x10_0000, 0, 0x10_0800, 0, 0x10_0400, 0, 0, 0]);
    assert_eq!(rings[1], [1, 0, 0, 1, 0x800, 1, 0x400, 1, 0, 0]);
    assert_eq!(
        find(18).map(Asked::words).collect::<Vec<_>>(),
        [[0, 0], [0, 1], [1, 1], [0, 1], [1, 1]]
    );
    // First at their first entries, then where another left off.
    assert_eq!(
        find(10).map(Asked::words).collect::<Vec<_>>(),
        [[0, 0], [1, 0], [0, 1 << 16], [1, 1 << 16]]
    );
}

/// Protects other devices, and the thread that talks to all of them, from storage that takes long:
/// whether a device has stopped is asked without waiting.
#[test]
fn a_reset_is_asked_for_and_its_answer_comes_when_it_comes() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut back_end = BackEnd::new(ours.into(), (u64::MAX, Vec::new()), LONG);
    assert_eq!(back_end.begin_to_stop().unwrap(), Stopping::Done, "it has no ring");
    let peer = std::thread::spawn(move || {
        while let Some(asked) = read_request(&theirs) {
            if asked.request == 11 {
                return (theirs, asked);
            }
            (&theirs).write_all(&honest(&asked)).unwrap();
        }
        unreachable!("it is asked to stop");
    });
    back_end.activate(&activation(), Begin::Anew).unwrap();
    assert_eq!(back_end.begin_to_stop().unwrap(), Stopping::Asked);
    let (theirs, asked) = peer.join().unwrap();
    assert!(!back_end.has_answer());
    (&theirs).write_all(&honest(&asked)).unwrap();
    assert!(back_end.has_answer());
    assert_eq!(back_end.go_on_stopping().unwrap(), Stopping::Asked, "there is a second ring");
    assert!(!back_end.has_answer());
    drop(theirs);
    assert!(back_end.has_answer());
    assert!(matches!(back_end.go_on_stopping(), Err(BackEndError::Closed)));
}

/// Protects foreign back ends, which forget a ring's events when it stops, and the guest that loads
/// a second driver.
#[test]
fn a_back_end_of_others_gets_its_events_anew_with_each_activation() {
    let (socket, peer) = peer(|_| Answer::Honest);
    let (greeted, _) = Greeted::greet(socket, WISH, LONG).unwrap();
    let memory = memfd_create("ram", MemfdFlags::CLOEXEC).unwrap();
    let event = || Event::new().unwrap();
    let events = (0..2).map(|_| RingEvents { kick: event(), call: event() }).collect();
    let ranges = [GpaRange::new(0, 0x10_0000).unwrap()];
    let mut back_end = greeted.hand_over_to_others(memory.as_fd(), &ranges, events).unwrap();
    back_end.activate(&activation(), Begin::Anew).unwrap();
    stop(&mut back_end).unwrap();
    back_end.activate(&activation(), Begin::Anew).unwrap();
    drop(back_end);
    let log = peer.join().unwrap();
    let requests: Vec<u32> = log.iter().map(|asked| asked.request).collect();
    let ring = [8, 9, 10, 13, 12, 18];
    let activate = [&[2][..], &ring, &ring].concat();
    let expected = [&[3, 1, 15, 16, 17, 24, 5][..], &activate, &[11, 11], &activate].concat();
    assert_eq!(requests, expected);
    let fds = |asked: &&Asked| asked.fds == usize::from(matches!(asked.request, 5 | 12..=14));
    assert!(log.iter().all(|asked| fds(&asked)), "{log:?}");
    let kicked: Vec<u32> = log.iter().filter(|a| a.request == 12).map(|a| a.words()[0]).collect();
    assert_eq!(kicked, [0, 1, 0, 1], "each ring its own");
}

/// Each request in turn gets the same treatment; the honest answer goes to the others.
fn each_request(
    patience: Duration,
    what: impl Fn(&Asked) -> Answer + Send + Clone + 'static,
) -> Vec<String> {
    let mut ends = Vec::new();
    for request in [1, 2, 5, 8, 9, 10, 11, 12, 13, 14, 15, 17, 18, 24] {
        let what = what.clone();
        let (socket, peer) =
            peer(move |asked| if asked.request == request { what(asked) } else { Answer::Honest });
        match whole_life(socket, patience) {
            Ok(_) => ends.push(String::new()),
            Err(e) => ends.push(e.to_string()),
        }
        let _ = peer.join();
    }
    ends
}

#[test]
fn a_back_end_that_never_answers_is_silent_and_one_that_goes_is_closed() {
    let silent = each_request(SHORT, |_| Answer::Nothing);
    assert!(silent.iter().all(|end| end.contains("did not answer")), "{silent:?}");
    let closed = each_request(LONG, |_| Answer::Close);
    assert!(closed.iter().all(|end| end == "it closed its socket"), "{closed:?}");
}

#[test]
fn half_an_answer_is_waited_for_no_longer_than_none() {
    for half in [1, 12, 19] {
        let ends = each_request(SHORT, move |asked| Answer::Bytes(honest(asked)[..half].to_vec()));
        assert!(ends.iter().all(|end| end.contains("did not answer")), "{half}: {ends:?}");
    }
    // A byte now and then keeps nobody: what counts is the whole answer.
    let ends = each_request(SHORT, |asked| Answer::Trickle(honest(asked), SHORT * 2 / 3));
    assert!(ends.iter().all(|end| end.contains("did not answer")), "{ends:?}");
}

/// With every queue that a device can have.
fn large_activation() -> Activation {
    let mut all = activation();
    all.rings = [all.rings[0]; 16];
    all
}

/// Protects a driver that waits for its device to begin: the answers to one activation are waited
/// for together, so that one that is late with each gets no further than a few of its 65.
#[test]
fn an_activation_has_one_bound_for_all_its_answers() {
    let (socket, thread) = peer(|_| Answer::Late(SHORT * 4 / 5));
    let mut back_end = BackEnd::new(socket, (u64::MAX, Vec::new()), SHORT);
    let ended = back_end.activate(&large_activation(), Begin::Anew);
    assert!(matches!(ended, Err(BackEndError::Silent(_))), "{ended:?}");
    drop(back_end);
    thread.join().unwrap();
}

/// The same for a reset, which has an answer of each ring.
#[test]
fn a_reset_that_is_waited_for_has_one_bound_for_all_its_answers() {
    let (socket, thread) = peer(|asked| match asked.request {
        11 => Answer::Late(SHORT * 4 / 5),
        _ => Answer::Honest,
    });
    let mut back_end = BackEnd::new(socket, (u64::MAX, Vec::new()), LONG);
    back_end.activate(&large_activation(), Begin::Anew).unwrap();
    back_end.patience = SHORT;
    let ended = stop(&mut back_end);
    assert!(matches!(ended, Err(BackEndError::Silent(_))), "{ended:?}");
    drop(back_end);
    thread.join().unwrap();
}

#[test]
fn an_answer_in_pieces_is_an_answer() {
    let ends =
        each_request(LONG, |asked| Answer::Trickle(honest(asked), Duration::from_micros(100)));
    assert!(ends.iter().all(String::is_empty), "{ends:?}");
}

#[test]
fn answers_that_are_none_end_the_conversation() {
    type Change = fn(&mut Vec<u8>);
    let changes: [(&str, Change); 5] = [
        ("another request's number", |bytes| bytes[0] ^= 0x40),
        ("no reply flag, or another version,", |bytes| bytes[4] = 1),
        ("no reply flag, or another version,", |bytes| bytes[4] = 6),
        ("another length", |bytes| bytes[8] ^= 1),
        ("another length", |bytes| bytes[8..12].fill(0xff)),
    ];
    for (what, change) in changes {
        let ends = each_request(LONG, move |asked| {
            let mut bytes = honest(asked);
            change(&mut bytes);
            Answer::Bytes(bytes)
        });
        assert!(ends.iter().all(|end| end.starts_with(what)), "{what}: {ends:?}");
    }
}

#[test]
fn a_refusal_is_told_as_one() {
    let ends = each_request(LONG, |asked| match asked.request {
        1 | 11 | 15 | 17 | 24 => Answer::Honest,
        _ => Answer::Bytes(reply(asked.request, &u64::MAX.to_le_bytes())),
    });
    let refused = ends.iter().filter(|end| end.starts_with("it refused")).count();
    assert_eq!((refused, ends.len()), (9, 14), "{ends:?}");
}

#[test]
fn descriptors_that_come_with_an_answer_do_not_arrive() {
    let count = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let (socket, peer) = peer(|_| Answer::WithFds);
    let before = count();
    let (_, back_end) = whole_life(socket, LONG).unwrap();
    // Other tests of this process open and close some; a hundred sevens would show.
    assert!(count() < before + 100, "descriptors pile up");
    drop(back_end);
    let _ = peer.join();
}

#[test]
fn a_flood_is_noticed_and_not_read() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    let flood = vec![0x5a; 1 << 20];
    let mut left = &flood[..];
    while let Ok(len) = (&theirs).write(left) {
        left = &left[len..];
    }
    let error = Greeted::greet(ours.into(), WISH, SHORT).unwrap_err();
    assert!(matches!(error, BackEndError::Breach { request: Request::GetFeatures, .. }), "{error}");
}

#[test]
fn what_nobody_asked_for_is_heard() {
    let (socket, peer) = peer(|asked| {
        let more = if asked.request == 11 { &[0_u8][..] } else { &[] };
        Answer::Bytes([&honest(asked)[..], more].concat())
    });
    // The byte behind the answer is in the way of the next one.
    assert!(matches!(whole_life(socket, LONG), Err(BackEndError::Breach { .. })));
    let _ = peer.join();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let back_end = BackEnd::new(ours.into(), (u64::MAX, Vec::new()), LONG);
    assert_eq!(back_end.heard(), Heard::Nothing);
    (&theirs).write_all(b"x").unwrap();
    assert_eq!(back_end.heard(), Heard::Unasked);
    drop(theirs);
    assert_eq!(back_end.heard(), Heard::Closed);
}

#[test]
fn a_back_end_that_does_not_read_is_not_waited_for() {
    let (ours, _theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    while (&ours).write(&[0; 4096]).is_ok() {}
    ours.set_nonblocking(false).unwrap();
    let ours = OwnedFd::from(ours);
    let error = Greeted::greet(ours.try_clone().unwrap(), WISH, LONG).unwrap_err();
    assert!(matches!(error, BackEndError::Silent(Request::SetOwner)), "{error}");
    let ended =
        BackEnd::new(ours, (u64::MAX, Vec::new()), LONG).activate(&activation(), Begin::Anew);
    assert!(matches!(ended, Err(BackEndError::Silent(_))), "{ended:?}");
}

#[test]
fn a_back_end_that_cannot_do_what_is_needed_is_named() {
    let with = |request: u32, value: u64| {
        let (socket, peer) = peer(move |asked| {
            if asked.request == request {
                Answer::Bytes(reply(request, &value.to_le_bytes()))
            } else {
                Answer::Honest
            }
        });
        let end = Greeted::greet(socket, WISH, LONG).err().map(|e| e.to_string());
        let _ = peer.join();
        end.unwrap_or_default()
    };
    assert!(with(1, 1 << 30).contains("VERSION_1"));
    assert!(with(1, VERSION_1).contains("protocol features"));
    assert!(with(15, 0x201).contains("REPLY_ACK"));
    assert!(with(15, 0x9).contains("CONFIG"));
    assert_eq!(with(15, 0x208), "it has 1 queues, not 2");
    assert_eq!(with(17, 1), "it has 1 queues, not 2");
    assert_eq!(with(17, u64::MAX), "", "more than enough");
}

#[test]
fn another_rings_answer_to_a_reset_is_a_breach() {
    let ends = each_request(LONG, |asked| match asked.request {
        11 => Answer::Bytes(reply(11, &[9, 0, 0, 0, 0, 0, 0, 0])),
        24 => Answer::Bytes(reply(24, &[1; 28])),
        _ => Answer::Honest,
    });
    let breaches = ends.iter().filter(|end| end.starts_with("another")).count();
    assert_eq!(breaches, 2, "{ends:?}");
}
