//! The console without ports: 5.3.

use super::{Case, Kind, Ways, case};
use crate::device::{Answer, DATA, Descriptor, Device, SILENCE, SIZE, WRITE};
use crate::memory::PAGE;
use casemate_breaking_driver::CONSOLE;

const RECEIVE: u16 = 0;
const TRANSMIT: u16 = 1;

const WAYS: Ways = Ways { good, goes_on };

/// Something for the host, which the test there tells from what the other console says, wherever
/// it comes between.
fn line(device: &Device) -> Vec<Descriptor> {
    device.memory.write(DATA, &[CONSOLE; 33]);
    vec![device.piece(DATA, 33)]
}

fn good(device: &mut Device) -> Vec<Descriptor> {
    device.start();
    device.turn_to(TRANSMIT);
    line(device)
}

fn goes_on(device: &mut Device) -> Result<(), String> {
    device.turn_to(TRANSMIT);
    let line = line(device);
    device.chain(0, &line);
    device.offer(0);
    device.kick();
    match device.answer(SILENCE) {
        Answer::Given { id: 0, len: 0 } => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

pub fn works(device: &mut Device) -> Result<(), String> {
    device.start();
    goes_on(device)
}

const fn console(
    name: &'static str,
    section: &'static str,
    run: fn(&mut Device) -> String,
) -> Case {
    Case { on: Kind::Console, ..case(name, section, run) }
}

/// A buffer for what the host says, which it does not; then a line.
fn posted(device: &mut Device, buffer: fn(Descriptor) -> Descriptor) -> String {
    device.start();
    let given = Descriptor { flags: WRITE, ..device.piece(DATA + PAGE, 64) };
    device.turn_to(RECEIVE);
    device.chain(0, &[buffer(given)]);
    device.offer(0);
    device.kick();
    goes_on(device).map_or_else(|why| format!("stops: {why}"), |()| "goes on".into())
}

pub const CASES: &[Case] = &[
    console("console-chain-loops", "2.7.5.2", |device| WAYS.loops(device)),
    console("console-next-beyond-the-table", "2.7.5.2", |device| WAYS.next_beyond(device)),
    console("console-indirect", "2.7.5.3.1", |device| WAYS.indirect(device)),
    console("console-line-of-no-bytes", "2.7.5", |device| WAYS.of_no_bytes(device)),
    console("console-line-of-all-bytes", "2.7.5", |device| WAYS.of_all_bytes(device)),
    console("console-line-beyond-ram", "2.7.5", |device| WAYS.beyond_ram(device)),
    console("console-line-to-be-written", "5.3.6.1", |device| WAYS.turned_round(device)),
    console("console-line-in-pieces", "5.3.6", |device| {
        // Lawful.
        let whole = good(device);
        let piece =
            |at: u32| Descriptor { address: whole[0].address + u64::from(at), len: 1, ..whole[0] };
        let chain: Vec<_> = (0..u32::from(SIZE)).map(piece).collect();
        WAYS.ask(device, &chain)
    }),
    console("console-head-beyond-the-table", "2.7.13.1", |device| WAYS.head_beyond(device)),
    console("console-index-jumps", "2.7.13.3", |device| WAYS.index_jumps(device)),
    console("console-buffer-to-be-read", "5.3.6.1", |device| {
        posted(device, |buffer| Descriptor { flags: 0, ..buffer })
    }),
    console("console-buffer-of-no-bytes", "5.3.6.1", |device| {
        posted(device, |buffer| Descriptor { len: 0, ..buffer })
    }),
    console("console-buffer-beyond-ram", "5.3.6.1", |device| {
        posted(device, |buffer| Descriptor { address: 256 << 20, ..buffer })
    }),
    console("console-reset-in-flight", "2.4", |device| WAYS.reset_in_flight(device)),
];
