//! The kernel's device mapper: read-only devices, every block of which it checks.
//!
//! UNSAFETY: its requests are ioctls, which have no safe form.
#![allow(unsafe_code, reason = "ioctls of the device mapper")]

use casemate_init::device_mapper::{Buffer, HEAD, Request, Target};
use rustix::ioctl::{Opcode, Updater, ioctl, opcode};
use std::fs::File;
use std::io::{Error, ErrorKind, Result};
use std::path::PathBuf;

/// The device through which it is spoken to.
pub struct Mapper(File);

impl Mapper {
    /// Opens it: the module dm-mod has to be there.
    pub fn open() -> Result<Self> {
        File::options().read(true).write(true).open("/dev/mapper/control").map(Self)
    }

    /// Makes a device; its file. It has no table yet.
    pub fn create(&self, name: &str) -> Result<PathBuf> {
        let mut buffer = Buffer::new(name).ok_or(ErrorKind::InvalidInput)?;
        self.send(Request::Create, &mut buffer)?;
        Ok(PathBuf::from(format!("/dev/dm-{}", buffer.minor())))
    }

    /// Gives a device its one target, in place of the one before.
    pub fn load(&self, name: &str, target: &Target<'_>) -> Result<()> {
        let table = Buffer::new(name).and_then(|buffer| buffer.with_target(target));
        self.send(Request::Load, &mut table.ok_or(ErrorKind::InvalidInput)?)?;
        self.send(Request::Resume, &mut Buffer::new(name).ok_or(ErrorKind::InvalidInput)?)
    }

    fn send(&self, request: Request, buffer: &mut Buffer) -> Result<()> {
        const fn number(request: Request) -> Opcode {
            opcode::read_write::<[u8; HEAD]>(0xfd, request as u8)
        }
        const CREATE: Opcode = number(Request::Create);
        const RESUME: Opcode = number(Request::Resume);
        const LOAD: Opcode = number(Request::Load);
        let bytes = &mut buffer.0;
        // SAFETY: a request reads and writes `data_size` bytes from the pointer on, which is the
        // size of the buffer (`Buffer::new`); the numbers are those of `linux/dm-ioctl.h`.
        let done = unsafe {
            match request {
                Request::Create => ioctl(&self.0, Updater::<CREATE, _>::new(bytes)),
                Request::Resume => ioctl(&self.0, Updater::<RESUME, _>::new(bytes)),
                Request::Load => ioctl(&self.0, Updater::<LOAD, _>::new(bytes)),
            }
        };
        done.map_err(Error::from)
    }
}
