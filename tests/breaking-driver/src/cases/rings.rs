//! The rings: 2.7.6, 2.7.8 and 2.7.13.

use super::{Case, case};
use crate::device::{ANSWERS, Answer, DATA, Descriptor, Device, RING, SIZE, WRITE};
use crate::disk::IN;
use crate::memory::PAGE;
use std::time::Duration;

/// A good read in the table, not available.
fn prepared(disk: &mut Device) {
    disk.start();
    disk.header(IN, 0);
    let data = Descriptor { flags: WRITE, ..disk.piece(DATA, 512) };
    disk.chain(0, &disk.request(&[data]));
}

/// Says so many entries are available.
fn indexed(disk: &mut Device, index: u16) -> String {
    prepared(disk);
    disk.available = index;
    disk.memory.store(RING + 2, index);
    disk.kick();
    match disk.answer(Duration::from_secs(20)) {
        Answer::Given { .. } => "answered".into(),
        Answer::NeedsReset => "needs reset".into(),
        Answer::Silent => "silent".into(),
    }
}

/// Makes `head` available, which the table does not have, or has no chain at.
fn headed(disk: &mut Device, head: u16) -> String {
    prepared(disk);
    disk.ask_head(head)
}

pub const CASES: &[Case] = &[
    case("available-index-jumps-by-more-than-the-ring", "2.7.13.3", |disk| indexed(disk, SIZE + 1)),
    case("available-index-jumps-far", "2.7.13.3", |disk| indexed(disk, 0x8000)),
    case("available-index-goes-back", "2.7.6", |disk| indexed(disk, 0xffff)),
    case("available-index-goes-back-while-running", "2.7.6", |disk| {
        prepared(disk);
        let before = disk.ask_head(0);
        disk.available = 0;
        disk.memory.store(RING + 2, 0);
        disk.kick();
        // Behind what is answered; nothing can be right here but to say so.
        let begun = std::time::Instant::now();
        while disk.get(crate::registers::STATUS) & crate::registers::NEEDS_RESET == 0 {
            if begun.elapsed().as_secs() > 20 {
                return format!("{before}, silent");
            }
            crate::device::pause();
        }
        format!("{before}, needs reset")
    }),
    case("one-chain-as-often-as-the-ring-is-long", "2.7.13.1", |disk| {
        // Every entry is 0: the same chain, as often as the ring is long, at once.
        indexed(disk, SIZE)
    }),
    case("entry-just-beyond-the-table", "2.7.6", |disk| headed(disk, SIZE)),
    case("entry-far-beyond-the-table", "2.7.6", |disk| headed(disk, 0xffff)),
    case("used-ring-written-by-the-driver", "2.7.8.1", |disk| {
        prepared(disk);
        disk.memory.write(ANSWERS, &[0xa5; PAGE]);
        disk.ask_head(0)
    }),
    case("available-flags-of-no-meaning", "2.7.6", |disk| {
        prepared(disk);
        disk.memory.store(RING, 0xffff);
        disk.ask_head(0)
    }),
    case("chain-changed-while-in-flight", "2.7.13.1", |disk| {
        prepared(disk);
        disk.offer(0);
        disk.kick();
        // As fast as can be: lengths, addresses and links of the chain that is being read.
        for round in 0..2000_u32 {
            let (len, flags) = (round.wrapping_mul(0x0101_0101), (round & 7) as u16);
            let address = disk.memory.physical(DATA);
            disk.put(1, Descriptor { address, len: len & 0xfff, flags, next: (round & 31) as u16 });
        }
        match disk.answer(Duration::from_secs(20)) {
            Answer::Given { .. } => "answered".into(),
            other => format!("{other:?}"),
        }
    }),
    case("a-thousand-malformed-chains", "2.7.5", |disk| {
        disk.start();
        let mut refused = 0;
        for _ in 0..32 {
            for _ in 0..SIZE {
                disk.offer(0xffff);
            }
            disk.kick();
            let answer = disk.answer(Duration::from_secs(20));
            refused += u32::from(answer == Answer::Given { id: 0xffff, len: 0 });
        }
        format!("{refused} of 32 rings answered with length 0")
    }),
];
