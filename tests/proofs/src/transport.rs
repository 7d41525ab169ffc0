//! The PCI function as a guest sees it: the BAR, accesses of every width, and interrupt messages.

use crate::Values;
use casemate_device_transport::{BAR_SIZE, Function, Identity, Source, VERSION_1, doorbell};
use casemate_values::RamMap;

const BAR: u32 = 0xc010_0000;
/// Offset of the MSI-X table in the BAR, and bytes of an entry.
const TABLE: u64 = 0x2000;
const ENTRY: u64 = 16;

/// A function with so many queues.
fn function(queues: u16) -> Option<Function> {
    let identity = Identity {
        kind: 2,
        class: 0x01_0000,
        features: VERSION_1,
        queues,
        queue_size: 8,
        config: vec![7; 8],
        bar: BAR,
    };
    Function::new(identity, RamMap::new(1 << 20).ok()?).ok()
}

/// The same with memory space and bus mastering on.
fn enabled(queues: u16) -> Option<Function> {
    let mut function = function(queues)?;
    let _ = function.config_write(4, &[6, 0]);
    Some(function)
}

fn register(function: &Function, offset: u64) -> u32 {
    let mut bytes = [0; 4];
    function.config_read(offset, &mut bytes);
    u32::from_le_bytes(bytes)
}

/// Offset of MSI-X message control: the capability with id 0x11, in the list from 0x34.
fn msix(function: &Function) -> Option<u64> {
    let mut at = u64::from(register(function, 0x34) & 0xff);
    for _ in 0..16 {
        let head = register(function, at);
        if head & 0xff == 0x11 {
            return Some(at + 2);
        }
        at = u64::from(head >> 8 & 0xff);
    }
    None
}

super::properties! {
    /// Whatever is written to the BAR, it reads as its one address or as its size.
    fn a_bar_has_one_address_and_its_size(values) {
        let Some(mut function) = function(1) else { panic!("none") };
        let corners =
            &[0, 1, 0xf, 0x4000, 0xc010_0000, 0xffff_c000, 0xffff_fff0, 0xffff_ffff, 0x8000_0000];
        let written = u32::try_from(values.number(corners) & 0xffff_ffff).unwrap_or(0);
        let _ = function.config_write(0x10, &written.to_le_bytes());
        let read = register(&function, 0x10);
        let size = u32::try_from(!(BAR_SIZE - 1) & 0xffff_ffff).unwrap_or(0);
        // The size is asked for by ones in every bit that an address can have.
        assert_eq!(read, if written & size == size { size } else { BAR });
    }

    /// The other five BARs and the ROM do not exist: zero, whatever is written.
    fn there_is_one_bar(values) {
        let Some(mut function) = function(1) else { panic!("none") };
        let offset = values.one_of(&[0x14, 0x18, 0x1c, 0x20, 0x24, 0x30]);
        let written = u32::try_from(values.number(&[0, 1, 0xffff_ffff]) & 0xffff_ffff).unwrap_or(0);
        let _ = function.config_write(offset, &written.to_le_bytes());
        assert_eq!(register(&function, offset), 0);
    }

    /// Identity is read-only: vendor, device, class and subsystem are what they were.
    fn an_identity_cannot_be_written(values) {
        let Some(mut function) = function(1) else { panic!("none") };
        let offset = values.one_of(&[0x00, 0x08, 0x2c, 0x34]);
        let before = register(&function, offset);
        let written = u32::try_from(values.number(&[0, 0xffff_ffff]) & 0xffff_ffff).unwrap_or(0);
        let _ = function.config_write(offset, &written.to_le_bytes());
        assert_eq!(register(&function, offset), before);
    }

    /// An access of configuration space of no legal kind reads ones and changes nothing.
    fn an_access_of_no_legal_kind_is_ones(values) {
        let Some(mut function) = function(1) else { panic!("none") };
        let offset = values.below(0x44);
        let len = usize::try_from(values.below(10)).unwrap_or(0);
        let legal = matches!(len, 1 | 2 | 4) && offset % len as u64 == 0;
        let mut data = [0; 10];
        function.config_read(offset, &mut data[..len]);
        if !legal {
            assert!(data[..len].iter().all(|byte| *byte == 0xff));
            let before: Vec<u32> = (0..0x11).map(|at| register(&function, 4 * at)).collect();
            let _ = function.config_write(offset, &[0xff; 10][..len]);
            let after: Vec<u32> = (0..0x11).map(|at| register(&function, 4 * at)).collect();
            assert_eq!(before, after);
        }
    }

    /// The BAR answers nothing before memory space is on, and an access beyond it reads ones.
    fn a_bar_that_is_off_or_passed_reads_ones(values) {
        let on = values.flag();
        let made = if on { enabled(2) } else { function(2) };
        let Some(function) = made else { panic!("none") };
        let corners = &[0, 0x37, 0x38, 0x3f8, 0x400, 0x408, 0xfff, 0x3fff, BAR_SIZE, u64::MAX - 7, u64::MAX];
        let (offset, len) = (values.number(corners), values.one_of(&[1, 2, 4, 8]));
        let mut data = [0; 8];
        function.bar_read(offset, &mut data[..len]);
        let beyond = u128::from(offset) + len as u128 > u128::from(BAR_SIZE);
        if !on || beyond {
            assert!(data[..len].iter().all(|byte| *byte == 0xff));
        }
    }

    /// Each queue's doorbell has an address of its own, in the page of doorbells.
    fn doorbells_are_apart(values) {
        let queue = |values: &mut dyn Values| u16::try_from(values.below(16)).unwrap_or(0);
        let (one, other) = (queue(values), queue(values));
        assert_eq!(doorbell(one) == doorbell(other), one == other);
        assert!((0x1000..0x2000).contains(&doorbell(one)));
    }

    /// A doorbell of a device that does not run rings for nobody, whatever is written where.
    fn a_doorbell_rings_only_while_the_device_runs(values) {
        let Some(mut function) = enabled(2) else { panic!("none") };
        let offset = doorbell(u16::try_from(values.below(18)).unwrap_or(0)) + values.below(4);
        let len = values.one_of(&[1, 2, 4, 8]);
        assert!(function.bar_write(offset, &[1; 8][..len]).kick.is_empty());
    }

    /// A message leads to a processor exactly when its address is in the local APICs' window, its
    /// vector is not masked, and MSI-X is on and not masked as a whole.
    fn a_message_leads_only_to_processors(values) {
        let Some(mut function) = enabled(1) else { panic!("none") };
        let Some(control) = msix(&function) else { panic!("none") };
        let low = &[0, 0xfedf_fff0, 0xfee0_0000, 0xfee0_1000, 0xfeef_fffc, 0xfef0_0000, 0xffff_ffff];
        let address = values.number(low) & 0xffff_ffff;
        let high = values.number(&[0, 1, 0xffff_ffff]) & 0xffff_ffff;
        let masked = values.below(4);
        let on = values.below(4);
        let word = |value: u64| u32::try_from(value).unwrap_or(0).to_le_bytes();
        for (at, value) in [(0, address), (4, high), (8, 0x41), (12, masked)] {
            let _ = function.bar_write(TABLE + at, &word(value));
        }
        // The queue's interrupts go by vector 0: queue_msix_vector of the common configuration.
        let _ = function.bar_write(0x16, &[0, 0]);
        let _ = function.bar_write(0x1a, &[0, 0]);
        let bits = u16::try_from(on).unwrap_or(0) << 14;
        let _ = function.config_write(control, &bits.to_le_bytes());
        let leads = high == 0 && (0xfee0_0000..0xfef0_0000).contains(&address) && masked & 1 == 0 && on == 2;
        assert_eq!(function.route(Source::Queue(0)).is_some(), leads);
    }

    /// What is read of the MSI-X table is what was written, of vector control the mask alone; an
    /// access of no legal kind, or beyond the table, changes nothing.
    fn the_table_keeps_what_was_written(values) {
        let Some(mut function) = enabled(1) else { panic!("none") };
        let at = values.below(3 * ENTRY);
        let len = values.one_of(&[1, 2, 4, 8]);
        let fill = values.one_of(&[0x00, 0x5a, 0xff]);
        let (mut before, mut after) = ([0; 8], [0; 8]);
        let legal = matches!(len, 4 | 8) && at % len as u64 == 0 && at + len as u64 <= 2 * ENTRY;
        let _ = function.bar_write(TABLE + at, &[fill; 8][..len]);
        function.bar_read(TABLE + at, &mut after[..len]);
        if legal {
            for (index, byte) in after[..len].iter().enumerate() {
                let offset = (at + index as u64) % ENTRY;
                let wanted = match offset {
                    12 => fill & 1,
                    13..16 => 0,
                    _ => fill,
                };
                assert_eq!(*byte, wanted);
            }
        } else {
            // Every vector is still masked, with no address.
            for entry in 0..2 {
                function.bar_read(TABLE + entry * ENTRY, &mut before);
                assert_eq!(before, [0; 8]);
                function.bar_read(TABLE + entry * ENTRY + 8, &mut before);
                assert_eq!(before, [0, 0, 0, 0, 1, 0, 0, 0]);
            }
        }
    }

    /// A function exists exactly when everything about it is within what PCI and virtio have.
    fn a_function_is_within_its_limits(values) {
        let number = |values: &mut dyn Values, corners: &[u64]| {
            u16::try_from(values.number(corners) & 0xffff).unwrap_or(0)
        };
        let identity = Identity {
            kind: number(values, &[0, 1, 63, 64, 0xffff]),
            class: 0,
            features: 0,
            queues: number(values, &[0, 1, 16, 17]),
            queue_size: number(values, &[0, 1, 3, 1024, 2048]),
            config: vec![0; usize::try_from(values.below(2) * 257).unwrap_or(0)],
            bar: values.one_of(&[0, 1, 0x4000, 0x6000]),
        };
        let legal = (1..64).contains(&identity.kind)
            && (1..=16).contains(&identity.queues)
            && matches!(identity.queue_size, 1 | 1024)
            && identity.config.is_empty()
            && identity.bar == 0x4000;
        let Ok(ram) = RamMap::new(1 << 20) else { panic!("none") };
        assert_eq!(Function::new(identity, ram).is_ok(), legal);
    }
}
