//! The PCI root with its functions, as exits reach them: configuration space and BARs of two disks,
//! with a device thread that answers late, twice, and to requests that are over.
//!
//! Oracles: every access has an answer and stops no VM; no function changes its kind or its place,
//! nor anything of its neighbour; there is nothing else on the bus; one access asks for no more
//! than one table of routes, one interrupt a source, one kick and one wake.

use crate::run_bytes::{RunBytes, U};
use crate::world::{BARS, QUEUES, World};
use arbitrary::{Result, Unstructured};
use casemate_device_transport::{BAR_SIZE, Request, Ticket, doorbell};
use casemate_hypervisor::devices::pci_root::{ECAM_BASE, ECAM_SIZE};
use casemate_hypervisor::exits::{Exit, Outcome};

/// Configuration space of the device in this slot.
const fn header(slot: u64) -> u64 {
    ECAM_BASE + 0x8000 * slot
}

/// Steps of one input.
const STEPS: usize = 32;

/// A guest that finds two disks and does what the input says.
pub fn pci_root(data: &[u8]) {
    let _ = pci_root_of(&mut Unstructured::new(data));
}

fn pci_root_of(u: &mut Unstructured) -> Result<()> {
    let mut guest = Guest { world: World::new(None), tickets: Vec::new() };
    for _ in 0..STEPS {
        if u.is_empty() {
            break;
        }
        let which = usize::from(u.ratio(1, 4)?);
        let other = guest.picture(1 - which);
        let touched = match u.int_in_range(0..=11)? {
            0..=2 => guest.proper(u, which)?,
            3..=5 => guest.register(u, which)?,
            6 => guest.space(u, which)?,
            7 => {
                guest.anywhere(u)?;
                false
            }
            8 => guest.take(which),
            9 => guest.answer(u)?,
            10 => {
                guest.world.functions[which].lock().unwrap().broke();
                true
            }
            _ => {
                let (at, len) = (guest.address(u)?, guest.width(u)?);
                let before = guest.world.asked.counts();
                guest.read(at, len);
                assert_eq!(guest.world.asked.counts(), before, "a read asks for nothing");
                true
            }
        };
        assert!(!touched || guest.picture(1 - which) == other, "a neighbour changed");
        guest.check_bus();
    }
    Ok(())
}

struct Guest {
    world: World,
    tickets: Vec<(usize, Ticket, bool)>,
}

impl Guest {
    fn access(&self, address: u64, bytes: [u8; 8], len: usize, write: bool) -> [u8; 8] {
        let mut run = RunBytes::new(6);
        run.put_u64(U, address).put(U + 8, &bytes);
        run.put_u32(U + 16, len as u32).put(U + 20, &[u8::from(write)]);
        let outcome = self.world.handle(Exit::decode(Ok(()), run.area()));
        assert_eq!(outcome, Outcome::Resume, "no device stops a VM");
        run.get(U + 8, 8).try_into().unwrap()
    }

    fn read(&self, address: u64, len: usize) -> u64 {
        let mut bytes = self.access(address, [0; 8], len, false);
        bytes[len..].fill(0);
        u64::from_le_bytes(bytes)
    }

    /// Writes, and holds what was asked for against what one access may ask for.
    fn write(&self, address: u64, len: usize, value: u64) {
        let before = self.world.asked.counts();
        self.access(address, value.to_le_bytes(), len, true);
        let sources = u32::from(QUEUES) + 1;
        let after = self.world.asked.counts();
        for ((was, is), most) in before.into_iter().zip(after).zip([sources, sources, 1, 1]) {
            assert!(is - was <= most, "one access asked for {} things", is - was);
        }
    }

    /// What can be seen of a function without changing it: header, capabilities, status, and the
    /// queue that is selected.
    fn picture(&self, which: usize) -> Vec<u64> {
        let space = header(which as u64 + 1);
        let space = (0..0x80).step_by(4).map(|at| self.read(space + at, 4));
        let bar = u64::from(BARS[which]);
        let registers = [(0x0c, 4), (0x10, 2), (0x14, 1), (0x16, 2), (0x18, 2), (0x1c, 2)];
        space.chain(registers.into_iter().map(|(at, len)| self.read(bar + at, len))).collect()
    }

    fn check_bus(&self) {
        for slot in 1..=2 {
            assert_eq!(self.read(header(slot), 4), 0x1042_1af4, "a function became another");
            let bar = u64::from(BARS[slot as usize - 1]);
            let shown = self.read(header(slot) + 0x10, 4);
            assert!([bar, 0xffff_c000].contains(&shown), "a BAR moved to {shown:#x}");
        }
        // The bridge, and nothing behind the two or beside them.
        assert_eq!(self.read(header(0), 4), 0x0008_1b36);
        for nothing in [header(1) + 0x1000, header(3), header(31), ECAM_BASE + ECAM_SIZE - 4096] {
            assert_eq!(self.read(nothing, 4), 0xffff_ffff);
        }
    }

    fn width(&self, u: &mut Unstructured) -> Result<usize> {
        Ok(*u.choose(&[1_usize, 2, 4, 4, 8])?)
    }

    fn address(&self, u: &mut Unstructured) -> Result<u64> {
        Ok(match u.int_in_range(0..=3)? {
            0 => header(u.int_in_range(0..=3)?) + u.int_in_range(0..=0x200)?,
            1 => ECAM_BASE + u.int_in_range(0..=ECAM_SIZE + 8)?,
            _ => u64::from(*u.choose(&BARS)?) + u.int_in_range(0..=BAR_SIZE + 8)?,
        })
    }

    /// A step of a driver that does everything right.
    fn proper(&self, u: &mut Unstructured, which: usize) -> Result<bool> {
        let bar = u64::from(BARS[which]);
        match u.int_in_range(0..=8)? {
            0 => self.write(header(which as u64 + 1) + 4, 2, 6),
            1 => {
                let step = *u.choose(&[0, 1, 3, 11, 15])?;
                self.write(bar + 0x14, 1, step);
            }
            2 => {
                for (select, half) in [(0, 1 << 9), (1, 1)] {
                    self.write(bar + 8, 4, select);
                    self.write(bar + 12, 4, half);
                }
            }
            3 => {
                let queue = u.int_in_range(0..=1)?;
                self.write(bar + 0x16, 2, queue);
                for (at, address) in [(0x20, 0x10_0000), (0x28, 0x10_4000), (0x30, 0x10_8000)] {
                    self.write(bar + at, 4, address + 0x1_0000 * queue);
                    self.write(bar + at + 4, 4, 0);
                }
                self.write(bar + 0x1a, 2, queue);
                self.write(bar + 0x1c, 2, 1);
            }
            4 | 5 => {
                let entry = bar + 0x2000 + 16 * u.int_in_range(0..=2)?;
                self.write(entry, 8, 0xfee0_0000);
                self.write(entry + 8, 8, 0x41);
            }
            6 => {
                // Behind the capabilities before MSI-X: common 16, notify 20, ISR 16, device 16.
                let control = *u.choose(&[0x8000, 0x8000, 0xc000, 0])?;
                self.write(header(which as u64 + 1) + 0x40 + 68 + 2, 2, control);
            }
            _ => self.write(bar + doorbell(u.int_in_range(0..=2)?), 2, 0),
        }
        Ok(true)
    }

    fn register(&self, u: &mut Unstructured, which: usize) -> Result<bool> {
        let at = u.int_in_range(0..=0x40)?;
        let (len, value) = (self.width(u)?, u.arbitrary()?);
        self.write(u64::from(BARS[which]) + at, len, value);
        Ok(true)
    }

    fn space(&self, u: &mut Unstructured, which: usize) -> Result<bool> {
        let at = u.int_in_range(0..=0x90)?;
        let (len, value) = (self.width(u)?, u.arbitrary()?);
        self.write(header(which as u64 + 1) + at, len, value);
        Ok(true)
    }

    fn anywhere(&self, u: &mut Unstructured) -> Result<()> {
        let (at, len) = (self.address(u)?, self.width(u)?);
        self.write(at, len, u.arbitrary()?);
        Ok(())
    }

    /// The device's thread takes what it is to tell.
    fn take(&mut self, which: usize) -> bool {
        let request = self.world.functions[which].lock().unwrap().take_request();
        match request {
            Some(Request::Activate(ticket, activation)) => {
                let rings = activation.rings.iter().filter(|ring| ring.is_some()).count();
                assert!(rings <= usize::from(QUEUES), "a ring of a queue that there is not");
                self.tickets.push((which, ticket, true));
            }
            Some(Request::Reset(ticket)) => self.tickets.push((which, ticket, false)),
            None => {}
        }
        true
    }

    /// It answers to any request that it ever took, in any way.
    fn answer(&mut self, u: &mut Unstructured) -> Result<bool> {
        if self.tickets.is_empty() {
            return Ok(true);
        }
        let (which, ticket, activates) = *u.choose(&self.tickets)?;
        let mut function = self.world.functions[which].lock().unwrap();
        if activates {
            function.activated(ticket, u.ratio(3, 4)?);
        } else {
            function.stopped(ticket);
        }
        // It may have been any of the two.
        Ok(false)
    }
}
