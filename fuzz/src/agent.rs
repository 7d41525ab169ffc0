//! Bodies for the messages between a container runtime and the agent in a pod's guest.
//!
//! Oracles: no panic; memory within a multiple of what came; one spelling, so what is read is
//! written as it came.

use casemate_agent::{Message, ToGuest, ToHost, split};

/// Any bytes, as what a runtime says: what is in the guest of a hostile host.
pub fn to_guest(data: &[u8]) {
    messages::<ToGuest>(data);
}

/// Any bytes, as what a guest says: what is in the runtime of a hostile guest.
pub fn to_host(data: &[u8]) {
    messages::<ToHost>(data);
}

fn messages<M: Message + std::fmt::Debug>(data: &[u8]) {
    // A list's item has up to 24 bytes in memory for 4 in the message, and a list grows by half.
    crate::bounded(64 * 1024 + 32 * data.len() as u64, || {
        let mut rest = data;
        while let Ok(Some((message, taken))) = split::<M>(rest) {
            let (frame, after) = rest.split_at(taken);
            let again = message.encode().expect("what was read fits a frame");
            // A refusal's sentence is made fit to be shown while it is read.
            if !format!("{:?}", message.message).starts_with("Refused") {
                assert_eq!(again, frame, "one spelling");
            }
            rest = after;
        }
    });
}
