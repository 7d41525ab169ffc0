//! Devices as a guest reaches them: PCI configuration space, MSI-X, and the transport as a whole
//! against a model.

use crate::device_model::{Device, HIGH, LOW, Model, OFFERED, QUEUE_SIZE, QUEUES, TABLE};
use arbitrary::{Result, Unstructured};
use casemate_device_transport::{
    ACCESS_PLATFORM, BAR_SIZE, Effects, Function, Identity, MAX_CONFIG, MAX_QUEUES, Message,
    Request, Source, Ticket, VERSION_1, doorbell,
};
use casemate_values::RamMap;

fn structured(data: &[u8], body: impl FnOnce(&mut Unstructured) -> Result<()>) {
    let _ = body(&mut Unstructured::new(data));
}

const BAR: u32 = 0xc000_4000;

fn function(queues: u16, queue_size: u16, config: usize, features: u64) -> Function {
    let identity = Identity {
        kind: 2,
        class: 0x01_80_00,
        features,
        queues,
        queue_size,
        config: (0..config).map(|at| at as u8).collect(),
        bar: BAR,
    };
    Function::new(identity, RamMap::new(LOW + HIGH).unwrap()).expect("a possible device")
}

/// 1, 2, 4 or 8 bytes, as the bus passes on.
fn width(u: &mut Unstructured) -> Result<usize> {
    Ok(*u.choose(&[1_usize, 2, 4, 4, 4, 8])?)
}

/// Configuration space: whatever is written, the function stays what and where it is, its list of
/// capabilities ends, and a read is the same twice.
pub fn pci_config(data: &[u8]) {
    structured(data, |u| {
        let queues = u.int_in_range(1..=MAX_QUEUES)?;
        let mut function = function(queues, 256, u.int_in_range(0..=MAX_CONFIG)?, u.arbitrary()?);
        let read = |function: &Function, at: u64| {
            let mut dword = [0; 4];
            function.config_read(at, &mut dword);
            u32::from_le_bytes(dword)
        };
        let before: Vec<u32> = (0..64).map(|at| read(&function, 4 * at)).collect();
        let control = capability(&before, 0x11);
        while !u.is_empty() {
            let near = u.ratio(1, 2)?;
            let special = *u.choose(&[0x04, 0x10, control as u64, 0x34])?;
            let offset = if near { special + u.int_in_range(0..=7)? } else { u.arbitrary()? };
            let bytes: [u8; 8] = u.arbitrary()?;
            let len = width(u)?;
            let effects = function.config_write(offset, &bytes[..len]);
            assert!(!effects.request && effects.kick.is_empty());
            let after: Vec<u32> = (0..64).map(|at| read(&function, 4 * at)).collect();
            for (at, (before, after)) in before.iter().zip(&after).enumerate() {
                let writable = match 4 * at {
                    0x04 => 0x0406,
                    0x10 => {
                        assert!([BAR, 0xffff_c000].contains(after), "the BAR moved: {after:#x}");
                        u32::MAX
                    }
                    at if at == control => 0xc000_0000,
                    _ => 0,
                };
                assert_eq!(before & !writable, after & !writable, "{:#x} changed", 4 * at);
            }
            assert_eq!(capability(&after, 0x11), control);
            let mut data = [0x5a; 8];
            function.config_read(offset, &mut data[..len]);
            let legal = len < 8 && offset.is_multiple_of(len as u64) && offset < 4096;
            assert!(legal || data[..len].iter().all(|byte| *byte == 0xff));
            assert!(data[len..].iter().all(|byte| *byte == 0x5a), "a read beyond its width");
        }
        Ok(())
    });
}

/// Where the capability of this id is, by the list.
fn capability(dwords: &[u32], id: u8) -> usize {
    let byte = |at: usize| dwords[at / 4].to_le_bytes()[at % 4];
    let mut at = usize::from(byte(0x34));
    for _ in 0..48 {
        assert!(at >= 0x40 && at % 4 == 0, "a capability in the header, or none");
        if byte(at) == id {
            return at;
        }
        at = usize::from(byte(at + 1));
    }
    panic!("a list of capabilities without end")
}

/// MSI-X: the routes are those of a flat table, and a queue that gets one again is signalled.
pub fn msix(data: &[u8]) {
    structured(data, |u| {
        let mut pair = Pair::new();
        pair.drive();
        while !u.is_empty() {
            match u.int_in_range(0..=9)? {
                0..=5 => pair.table_write(u)?,
                6 => pair.header_write(u)?,
                7 => pair.write(0x16, 2, u.int_in_range(0..=4)?),
                _ => pair.write(*u.choose(&[0x10, 0x1a])?, 2, vector(u)?),
            }
        }
        Ok(())
    });
}

fn vector(u: &mut Unstructured) -> Result<u64> {
    if u.ratio(9, 10)? { u.int_in_range(0..=5) } else { Ok(u.arbitrary::<u16>()?.into()) }
}

/// The transport as a whole, step by step beside the model, with a device that answers late, twice,
/// and to requests that are over.
pub fn transport(data: &[u8]) {
    structured(data, |u| {
        let mut pair = Pair::new();
        if u.ratio(1, 2)? {
            pair.drive();
        }
        while !u.is_empty() {
            match u.int_in_range(0..=15)? {
                0..=7 => pair.register_write(u)?,
                8 => pair.table_write(u)?,
                9 => pair.header_write(u)?,
                10 => pair.any_write(u)?,
                11 => pair.any_read(u)?,
                12 => pair.take_request(),
                13 => pair.answer(u)?,
                14 => pair.broke(),
                _ => pair.proper_steps(u)?,
            }
        }
        Ok(())
    });
}

/// The transport and the model.
struct Pair {
    function: Function,
    model: Model,
    tickets: Vec<Ticket>,
}

impl Pair {
    fn new() -> Self {
        // More than may be offered.
        let features = OFFERED & !(3 << 32) | VERSION_1 | 1 << 28 | 1 << 29 | 1 << 30 | 1 << 34;
        let function = function(QUEUES as u16, QUEUE_SIZE, 16, features);
        Self { function, model: Model::default(), tickets: Vec::new() }
    }

    /// Compares everything that a driver can read, and what was asked for by the change.
    fn after(&mut self, before: &Model, effects: Effects) {
        if self.model.command & 2 != 0 {
            for offset in 0..0x38 {
                for width in [1, 2, 4, 8] {
                    let mut data = [0xee; 8];
                    self.function.bar_read(offset, &mut data[..width]);
                    data[width..].fill(0);
                    let ones = u64::MAX >> (64 - 8 * width);
                    let expected = self.model.read(offset, width).unwrap_or(ones);
                    assert_eq!(u64::from_le_bytes(data), expected, "{offset:#x} {width}");
                }
            }
        }
        assert_eq!(self.function.status(), self.model.status);
        let (was, is) = (before.routes(), self.model.routes());
        for (source, route) in is.iter().enumerate() {
            let named =
                if source == QUEUES { Source::Config } else { Source::Queue(source as u16) };
            let expected = route.map(|(address, data)| Message { address, data });
            assert_eq!(self.function.route(named), expected);
        }
        assert_eq!(effects.routes, was != is);
        let ready = self.model.status & 4 != 0
            && !matches!(self.model.device, Device::ToStop | Device::Stopping);
        let opened = |source: usize| ready && was[source].is_none() && is[source].is_some();
        let signalled: Vec<u16> = effects.signal.iter().collect();
        let expected: Vec<u16> = (0..QUEUES)
            .filter(|queue| opened(*queue) && self.model.queues[*queue].enabled)
            .map(|queue| queue as u16)
            .collect();
        assert_eq!(signalled, expected, "an interrupt is lost, or comes from nowhere");
        let newly_broken = before.status & 64 == 0 && self.model.status & 64 != 0;
        let behind_mask = opened(QUEUES) && self.model.status & 64 != 0;
        assert_eq!(effects.signal_config, newly_broken || behind_mask);
        let wants = |model: &Model| match model.device {
            Device::Idle => model.status & 4 != 0,
            Device::ToStop => true,
            _ => false,
        };
        assert_eq!(effects.request, !wants(before) && wants(&self.model));
    }

    fn write(&mut self, offset: u64, width: usize, value: u64) {
        let before = self.model.clone();
        let effects = self.function.bar_write(offset, &value.to_le_bytes()[..width]);
        if self.model.command & 2 != 0 {
            if offset < 0x38 {
                self.model.write(offset, width, value);
            } else if (TABLE..TABLE + 16 * (QUEUES as u64 + 1)).contains(&offset) {
                let at = offset - TABLE;
                if at + width as u64 <= 16 * (QUEUES as u64 + 1) {
                    self.model.write_table(at, &value.to_le_bytes()[..width]);
                }
            }
        }
        let rung = (0..QUEUES).find(|queue| doorbell(*queue as u16) == offset);
        let kick = rung.filter(|queue| {
            let stopping = matches!(self.model.device, Device::ToStop | Device::Stopping);
            before.command & 2 != 0
                && before.status & 4 != 0
                && !stopping
                && before.queues[*queue].enabled
        });
        let kicked: Vec<usize> = effects.kick.iter().map(usize::from).collect();
        assert_eq!(kicked, Vec::from_iter(kick));
        self.after(&before, effects);
    }

    fn config_write(&mut self, offset: u64, bytes: &[u8]) {
        let before = self.model.clone();
        let effects = self.function.config_write(offset, bytes);
        let word = |at: u64| {
            let mut data = [0; 2];
            self.function.config_read(at, &mut data);
            u16::from_le_bytes(data)
        };
        // That only these bits change is the other target's to say.
        (self.model.command, self.model.control) = (word(4), word(control()) & 0xc000);
        self.after(&before, effects);
    }

    /// A proper driver up to DRIVER_OK, with a device that runs.
    fn drive(&mut self) {
        self.config_write(4, &6_u16.to_le_bytes());
        self.config_write(control(), &0x8000_u16.to_le_bytes());
        for vector in 0..=QUEUES as u64 {
            self.write(TABLE + 16 * vector, 8, 0xfee0_1000);
            self.write(TABLE + 16 * vector + 8, 8, 0x4041 + vector);
        }
        for step in 0..7 {
            self.proper_step(step, [0; 3]);
        }
        self.take_request();
        let before = self.model.clone();
        let ticket = *self.tickets.last().expect("a proper driver's device is told");
        let effects = self.function.activated(ticket, true);
        self.model.device = Device::Running;
        self.after(&before, effects);
    }

    fn proper_step(&mut self, step: u32, [table, available, used]: [u64; 3]) {
        match step {
            0 => self.write(0x14, 1, 1),
            1 => self.write(0x14, 1, 3),
            2 => {
                for (select, half) in [(0, 1 << 9), (1, 1)] {
                    self.write(8, 4, select);
                    self.write(12, 4, half);
                }
            }
            3 => self.write(0x14, 1, 11),
            4 | 5 => {
                let queue = u64::from(step) - 4;
                self.write(0x16, 2, queue);
                self.write(0x18, 2, 64);
                for (area, offset) in [(0, table), (1, 0x4000 + available), (2, 0x8000 + used)] {
                    self.write(0x20 + 8 * area, 4, 0x10_0000 + 0x1_0000 * queue + offset);
                    self.write(0x24 + 8 * area, 4, 0);
                }
                self.write(0x1a, 2, queue + 1);
                self.write(0x1c, 2, 1);
            }
            _ => self.write(0x14, 1, 15),
        }
    }

    fn proper_steps(&mut self, u: &mut Unstructured) -> Result<()> {
        // Proper but for one area, which is a little beside where it may be.
        let mut skew = [0; 3];
        if u.ratio(1, 3)? {
            skew[u.int_in_range(0..=2)?] = u.int_in_range(1..=32)?;
        }
        self.proper_step(u.int_in_range(0..=6)?, skew);
        Ok(())
    }

    fn register_write(&mut self, u: &mut Unstructured) -> Result<()> {
        const REGISTERS: [(u64, usize); 18] = [
            (0x00, 4),
            (0x08, 4),
            (0x0c, 4),
            (0x10, 2),
            (0x14, 1),
            (0x14, 1),
            (0x14, 1),
            (0x16, 2),
            (0x18, 2),
            (0x1a, 2),
            (0x1c, 2),
            (0x1c, 2),
            (0x20, 4),
            (0x24, 4),
            (0x28, 4),
            (0x2c, 4),
            (0x30, 4),
            (0x34, 4),
        ];
        let (offset, width) = *u.choose(&REGISTERS)?;
        let value = match offset {
            _ if u.ratio(1, 8)? => u.arbitrary()?,
            0x00 | 0x08 => u.int_in_range(0..=2)?,
            0x0c => *u.choose(&[0, 1, 2, 3, 1 << 6, 1 << 9, 1 << 28])?,
            0x10 | 0x1a => vector(u)?,
            0x14 => *u.choose(&[0, 1, 2, 3, 4, 8, 11, 15, 64, 128, 255])?,
            0x16 => u.int_in_range(0..=4)?,
            0x18 => *u.choose(&[0, 1, 2, 3, 64, 100, 128, 255, 256, 257, 512, 0x8000])?,
            0x1c => u.int_in_range(0..=2)?,
            0x24 | 0x2c | 0x34 => u.int_in_range(0..=1)?,
            _ => {
                let base = *u.choose(&[0, LOW - 0x2000, HIGH - 0x2000, 0xffff_f000])?;
                let align = *u.choose(&[1_u64, 2, 4, 8, 16, 16, 16])?;
                base + u.int_in_range(0..=0x4000)? / align * align
            }
        };
        self.write(offset, width, value);
        Ok(())
    }

    fn table_write(&mut self, u: &mut Unstructured) -> Result<()> {
        let vector = u.int_in_range(0..=QUEUES as u64 + 1)?;
        let word = *u.choose(&[0, 4, 8, 12, 12])?;
        let value = match word {
            _ if u.ratio(1, 8)? => u.arbitrary()?,
            0 => 0xfee0_0000 + u.int_in_range(0..=0x10_0000)?,
            4 => 0,
            8 => u.int_in_range(0..=0xff)?,
            _ => u.int_in_range(0..=1)?,
        };
        let odd = if u.ratio(1, 16)? { u.int_in_range(0..=3)? } else { 0 };
        let width = if u.ratio(1, 4)? { width(u)? } else { 4 };
        self.write(TABLE + 16 * vector + word + odd, width, value);
        Ok(())
    }

    fn header_write(&mut self, u: &mut Unstructured) -> Result<()> {
        if u.ratio(1, 2)? {
            self.config_write(4, &(*u.choose(&[0_u16, 2, 4, 6, 6])?).to_le_bytes());
        } else {
            let value: u16 = *u.choose(&[0, 0x4000, 0x8000, 0xc000])?;
            self.config_write(control(), &value.to_le_bytes());
        }
        Ok(())
    }

    fn any_write(&mut self, u: &mut Unstructured) -> Result<()> {
        let offset = if u.ratio(7, 8)? { u.int_in_range(0..=BAR_SIZE)? } else { u.arbitrary()? };
        let (width, value) = (width(u)?, u.arbitrary()?);
        self.write(offset, width, value);
        Ok(())
    }

    fn any_read(&mut self, u: &mut Unstructured) -> Result<()> {
        let offset = if u.ratio(7, 8)? { u.int_in_range(0..=BAR_SIZE)? } else { u.arbitrary()? };
        let mut data = [0x5a; 8];
        let len = width(u)?;
        self.function.bar_read(offset, &mut data[..len]);
        assert!(data[len..].iter().all(|byte| *byte == 0x5a), "a read beyond its width");
        Ok(())
    }

    fn take_request(&mut self) {
        let expected = match self.model.device {
            Device::Idle if self.model.status & 4 != 0 => Some(Device::Told),
            Device::ToStop => Some(Device::Stopping),
            _ => None,
        };
        match self.function.take_request() {
            None => assert_eq!(expected, None, "the device is never told"),
            Some(Request::Activate(ticket, activation)) => {
                assert_eq!(expected, Some(Device::Told));
                assert_eq!(activation.features, self.model.accepted & !ACCESS_PLATFORM);
                for (index, ring) in activation.rings.iter().enumerate() {
                    let queue = self.model.queues.get(index).filter(|queue| queue.enabled);
                    let expected = queue.map(|queue| (queue.size, queue.areas));
                    let given = ring.map(|r| (r.size, [r.descriptors, r.available, r.used]));
                    assert_eq!(given, expected);
                }
                self.model.device = Device::Told;
                self.tickets.push(ticket);
            }
            Some(Request::Reset(ticket)) => {
                assert_eq!(expected, Some(Device::Stopping));
                self.model.device = Device::Stopping;
                self.tickets.push(ticket);
            }
        }
    }

    /// The device answers: to the newest request, or to one that is over.
    fn answer(&mut self, u: &mut Unstructured) -> Result<()> {
        let before = self.model.clone();
        let Some(newest) = self.tickets.last().copied() else { return Ok(()) };
        let ticket = *u.choose(&self.tickets)?;
        let is_newest = ticket == newest;
        let effects = if u.arbitrary()? {
            let runs = u.arbitrary()?;
            let begins = is_newest && self.model.device == Device::Told;
            if begins {
                self.model.device = Device::Running;
                self.model.status |= if runs { 0 } else { 64 };
            }
            let effects = self.function.activated(ticket, runs);
            let kicked: Vec<usize> = effects.kick.iter().map(usize::from).collect();
            let enabled = |queue: &usize| begins && runs && self.model.queues[*queue].enabled;
            assert_eq!(kicked, (0..QUEUES).filter(enabled).collect::<Vec<_>>());
            effects
        } else {
            if is_newest && self.model.device == Device::Stopping {
                self.model.device = Device::Idle;
                self.model.status = 0;
            }
            self.function.stopped(ticket)
        };
        self.after(&before, effects);
        Ok(())
    }

    fn broke(&mut self) {
        let before = self.model.clone();
        let stopping = matches!(self.model.device, Device::ToStop | Device::Stopping);
        if self.model.status & 4 != 0 && !stopping {
            self.model.status |= 64;
        }
        let effects = self.function.broke();
        self.after(&before, effects);
    }
}

/// Where MSI-X message control is in a function with device configuration.
const fn control() -> u64 {
    0x40 + 16 + 20 + 16 + 16 + 2
}
