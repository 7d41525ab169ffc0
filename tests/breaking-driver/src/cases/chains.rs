//! Chains of descriptors: 2.7.4 and 2.7.5.

use super::{Case, case};
use crate::device::{
    ANSWERS, DATA, Descriptor, Device, HEADER, INDIRECT, NEXT, SIZE, TABLE, WRITE,
};
use crate::disk::IN;
use crate::memory::PAGE;

/// A read whose data is this descriptor.
fn data(disk: &mut Device, change: impl Fn(Descriptor) -> Descriptor) -> String {
    disk.start();
    disk.header(IN, 0);
    let data = change(Descriptor { flags: WRITE, ..disk.piece(DATA, 512) });
    disk.ask(&disk.request(&[data]))
}

/// A read whose data is at this address.
fn at(disk: &mut Device, address: u64) -> String {
    data(disk, |data| Descriptor { address, ..data })
}

/// A read whose table was changed afterwards.
fn table(disk: &mut Device, change: impl Fn(&mut Device, Descriptor)) -> String {
    disk.start();
    disk.header(IN, 0);
    let data = Descriptor { flags: WRITE | NEXT, next: 2, ..disk.piece(DATA, 512) };
    disk.chain(0, &disk.request(&[data]));
    change(disk, data);
    disk.ask_head(0)
}

/// A read into so many pieces, each of which is almost the whole of RAM.
fn lengths(disk: &mut Device, pieces: usize) -> String {
    disk.start();
    disk.header(IN, 0);
    let len = u32::try_from(BEYOND).unwrap() - 4096;
    let piece = Descriptor { flags: WRITE, address: 0, len, next: 0 };
    disk.ask(&disk.request(&vec![piece; pieces]))
}

/// One more than RAM has: the guest has 256 MiB.
const BEYOND: u64 = 256 << 20;

pub const CASES: &[Case] = &[
    case("chain-loops-to-itself", "2.7.5.2", |disk| {
        table(disk, |disk, data| disk.put(1, Descriptor { next: 1, ..data }))
    }),
    case("chain-loops-to-its-head", "2.7.5.2", |disk| {
        table(disk, |disk, data| disk.put(1, Descriptor { next: 0, ..data }))
    }),
    case("every-descriptor-in-one-loop", "2.7.5.2", |disk| {
        table(disk, |disk, data| {
            for index in 1..SIZE {
                disk.put(index, Descriptor { next: (index + 1) % SIZE, ..data });
            }
        })
    }),
    case("next-just-beyond-the-table", "2.7.5.2", |disk| {
        table(disk, |disk, data| disk.put(1, Descriptor { next: SIZE, ..data }))
    }),
    case("next-far-beyond-the-table", "2.7.5.2", |disk| {
        table(disk, |disk, data| disk.put(1, Descriptor { next: 0xffff, ..data }))
    }),
    case("chain-of-the-whole-table", "2.7.5.2", |disk| {
        // Lawful: a sector in as many pieces as there is room for.
        disk.start();
        disk.header(IN, 0);
        let last = u32::from(SIZE) - 3;
        let piece = |index: u32| {
            let len = if index == last { 512 - last } else { 1 };
            Descriptor { flags: WRITE, ..disk.piece(DATA + index as usize, len) }
        };
        let pieces: Vec<_> = (0..=last).map(piece).collect();
        disk.ask(&disk.request(&pieces))
    }),
    case("indirect-not-negotiated", "2.7.5.3.1", |disk| {
        data(disk, |data| Descriptor { flags: INDIRECT, ..data })
    }),
    case("indirect-head", "2.7.5.3.1", |disk| {
        disk.start();
        disk.ask(&[Descriptor { flags: INDIRECT, ..disk.piece(DATA, 48) }])
    }),
    case("indirect-and-next", "2.7.5.3.1", |disk| {
        table(disk, |disk, data| disk.put(1, Descriptor { flags: INDIRECT | NEXT, ..data }))
    }),
    case("unknown-flags-of-a-descriptor", "2.7.5", |disk| {
        data(disk, |data| Descriptor { flags: data.flags | 0xfff8, ..data })
    }),
    case("reading-after-writing", "2.7.4.2", |disk| {
        disk.start();
        disk.header(IN, 0);
        let mut chain = disk.request(&[disk.piece(DATA, 512)]);
        chain.swap(1, 2);
        disk.ask(&chain)
    }),
    case("length-0", "2.7.5", |disk| data(disk, |data| Descriptor { len: 0, ..data })),
    case("length-0-of-the-header", "2.7.5", |disk| {
        disk.start();
        let mut chain = disk.request(&[]);
        chain[0].len = 0;
        disk.ask(&chain)
    }),
    case("length-of-all-ones", "2.7.5", |disk| {
        data(disk, |data| Descriptor { len: u32::MAX, ..data })
    }),
    case("lengths-of-almost-four-gibibytes", "2.7.5", |disk| lengths(disk, 14)),
    case("lengths-of-more-than-four-gibibytes", "2.7.5", |disk| lengths(disk, 30)),
    case("address-beyond-ram", "2.7.5", |disk| at(disk, BEYOND)),
    case("address-across-the-end-of-ram", "2.7.5", |disk| at(disk, BEYOND - 256)),
    case("address-in-a-bar", "2.7.5", |disk| {
        let bar = u64::from(disk.function.double(0x10) & !0xf);
        at(disk, bar)
    }),
    case("address-of-the-local-apic", "2.7.5", |disk| at(disk, 0xfee0_0000)),
    case("address-of-the-io-apic", "2.7.5", |disk| at(disk, 0xfec0_0000)),
    case("address-below-the-end-of-addresses", "2.7.5", |disk| at(disk, u64::MAX - 511)),
    case("address-and-length-wrap", "2.7.5", |disk| at(disk, u64::MAX - 100)),
    case("address-with-high-bits", "2.7.5", |disk| {
        let address = disk.memory.physical(DATA) | 1 << 63;
        at(disk, address)
    }),
    case("header-beyond-ram", "2.7.5", |disk| {
        disk.start();
        let mut chain = disk.request(&[]);
        chain[0].address = BEYOND;
        disk.ask(&chain)
    }),
    case("status-beyond-ram", "2.7.5", |disk| {
        disk.start();
        disk.header(IN, 0);
        let data = Descriptor { flags: WRITE, ..disk.piece(DATA, 512) };
        let mut chain = disk.request(&[data]);
        chain[2].address = BEYOND;
        disk.ask(&chain)
    }),
    case("data-over-the-descriptor-table", "2.7.5", |disk| {
        let table = disk.memory.physical(TABLE);
        at(disk, table)
    }),
    case("data-over-the-used-ring", "2.7.5", |disk| {
        let ring = disk.memory.physical(ANSWERS);
        at(disk, ring)
    }),
    case("data-over-its-own-header", "2.7.5", |disk| {
        let header = disk.memory.physical(HEADER);
        at(disk, header)
    }),
    case("data-beyond-what-pages-are-next-to-each-other", "2.7.5", |disk| {
        // Lawful: two pages in one chain, wherever they are.
        disk.start();
        disk.header(IN, 0);
        let page = |index: usize| Descriptor {
            flags: WRITE,
            ..disk.piece(DATA + index * PAGE, PAGE as u32)
        };
        disk.ask(&disk.request(&[page(0), page(1)]))
    }),
];
