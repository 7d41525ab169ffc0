//! The socket device: 5.10. Nobody listens at port 99 of the host, so that a question for it is
//! answered by a reset, whenever the device is there.

use super::{Case, Kind, Ways, case};
use crate::device::{Descriptor, Device};
use crate::packets::{PACKET, exchange, packet, send, start, start_with};

const WAYS: Ways = Ways { good, goes_on };

/// Operations (5.10.6).
const REQUEST: u16 = 1;
const RESPONSE: u16 = 2;
const RESET: u16 = 3;
const SHUTDOWN: u16 = 4;
const DATA_OF_STREAM: u16 = 5;
const CREDIT_UPDATE: u16 = 6;
const CREDIT_REQUEST: u16 = 7;
const STREAM: u16 = 1;
/// Ports of the guest: of the question, and of breaches.
const ASKS: u32 = 1024;
const BREAKS: u32 = 2000;

/// A packet's header.
#[derive(Clone, Copy)]
struct Header {
    from: u64,
    to: u64,
    ports: (u32, u32),
    len: u32,
    kind: u16,
    op: u16,
    flags: u32,
    credit: (u32, u32),
}

impl Header {
    /// A packet of this operation for port 99.
    fn new(device: &Device, op: u16) -> Self {
        let places = device.function.places;
        let half = |at| device.function.bar.read(places.config + at, 4);
        let from = half(0) | half(4) << 32;
        let (ports, credit) = ((BREAKS, 99), (65_536, 0));
        Self { from, to: 2, ports, len: 0, kind: STREAM, op, flags: 0, credit }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = [self.from, self.to].map(u64::to_le_bytes).concat();
        bytes.extend([self.ports.0, self.ports.1, self.len].map(u32::to_le_bytes).concat());
        bytes.extend([self.kind, self.op].map(u16::to_le_bytes).concat());
        bytes.extend([self.flags, self.credit.0, self.credit.1].map(u32::to_le_bytes).concat());
        bytes
    }
}

fn question(device: &Device) -> Vec<u8> {
    Header { ports: (ASKS, 99), ..Header::new(device, REQUEST) }.bytes()
}

/// Whether that is a reset of what was asked.
fn answers(bytes: &[u8]) -> bool {
    bytes.get(20..24) == Some(&ASKS.to_le_bytes()) && bytes.get(30..32) == Some(&[RESET as u8, 0])
}

fn good(device: &mut Device) -> Vec<Descriptor> {
    start(device);
    let bytes = Header::new(device, REQUEST).bytes();
    packet(device, &bytes)
}

fn goes_on(device: &mut Device) -> Result<(), String> {
    let question = question(device);
    exchange(device, &question, answers)
}

pub fn works(device: &mut Device) -> Result<(), String> {
    start(device);
    goes_on(device)
}

const fn vsock(name: &'static str, section: &'static str, run: fn(&mut Device) -> String) -> Case {
    Case { on: Kind::Socket, ..case(name, section, run) }
}

/// A packet whose header was changed, with so many bytes behind it.
fn sent(device: &mut Device, op: u16, behind: usize, change: fn(&mut Header)) -> String {
    start(device);
    let mut header = Header { len: behind as u32, ..Header::new(device, op) };
    change(&mut header);
    let chain = packet(device, &[header.bytes(), vec![0x5a; behind]].concat());
    WAYS.ask(device, &chain)
}

/// A buffer for what comes that is like that, before good ones.
fn posted(device: &mut Device, buffer: fn(Descriptor) -> Descriptor) -> String {
    start_with(device, buffer);
    goes_on(device).map_or_else(|why| format!("stops: {why}"), |()| "goes on".into())
}

pub const CASES: &[Case] = &[
    vsock("vsock-chain-loops", "2.7.5.2", |device| WAYS.loops(device)),
    vsock("vsock-next-beyond-the-table", "2.7.5.2", |device| WAYS.next_beyond(device)),
    vsock("vsock-indirect", "2.7.5.3.1", |device| WAYS.indirect(device)),
    vsock("vsock-packet-of-no-bytes", "2.7.5", |device| WAYS.of_no_bytes(device)),
    vsock("vsock-packet-of-all-bytes", "2.7.5", |device| WAYS.of_all_bytes(device)),
    vsock("vsock-packet-beyond-ram", "2.7.5", |device| WAYS.beyond_ram(device)),
    vsock("vsock-packet-to-be-written", "5.10.6", |device| WAYS.turned_round(device)),
    vsock("vsock-head-beyond-the-table", "2.7.13.1", |device| WAYS.head_beyond(device)),
    vsock("vsock-index-jumps", "2.7.13.3", |device| WAYS.index_jumps(device)),
    vsock("vsock-header-of-43-bytes", "5.10.6", |device| {
        WAYS.changed(device, |chain| chain[0].len = 43)
    }),
    vsock("vsock-header-in-pieces", "5.10.6", |device| {
        // Lawful.
        let whole = good(device);
        let piece = |at: u32, len: u32| Descriptor {
            address: whole[0].address + u64::from(at),
            len,
            ..whole[0]
        };
        WAYS.ask(device, &[piece(0, 1), piece(1, 30), piece(31, 13)])
    }),
    vsock("vsock-operation-0", "5.10.6", |device| sent(device, 0, 0, |_| ())),
    vsock("vsock-operation-unknown", "5.10.6", |device| sent(device, 99, 0, |_| ())),
    vsock("vsock-type-unknown", "5.10.6.5", |device| {
        sent(device, REQUEST, 0, |header| header.kind = 77)
    }),
    vsock("vsock-type-not-negotiated", "5.10.6.5", |device| {
        sent(device, REQUEST, 0, |header| header.kind = 2)
    }),
    vsock("vsock-from-another-guest", "5.10.6.2", |device| {
        sent(device, REQUEST, 0, |header| header.from += 1)
    }),
    vsock("vsock-from-the-host", "5.10.6.2", |device| {
        sent(device, REQUEST, 0, |header| header.from = 2)
    }),
    vsock("vsock-to-another-guest", "5.10.6.2", |device| {
        sent(device, REQUEST, 0, |header| header.to = 77)
    }),
    vsock("vsock-to-itself", "5.10.6.2", |device| {
        sent(device, REQUEST, 0, |header| header.to = header.from)
    }),
    vsock("vsock-context-ids-of-all-ones", "5.10.4", |device| {
        sent(device, REQUEST, 0, |header| (header.from, header.to) = (u64::MAX, u64::MAX))
    }),
    vsock("vsock-ports-of-zero", "5.10.6.6", |device| {
        sent(device, REQUEST, 0, |header| header.ports = (0, 0))
    }),
    vsock("vsock-ports-of-all-ones", "5.10.6.6", |device| {
        sent(device, REQUEST, 0, |header| header.ports = (u32::MAX, u32::MAX))
    }),
    vsock("vsock-response-to-nothing", "5.10.6.6", |device| sent(device, RESPONSE, 0, |_| ())),
    vsock("vsock-reset-of-nothing", "5.10.6.6", |device| sent(device, RESET, 0, |_| ())),
    vsock("vsock-shutdown-of-nothing", "5.10.6.6", |device| {
        sent(device, SHUTDOWN, 0, |header| header.flags = u32::MAX)
    }),
    vsock("vsock-data-of-nothing", "5.10.6.6", |device| sent(device, DATA_OF_STREAM, 64, |_| ())),
    vsock("vsock-credit-of-nothing", "5.10.6.3", |device| sent(device, CREDIT_UPDATE, 0, |_| ())),
    vsock("vsock-credit-asked-by-nothing", "5.10.6.3", |device| {
        sent(device, CREDIT_REQUEST, 0, |_| ())
    }),
    vsock("vsock-request-with-bytes", "5.10.6", |device| sent(device, REQUEST, 64, |_| ())),
    vsock("vsock-length-beyond-the-packet", "5.10.6", |device| {
        sent(device, DATA_OF_STREAM, 64, |header| header.len = 65)
    }),
    vsock("vsock-length-of-all-ones", "5.10.6", |device| {
        sent(device, DATA_OF_STREAM, 64, |header| header.len = u32::MAX)
    }),
    vsock("vsock-length-shorter-than-the-packet", "5.10.6", |device| {
        sent(device, DATA_OF_STREAM, 64, |header| header.len = 1)
    }),
    vsock("vsock-no-room-for-answers", "5.10.6.3", |device| {
        sent(device, REQUEST, 0, |header| header.credit = (0, u32::MAX))
    }),
    vsock("vsock-header-of-ones", "5.10.6", |device| {
        let chain = good(device);
        device.memory.write(PACKET, &[0xff; 44]);
        WAYS.ask(device, &chain)
    }),
    vsock("vsock-requests-without-end", "5.10.6.6", |device| {
        start(device);
        let bytes = Header { ports: (BREAKS, 52), ..Header::new(device, REQUEST) }.bytes();
        let taken = (0..400).filter(|_| send(device, &bytes)).count();
        let after = goes_on(device);
        let after = after.map_or_else(|why| format!("stops: {why}"), |()| "goes on".into());
        format!("{taken} taken, {after}")
    }),
    vsock("vsock-buffer-to-be-read", "5.10.6.1", |device| {
        posted(device, |buffer| Descriptor { flags: 0, ..buffer })
    }),
    vsock("vsock-buffer-shorter-than-a-header", "5.10.6.1", |device| {
        posted(device, |buffer| Descriptor { len: 43, ..buffer })
    }),
    vsock("vsock-buffer-beyond-ram", "5.10.6.1", |device| {
        posted(device, |buffer| Descriptor { address: 256 << 20, ..buffer })
    }),
    vsock("vsock-reset-in-flight", "2.4", |device| WAYS.reset_in_flight(device)),
];
