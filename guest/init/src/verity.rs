//! A verity target of the kernel's device mapper: the block device whose every block is checked.
//!
//! UNSAFETY: the device mapper is spoken to by ioctls over a buffer of bytes.
#![allow(unsafe_code, reason = "ioctls of the device mapper have no safe wrapper")]

use casemate_init::workload::{Disk, MAX_PARAMETERS};
use rustix::ioctl::{Opcode, Updater, ioctl, opcode};
use std::fs::{File, OpenOptions};

/// `struct dm_ioctl` (include/uapi/linux/dm-ioctl.h), and where its fields are.
const HEAD: usize = 312;
const DEVICE: usize = 40;
const NAME: usize = 48;
/// Room for a target's specification and its parameters behind it, in whole words.
const TARGET: usize = 40;
const BYTES: usize = HEAD + TARGET + MAX_PARAMETERS + 8;
/// Version 4 of the interface, as since 2.6.
const VERSION: u32 = 4;
/// `DM_READONLY_FLAG`.
const READ_ONLY: u32 = 1;
/// `DM_DEV_CREATE`, `DM_DEV_SUSPEND` (which resumes without its flag), `DM_TABLE_LOAD`.
const CREATE: Opcode = command(3);
const RESUME: Opcode = command(6);
const LOAD: Opcode = command(9);

const fn command(number: u8) -> Opcode {
    opcode::read_write::<[u8; HEAD]>(0xfd, number)
}

/// What is sent and what comes back: never more than its own size, which the kernel is told.
#[repr(C, align(8))]
#[derive(Clone)]
struct Message([u8; BYTES]);

impl Message {
    /// A message about the device `name`.
    fn new(name: &str) -> Self {
        let mut message = Self([0; BYTES]);
        message.put(0, &VERSION.to_le_bytes());
        message.put(12, &u32::try_from(BYTES).unwrap_or(0).to_le_bytes());
        message.put(16, &u32::try_from(HEAD).unwrap_or(0).to_le_bytes());
        message.put(NAME, name.as_bytes());
        message
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.0.iter_mut().skip(at).zip(bytes).for_each(|(to, from)| *to = *from);
    }

    /// Adds the one target of a table.
    fn target(mut self, disk: &Disk) -> Self {
        self.put(20, &1_u32.to_le_bytes());
        self.put(28, &READ_ONLY.to_le_bytes());
        self.put(HEAD, &disk.start.to_le_bytes());
        self.put(HEAD + 8, &disk.sectors.to_le_bytes());
        self.put(HEAD + 24, b"verity");
        // The zeros behind it end it: a description's parameters are shorter than the room.
        self.put(HEAD + TARGET, disk.parameters.as_bytes());
        self
    }

    fn send<const COMMAND: Opcode>(&mut self, control: &File) -> rustix::io::Result<()> {
        // SAFETY: these commands read and write a `struct dm_ioctl` and what follows it, up to the
        // size that the message itself says, which is its own.
        unsafe { ioctl(control, Updater::<COMMAND, Self>::new(self)) }
    }

    /// The device's minor number (`new_encode_dev`: bits 0 to 7 and 20 to 31).
    fn minor(&self) -> u32 {
        let bytes = self.0.get(DEVICE..).and_then(|bytes| bytes.first_chunk());
        let device = bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes));
        device & 0xff | device >> 12 & !0xff
    }
}

/// Makes the device of a disk; its path.
///
/// # Errors
/// A sentence.
pub fn device(disk: &Disk) -> Result<String, String> {
    let wrong = |what: &str, e: std::io::Error| format!("disk {}: {what}: {e}", disk.path);
    let control = OpenOptions::new().read(true).write(true).open("/dev/mapper/control");
    let control = control.map_err(|e| wrong("no device mapper (module dm-mod)", e))?;
    // Any name that no other disk has; slashes are not allowed in one.
    let name: String = disk.path.replace('/', "!").chars().take(100).collect();
    let mut made = Message::new(&name);
    made.send::<CREATE>(&control).map_err(|e| wrong("cannot be made", e.into()))?;
    Message::new(&name)
        .target(disk)
        .send::<LOAD>(&control)
        .map_err(|e| wrong("its table is refused (the kernel's log says why)", e.into()))?;
    Message::new(&name)
        .send::<RESUME>(&control)
        .map_err(|e| wrong("cannot be activated", e.into()))?;
    Ok(format!("/dev/dm-{}", made.minor()))
}
