//! Body for the messages between the two processes of a key broker.
//!
//! Oracles: no panic; memory within what came; the same messages in whatever pieces the bytes come;
//! there is one way to write a message, so what is read is written as it came.

use casemate_relay::{Inbox, Message, RelayError, ToFront, ToKeeper, split};

/// The first byte says which direction and how large the pieces are.
pub fn relay(data: &[u8]) {
    let Some((&which, bytes)) = data.split_first() else { return };
    crate::bounded(64 * 1024 + 8 * data.len() as u64, || {
        let piece = usize::from(which >> 1) + 1;
        if which & 1 == 0 {
            assert_eq!(at_once::<ToKeeper<'_>>(bytes), in_pieces(bytes, piece, keeper));
        } else {
            assert_eq!(at_once::<ToFront<'_>>(bytes), in_pieces(bytes, piece, front));
        }
    });
}

/// What is in a stream: how many bytes of it are whole messages, and why there is no further one.
type Read = (usize, Option<RelayError>);

fn at_once<'a, M: Message<'a>>(bytes: &'a [u8]) -> Read {
    let mut taken = 0;
    loop {
        match split::<M>(&bytes[taken..]) {
            Err(error) => return (taken, Some(error)),
            Ok(None) => return (taken, None),
            Ok(Some((message, length))) => {
                let mut again = Vec::new();
                message.write(&mut again).unwrap();
                assert_eq!(again, &bytes[taken..taken + length]);
                taken += length;
            }
        }
    }
}

/// Takes one message of an inbox: its length when written.
type Take = fn(&mut Inbox) -> Result<Option<usize>, RelayError>;

fn keeper(inbox: &mut Inbox) -> Result<Option<usize>, RelayError> {
    Ok(inbox.next::<ToKeeper<'_>>()?.map(|message| length(&message)))
}

fn front(inbox: &mut Inbox) -> Result<Option<usize>, RelayError> {
    Ok(inbox.next::<ToFront<'_>>()?.map(|message| length(&message)))
}

fn length<'a>(message: &impl Message<'a>) -> usize {
    let mut bytes = Vec::new();
    message.write(&mut bytes).unwrap();
    bytes.len()
}

fn in_pieces(bytes: &[u8], piece: usize, take: Take) -> Read {
    let (mut inbox, mut taken) = (Inbox::new(), 0);
    for piece in bytes.chunks(piece) {
        inbox.push(piece);
        loop {
            match take(&mut inbox) {
                Err(error) => return (taken, Some(error)),
                Ok(None) => break,
                Ok(Some(length)) => taken += length,
            }
        }
    }
    (taken, None)
}
