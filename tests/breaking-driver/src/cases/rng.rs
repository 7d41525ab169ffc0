//! The source of random numbers: 5.4.

use super::{Case, Kind, Ways, case};
use crate::device::{Answer, DATA, Descriptor, Device, SILENCE, SIZE, WRITE};

const BYTES: u32 = 32;

const WAYS: Ways = Ways { good, goes_on };

fn good(device: &mut Device) -> Vec<Descriptor> {
    device.start();
    vec![Descriptor { flags: WRITE, ..device.piece(DATA, BYTES) }]
}

fn goes_on(device: &mut Device) -> Result<(), String> {
    device.memory.write(DATA, &[0; BYTES as usize]);
    let chain = [Descriptor { flags: WRITE, ..device.piece(DATA, BYTES) }];
    device.chain(0, &chain);
    device.offer(0);
    device.kick();
    match device.answer(SILENCE) {
        Answer::Given { id: 0, len: BYTES } if device.memory.read(DATA, 32) != [0; 32] => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

pub fn works(device: &mut Device) -> Result<(), String> {
    device.start();
    goes_on(device)
}

const fn rng(name: &'static str, section: &'static str, run: fn(&mut Device) -> String) -> Case {
    Case { on: Kind::Rng, ..case(name, section, run) }
}

pub const CASES: &[Case] = &[
    rng("rng-chain-loops", "2.7.5.2", |device| WAYS.loops(device)),
    rng("rng-next-beyond-the-table", "2.7.5.2", |device| WAYS.next_beyond(device)),
    rng("rng-indirect", "2.7.5.3.1", |device| WAYS.indirect(device)),
    rng("rng-buffer-of-no-bytes", "2.7.5", |device| WAYS.of_no_bytes(device)),
    rng("rng-buffer-of-all-bytes", "2.7.5", |device| WAYS.of_all_bytes(device)),
    rng("rng-buffer-beyond-ram", "2.7.5", |device| WAYS.beyond_ram(device)),
    rng("rng-buffer-to-be-read", "5.4.6.1", |device| WAYS.turned_round(device)),
    rng("rng-buffer-in-pieces", "5.4.6", |device| {
        // Lawful: how a driver cuts means nothing (2.7.4.4).
        good(device);
        let piece = |at: u32| Descriptor { flags: WRITE, ..device.piece(DATA + at as usize, 1) };
        let chain: Vec<_> = (0..u32::from(SIZE)).map(piece).collect();
        WAYS.ask(device, &chain)
    }),
    rng("rng-head-beyond-the-table", "2.7.13.1", |device| WAYS.head_beyond(device)),
    rng("rng-index-jumps", "2.7.13.3", |device| WAYS.index_jumps(device)),
    rng("rng-reset-in-flight", "2.4", |device| WAYS.reset_in_flight(device)),
];
