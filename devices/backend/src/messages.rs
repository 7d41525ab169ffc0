//! What the front end asks for, message by message, and what is granted.
//!
//! The `vhost` crate has checked a message's form and length; what it says is checked here. A
//! method that fails by [`Front::refuse`] leaves everything as it was, and the session goes on;
//! any other error ends the session, because the front end waits for an answer that it will not
//! get, or speaks of things that were not offered.

use crate::lane::{Lane, Paused, Ring};
use crate::pulse::{Place, Pulse};
use crate::table::{Guard, Mode, Table};
use casemate_device_queue::RingAddresses;
use casemate_values::Guest;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use vhost::VhostUserMemoryRegionBase;
use vhost::vhost_user::message::{
    VhostTransferStateDirection, VhostTransferStatePhase, VhostUserConfigFlags, VhostUserInflight,
    VhostUserLog, VhostUserMemoryRegion, VhostUserProtocolFeatures, VhostUserShMemConfig,
    VhostUserSharedMsg, VhostUserSingleMemoryRegion, VhostUserVirtioFeatures,
    VhostUserVringAddrFlags, VhostUserVringState,
};
use vhost::vhost_user::{Error, GpuBackend, Result, VhostUserBackendReqHandlerMut};

/// `VIRTIO_F_VERSION_1`: every ring here is of virtio 1.
const VERSION_1: u64 = 1 << 32;
/// `VHOST_USER_F_PROTOCOL_FEATURES`: without it there is no enabling, which the lock waits for.
const PROTOCOL_FEATURES: u64 = VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits();
/// Sent as the base of a ring, by a front end of our own: the ring begins where its used index
/// says, because another process that served it is gone. Read here and not in the front end: behind
/// this process's memory fence, by who will use the ring anyway.
pub const RESUME: u32 = 1 << 16;
/// Bytes of configuration space that can be asked for. More is none that a device has here.
const CONFIG_BYTES: usize = 256;

/// What the protocol offers.
const OFFERED: VhostUserProtocolFeatures = VhostUserProtocolFeatures::MQ
    .union(VhostUserProtocolFeatures::REPLY_ACK)
    .union(VhostUserProtocolFeatures::CONFIG);

/// What a device says of itself.
#[derive(Debug, Clone)]
pub(crate) struct Offer {
    pub(crate) features: u64,
    pub(crate) config: Vec<u8>,
    pub(crate) queues: u16,
    /// Whether acknowledgements are to be had.
    pub(crate) acks: bool,
}

impl Offer {
    const fn protocol(&self) -> VhostUserProtocolFeatures {
        let acks = VhostUserProtocolFeatures::REPLY_ACK;
        if self.acks { OFFERED } else { OFFERED.difference(acks) }
    }
}

pub(crate) struct Front {
    offer: Offer,
    pub(crate) mode: Mode,
    guard: Guard,
    table: Option<Table>,
    lanes: Vec<Arc<Lane>>,
    /// Of the control thread: it works from a message to the next.
    pub(crate) pulse: Arc<Pulse>,
    /// Whether the front end has enabled or disabled a ring: what set-up waits for.
    pub(crate) set_up: bool,
    /// Whether the process is locked: descriptors are not taken any more.
    pub(crate) locked: bool,
    /// Whether the message just handled was refused.
    pub(crate) refused: bool,
}

impl Front {
    pub(crate) fn new(offer: Offer, mode: Mode, guard: Guard, lanes: Vec<Arc<Lane>>) -> Self {
        let (set_up, locked, refused) = (false, false, false);
        let pulse = Arc::default();
        Self { offer, mode, guard, table: None, lanes, pulse, set_up, locked, refused }
    }

    /// Enables every ring: its front end has not said that it does so itself.
    pub(crate) fn enabled_of_themselves(&mut self) {
        self.set_up = true;
        self.lanes.iter().for_each(|lane| lane.pause().enabled = true);
    }

    /// Whether every descriptor is here that will be needed.
    pub(crate) fn is_complete(&self) -> bool {
        let has_events = |lane: &Arc<Lane>| {
            let lane = lane.pause();
            lane.kick.is_some() && lane.call.is_some()
        };
        self.table.is_some() && self.lanes.iter().all(has_events)
    }

    fn refuse<T>(&mut self, why: &'static str) -> Result<T> {
        self.refused = true;
        Err(Error::InvalidOperation(why))
    }

    fn refuse_for<T>(
        &mut self,
        why: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Result<T> {
        self.refused = true;
        Err(Error::ReqHandlerError(io::Error::other(why)))
    }

    fn lane(&mut self, index: u32) -> Result<Arc<Lane>> {
        self.pulse.step(Place::Works);
        let lane = usize::try_from(index).ok().and_then(|index| self.lanes.get(index).cloned());
        match lane {
            Some(lane) => Ok(lane),
            None => self.refuse("there is no such queue"),
        }
    }

    /// Changes a ring that does not run.
    fn change(
        &mut self,
        index: u32,
        change: impl FnOnce(
            &mut casemate_device_queue::Negotiating,
        ) -> std::result::Result<(), &'static str>,
    ) -> Result<()> {
        let lane = self.lane(index)?;
        let mut lane = lane.pause();
        let changed = match &mut lane.ring {
            Ring::Negotiating(ring) => change(ring),
            Ring::Running(_) | Ring::Broken(_) => Err("the ring runs: it must be stopped first"),
        };
        changed.or_else(|why| self.refuse(why))
    }

    /// Changes what a lane waits for or tells by. In our own VM all of it comes before the lock.
    fn change_events(&mut self, index: u8, change: impl FnOnce(&mut Paused<'_>)) -> Result<()> {
        if self.locked && self.mode == Mode::Ours {
            return self.refuse("no descriptor is taken after the lock");
        }
        let lane = self.lane(index.into())?;
        let mut lane = lane.pause();
        change(&mut lane);
        lane.start().or_else(|why| self.refuse_for(why))
    }
}

impl VhostUserBackendReqHandlerMut for Front {
    fn set_owner(&mut self) -> Result<()> {
        Ok(())
    }

    fn get_features(&mut self) -> Result<u64> {
        Ok(self.offer.features | VERSION_1 | PROTOCOL_FEATURES)
    }

    fn set_features(&mut self, features: u64) -> Result<()> {
        let offered = self.get_features()?;
        let needed = VERSION_1 | PROTOCOL_FEATURES;
        if features & !offered != 0 || features & needed != needed {
            return self.refuse("features that were not offered, or not those that are needed");
        }
        self.pulse.step(Place::Works);
        let lanes = self.lanes.clone();
        let mut paused: Vec<_> = lanes.iter().map(|lane| lane.pause()).collect();
        let running =
            |lane: &Paused<'_>| matches!(lane.ring, Ring::Running(_)) && lane.features != features;
        if paused.iter().any(running) {
            return self.refuse("a ring runs: features do not change under it");
        }
        paused.iter_mut().for_each(|lane| lane.features = features);
        Ok(())
    }

    fn get_protocol_features(&mut self) -> Result<VhostUserProtocolFeatures> {
        Ok(self.offer.protocol())
    }

    fn set_protocol_features(&mut self, features: u64) -> Result<()> {
        if features & !self.offer.protocol().bits() != 0 {
            return self.refuse("protocol features that were not offered");
        }
        Ok(())
    }

    fn get_queue_num(&mut self) -> Result<u64> {
        Ok(self.offer.queues.into())
    }

    fn get_config(&mut self, offset: u32, size: u32, _: VhostUserConfigFlags) -> Result<Vec<u8>> {
        let (offset, size) = (offset as usize, size as usize);
        if offset.checked_add(size).is_none_or(|end| end > CONFIG_BYTES) {
            return Err(Error::InvalidParam);
        }
        // A front end may know a longer layout than the device has: what is not there reads 0.
        let there = self.offer.config.iter().copied().chain(std::iter::repeat(0));
        Ok(there.skip(offset).take(size).collect())
    }

    fn set_config(&mut self, _: u32, _: &[u8], _: VhostUserConfigFlags) -> Result<()> {
        self.refuse("the configuration space is read-only")
    }

    fn set_mem_table(
        &mut self,
        regions: &[VhostUserMemoryRegion],
        files: Vec<File>,
        _: Option<bool>,
    ) -> Result<Option<Vec<VhostUserMemoryRegionBase>>> {
        if self.mode == Mode::Ours && self.table.is_some() {
            return self.refuse("guest memory is sent once");
        }
        let table = match Table::map(regions, files, &mut self.guard) {
            Ok(table) => table,
            Err(why) => return self.refuse_for(why),
        };
        for lane in &self.lanes {
            let mut lane = lane.pause();
            if let Ring::Running(ring) = &lane.ring
                && ring.is_in(table.memory.as_ref()).is_err()
            {
                lane.broken();
            }
            lane.memory = Some(table.memory.clone());
        }
        self.table = Some(table);
        Ok(None)
    }

    fn set_vring_num(&mut self, index: u32, num: u32) -> Result<()> {
        self.change(index, |ring| {
            ring.set_size(Guest::new(num)).map_err(|_| "a queue has no such size")
        })
    }

    fn set_vring_addr(
        &mut self,
        index: u32,
        flags: VhostUserVringAddrFlags,
        descriptor: u64,
        used: u64,
        available: u64,
        _: u64,
    ) -> Result<()> {
        if !flags.is_empty() {
            return self.refuse("writes are not logged");
        }
        let place = |user| self.table.as_ref()?.gpa(user);
        let rings = match (place(descriptor), place(available), place(used)) {
            (Some(descriptors), Some(available), Some(used)) => {
                RingAddresses { descriptors, available, used }
            }
            _ => return self.refuse("the ring is in no region of guest memory"),
        };
        self.change(index, |ring| {
            ring.set_rings(rings);
            Ok(())
        })
    }

    fn set_vring_base(&mut self, index: u32, base: u32) -> Result<()> {
        let resume = self.mode == Mode::Ours && base == RESUME;
        self.change(index, |ring| {
            if resume {
                ring.resume();
            } else {
                ring.set_next(u16::try_from(base).map_err(|_| "an index has 16 bits")?);
            }
            Ok(())
        })
    }

    fn get_vring_base(&mut self, index: u32) -> Result<VhostUserVringState> {
        let lane = self.lane(index);
        // An answer was asked for, and there is none: not a refusal.
        self.refused = false;
        let lane = lane?;
        let mut lane = lane.pause();
        let next = lane.stop();
        match self.mode {
            // The next driver gets the same descriptors, so the ring must not begin before it is
            // enabled again.
            Mode::Ours => lane.enabled = false,
            // A ring starts with its kick, which is sent anew (vhost-user, "Starting and stopping
            // rings").
            Mode::Foreign => lane.kick = None,
        }
        Ok(VhostUserVringState::new(index, next.into()))
    }

    fn set_vring_kick(&mut self, index: u8, file: Option<File>) -> Result<()> {
        let Some(file) = file else { return self.refuse("rings are not polled") };
        self.change_events(index, |lane| {
            lane.kick = Some(Arc::new(OwnedFd::from(file)));
            lane.deaf = false;
        })
    }

    fn set_vring_call(&mut self, index: u8, file: Option<File>) -> Result<()> {
        self.change_events(index, |lane| lane.call = file.map(OwnedFd::from).map(Arc::new))
    }

    fn set_vring_err(&mut self, index: u8, file: Option<File>) -> Result<()> {
        self.change_events(index, |lane| lane.err = file.map(OwnedFd::from))
    }

    fn set_vring_enable(&mut self, index: u32, enable: bool) -> Result<()> {
        let lane = self.lane(index)?;
        self.set_up = true;
        let mut lane = lane.pause();
        lane.enabled = enable;
        lane.start().or_else(|why| self.refuse_for(why))
    }

    // What follows was not offered.

    fn reset_owner(&mut self) -> Result<()> {
        self.refuse("RESET_OWNER is no longer used")
    }
    fn reset_device(&mut self) -> Result<()> {
        self.refuse("RESET_DEVICE was not offered")
    }
    fn set_gpu_socket(&mut self, _: GpuBackend) -> Result<()> {
        self.refuse("there is no GPU")
    }
    fn get_shared_object(&mut self, _: VhostUserSharedMsg) -> Result<File> {
        Err(Error::InvalidParam)
    }
    fn get_inflight_fd(&mut self, _: &VhostUserInflight) -> Result<(VhostUserInflight, File)> {
        Err(Error::InvalidParam)
    }
    fn set_inflight_fd(&mut self, _: &VhostUserInflight, _: File) -> Result<()> {
        self.refuse("INFLIGHT_SHMFD was not offered")
    }
    fn get_max_mem_slots(&mut self) -> Result<u64> {
        Err(Error::InvalidParam)
    }
    fn add_mem_region(
        &mut self,
        _: &VhostUserSingleMemoryRegion,
        _: File,
        _: Option<bool>,
    ) -> Result<Option<VhostUserMemoryRegionBase>> {
        self.refuse("CONFIGURE_MEM_SLOTS was not offered")
    }
    fn remove_mem_region(&mut self, _: &VhostUserSingleMemoryRegion) -> Result<()> {
        self.refuse("CONFIGURE_MEM_SLOTS was not offered")
    }
    fn set_device_state_fd(
        &mut self,
        _: VhostTransferStateDirection,
        _: VhostTransferStatePhase,
        _: File,
    ) -> Result<Option<File>> {
        Err(Error::InvalidParam)
    }
    fn check_device_state(&mut self) -> Result<()> {
        Err(Error::InvalidParam)
    }
    fn get_shmem_config(&mut self) -> Result<VhostUserShMemConfig> {
        Err(Error::InvalidParam)
    }
    fn set_log_base(&mut self, _: &VhostUserLog, _: File) -> Result<()> {
        Err(Error::InvalidParam)
    }
}
