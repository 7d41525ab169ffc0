//! Protects the supervisor from a process that a guest has taken over: what it says without end
//! costs a bounded memory, and what cannot be true ends the VM. Cannot tell how the processes end:
//! there are none here, see `casemate/tests`.

use super::*;
use crate::exits::Stop;
use crate::vm::manage::{Answer, Request, State};
use casemate_values::Guest;
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair,
};

const KIND: ProcessKind = ProcessKind::Vmm;

/// A VM without a process, and the other end of its console.
fn vm(test: &str) -> (RunningVm, std::os::fd::OwnedFd) {
    let kind = SocketType::STREAM;
    let pair = socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap();
    let name = Name::take(&format!("test-{test}-{}", std::process::id())).unwrap();
    let times = Times { run: None, grace: Duration::from_secs(1) };
    let layers = Layers::for_this_process("supervisor");
    let console = GuestConsole::over(pair.0);
    let place = Place::of(test, 1);
    (
        RunningVm::new(
            vec![],
            console,
            name,
            times,
            VecDeque::new(),
            layers,
            (&place, VmFacts::default()),
        ),
        pair.1,
    )
}

/// How it ended, and how much happened before.
fn end(mut vm: RunningVm) -> (Option<End>, usize) {
    let (mut end, mut count) = (None, 0);
    while let Some(event) = vm.next_event() {
        match event.what {
            Happened::Ended(how) => end = Some(how),
            _ => count += 1,
        }
    }
    (end, count)
}

#[test]
fn a_step_that_is_told_twice_ends_the_vm() {
    let launched = |pages| FromVmm::Launched { pages, micros: 1 };
    let twice = [
        (FromVmm::Phase(Phase::Born), FromVmm::Phase(Phase::Born)),
        (FromVmm::Phase(Phase::FirstInstruction), FromVmm::Phase(Phase::FirstInstruction)),
        (launched(1), launched(2)),
    ];
    for (first, second) in twice {
        let (mut vm, _console) = vm("twice");
        vm.take(0, KIND, FromVmm::Phase(Phase::Memory));
        vm.take(0, KIND, first);
        assert!(!vm.has_ended());
        vm.take(0, KIND, second);
        assert!(matches!(end(vm), (Some(End::ProcessLied { kind: KIND, .. }), 2)));
    }
}

#[test]
fn what_a_guest_can_cause_to_be_told_is_bounded_whatever_its_process_sends() {
    let (mut vm, _console) = vm("flood");
    let number = Guest::new(7_u64).shown();
    for _ in 0..100_000 {
        vm.take(0, KIND, FromVmm::Mark(1));
        vm.take(0, KIND, FromVmm::Note(Note::UnknownHypercall { number }));
    }
    vm.take(0, KIND, FromVmm::Stopped(Stop::Reset));
    let most = usize::try_from(MARKS + NOTES).unwrap();
    assert_eq!(end(vm), (Some(End::Stopped(Stop::Reset)), most));
}

/// Connects to a VM as `casemate` does; the supervisor is not waited for.
fn asker(vm: &mut RunningVm) -> std::os::fd::OwnedFd {
    use rustix::net::{connect, getsockname, socket_with};
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
    connect(&socket, &getsockname(&vm.name).unwrap()).unwrap();
    round(vm);
    let mut packet = [0; 4096];
    let (len, _) = recv(&socket, &mut packet[..], RecvFlags::DONTWAIT).unwrap();
    assert!(packet.starts_with(b"supervisor ") && len > 0);
    socket
}

/// One round of a supervisor's loop, which never waits.
fn round(vm: &mut RunningVm) {
    vm.wait(PollFlags::empty(), &[], Some(Instant::now())).unwrap();
}

fn say(socket: &std::os::fd::OwnedFd, packet: &[u8]) -> bool {
    send(socket, packet, SendFlags::DONTWAIT | SendFlags::NOSIGNAL).is_ok()
}

/// What was answered; empty when the connection is closed, None when there is nothing.
fn heard(socket: &std::os::fd::OwnedFd) -> Option<Vec<u8>> {
    let mut packet = vec![0; 100_000];
    match recv(socket, &mut packet[..], RecvFlags::DONTWAIT) {
        Ok((len, _)) => Some(packet[..len].to_vec()),
        Err(Errno::CONNRESET) => Some(Vec::new()),
        Err(_) => None,
    }
}

fn answer(vm: &mut RunningVm, socket: &std::os::fd::OwnedFd, request: &Request) -> Answer {
    assert!(say(socket, request.to_string().as_bytes()));
    round(vm);
    Answer::decode(&heard(socket).unwrap()).unwrap()
}

/// Protects a VM from who asks about it: a program of its user that connects without end, says what
/// is no request, asks and never reads, or leaves in the middle, holds a round of the loop up no
/// longer than it takes to serve eight, and keeps nobody else from an answer. Cannot tell of
/// strangers, who get no connection: `hypervisor/tests/vm_name.rs` does.
#[test]
fn who_asks_without_end_or_never_reads_keeps_neither_the_vm_nor_others_waiting() {
    let (mut vm, _console) = vm("askers");
    let idle: Vec<_> = (0..50).map(|_| asker(&mut vm)).collect();
    assert_eq!(vm.askers.len(), 8);
    let closed = idle.iter().filter(|socket| heard(socket).is_some()).count();
    assert_eq!(closed, 42, "the oldest lose their places");
    drop(idle);
    round(&mut vm);
    assert_eq!(vm.askers.len(), 0, "who leaves has no place");
    let long = [b'x'; 70_000];
    for bad in [&b""[..], b"\0", b"stop now", b"\xff\xff", b"lines -1", &long] {
        let socket = asker(&mut vm);
        assert!(say(&socket, bad));
        round(&mut vm);
        assert_eq!((heard(&socket), vm.askers.len()), (Some(vec![]), 0), "{bad:?}");
    }
    // Asks as often as the socket takes, and reads nothing: its answers end at the socket's room.
    let deaf = asker(&mut vm);
    while vm.askers.len() == 1 {
        say(&deaf, b"facts");
        round(&mut vm);
    }
    let other = asker(&mut vm);
    assert!(matches!(answer(&mut vm, &other, &Request::Facts), Answer::Facts(_)));
    assert!(!vm.has_ended());
}

#[test]
fn who_follows_is_told_what_happens_and_how_it_ended() {
    let (mut vm, _console) = vm("follower");
    let (lines, end) = (asker(&mut vm), asker(&mut vm));
    assert!(say(&end, b"wait-for-end") && say(&lines, b"next-lines 0"));
    round(&mut vm);
    assert_eq!((heard(&lines), heard(&end)), (None, None), "nothing has happened");
    vm.take(0, KIND, FromVmm::Phase(Phase::FirstInstruction));
    round(&mut vm);
    let Ok(Answer::Lines(page)) = Answer::decode(&heard(&lines).unwrap()) else { panic!() };
    assert_eq!((page.first, page.lines.len()), (0, 1));
    assert_eq!(page.lines[0].text, "first guest instruction");
    let Answer::Facts(facts) = answer(&mut vm, &lines, &Request::Facts) else { panic!() };
    assert_eq!(facts.state, State::Running);
    let asked = answer(&mut vm, &lines, &Request::Stop);
    assert!(matches!(asked, Answer::Asked(left) if left <= Duration::from_secs(1)), "{asked:?}");
    let Answer::Facts(facts) = answer(&mut vm, &lines, &Request::Facts) else { panic!() };
    assert_eq!(facts.state, State::Stopping);
    // Its holder may look at nothing any more once it has ended.
    vm.take(0, KIND, FromVmm::Stopped(Stop::PowerOff { status: None }));
    assert_eq!(heard(&end).as_deref(), Some(&b"ended as-asked"[..]));
    assert!(matches!(self::end(vm), (Some(End::PoweredOffAsAsked), 2)));
}
