//! Devices that packets go through in both directions: buffers in the first queue, packets in the
//! second.

use crate::device::{Answer, DATA, Descriptor, Device, SILENCE, SIZE, WRITE, pause};
use crate::memory::PAGE;
use std::time::{Duration, Instant};

pub const RECEIVE: u16 = 0;
pub const TRANSMIT: u16 = 1;
/// Buffers, each at the beginning of a page of the data.
const BUFFERS: u16 = 8;
const BUFFER: u32 = 2048;
/// Where a packet of this driver's is.
pub const PACKET: usize = DATA + 10 * PAGE;
/// After so long a question is asked again.
const AGAIN: Duration = Duration::from_secs(2);

/// Starts the device with buffers for what comes, and turns to the other queue.
pub fn start(device: &mut Device) {
    device.start();
    device.turn_to(RECEIVE);
    for index in 0..BUFFERS {
        post(device, index);
    }
    device.turn_to(TRANSMIT);
}

fn post(device: &mut Device, index: u16) {
    let at = DATA + usize::from(index) * PAGE;
    device.put(index, Descriptor { flags: WRITE, ..device.piece(at, BUFFER) });
    device.offer(index);
    device.kick();
}

/// The same, with a buffer before the others that is like that.
pub fn start_with(device: &mut Device, buffer: fn(Descriptor) -> Descriptor) {
    device.start();
    device.turn_to(RECEIVE);
    let given = Descriptor { flags: WRITE, ..device.piece(DATA + 9 * PAGE, BUFFER) };
    device.put(SIZE - 1, buffer(given));
    device.offer(SIZE - 1);
    for index in 0..BUFFERS {
        post(device, index);
    }
    device.turn_to(TRANSMIT);
}

/// Sends a packet, and gives back the buffers of what has come, whatever that is, until the device
/// has taken it; whether it has.
pub fn send(device: &mut Device, bytes: &[u8]) -> bool {
    let chain = packet(device, bytes);
    device.chain(0, &chain);
    device.offer(0);
    device.kick();
    let begun = Instant::now();
    while device.answer(Duration::ZERO) == Answer::Silent {
        if begun.elapsed() > SILENCE {
            return false;
        }
        device.turn_to(RECEIVE);
        while let Some((head, _)) = device.next_used() {
            post(device, head as u16);
        }
        device.turn_to(TRANSMIT);
        pause();
    }
    true
}

/// A packet to be sent, as one piece.
pub fn packet(device: &Device, bytes: &[u8]) -> Vec<Descriptor> {
    device.memory.write(PACKET, bytes);
    vec![device.piece(PACKET, bytes.len() as u32)]
}

/// Sends a packet until one comes that is `wanted`. What else comes is passed over.
pub fn exchange(
    device: &mut Device,
    bytes: &[u8],
    wanted: fn(&[u8]) -> bool,
) -> Result<(), String> {
    let begun = Instant::now();
    while begun.elapsed() < SILENCE {
        device.turn_to(TRANSMIT);
        let chain = packet(device, bytes);
        device.chain(0, &chain);
        device.offer(0);
        device.kick();
        match device.answer(SILENCE) {
            Answer::Given { id: 0, len: 0 } => {}
            other => return Err(format!("{other:?}")),
        }
        device.turn_to(RECEIVE);
        let asked = Instant::now();
        while asked.elapsed() < AGAIN {
            let Some((head, len)) = device.next_used() else {
                pause();
                continue;
            };
            // Those that are not as they should be are behind the others.
            if head >= BUFFERS.into() {
                continue;
            }
            let at = DATA + head as usize * PAGE;
            let came = wanted(&device.memory.read(at, len as usize));
            post(device, head as u16);
            if came {
                device.turn_to(TRANSMIT);
                return Ok(());
            }
        }
    }
    Err("no answer came".into())
}
