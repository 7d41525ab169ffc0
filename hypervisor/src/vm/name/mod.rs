//! The name of a running VM.
//!
//! A name is held as a listening socket in the abstract namespace: it is there as long as the
//! supervisor lives and gone with it, even after `kill -9`, without a file to clean up, which a
//! locked supervisor could not do. But anybody may bind and connect there, so the name alone proves
//! nothing:
//!
//! - its address ends in a random word that is chosen when it is taken, so nobody can take it
//!   before; holders are found in the kernel's list of sockets, which says whose each is;
//! - the kernel says who listens (SO_PEERCRED): a holder of another user is not believed and not in
//!   the way, and an asker of another user gets no answer;
//! - what a holder says is bounded in time and size and parsed whole; a process it names is
//!   believed when the kernel says that it is the holder, or its child.

mod answer;
mod ask;
mod hold;
mod seek;
mod sockets;

pub use answer::{BadAnswer, Told, parse};
pub use ask::{Running, ask};
pub use hold::Name;

pub(super) use ask::connect;
pub(super) use seek::{patience, readable};

use std::collections::BTreeSet;
use std::time::Instant;

/// The names that VMs of this user hold, as the kernel lists them: who holds one is still to be
/// asked.
pub(super) fn names(until: Instant) -> Result<BTreeSet<String>, NameError> {
    seek::names(until).map_err(|source| NameError::System { name: "*".into(), source })
}

/// Why a name cannot be had or found.
#[derive(Debug, thiserror::Error)]
pub enum NameError {
    /// Another VM of this user has it.
    #[error("`name`: a VM called {0:?} is running already: choose another name")]
    InUse(String),
    /// Somebody holds it and says nothing.
    #[error("`name`: whoever holds the VM name {0:?} does not answer: choose another name")]
    Mute(String),
    /// No VM of this user has it.
    #[error("no VM called {0:?} is running (as this user)")]
    NotFound(String),
    /// The holder's answer is not believed.
    #[error("the holder of the VM name {name:?} is not believed: {why}")]
    NotBelieved {
        /// The name.
        name: String,
        /// What is wrong with it: our own words.
        why: BadAnswer,
    },
    /// The kernel refused something.
    #[error("cannot use the VM name {name:?}: {source}")]
    System {
        /// The name.
        name: String,
        /// Its reason.
        #[source]
        source: std::io::Error,
    },
}

#[cfg(test)]
mod tests {
    use super::{Name, NameError, ask, hold, seek};
    use rustix::event::{PollFd, PollFlags, poll};
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixListener};

    fn unique(test: &str) -> String {
        format!("test-{test}-{}", std::process::id())
    }

    #[test]
    fn a_name_is_taken_once_and_free_again_afterwards() {
        let name = unique("once");
        let held = Name::take(&name).unwrap();
        assert!(matches!(Name::take(&name), Err(NameError::InUse(_))));
        drop(held);
        Name::take(&name).unwrap();
        assert!(matches!(ask("no-such-vm"), Err(NameError::NotFound(_))));
    }

    /// Protects a name from whoever guesses it: a socket of another kind or another address is not
    /// it. Cannot tell of another user, which this test cannot be: `tests/vm_name.rs` does.
    #[test]
    fn a_longer_name_and_an_address_without_random_word_are_other_names() {
        let name = unique("prefix");
        let _longer = Name::take(&format!("{name}-more")).unwrap();
        let uid = rustix::process::geteuid().as_raw();
        let old = SocketAddr::from_abstract_name(format!("casemate/{uid}/{name}")).unwrap();
        let _listener = UnixListener::bind_addr(&old).unwrap();
        let _held = Name::take(&name).unwrap();
    }

    /// Protects who asks: a process that listens under a VM's name and never answers costs a
    /// bounded time.
    #[test]
    fn a_mute_holder_is_not_waited_for() {
        let name = unique("mute");
        let _mute = hold::bind(&seek::address(&name, "00")).unwrap();
        assert!(matches!(ask(&name), Err(NameError::Mute(_))));
        assert!(matches!(Name::take(&name), Err(NameError::InUse(_))));
    }

    #[test]
    fn who_asks_gets_the_processes_of_this_very_supervisor() {
        let name = unique("ask");
        let held = Name::take(&name).unwrap();
        let answering = |answer: String| {
            let asker = std::thread::spawn({
                let name = name.clone();
                move || ask(&name)
            });
            while poll(&mut [PollFd::new(&held, PollFlags::IN)], None).is_err() {}
            drop(held.answer(&answer));
            asker.join().unwrap()
        };
        let us = std::process::id();
        let running = answering(format!("supervisor {us}\n")).unwrap();
        assert_eq!(running.iter().map(|one| one.pid).collect::<Vec<_>>(), [us]);
        // PID 1 is nobody's child, and not this process either.
        for lie in [
            format!("supervisor {us}\nvmm 1\n"),
            "supervisor 1\n".into(),
            format!("vmm {us}\n"),
            format!("supervisor {us}\n\x1b[2Jvmm {us}\n"),
            String::new(),
        ] {
            let answer = answering(lie.clone());
            assert!(matches!(answer, Err(NameError::NotBelieved { .. })), "{lie:?}: {answer:?}");
        }
    }
}
