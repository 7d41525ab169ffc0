//! The PCI function: what answers configuration space and the BAR.

use crate::common::Register;
use crate::config_space::table_bytes;
use crate::config_space::{BUS_MASTER, ConfigSpace, FUNCTION_MASK, MEMORY_SPACE, MSIX_ENABLE};
use crate::effects::{Effects, QueueSet, Request, Source, Ticket};
use crate::features::{half, offered};
use crate::identity::{Identity, IdentityError, MAX_QUEUES};
use crate::layout::{
    BAR_SIZE, COMMON, DEVICE, ISR, NOTIFY, PENDING, Part, TABLE, doorbell, within,
};
use crate::lifecycle::Life;
use crate::msix::{Message, Table};
use casemate_values::{Guest, RamMap};

/// `VIRTIO_MSI_NO_VECTOR`: this source raises no interrupt.
const NO_VECTOR: u16 = 0xffff;
/// Sources of interrupts: the queues, then changes of configuration.
const SOURCES: usize = MAX_QUEUES as usize + 1;
const CONFIG: usize = MAX_QUEUES as usize;

/// Where each source's interrupts go.
type Routes = [Option<Message>; SOURCES];

/// A virtio device as the guest's PCI function.
#[derive(Debug, Clone)]
pub struct Function {
    identity: Identity,
    ram: RamMap,
    space: ConfigSpace,
    msix: Table,
    life: Life,
    vectors: [u16; SOURCES],
    device_feature_select: Guest<u32>,
    driver_feature_select: Guest<u32>,
    queue_select: Guest<u16>,
}

impl Function {
    /// A function of a guest with this RAM, as after power-on.
    ///
    /// # Errors
    /// [`IdentityError`] for a device that no function can be.
    pub fn new(identity: Identity, ram: RamMap) -> Result<Self, IdentityError> {
        identity.check()?;
        Ok(Self {
            space: ConfigSpace::new(&identity),
            msix: Table::new(identity.queues.saturating_add(1)),
            life: Life::new(identity.queue_size),
            vectors: [NO_VECTOR; SOURCES],
            device_feature_select: Guest::new(0),
            driver_feature_select: Guest::new(0),
            queue_select: Guest::new(0),
            identity,
            ram,
        })
    }

    /// What it was made from.
    #[must_use]
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The device status register, as a driver reads it.
    #[must_use]
    pub const fn status(&self) -> u8 {
        self.life.status()
    }

    /// The guest reads configuration space.
    pub fn config_read(&self, offset: u64, data: &mut [u8]) {
        self.space.read(offset, data);
    }

    /// The guest writes configuration space.
    pub fn config_write(&mut self, offset: u64, data: &[u8]) -> Effects {
        self.changing(|function| function.space.write(offset, data))
    }

    /// The guest reads the BAR: ones where nothing is.
    pub fn bar_read(&self, offset: u64, data: &mut [u8]) {
        data.fill(0xff);
        if self.space.command() & MEMORY_SPACE == 0 {
            return;
        }
        let len = data.len();
        if let Some(at) = within(COMMON, offset, len) {
            self.common_read(at, data);
        } else if let Some(at) = within(self.config_part(), offset, len) {
            let at = usize::try_from(at).unwrap_or(usize::MAX);
            if let Some(bytes) = self.identity.config.get(at..).and_then(|rest| rest.get(..len)) {
                data.copy_from_slice(bytes);
            }
        } else if let Some(at) = within(self.table_part(), offset, len) {
            self.msix.read(at, data);
        } else if within(ISR, offset, len).is_some() {
            // No INTx, so nothing is ever shown here: with MSI-X a driver does not ask.
            data.fill(0);
        } else if let Some(at) = offset.checked_sub(PENDING.into()) {
            self.msix.read_pending(at, data);
        }
    }

    /// The guest writes the BAR.
    pub fn bar_write(&mut self, offset: u64, data: &[u8]) -> Effects {
        if self.space.command() & MEMORY_SPACE == 0 {
            return Effects::default();
        }
        let len = data.len();
        if let Some(at) = within(COMMON, offset, len) {
            self.changing(|function| function.common_write(at, data))
        } else if let Some(at) = within(self.table_part(), offset, len) {
            self.changing(|function| function.msix.write(at, data))
        } else {
            // Device configuration is read-only: no device here has a field that a driver writes.
            Effects { kick: QueueSet::of(self.rung(offset)), ..Effects::default() }
        }
    }

    fn rung(&self, offset: u64) -> Option<u16> {
        let queue = (0..self.identity.queues).find(|queue| doorbell(*queue) == offset)?;
        (self.life.is_active() && self.life.is_enabled(queue.into())).then_some(queue)
    }

    fn config_part(&self) -> Part {
        let length = u32::try_from(self.identity.config.len()).unwrap_or(0);
        Part { offset: DEVICE, length }
    }

    fn table_part(&self) -> Part {
        let length = table_bytes(self.identity.queues.saturating_add(1));
        Part { offset: TABLE, length: u32::try_from(length).unwrap_or(0) }
    }

    /// Changes something, and tells what follows from it. Comparing what was with what is, in place
    /// of reasoning at each register, misses no way in which an interrupt can be lost.
    fn changing(&mut self, change: impl FnOnce(&mut Self)) -> Effects {
        let (before, requested) = (self.all_routes(), self.life.has_request());
        change(self);
        let after = self.all_routes();
        let mut effects = Effects { routes: before != after, ..Effects::default() };
        effects.request = !requested && self.life.has_request();
        if !self.life.is_active() {
            return effects;
        }
        // KVM drops an interrupt that has no route. So when a source of a running device is given
        // one again it is raised once: an interrupt for nothing is legal (4.1.4.5), a lost one
        // hangs a disk.
        for (source, (before, after)) in before.iter().zip(&after).enumerate() {
            if before.is_none() && after.is_some() {
                match u16::try_from(source) {
                    Ok(_) if source == CONFIG => effects.signal_config = self.life.is_broken(),
                    Ok(queue) if self.life.is_enabled(source) => effects.signal.insert(queue),
                    _ => {}
                }
            }
        }
        effects
    }

    fn all_routes(&self) -> Routes {
        let control = self.space.msix_control();
        let on = control & (MSIX_ENABLE | FUNCTION_MASK) == MSIX_ENABLE;
        // Without bus mastering a function may send no message (PCI 3.0, 6.8.3).
        let on = on && self.space.command() & BUS_MASTER != 0;
        self.vectors.map(|vector| if on { self.msix.message(vector) } else { None })
    }

    /// Where interrupts of this source go now; nowhere while they are masked.
    #[must_use]
    pub fn route(&self, source: Source) -> Option<Message> {
        let index = match source {
            Source::Queue(queue) if queue < self.identity.queues => usize::from(queue),
            Source::Queue(_) => return None,
            Source::Config => CONFIG,
        };
        self.all_routes().get(index).copied().flatten()
    }

    /// Where interrupts of each queue go now, then those for changes of configuration.
    pub fn routes(&self) -> impl Iterator<Item = Option<Message>> + use<> {
        let routes = self.all_routes();
        let config = routes.last().copied().flatten();
        let queues = routes.into_iter().take(self.identity.queues.into());
        queues.chain(std::iter::once(config))
    }

    /// What the device has to be told now; see [`Request`].
    pub fn take_request(&mut self) -> Option<Request> {
        self.life.take_request()
    }

    /// The answer to [`Request::Activate`]: whether the device runs.
    pub fn activated(&mut self, ticket: Ticket, runs: bool) -> Effects {
        let (broken, waited) = (self.life.is_broken(), self.life.is_told());
        self.life.activated(ticket, runs);
        let mut effects =
            Effects { signal_config: !broken && self.life.is_broken(), ..Effects::default() };
        if waited && !self.life.is_told() && runs {
            let enabled = |queue: &u16| self.life.is_enabled(usize::from(*queue));
            (0..self.identity.queues).filter(enabled).for_each(|queue| effects.kick.insert(queue));
        }
        effects
    }

    /// The answer to [`Request::Reset`]: the device has stopped and uses no guest memory.
    pub fn stopped(&mut self, ticket: Ticket) -> Effects {
        self.life.stopped(ticket);
        Effects::default()
    }

    /// The device cannot go on: the driver is told by the status and the configuration interrupt
    /// (2.1.2). A driver that is not ready is told nothing; its next activation fails.
    pub fn broke(&mut self) -> Effects {
        Effects { signal_config: self.life.broke(), ..Effects::default() }
    }

    /// The queue that is selected, if there is one.
    fn selected(&self) -> Option<u16> {
        let last = self.identity.queues.saturating_sub(1);
        let queue = self.queue_select.at_most(last.into(), "the device's queues").ok()?;
        u16::try_from(queue).ok()
    }

    fn common_read(&self, at: u64, data: &mut [u8]) {
        let Some(register) = Register::at(at, data.len()) else { return };
        let queue = self.selected();
        let index = queue.map(usize::from);
        // A queue that is not there reads as zeros, its size too, which says so (4.1.4.3.1).
        let of_queue = |value: &dyn Fn(usize) -> u16| index.map_or(0, value).to_le_bytes();
        let vector = |source: Option<usize>| {
            let vector = source.and_then(|source| self.vectors.get(source));
            vector.copied().unwrap_or(NO_VECTOR).to_le_bytes()
        };
        match register {
            Register::DeviceFeatureSelect => put(data, self.device_feature_select),
            Register::DeviceFeature => {
                let features = offered(self.identity.features);
                data.copy_from_slice(&half(features, self.device_feature_select));
            }
            Register::DriverFeatureSelect => put(data, self.driver_feature_select),
            Register::DriverFeature => {
                data.copy_from_slice(&self.life.accepted().half(self.driver_feature_select));
            }
            Register::ConfigVector => data.copy_from_slice(&vector(Some(CONFIG))),
            Register::Queues => data.copy_from_slice(&self.identity.queues.to_le_bytes()),
            Register::Status => data.fill(self.life.status()),
            // The configuration never changes.
            Register::Generation => data.fill(0),
            Register::QueueSelect => put(data, self.queue_select),
            Register::QueueSize => data.copy_from_slice(&of_queue(&|q| self.life.queue_size(q))),
            Register::QueueVector => data.copy_from_slice(&vector(index)),
            Register::QueueEnable => {
                data.copy_from_slice(&of_queue(&|q| self.life.is_enabled(q).into()));
            }
            Register::QueueNotifyOff => {
                data.copy_from_slice(&queue.unwrap_or(0).to_le_bytes());
            }
            Register::QueueAddress(area, half) => {
                let address = index.map_or([0; 4], |q| self.life.queue_address(q, area, half));
                data.copy_from_slice(&address);
            }
        }
    }

    fn common_write(&mut self, at: u64, data: &[u8]) {
        let Some(register) = Register::at(at, data.len()) else { return };
        // A driver has to wait for its reset (2.4.2); what it writes before would be what the reset
        // must not leave behind.
        if self.life.is_resetting() {
            return;
        }
        let index = self.selected().map(usize::from);
        match register {
            Register::DeviceFeatureSelect => self.device_feature_select = u32_of(data),
            Register::DriverFeatureSelect => self.driver_feature_select = u32_of(data),
            Register::DriverFeature => {
                let select = self.driver_feature_select;
                if let Some(negotiating) = self.life.negotiating() {
                    negotiating.accepted.write(select, u32_of(data));
                }
            }
            Register::ConfigVector => self.set_vector(CONFIG, u16_of(data)),
            Register::Status => self.write_status(data),
            Register::QueueSelect => self.queue_select = u16_of(data),
            Register::QueueVector => {
                if let Some(queue) = index {
                    self.set_vector(queue, u16_of(data));
                }
            }
            Register::QueueSize | Register::QueueEnable | Register::QueueAddress(..) => {
                if let Some(queue) = index {
                    self.set_queue(queue, register, data);
                }
            }
            // Read-only.
            Register::DeviceFeature
            | Register::Queues
            | Register::Generation
            | Register::QueueNotifyOff => {}
        }
    }

    fn write_status(&mut self, data: &[u8]) {
        let value: Guest<u8> = Guest::new(data.first().copied().unwrap_or(0));
        if value.is(0) {
            // Everything that a driver wrote into these registers goes. The MSI-X table and the
            // header are PCI's, and stay.
            self.life.reset();
            self.vectors = [NO_VECTOR; SOURCES];
            self.device_feature_select = Guest::new(0);
            self.driver_feature_select = Guest::new(0);
            self.queue_select = Guest::new(0);
        } else {
            self.life.write_status(value, offered(self.identity.features));
        }
    }

    /// A vector that the function does not have is none, and reads back as none (4.1.5.1.2.2).
    fn set_vector(&mut self, source: usize, vector: Guest<u16>) {
        let vector = vector.at_most(self.identity.queues.into(), "the function's vectors").ok();
        if let Some(slot) = self.vectors.get_mut(source) {
            *slot = vector.and_then(|v| u16::try_from(v).ok()).unwrap_or(NO_VECTOR);
        }
    }

    fn set_queue(&mut self, queue: usize, register: Register, data: &[u8]) {
        let max = self.identity.queue_size;
        let Some(negotiated) = self.life.negotiated() else { return };
        match register {
            // Only 1 has a meaning: a driver must not write 0 (4.1.4.3.2).
            Register::QueueEnable if u16_of(data).is(1) => negotiated.enable(queue, &self.ram),
            Register::QueueSize => {
                if let Some(settings) = negotiated.settings(queue) {
                    settings.set_size(u16_of(data), max);
                }
            }
            Register::QueueAddress(area, half) => {
                if let Some(settings) = negotiated.settings(queue) {
                    settings.set_address(area, half, u32_of(data));
                }
            }
            _ => {}
        }
    }
}

fn u16_of(data: &[u8]) -> Guest<u16> {
    Guest::new(data.first_chunk().map_or(0, |bytes| u16::from_le_bytes(*bytes)))
}

fn u32_of(data: &[u8]) -> Guest<u32> {
    Guest::new(data.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes)))
}

/// The guest's own number back to it.
fn put<T: Copy + Into<u64>>(data: &mut [u8], value: Guest<T>) {
    for (at, byte) in data.iter_mut().enumerate() {
        *byte = value.byte(at);
    }
}

/// The accesses of a BAR are all inside it.
const _: () = assert!(
    PENDING as u64 + 8 <= BAR_SIZE
        && TABLE as u64 + table_bytes(MAX_QUEUES + 1) <= PENDING as u64
        && doorbell(MAX_QUEUES) <= TABLE as u64
        && DEVICE as usize + crate::identity::MAX_CONFIG <= NOTIFY as usize
);
