//! The network device: 5.1. The host answers ARP at 10.9.0.1.

use super::{Case, Kind, Ways, case};
use crate::device::{Descriptor, Device};
use crate::packets::{PACKET, exchange, packet, start, start_with};

/// Bytes of the header in front of a frame (5.1.6).
const HEADER: usize = 12;

const WAYS: Ways = Ways { good, goes_on };

/// A question for the host's address by the address on the link that the device has.
fn question(device: &Device) -> Vec<u8> {
    let places = device.function.places;
    let address: Vec<u8> =
        (0..6).map(|at| device.function.bar.read(places.config + at, 1) as u8).collect();
    let frame = [&[0xff; 6][..], &address, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &address];
    let frame = [&frame.concat()[..], &[10, 9, 0, 2], &[0; 6], &[10, 9, 0, 1]].concat();
    [&[0; HEADER][..], &frame].concat()
}

/// Whether that is the answer: of the kind ARP, which answers (2).
fn answers(bytes: &[u8]) -> bool {
    bytes.get(HEADER + 12..HEADER + 14) == Some(&[8, 6])
        && bytes.get(HEADER + 20..HEADER + 22) == Some(&[0, 2])
}

fn good(device: &mut Device) -> Vec<Descriptor> {
    start(device);
    let question = question(device);
    packet(device, &question)
}

fn goes_on(device: &mut Device) -> Result<(), String> {
    let question = question(device);
    exchange(device, &question, answers)
}

pub fn works(device: &mut Device) -> Result<(), String> {
    start(device);
    goes_on(device)
}

const fn net(name: &'static str, section: &'static str, run: fn(&mut Device) -> String) -> Case {
    Case { on: Kind::Network, ..case(name, section, run) }
}

/// A frame behind this header.
fn headed(device: &mut Device, header: [u8; HEADER]) -> String {
    let chain = good(device);
    device.memory.write(PACKET, &header);
    WAYS.ask(device, &chain)
}

/// A frame of which so many bytes are sent, header included.
fn cut(device: &mut Device, len: u32) -> String {
    WAYS.changed(device, |chain| chain[0].len = len)
}

/// A buffer for what comes that is like that, before good ones.
fn posted(device: &mut Device, buffer: fn(Descriptor) -> Descriptor) -> String {
    start_with(device, buffer);
    goes_on(device).map_or_else(|why| format!("stops: {why}"), |()| "goes on".into())
}

pub const CASES: &[Case] = &[
    net("net-chain-loops", "2.7.5.2", |device| WAYS.loops(device)),
    net("net-next-beyond-the-table", "2.7.5.2", |device| WAYS.next_beyond(device)),
    net("net-indirect", "2.7.5.3.1", |device| WAYS.indirect(device)),
    net("net-frame-of-no-bytes", "2.7.5", |device| WAYS.of_no_bytes(device)),
    net("net-frame-of-all-bytes", "2.7.5", |device| WAYS.of_all_bytes(device)),
    net("net-frame-beyond-ram", "2.7.5", |device| WAYS.beyond_ram(device)),
    net("net-frame-to-be-written", "5.1.6.2", |device| WAYS.turned_round(device)),
    net("net-head-beyond-the-table", "2.7.13.1", |device| WAYS.head_beyond(device)),
    net("net-index-jumps", "2.7.13.3", |device| WAYS.index_jumps(device)),
    net("net-header-of-11-bytes", "5.1.6.2.1", |device| cut(device, 11)),
    net("net-header-alone", "5.1.6.2.1", |device| cut(device, 12)),
    net("net-frame-of-one-byte", "5.1.6.2.1", |device| cut(device, 13)),
    net("net-frame-in-pieces", "5.1.6.2", |device| {
        // Lawful: the header in two pieces, the first bytes of the frame with its end.
        let whole = good(device);
        let piece = |at: u32, len: u32| Descriptor {
            address: whole[0].address + u64::from(at),
            len,
            ..whole[0]
        };
        WAYS.ask(device, &[piece(0, 5), piece(5, 9), piece(14, whole[0].len - 14)])
    }),
    net("net-header-flags-unknown", "5.1.6.2.1", |device| {
        headed(device, [0xfe, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
    }),
    net("net-kind-of-pieces-unknown", "5.1.6.2.1", |device| {
        headed(device, [1, 0x77, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0])
    }),
    net("net-pieces-without-a-sum", "5.1.6.2.1", |device| {
        headed(device, [0, 1, 54, 0, 0xb4, 5, 0, 0, 0, 0, 0, 0])
    }),
    net("net-pieces-of-no-bytes", "5.1.6.2.1", |device| {
        headed(device, [1, 1, 54, 0, 0, 0, 34, 0, 16, 0, 0, 0])
    }),
    net("net-pieces-with-ecn-not-negotiated", "5.1.6.2.1", |device| {
        headed(device, [1, 0x81, 54, 0, 0xb4, 5, 34, 0, 16, 0, 0, 0])
    }),
    net("net-sum-behind-the-frame", "5.1.6.2.1", |device| {
        headed(device, [1, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0])
    }),
    net("net-sum-over-nothing", "5.1.6.2.1", |device| {
        headed(device, [1, 0, 0, 0, 0, 0, 42, 0, 0, 0, 0, 0])
    }),
    net("net-header-longer-than-the-frame", "5.1.6.2.1", |device| {
        headed(device, [1, 1, 0xff, 0xff, 0xb4, 5, 34, 0, 16, 0, 0, 0])
    }),
    net("net-number-of-buffers-set", "5.1.6.2.1", |device| {
        headed(device, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff])
    }),
    net("net-another-cards-address", "5.1.6.2", |device| {
        let chain = good(device);
        device.memory.write(PACKET + HEADER + 6, &[0x52, 0x54, 0, 9, 9, 9]);
        WAYS.ask(device, &chain)
    }),
    net("net-buffer-to-be-read", "5.1.6.3.1", |device| {
        posted(device, |buffer| Descriptor { flags: 0, ..buffer })
    }),
    net("net-buffer-of-no-bytes", "5.1.6.3.1", |device| {
        posted(device, |buffer| Descriptor { len: 0, ..buffer })
    }),
    net("net-buffer-shorter-than-a-header", "5.1.6.3.1", |device| {
        posted(device, |buffer| Descriptor { len: 11, ..buffer })
    }),
    net("net-buffer-beyond-ram", "5.1.6.3.1", |device| {
        posted(device, |buffer| Descriptor { address: 256 << 20, ..buffer })
    }),
    net("net-reset-in-flight", "2.4", |device| WAYS.reset_in_flight(device)),
];
