//! A model of what a driver sees of a modern virtio-pci device: virtio 1.2, sections 2.1, 4.1.4 and
//! 4.1.5, written down flat, one register after the other, without the types of the transport. The
//! two are held against each other.
//!
//! Where the specification leaves open what a device does with a driver that breaks a "MUST", the
//! model has the transport's rule: such a write changes nothing.

/// Queues of the modelled device.
pub const QUEUES: usize = 3;
/// Largest size of each.
pub const QUEUE_SIZE: u16 = 256;
/// What the device offers: two features of its own, VERSION_1, ACCESS_PLATFORM.
pub const OFFERED: u64 = 1 << 6 | 1 << 9 | 3 << 32;
/// Guest RAM: up to here, and from 4 GiB on.
pub const LOW: u64 = 3 << 30;
/// RAM above 4 GiB.
pub const HIGH: u64 = 64 << 20;
/// First offset of the MSI-X table.
pub const TABLE: u64 = 0x2000;

/// One queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Queue {
    /// Entries.
    pub size: u16,
    /// Whether it is enabled.
    pub enabled: bool,
    /// Descriptors, available, used.
    pub areas: [u64; 3],
}

/// What the device knows of the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// Nothing.
    Idle,
    /// It was told to begin, and has not answered.
    Told,
    /// It runs.
    Running,
    /// It is to stop, and was not told yet.
    ToStop,
    /// It was told to stop.
    Stopping,
}

/// The whole.
#[derive(Debug, Clone)]
pub struct Model {
    /// The status register.
    pub status: u8,
    /// As the driver wrote them.
    pub accepted: u64,
    /// Queues.
    pub queues: [Queue; QUEUES],
    /// Of each queue, then of the configuration.
    pub vectors: [u16; QUEUES + 1],
    selects: [u32; 3],
    /// Address low and high, data, control.
    pub table: [[u32; 4]; QUEUES + 1],
    /// PCI command.
    pub command: u16,
    /// MSI-X message control, without the size.
    pub control: u16,
    /// The device.
    pub device: Device,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            status: 0,
            accepted: 0,
            queues: [Queue { size: QUEUE_SIZE, ..Queue::default() }; QUEUES],
            vectors: [0xffff; QUEUES + 1],
            selects: [0; 3],
            table: [[0, 0, 0, 1]; QUEUES + 1],
            command: 0,
            control: 0,
            device: Device::Idle,
        }
    }
}

fn in_ram(address: u64, bytes: u64) -> bool {
    let end = u128::from(address) + u128::from(bytes);
    let above = u128::from(4_u64 << 30);
    end <= u128::from(LOW) || (u128::from(address) >= above && end <= above + u128::from(HIGH))
}

impl Model {
    fn queue(&mut self) -> Option<&mut Queue> {
        self.queues.get_mut(self.selects[2] as usize)
    }

    /// Where the interrupts of each source go.
    pub fn routes(&self) -> [Option<(u32, u32)>; QUEUES + 1] {
        self.vectors.map(|vector| {
            let [low, high, data, control] = *self.table.get(vector as usize)?;
            let open = self.control == 0x8000 && self.command & 4 != 0 && control == 0;
            (open && high == 0 && low >> 20 == 0xfee).then_some((low, data))
        })
    }

    /// A write of a register of exactly this width.
    pub fn write(&mut self, offset: u64, width: usize, value: u64) {
        if matches!(self.device, Device::ToStop | Device::Stopping) {
            return;
        }
        let (half, word) = (value as u32, value as u16);
        let may_set = self.status & 0x0c == 8;
        match (offset, width) {
            (0x00, 4) => self.selects[0] = half,
            (0x08, 4) => self.selects[1] = half,
            (0x0c, 4) if self.status & 8 == 0 => match self.selects[1] {
                0 => self.accepted = self.accepted >> 32 << 32 | u64::from(half),
                1 => self.accepted = self.accepted << 32 >> 32 | u64::from(half) << 32,
                _ => {}
            },
            (0x10, 2) => self.vectors[QUEUES] = if word <= 3 { word } else { 0xffff },
            (0x14, 1) => self.write_status(value as u8),
            (0x16, 2) => self.selects[2] = u32::from(word),
            (0x1a, 2) => {
                let queue = self.selects[2] as usize;
                if queue < QUEUES {
                    self.vectors[queue] = if word <= 3 { word } else { 0xffff };
                }
            }
            (0x18, 2) if may_set => {
                if let Some(queue) = self.queue().filter(|queue| !queue.enabled)
                    && word.count_ones() == 1
                    && word <= QUEUE_SIZE
                {
                    queue.size = word;
                }
            }
            (0x1c, 2) if may_set && word == 1 => {
                if let Some(queue) = self.queue() {
                    let n = u64::from(queue.size);
                    let [table, available, used] = queue.areas;
                    queue.enabled |= table.is_multiple_of(16)
                        && available.is_multiple_of(2)
                        && used.is_multiple_of(4)
                        && in_ram(table, 16 * n)
                        && in_ram(available, 6 + 2 * n)
                        && in_ram(used, 6 + 8 * n);
                }
            }
            (0x20..0x38, 4) if may_set && offset.is_multiple_of(4) => {
                let (area, shift) = ((offset as usize - 0x20) / 8, offset % 8 * 8);
                if let Some(queue) = self.queue().filter(|queue| !queue.enabled) {
                    let keep = queue.areas[area] & !(0xffff_ffff << shift);
                    queue.areas[area] = keep | u64::from(half) << shift;
                }
            }
            _ => {}
        }
    }

    fn write_status(&mut self, value: u8) {
        if value == 0 {
            let runs = matches!(self.device, Device::Told | Device::Running);
            let fresh = Self {
                table: self.table,
                command: self.command,
                control: self.control,
                ..Self::default()
            };
            let status = if runs { self.status } else { 0 };
            let device = if runs { Device::ToStop } else { Device::Idle };
            *self = Self { status, device, ..fresh };
            return;
        }
        self.status |= value & 0x81;
        if self.status & 1 != 0 {
            self.status |= value & 2;
        }
        if self.status & 0x82 != 2 {
            return;
        }
        if self.accepted & !OFFERED == 0 && self.accepted >> 32 & 1 == 1 {
            self.status |= value & 8;
        }
        if self.status & 8 != 0 {
            self.status |= value & 4;
        }
    }

    /// What a read of a register of exactly this width gives; None where there is no register.
    pub fn read(&mut self, offset: u64, width: usize) -> Option<u64> {
        let select = |select: u32, of: u64| match select {
            0 => of & 0xffff_ffff,
            1 => of >> 32,
            _ => 0,
        };
        let status = self.status;
        let stopping = matches!(self.device, Device::ToStop | Device::Stopping);
        let selected = self.selects[2];
        let vector = self.vectors.get(selected as usize).filter(|_| selected < 3).copied();
        let queue = self.queue().copied();
        Some(match (offset, width) {
            (0x00, 4) => u64::from(self.selects[0]),
            (0x04, 4) => select(self.selects[0], OFFERED),
            (0x08, 4) => u64::from(self.selects[1]),
            (0x0c, 4) => select(self.selects[1], self.accepted),
            (0x10, 2) => u64::from(self.vectors[QUEUES]),
            (0x12, 2) => QUEUES as u64,
            (0x14, 1) => u64::from(status),
            (0x15, 1) => 0,
            (0x16, 2) => u64::from(selected),
            (0x18, 2) => queue.map_or(0, |queue| u64::from(queue.size)),
            (0x1a, 2) => u64::from(vector.unwrap_or(0xffff)),
            (0x1c, 2) => queue.map_or(0, |queue| u64::from(queue.enabled && !stopping)),
            (0x1e, 2) => queue.map_or(0, |_| u64::from(selected)),
            (0x20..0x38, 4) if offset.is_multiple_of(4) => {
                let (area, shift) = ((offset as usize - 0x20) / 8, offset % 8 * 8);
                queue.map_or(0, |queue| queue.areas[area] >> shift & 0xffff_ffff)
            }
            _ => return None,
        })
    }

    /// A write of the MSI-X table.
    pub fn write_table(&mut self, at: u64, value: &[u8]) {
        if !matches!(value.len(), 4 | 8) || !at.is_multiple_of(value.len() as u64) {
            return;
        }
        for (index, bytes) in value.chunks(4).enumerate() {
            let word = u32::from_le_bytes(bytes.try_into().unwrap());
            let at = at as usize / 4 + index;
            if let Some(entry) = self.table.get_mut(at / 4) {
                entry[at % 4] = if at % 4 == 3 { word & 1 } else { word };
            }
        }
    }
}
