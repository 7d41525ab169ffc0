//! The registers of a PCI function, mapped from sysfs, reached by instructions of an exact width.
//!
//! UNSAFETY: a mapping of registers, and loads and stores whose width is the test.
#![allow(unsafe_code, reason = "registers are no memory: each access is one instruction")]

use rustix::mm::{MapFlags, ProtFlags, mmap};
use std::arch::asm;
use std::fs::File;
use std::ptr::NonNull;

/// A mapped BAR. It stays mapped: PID 1 does not end.
#[derive(Debug)]
pub struct Bar {
    start: NonNull<u8>,
    len: usize,
}

impl Bar {
    /// Maps a `resourceN` file of sysfs, all of it.
    pub fn map(file: &File) -> Self {
        let len = usize::try_from(file.metadata().unwrap().len()).unwrap();
        let (prot, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
        // SAFETY: a new mapping, where the kernel likes.
        let start = unsafe { mmap(std::ptr::null_mut(), len, prot, flags, file, 0) }.unwrap();
        Self { start: NonNull::new(start.cast()).unwrap(), len }
    }

    fn at(&self, offset: usize, width: usize) -> *mut u8 {
        assert!(offset + width <= self.len, "{offset:#x} is beyond the BAR");
        // SAFETY: just checked.
        unsafe { self.start.as_ptr().add(offset) }
    }

    /// One load of `width` bytes, aligned or not.
    pub fn read(&self, offset: usize, width: usize) -> u64 {
        let at = self.at(offset, width);
        // SAFETY: each loads as many bytes as `at` has checked, from a mapping of our own, and
        // changes a register alone.
        unsafe {
            match width {
                1 => {
                    let value: u8;
                    asm!("mov {}, byte ptr [{}]", out(reg_byte) value, in(reg) at);
                    value.into()
                }
                2 => {
                    let value: u16;
                    asm!("mov {:x}, word ptr [{}]", out(reg) value, in(reg) at);
                    value.into()
                }
                4 => {
                    let value: u32;
                    asm!("mov {:e}, dword ptr [{}]", out(reg) value, in(reg) at);
                    value.into()
                }
                8 => {
                    let value: u64;
                    asm!("mov {}, qword ptr [{}]", out(reg) value, in(reg) at);
                    value
                }
                _ => unreachable!("no such access"),
            }
        }
    }

    /// One store of `width` bytes, aligned or not.
    pub fn write(&self, offset: usize, width: usize, value: u64) {
        let at = self.at(offset, width);
        let [low, ..] = value.to_le_bytes();
        // SAFETY: each stores as many bytes as `at` has checked, to registers, behind which there
        // is no memory of this program's.
        unsafe {
            match width {
                1 => asm!("mov byte ptr [{}], {}", in(reg) at, in(reg_byte) low),
                2 => asm!("mov word ptr [{}], {:x}", in(reg) at, in(reg) value),
                4 => asm!("mov dword ptr [{}], {:e}", in(reg) at, in(reg) value),
                8 => asm!("mov qword ptr [{}], {}", in(reg) at, in(reg) value),
                _ => unreachable!("no such access"),
            }
        }
    }
}
