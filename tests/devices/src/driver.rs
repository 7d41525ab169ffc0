//! A driver: rings in guest memory, requests, and the messages that tell a back end of them.

use crate::memory::GuestRam;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{Ordering, fence};
use std::time::Duration;
use vhost::vhost_user::message::{VhostUserConfigFlags, VhostUserHeaderFlag};
use vhost::vhost_user::{Frontend, VhostUserFrontend, VhostUserProtocolFeatures};
use vhost::{VhostBackend, VhostUserMemoryRegionInfo, VringConfigData};
use vmm_sys_util::eventfd::EventFd;

/// Entries of each queue.
pub const SIZE: u16 = 256;
/// Bytes of guest memory that a queue's rings take.
const RINGS: u64 = 0x4000;
/// Where requests' bytes begin, behind the rings of 16 queues.
pub const DATA: u64 = 0x10_0000;
/// `VIRTIO_F_VERSION_1` and `VHOST_USER_F_PROTOCOL_FEATURES`.
pub const NEEDED: u64 = 1 << 32 | 1 << 30;
/// How long a device may be silent before a test gives up. Not a measure of anything.
const PATIENCE: i64 = 60;

/// `next` is there.
pub const NEXT: u16 = 1;
/// The device writes.
pub const WRITE: u16 = 2;
/// An indirect table.
pub const INDIRECT: u16 = 4;

/// One descriptor.
#[derive(Debug, Clone, Copy)]
pub struct Descriptor {
    /// Address.
    pub gpa: u64,
    /// Length.
    pub len: u32,
    /// Flags.
    pub flags: u16,
    /// The next one.
    pub next: u16,
}

/// One queue of the driver's.
#[derive(Debug)]
pub struct Queue {
    /// Tells the device.
    pub kick: EventFd,
    /// The device tells.
    pub call: EventFd,
    /// The device tells of an error.
    pub err: EventFd,
    /// Where its rings are: descriptors, 0x1000 on the available ring, 0x2000 on the used one.
    pub base: u64,
    /// The next entry of the available ring.
    pub available: u16,
    /// The next entry of the used ring.
    pub used: u16,
}

/// A driver.
pub struct Driver {
    /// The messages.
    pub front: Frontend,
    /// The memory.
    pub ram: GuestRam,
    /// What the device offers.
    pub offered: u64,
    /// The queues.
    pub queues: Vec<Queue>,
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver").field("queues", &self.queues).finish_non_exhaustive()
    }
}

impl Driver {
    /// Connects: features, memory, and every descriptor; no ring is enabled yet.
    ///
    /// # Panics
    /// Where the back end refuses.
    #[must_use]
    pub fn negotiate(socket: UnixStream, queues: u16, ram: GuestRam) -> Self {
        let queues = (0..queues).map(|index| Queue {
            kick: EventFd::new(0).unwrap(),
            call: EventFd::new(0).unwrap(),
            err: EventFd::new(0).unwrap(),
            base: u64::from(index) * RINGS,
            available: 0,
            used: 0,
        });
        let driver = Self::connect(socket, queues.collect(), ram);
        driver.send_events();
        driver
    }

    /// The same up to the memory: for back ends that want the events last.
    ///
    /// # Panics
    /// Where the back end refuses.
    #[must_use]
    pub fn without_events(socket: UnixStream, ram: GuestRam) -> Self {
        let event = || EventFd::new(0).unwrap();
        let (kick, call, err) = (event(), event(), event());
        let queue = Queue { kick, call, err, base: 0, available: 0, used: 0 };
        Self::connect(socket, vec![queue], ram)
    }

    /// Sends every queue's events.
    ///
    /// # Panics
    /// Where they are refused.
    pub fn send_events(&self) {
        for (index, queue) in self.queues.iter().enumerate() {
            self.front.set_vring_kick(index, &queue.kick).unwrap();
            self.front.set_vring_call(index, &queue.call).unwrap();
            self.front.set_vring_err(index, &queue.err).unwrap();
        }
    }

    /// Connects another device to the same rings, whatever is in them.
    ///
    /// # Panics
    /// Where the back end refuses.
    #[must_use]
    pub fn reconnect(self, socket: UnixStream) -> Self {
        let driver = Self::connect(socket, self.queues, self.ram);
        driver.send_events();
        driver
    }

    fn connect(socket: UnixStream, queues: Vec<Queue>, ram: GuestRam) -> Self {
        socket.set_read_timeout(Some(Duration::from_secs(PATIENCE as u64))).unwrap();
        let mut front = Frontend::from_stream(socket, queues.len() as u64);
        front.set_owner().unwrap();
        let offered = front.get_features().unwrap();
        front.set_features(NEEDED).unwrap();
        let protocol = VhostUserProtocolFeatures::REPLY_ACK
            | VhostUserProtocolFeatures::CONFIG
            | VhostUserProtocolFeatures::MQ;
        let protocol = front.get_protocol_features().unwrap() & protocol;
        front.set_protocol_features(protocol).unwrap();
        if protocol.contains(VhostUserProtocolFeatures::REPLY_ACK) {
            front.set_hdr_flags(VhostUserHeaderFlag::NEED_REPLY);
        }
        let driver = Self { front, ram, offered, queues };
        driver.send_memory();
        driver
    }

    /// Sends the memory table.
    ///
    /// # Panics
    /// Where it is refused.
    pub fn send_memory(&self) {
        self.front.set_mem_table(&[self.region()]).unwrap();
    }

    /// All memory as one region.
    #[must_use]
    pub fn region(&self) -> VhostUserMemoryRegionInfo {
        VhostUserMemoryRegionInfo {
            guest_phys_addr: 0,
            memory_size: self.ram.len() as u64,
            userspace_addr: self.ram.user(),
            mmap_offset: 0,
            mmap_handle: self.ram.file().as_raw_fd(),
        }
    }

    /// The rings of a queue, for a message.
    #[must_use]
    pub fn rings(&self, queue: usize) -> VringConfigData {
        let base = self.ram.user() + self.queues[queue].base;
        VringConfigData {
            queue_max_size: SIZE,
            queue_size: SIZE,
            flags: 0,
            desc_table_addr: base,
            avail_ring_addr: base + 0x1000,
            used_ring_addr: base + 0x2000,
            log_addr: None,
        }
    }

    /// What a VMM of ours does at each activation: features, then size, rings, place, enable.
    ///
    /// # Panics
    /// Where it is refused.
    pub fn activate(&mut self, features: u64) {
        self.place_rings(features);
        for index in 0..self.queues.len() {
            self.front.set_vring_enable(index, true).unwrap();
        }
    }

    /// The same up to enabling.
    ///
    /// # Panics
    /// Where it is refused.
    pub fn place_rings(&mut self, features: u64) {
        self.front.set_features(features | NEEDED).unwrap();
        for index in 0..self.queues.len() {
            self.front.set_vring_num(index, SIZE).unwrap();
            let place = self.ram.load(self.queues[index].base + 0x2002);
            self.front.set_vring_base(index, place).unwrap();
            self.front.set_vring_addr(index, &self.rings(index)).unwrap();
        }
    }

    /// Sends something as the kick of a queue.
    pub fn send_kick(&self, queue: u64, kick: rustix::fd::BorrowedFd<'_>) {
        #[allow(unsafe_code, reason = "the socket is the front end's, which is borrowed")]
        // SAFETY: the front end's socket is open as long as `self` is borrowed.
        let socket = unsafe { rustix::fd::BorrowedFd::borrow_raw(self.front.as_raw_fd()) };
        crate::raw::send_with(&socket, &crate::raw::honest(12, &queue.to_le_bytes()), &[kick]);
    }

    /// Stops a queue; where it is.
    ///
    /// # Panics
    /// Where there is no answer.
    pub fn stop(&mut self, queue: usize) -> u16 {
        self.front.get_vring_base(queue).unwrap() as u16
    }

    /// Clears a queue's rings, as a new driver does.
    pub fn forget(&mut self, queue: usize) {
        let queue = &mut self.queues[queue];
        self.ram.write(queue.base, &[0; RINGS as usize]);
        (queue.available, queue.used) = (0, 0);
    }

    /// The configuration space.
    ///
    /// # Panics
    /// Where there is no answer.
    pub fn config(&mut self, len: u32) -> Vec<u8> {
        let zeros = vec![0; len as usize];
        let flags = VhostUserConfigFlags::empty();
        self.front.get_config(0, len, flags, &zeros).unwrap().1
    }

    /// Writes a descriptor.
    pub fn describe(&self, queue: usize, index: u16, descriptor: Descriptor) {
        let at = self.queues[queue].base + 16 * u64::from(index);
        let mut bytes = descriptor.gpa.to_le_bytes().to_vec();
        bytes.extend(descriptor.len.to_le_bytes());
        bytes.extend(descriptor.flags.to_le_bytes());
        bytes.extend(descriptor.next.to_le_bytes());
        self.ram.write(at, &bytes);
    }

    /// Writes a chain of parts (address, length, whether the device writes) from descriptor `head`
    /// on.
    pub fn chain(&self, queue: usize, head: u16, parts: &[(u64, u32, bool)]) {
        for (index, (gpa, len, write)) in (head..).zip(parts) {
            let last = usize::from(index - head) + 1 == parts.len();
            let flags = if last { 0 } else { NEXT } | if *write { WRITE } else { 0 };
            self.describe(
                queue,
                index,
                Descriptor { gpa: *gpa, len: *len, flags, next: index + 1 },
            );
        }
    }

    /// Sets the flags of the available ring: 1 is a driver that looks by itself.
    pub fn set_available_flags(&self, queue: usize, flags: u16) {
        self.ram.word(self.queues[queue].base + 0x1000).store(flags, Ordering::SeqCst);
    }

    /// Puts a head into the available ring, without making it seen.
    pub fn put(&mut self, queue: usize, head: u16) {
        let queue = &mut self.queues[queue];
        let slot = u64::from(queue.available % SIZE);
        self.ram.write(queue.base + 0x1004 + 2 * slot, &head.to_le_bytes());
        queue.available = queue.available.wrapping_add(1);
    }

    /// Makes what was put seen, and kicks unless the device looks by itself.
    ///
    /// # Panics
    /// Where the event is full.
    pub fn publish(&self, queue: usize) {
        let queue = &self.queues[queue];
        self.ram.word(queue.base + 0x1002).store(queue.available, Ordering::Release);
        fence(Ordering::SeqCst);
        if self.ram.load(queue.base + 0x2000) & 1 == 0 {
            queue.kick.write(1).unwrap();
        }
    }

    /// Writes an available index that is a lie, and kicks.
    ///
    /// # Panics
    /// Where the event is full.
    pub fn lie(&self, queue: usize, index: u16) {
        let queue = &self.queues[queue];
        self.ram.word(queue.base + 0x1002).store(index, Ordering::Release);
        queue.kick.write(1).unwrap();
    }

    /// The next answer, if there is one: head and length.
    pub fn answer(&mut self, queue: usize) -> Option<(u32, u32)> {
        let queue = &mut self.queues[queue];
        if self.ram.load(queue.base + 0x2002) == queue.used {
            return None;
        }
        let slot = u64::from(queue.used % SIZE);
        let entry = self.ram.read(queue.base + 0x2004 + 8 * slot, 8);
        queue.used = queue.used.wrapping_add(1);
        let word = |at: usize| u32::from_le_bytes(entry[at..at + 4].try_into().unwrap());
        Some((word(0), word(4)))
    }

    /// Waits for the next answer by the device's calls alone: one that is not told of is a failure.
    /// None when the device says nothing.
    pub fn wait(&mut self, queue: usize) -> Option<(u32, u32)> {
        loop {
            if let Some(answer) = self.answer(queue) {
                return Some(answer);
            }
            let call = &self.queues[queue].call;
            if !readable(call) {
                return None;
            }
            let _ = call.read();
        }
    }

    /// Waits until the device calls for one of these queues.
    ///
    /// # Panics
    /// Where it calls for none.
    pub fn called(&self, queues: &[usize]) {
        let calls: Vec<_> = queues.iter().map(|queue| &self.queues[*queue].call).collect();
        let events: Vec<_> = calls.iter().map(|call| Borrowed(call)).collect();
        let mut polled: Vec<_> =
            events.iter().map(|event| PollFd::new(event, PollFlags::IN)).collect();
        let patience = Timespec { tv_sec: PATIENCE, tv_nsec: 0 };
        let ready = poll(&mut polled, Some(&patience)).unwrap();
        assert!(ready > 0, "the device is silent");
        for (call, polled) in calls.iter().zip(&polled) {
            if !polled.revents().is_empty() {
                let _ = call.read();
            }
        }
    }

    /// One request of a block device: its status, used length, and the bytes that came back.
    ///
    /// # Panics
    /// Where the device says nothing.
    pub fn block(&mut self, queue: usize, request: &Block<'_>) -> (u8, u32, Vec<u8>) {
        let at = DATA + 0x10_0000 * queue as u64;
        let (out, back, status) = (at + 16, at + 16 + request.out.len() as u64, at + 0xf_ffff);
        self.ram.write(at, &header(request.kind, request.sector));
        self.ram.write(out, request.out);
        self.ram.write(back, &vec![0xa5; request.back as usize]);
        self.ram.write(status, &[0xff]);
        let mut parts = vec![(at, 16, false)];
        if !request.out.is_empty() {
            parts.push((out, request.out.len() as u32, false));
        }
        if request.back > 0 {
            parts.push((back, request.back, true));
        }
        parts.push((status, 1, true));
        self.chain(queue, 0, &parts);
        self.put(queue, 0);
        self.publish(queue);
        let (head, len) = self.wait(queue).expect("the device is silent");
        assert_eq!(head, 0);
        (self.ram.read(status, 1)[0], len, self.ram.read(back, request.back as usize))
    }
}

/// A request of a block device.
#[derive(Debug, Clone, Copy, Default)]
pub struct Block<'a> {
    /// Type.
    pub kind: u32,
    /// Sector.
    pub sector: u64,
    /// Bytes behind the header.
    pub out: &'a [u8],
    /// Bytes that the device may write before the status.
    pub back: u32,
}

/// The header of a block device's request.
#[must_use]
pub fn header(kind: u32, sector: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&kind.to_le_bytes());
    bytes[8..].copy_from_slice(&sector.to_le_bytes());
    bytes
}

/// Waits until an event is there; false when it does not come.
#[must_use]
pub fn readable(event: &EventFd) -> bool {
    readable_within(event, PATIENCE)
}

/// The same, with another patience: 0 asks how it is now.
#[must_use]
pub fn readable_within(event: &EventFd, seconds: i64) -> bool {
    let event = Borrowed(event);
    let mut polled = [PollFd::new(&event, PollFlags::IN)];
    let patience = Timespec { tv_sec: seconds, tv_nsec: 0 };
    loop {
        match poll(&mut polled, Some(&patience)) {
            Err(rustix::io::Errno::INTR) => {}
            other => return other == Ok(1),
        }
    }
}

/// An event as rustix takes one.
struct Borrowed<'a>(&'a EventFd);

impl rustix::fd::AsFd for Borrowed<'_> {
    #[allow(unsafe_code, reason = "the event is open as long as it is borrowed")]
    fn as_fd(&self) -> rustix::fd::BorrowedFd<'_> {
        // SAFETY: the event is open as long as `self` borrows it.
        unsafe { rustix::fd::BorrowedFd::borrow_raw(self.0.as_raw_fd()) }
    }
}
