//! The network side of a key broker as the program starts it: what it may do, what an attacker who
//! took it over can and cannot do, and what a flood costs. Its keeper is a stand-in with the real
//! messages and a real key. Skipped, and said so, not as root.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use casemate_front::process::{DONE, FAILED, Holdings, Input, body_with};
use casemate_front::profile::FRONT;
use casemate_front::{Descriptors, Limits, layers, spawn};
use casemate_relay::{MAX_WORD, Word};
use casemate_sandbox::{Child, Exit, Image, Layer, Observer, inspect};
use casemate_test_front::{Around, CERTIFICATE, Client, KEY, Reply, answer, around, ask, echo};
use casemate_test_front::{from, get, over, post, tcp, unix, usual};
use casemate_test_support::attack::{Attack, call_with_numbers};
use casemate_test_support::device::{assert_locked, end_of_attack};
use casemate_test_support::sandbox::{assert_least, memory_has};
use casemate_test_support::target::Target;
use rustix::net::{RecvFlags, recv};
use std::io::Write;
use std::net::{IpAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::ExitCode;

static IMAGE: &[u8] = include_bytes!(env!("CASEMATE_BROKER_FRONT_IMAGE"));
/// Where the private key is in its file (RFC 5915): the 32 bytes of a P-256 scalar.
const SCALAR: std::ops::Range<usize> = 36..68;

/// Starts a front; its keeper answers by `reply`.
fn front(limits: Limits, before: impl FnOnce(&Child)) -> (Around, Child) {
    let (mut around, plan, sockets) = around(limits);
    let image = Image::new("casemate-broker-front", IMAGE).unwrap();
    let listeners: Vec<BorrowedFd<'_>> = sockets.listeners.iter().map(AsFd::as_fd).collect();
    let given = Descriptors {
        control: sockets.control.as_fd(),
        keeper: sockets.keeper.as_fd(),
        signer: sockets.signer.as_fd(),
        listeners: &listeners,
    };
    let child = spawn(&image, layers(limits.connections), &plan, &given, before).unwrap();
    drop(sockets);
    around.keep(|call| match call.path {
        "/die" => Reply::Death,
        "/long" => Reply::ok(vec![b'x'; casemate_relay::MAX_ANSWER]),
        _ => echo(call),
    });
    (around, child)
}

fn said(control: &OwnedFd) -> Option<Word> {
    let mut packet = [0; MAX_WORD + 1];
    let (length, _) = recv(control, &mut packet[..], RecvFlags::empty()).unwrap();
    Word::decode(&packet[..length])
}

/// One of everything that is served.
fn drive(around: &mut Around) {
    assert_eq!(said(around.control.as_ref().unwrap()), Some(Word::Locked));
    let mut client = tcp(around);
    for _ in 0..2 {
        assert_eq!(ask(&mut client, &post("/kbs/v0/auth", "{}")).status, 200);
    }
    assert_eq!(ask(&mut client, "BREW / HTTP/1.1\r\n\r\n").status, 400);
    assert_eq!(answer(&mut client), None);
    assert_eq!(ask(&mut unix(around), &get("/long")).body.len(), casemate_relay::MAX_ANSWER);
    around.control = None;
}

fn a_front_uses_every_rule_of_its_profile_and_makes_no_other_call() {
    let mut observer = None;
    let attach = |child: &Child| observer = Some(Observer::attach(child).unwrap());
    let (mut around, mut child) = front(Limits::default(), attach);
    let driver = std::thread::spawn(move || drive(&mut around));
    let observed = observer.unwrap().finish().unwrap();
    driver.join().unwrap();
    assert_eq!(child.wait().unwrap(), Exit::Code(DONE));
    assert_least(&observed, &FRONT);
}

fn a_front_is_locked_by_every_layer_and_never_has_the_key() {
    let (around, mut child) = front(Limits::default(), |_| ());
    let report = child.confined().unwrap();
    for layer in Layer::ALL {
        assert_eq!(report.is_applied(layer), layer != Layer::MemoryFence, "{layer}\n{report}");
    }
    assert_eq!(said(around.control.as_ref().unwrap()), Some(Word::Locked));
    let mut client = tcp(&around);
    assert_eq!(ask(&mut client, &get("/")).status, 200);
    assert_locked(&inspect(child.pid()).unwrap(), 1);
    // The certificate is there, so what is looked for would be found.
    assert!(memory_has(child.pid(), &CERTIFICATE[..64]));
    assert!(!memory_has(child.pid(), &KEY[SCALAR]));
}

fn a_front_ends_with_its_keeper_and_says_so() {
    let (around, mut child) = front(Limits::default(), |_| ());
    let control = around.control.as_ref().unwrap();
    assert_eq!(said(control), Some(Word::Locked));
    tcp(&around).write_all(get("/die").as_bytes()).unwrap();
    assert_eq!(said(control), Some(Word::Failed("the keeper is gone".into())));
    assert_eq!(child.wait().unwrap(), Exit::Code(FAILED));
}

/// Takes over a front once it is locked.
fn take_over(attack: impl FnOnce(&Holdings) -> bool) -> Exit {
    let (around, plan, sockets) = around(Limits::default());
    let layers = layers(plan.limits.connections);
    let layers = layers.keep(&*sockets.control).keep(&sockets.keeper).keep(&sockets.signer);
    let layers = sockets.listeners.iter().fold(layers, casemate_sandbox::Layers::keep);
    let mut child = casemate_sandbox::spawn(layers, move |born| {
        body_with(Input { plan, sockets }, born, |holdings| end_of_attack(attack(holdings)))
    })
    .unwrap();
    let exit = child.wait().unwrap();
    drop(around);
    exit
}

fn an_attacker_in_a_front_dies_at_each_attack_on_others() {
    let target = Target::new();
    for (attack, _) in Attack::ALL {
        let victim = target.victim();
        let exit = take_over(|_| attack.attempt(victim).is_ok());
        assert_eq!(exit, Exit::Filter, "{attack:?}");
    }
}

fn call(number: libc::c_long, first: i32, second: libc::c_long) -> bool {
    call_with_numbers(number, [first.into(), second]).is_ok()
}

/// With what it has an attacker can talk as a front talks, and can do nothing else.
fn an_attacker_in_a_front_cannot_use_its_sockets_otherwise() {
    type Attempt = (&'static str, fn(&Holdings) -> bool);
    let attempts: [Attempt; 8] = [
        ("listens elsewhere", |h| call(libc::SYS_bind, h.listeners[0], 0)),
        ("connects", |h| call(libc::SYS_connect, h.listeners[0], 0)),
        ("takes descriptors", |h| call(libc::SYS_recvmsg, h.keeper[0], 0)),
        ("gives descriptors", |h| call(libc::SYS_sendmsg, h.keeper[0], 0)),
        ("accepts on the keeper's socket", |h| call(libc::SYS_accept4, h.keeper[0], 0)),
        ("cuts the keeper off", |h| call(libc::SYS_shutdown, h.keeper[0], 1)),
        ("closes a listener", |h| call(libc::SYS_close, h.listeners[0], 0)),
        ("changes a socket", |h| call(libc::SYS_setsockopt, h.listeners[0], 1)),
    ];
    for (name, attempt) in attempts {
        assert_eq!(take_over(attempt), Exit::Filter, "{name}");
    }
}

/// Half a request over TLS, from one of many addresses.
fn half(around: &Around, number: usize) -> Option<Client<TcpStream>> {
    let source = IpAddr::from([127, 0, 1, u8::try_from(number % 250).unwrap() + 1]);
    let mut client = over(from(source, around.address), &usual());
    let head = "POST / HTTP/1.1\r\nHost: b\r\nContent-Length: 60000\r\n\r\n";
    client.write_all(head.as_bytes()).ok()?;
    client.write_all(&[0; 2000]).ok()?;
    client.flush().ok()?;
    Some(client)
}

/// Resident memory of a process, in KiB.
fn resident(child: &Child) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}

/// Protects a broker from a flood: half-sent requests from 1,000 connections at once, time after
/// time, cost memory that is bounded and not that of each of them; and who sends whole requests
/// is served.
fn a_flood_of_half_sent_requests_costs_bounded_memory_and_nobody_is_kept_out() {
    const MOST_KIB: u64 = 32 * 1024;
    let (around, mut child) = front(Limits::default(), |_| ());
    assert_eq!(said(around.control.as_ref().unwrap()), Some(Word::Locked));
    assert_eq!(ask(&mut tcp(&around), &get("/")).status, 200);
    let mut seen = vec![resident(&child)];
    for _ in 0..8 {
        let flood: Vec<_> = (0..1000).map(|number| half(&around, number)).collect();
        assert_eq!(flood.iter().flatten().count(), 1000, "each of them is held");
        let mut good = tcp(&around);
        assert!((0..20).all(|_| ask(&mut good, &post("/good", "{}")).status == 200));
        seen.push(resident(&child));
    }
    println!("\nresident, and with 1,000 half-sent requests, time after time: {seen:?} KiB");
    assert!(seen[8] - seen[0] < MOST_KIB, "{seen:?}");
    // A heap finds its holes only in time; what was kept of each connection would be many times it.
    assert!(seen[8] < 2 * seen[1], "it grows: {seen:?}");
    child.kill().unwrap();
    child.wait().unwrap();
}

fn main() -> ExitCode {
    casemate_test_support::sandbox::main(&[
        (
            "a_front_uses_every_rule_of_its_profile_and_makes_no_other_call",
            a_front_uses_every_rule_of_its_profile_and_makes_no_other_call,
        ),
        (
            "a_front_is_locked_by_every_layer_and_never_has_the_key",
            a_front_is_locked_by_every_layer_and_never_has_the_key,
        ),
        ("a_front_ends_with_its_keeper_and_says_so", a_front_ends_with_its_keeper_and_says_so),
        (
            "an_attacker_in_a_front_dies_at_each_attack_on_others",
            an_attacker_in_a_front_dies_at_each_attack_on_others,
        ),
        (
            "an_attacker_in_a_front_cannot_use_its_sockets_otherwise",
            an_attacker_in_a_front_cannot_use_its_sockets_otherwise,
        ),
        (
            "a_flood_of_half_sent_requests_costs_bounded_memory_and_nobody_is_kept_out",
            a_flood_of_half_sent_requests_costs_bounded_memory_and_nobody_is_kept_out,
        ),
    ])
}
