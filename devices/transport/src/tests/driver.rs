//! A driver for tests: the accesses that Linux makes, and any other.

use crate::lifecycle::status::{ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK};
use crate::{Activation, Effects, Function, Identity, Request, Ticket, VERSION_1};
use casemate_values::RamMap;

pub const QUEUES: u16 = 3;
pub const QUEUE_SIZE: u16 = 256;
pub const CONFIG: [u8; 10] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10];
pub const BAR: u32 = 0xc000_4000;
pub const RAM: u64 = 64 << 20;
/// What the back end offers: two features of its own, and what must not be passed on.
pub const BACK_END: u64 = 1 << 6 | 1 << 9 | 1 << 28 | 1 << 29 | 1 << 30 | VERSION_1 | 1 << 34;
/// A message that leads to a processor.
pub const MESSAGE: (u64, u32) = (0xfee0_1000, 0x4041);

/// Offsets of registers.
pub mod reg {
    pub const DEVICE_FEATURE_SELECT: u64 = 0;
    pub const DEVICE_FEATURE: u64 = 4;
    pub const DRIVER_FEATURE_SELECT: u64 = 8;
    pub const DRIVER_FEATURE: u64 = 12;
    pub const CONFIG_VECTOR: u64 = 0x10;
    pub const STATUS: u64 = 0x14;
    pub const QUEUE_SELECT: u64 = 0x16;
    pub const QUEUE_SIZE: u64 = 0x18;
    pub const QUEUE_VECTOR: u64 = 0x1a;
    pub const QUEUE_ENABLE: u64 = 0x1c;
    pub const DESCRIPTORS: u64 = 0x20;
    pub const AVAILABLE: u64 = 0x28;
    pub const USED: u64 = 0x30;
    pub const TABLE: u64 = 0x2000;
}

pub fn identity() -> Identity {
    Identity {
        kind: 2,
        class: 0x01_80_00,
        features: BACK_END,
        queues: QUEUES,
        queue_size: QUEUE_SIZE,
        config: CONFIG.to_vec(),
        bar: BAR,
    }
}

/// A guest with one device.
pub struct Guest {
    pub function: Function,
}

impl Guest {
    /// After power-on.
    pub fn new() -> Self {
        Self { function: Function::new(identity(), RamMap::new(RAM).unwrap()).unwrap() }
    }

    /// With memory space and bus mastering on, and MSI-X on with every vector open.
    pub fn ready() -> Self {
        let mut guest = Self::new();
        guest.config_write(4, &6_u16.to_le_bytes());
        let control = guest.msix_control();
        guest.config_write(control, &0x8000_u16.to_le_bytes());
        for vector in 0..=u64::from(QUEUES) {
            guest.set_message(vector, MESSAGE.0, MESSAGE.1 + u32::try_from(vector).unwrap());
            guest.mask(vector, false);
        }
        guest
    }

    pub fn config_read<const N: usize>(&self, offset: u64) -> [u8; N] {
        let mut data = [0x5a; N];
        self.function.config_read(offset, &mut data);
        data
    }
    pub fn config_write(&mut self, offset: u64, data: &[u8]) -> Effects {
        self.function.config_write(offset, data)
    }
    pub fn read<const N: usize>(&self, offset: u64) -> [u8; N] {
        let mut data = [0x5a; N];
        self.function.bar_read(offset, &mut data);
        data
    }
    pub fn write(&mut self, offset: u64, data: &[u8]) -> Effects {
        self.function.bar_write(offset, data)
    }
    pub fn w8(&mut self, offset: u64, value: u8) -> Effects {
        self.write(offset, &[value])
    }
    pub fn w16(&mut self, offset: u64, value: u16) -> Effects {
        self.write(offset, &value.to_le_bytes())
    }
    pub fn w32(&mut self, offset: u64, value: u32) -> Effects {
        self.write(offset, &value.to_le_bytes())
    }
    pub fn w64(&mut self, offset: u64, value: u64) {
        let [low, high] = crate::features::halves(value);
        let _ = (self.w32(offset, low), self.w32(offset + 4, high));
    }
    pub fn r8(&self, offset: u64) -> u8 {
        self.read::<1>(offset)[0]
    }
    pub fn r16(&self, offset: u64) -> u16 {
        u16::from_le_bytes(self.read(offset))
    }
    pub fn r32(&self, offset: u64) -> u32 {
        u32::from_le_bytes(self.read(offset))
    }
    pub fn status(&self) -> u8 {
        self.r8(reg::STATUS)
    }

    /// Capabilities by the list: where each is, and its id.
    pub fn capabilities(&self) -> Vec<(u64, u8)> {
        let mut found = Vec::new();
        let mut at = self.config_read::<1>(0x34)[0];
        while at != 0 {
            assert!(found.len() < 48, "a list without end");
            let [id, next] = self.config_read::<2>(at.into());
            found.push((u64::from(at), id));
            at = next;
        }
        found
    }

    /// Where MSI-X message control is.
    pub fn msix_control(&self) -> u64 {
        self.capabilities().iter().find(|(_, id)| *id == 0x11).unwrap().0 + 2
    }

    pub fn set_message(&mut self, vector: u64, address: u64, data: u32) {
        self.w64(reg::TABLE + 16 * vector, address);
        let _ = self.w32(reg::TABLE + 16 * vector + 8, data);
    }
    pub fn mask(&mut self, vector: u64, masked: bool) -> Effects {
        self.w32(reg::TABLE + 16 * vector + 12, masked.into())
    }

    /// Writes 0 and lets the device stop, as a driver that polls sees it.
    pub fn reset(&mut self) {
        let _ = self.w8(reg::STATUS, 0);
        while let Some(request) = self.function.take_request() {
            match request {
                Request::Reset(ticket) => drop(self.function.stopped(ticket)),
                Request::Activate(ticket, _) => drop(self.function.activated(ticket, true)),
            }
        }
        assert_eq!(self.status(), 0, "a reset never ends");
    }

    /// Up to and with FEATURES_OK.
    pub fn negotiate(&mut self, features: u64) {
        let _ = self.w8(reg::STATUS, ACKNOWLEDGE);
        let _ = self.w8(reg::STATUS, ACKNOWLEDGE | DRIVER);
        self.accept(features);
        let _ = self.w8(reg::STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK);
    }

    pub fn accept(&mut self, features: u64) {
        for (select, half) in (0..).zip(crate::features::halves(features)) {
            let _ = self.w32(reg::DRIVER_FEATURE_SELECT, select);
            let _ = self.w32(reg::DRIVER_FEATURE, half);
        }
    }

    /// Where the areas of queue `queue` are in these tests.
    pub fn areas(queue: u16) -> [u64; 3] {
        let base = 0x10_0000 + 0x1_0000 * u64::from(queue);
        [base, base + 0x4000, base + 0x8000]
    }

    pub fn set_areas(&mut self, [descriptors, available, used]: [u64; 3]) {
        self.w64(reg::DESCRIPTORS, descriptors);
        self.w64(reg::AVAILABLE, available);
        self.w64(reg::USED, used);
    }

    pub fn set_up_queue(&mut self, queue: u16) {
        let _ = self.w16(reg::QUEUE_SELECT, queue);
        let _ = self.w16(reg::QUEUE_SIZE, 64);
        self.set_areas(Self::areas(queue));
        let _ = self.w16(reg::QUEUE_VECTOR, queue.wrapping_add(1));
        let _ = self.w16(reg::QUEUE_ENABLE, 1);
    }

    /// A proper driver from the reset to DRIVER_OK, with every queue. What the device is told.
    pub fn drive(&mut self) -> (Ticket, Activation) {
        self.reset();
        self.negotiate(VERSION_1 | 1 << 9);
        let _ = self.w16(reg::CONFIG_VECTOR, 0);
        (0..QUEUES).for_each(|queue| self.set_up_queue(queue));
        let effects = self.w8(reg::STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
        assert!(effects.request, "the device is not told");
        match self.function.take_request() {
            Some(Request::Activate(ticket, activation)) => (ticket, activation),
            other => panic!("{other:?}"),
        }
    }

    /// The same with a device that runs.
    pub fn driven() -> Self {
        let mut guest = Self::ready();
        let (ticket, _) = guest.drive();
        let _ = guest.function.activated(ticket, true);
        guest
    }

    /// Whatever was done before: a proper driver gets the device running.
    pub fn still_works(mut self) {
        let _ = self.config_write(4, &6_u16.to_le_bytes());
        let control = self.msix_control();
        let _ = self.config_write(control, &0x8000_u16.to_le_bytes());
        self.reset();
        let (ticket, activation) = self.drive();
        let _ = self.function.activated(ticket, true);
        assert_eq!(self.status(), 15);
        assert_eq!(activation.rings.iter().flatten().count(), usize::from(QUEUES));
        assert_eq!(activation.features, VERSION_1 | 1 << 9);
    }
}
