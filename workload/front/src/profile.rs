//! What a front may do once it is locked, as data.
//!
//! It can take connections, talk over those, and talk to keeper, signer and supervisor. There is no
//! call by which it could open, connect or map anything.

use casemate_sandbox::{FdSlot, Layer, Layers, Limits as Resources, Pin, Profile, Rule, sys};

/// What connections come over.
pub const LISTENERS: FdSlot = FdSlot("listener");
/// Leads to the keeper: calls and answers.
pub const KEEPER: FdSlot = FdSlot("keeper");
/// Leads to the keeper: signatures.
pub const SIGNER: FdSlot = FdSlot("signer");
/// Leads to the supervisor.
pub const CONTROL: FdSlot = FdSlot("control");
/// The number from which on connections come.
pub const LATER: FdSlot = FdSlot("later");

/// `MSG_OOB` and `MSG_PEEK`.
const OOB_PEEK: u64 = 3;
/// `SOCK_NONBLOCK | SOCK_CLOEXEC`.
const NONBLOCK_CLOEXEC: u32 = 0x8_0800;
/// `SHUT_WR`.
const SHUT_WR: u32 = 1;
/// `CLOCK_REALTIME`, `CLOCK_MONOTONIC`.
const CLOCKS: [u32; 2] = [0, 1];
#[cfg(debug_assertions)]
const F_GETFD: u32 = 1;

/// A front, from before its first connection on: 9 calls.
pub const FRONT: Profile = Profile {
    name: "broker-front",
    rules: &[
        Rule::new(sys("ppoll"), &[], "wait for whoever speaks next"),
        Rule::new(
            sys("accept4"),
            &[Pin::Fd(0, LISTENERS), Pin::Int(3, NONBLOCK_CLOEXEC)],
            "who connects",
        ),
        Rule::new(
            sys("recvfrom"),
            &[Pin::FdFrom(0, LATER), Pin::Bits(3, OOB_PEEK, 0), Pin::Long(4, 0)],
            "bytes of the network",
        ),
        Rule::new(
            sys("recvfrom"),
            &[Pin::Fd(0, KEEPER), Pin::Bits(3, OOB_PEEK, 0), Pin::Long(4, 0)],
            "answers of the keeper",
        ),
        Rule::new(
            sys("recvfrom"),
            &[Pin::Fd(0, SIGNER), Pin::Bits(3, OOB_PEEK, 0), Pin::Long(4, 0)],
            "a signature of the keeper",
        ),
        Rule::new(
            sys("sendto"),
            &[Pin::FdFrom(0, LATER), Pin::Bits(3, OOB_PEEK, 0), Pin::Long(4, 0)],
            "bytes to the network",
        ),
        Rule::new(
            sys("sendto"),
            &[Pin::Fd(0, KEEPER), Pin::Bits(3, OOB_PEEK, 0), Pin::Long(4, 0)],
            "requests to the keeper",
        ),
        Rule::new(
            sys("sendto"),
            &[Pin::Fd(0, SIGNER), Pin::Bits(3, OOB_PEEK, 0), Pin::Long(4, 0)],
            "a handshake that the keeper is to sign",
        ),
        Rule::new(
            sys("sendto"),
            &[Pin::Fd(0, CONTROL), Pin::Bits(3, OOB_PEEK, 0), Pin::Long(4, 0)],
            "that it is locked, why it ends",
        ),
        Rule::new(
            sys("shutdown"),
            &[Pin::FdFrom(0, LATER), Pin::Int(1, SHUT_WR)],
            "the last answer of a connection",
        ),
        Rule::new(sys("close"), &[Pin::FdFrom(0, LATER)], "a connection is over"),
        // The standard library's debug builds check every descriptor that they close.
        #[cfg(debug_assertions)]
        Rule::new(sys("fcntl"), &[Pin::Int(1, F_GETFD)], "debug build: check before close"),
        Rule::new(sys("getrandom"), &[], "each handshake's own keys"),
        Rule::new(
            sys("clock_gettime"),
            &[Pin::IntIn(0, &CLOCKS)],
            "how long who takes, and the date of answers, where the clock needs a call",
        ),
        Rule::new(sys("exit_group"), &[], "end"),
    ],
};

/// The layers of a front for so many connections: all of them, a network of its own included, and
/// no file grows. What it listens on and what connects stays where it was made; nothing else of the
/// host's network is there, even for who gets past its filter.
#[must_use]
pub fn layers(connections: u32) -> Layers {
    let open_files = Some(u64::from(connections) + SPARE);
    Layers::new("broker-front")
        .limits(Resources { file_size: Some(0), open_files, ..Resources::NO_CORE })
        .with(Layer::NetworkNamespace)
}

/// Descriptors beside connections: three standard ones, three sockets, listeners, and what a
/// process has before it is locked.
pub(crate) const SPARE: u64 = 64;
