//! A block device for one front end: `block-backend SOCKET IMAGE [ro] [direct] [queues=N] [ours]
//! [lock]`. With `ours` it serves as in a VM of ours, with `lock` under the layers that a process
//! can give itself, and the profiles of a block device. For tests: `casemate device` does more.
#![allow(clippy::expect_used, reason = "a program of tests says what went wrong by dying")]

use casemate_device_backend::{Mode, Session, profile as frame};
use casemate_device_block::{Block, Image, Options, profile};
use casemate_sandbox::{Action, Born, Layers, exit, freeze_heap};
use rustix::io::{DupFlags, dup3};
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [socket, image, words @ ..] = &arguments[..] else { exit(2) };
    let has = |word: &str| words.iter().any(|given| given == word);
    let queues = words.iter().find_map(|word| word.strip_prefix("queues="));
    let options = Options {
        read_only: has("ro"),
        direct: has("direct"),
        serial: "casemate-test".into(),
        queues: queues.map_or(1, |n| n.parse().expect("a number of queues")),
    };
    let image = match Image::open(Path::new(image), &options) {
        Ok(image) => image,
        Err(e) => {
            let _ = writeln!(std::io::stderr(), "{e}");
            exit(2)
        }
    };
    let (file, facts) = image.into_parts();
    let listener = UnixListener::bind(socket).expect("a socket");
    // Every layer but the filter, which names the socket that is accepted.
    let born = || Born::here(Layers::for_this_process("block"));
    let confined = has("lock").then(|| born().confine().expect("the layers"));
    // As a process of `casemate device`: everything that takes long before there is a front end.
    let image = file.as_raw_fd();
    let mut slots = frame::set_up_slots(profile::own_slots(image, None), listener.as_raw_fd());
    let ready = confined.map(|setup| {
        freeze_heap(1 << 20).expect("a heap");
        let later = setup.first_free(&slots).expect("a descriptor");
        slots = slots.clone().with_raw(frame::LATER, [later]);
        setup.ready_to_lock(&profile::SET_UP, &slots, Action::Kill).expect("the set-up filter")
    });
    writeln!(std::io::stdout(), "listening").expect("standard output");
    let (front_end, _) = listener.accept().expect("a front end");
    let mut socket = OwnedFd::from(listener);
    dup3(&front_end, &mut socket, DupFlags::CLOEXEC).expect("the listener's number");
    drop(front_end);
    let locked = ready.map(|ready| ready.lock().expect("the set-up filter"));
    let (mode, steady) = if has("ours") {
        (Mode::Ours, &profile::STEADY)
    } else {
        (Mode::Foreign, &profile::FOREIGN)
    };
    let device = Block::new(file, facts);
    let session = Session::set_up(socket.into(), device, mode, Box::new(|_, _| Ok(())));
    let mut session = match session {
        Ok(session) => session,
        Err(e) => {
            let _ = writeln!(std::io::stderr(), "{e}");
            exit(1)
        }
    };
    if let Some(locked) = locked {
        let slots = frame::slots(slots, &session.descriptors());
        let narrowed = locked.narrow(steady, &slots, Action::Kill);
        std::mem::forget(narrowed.expect("the steady filter"));
    }
    exit(session.serve().status())
}
