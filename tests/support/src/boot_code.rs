//! Plans of the real program with a kernel of a few instructions.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "tests"
)]

use crate::guests::{dx, out, power_off};
use casemate_hypervisor::config::{RawConfig, VmConfig};
use casemate_hypervisor::exits::Stop;
use casemate_hypervisor::launch::LaunchPlan;
use casemate_hypervisor::launch::linux::{Files, plan};
use casemate_layout::{Params, Termination};

/// What the kernel tells, where its code is, and how a boot ends.
pub const STATUS: u8 = 42;
pub const CODE: usize = 1024 + 0x200;

/// A bzImage whose 64-bit entry tells a status and switches off.
pub fn kernel() -> Vec<u8> {
    let mut file = vec![0_u8; 1024 + 0x800];
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0x1f1, &[1]);
    put(0x1f4, &(0x800_u32 / 16).to_le_bytes());
    put(0x1fe, &[0x55, 0xaa, 0xeb, 0x6a]);
    put(0x202, b"HdrS\x0f\x02");
    put(0x211, &[1]);
    put(0x22c, &0x7fff_ffff_u32.to_le_bytes());
    put(0x230, &0x20_0000_u32.to_le_bytes());
    put(0x234, &[1, 21, 1, 0]);
    put(0x258, &0x100_0000_u64.to_le_bytes());
    put(0x260, &0x20_0000_u32.to_le_bytes());
    put(CODE, &[dx(0x604), out(STATUS), power_off()].concat());
    file
}

/// An ELF kernel of the same code with segments (flags, address, the code is in it) and so many
/// headers of PT_NULL after each; it is entered where the code is.
pub fn elf_of(segments: &[(u8, u64, bool)], nulls: usize) -> Vec<u8> {
    const START: usize = 0x1000;
    let code = [dx(0x604), out(STATUS), power_off()].concat();
    let entry = segments.iter().find(|(_, _, code)| *code).unwrap().1 + 0x40;
    let count = segments.len() * (1 + nulls);
    let mut file = vec![0xf4_u8; START + 0x1000 * segments.len()];
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &[0; START]);
    put(0, b"\x7fELF\x02\x01\x01");
    put(0x10, &[2, 0, 62, 0, 1]);
    put(0x18, &entry.to_le_bytes());
    put(0x20, &[64]);
    put(0x34, &[64, 0, 56, 0, count as u8, 0]);
    for (index, (flags, address, has_code)) in segments.iter().enumerate() {
        let (at, offset) = (64 + 56 * index * (1 + nulls), START + 0x1000 * index);
        put(at, &[1, 0, 0, 0, *flags]);
        // Offset, virtual and physical address, size in the file and in memory, alignment.
        let words = [offset as u64, *address, *address, 0x1000, 0x2000, 0x1000];
        for (word, value) in words.iter().enumerate() {
            put(at + 8 + 8 * word, &value.to_le_bytes());
        }
        if *has_code {
            put(offset + 0x40, &code);
        }
    }
    file
}

/// An ELF kernel of the same code.
pub fn elf() -> Vec<u8> {
    let mut file = vec![0_u8; 0x400];
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"\x7fELF\x02\x01\x01");
    put(0x10, &[2, 0, 62, 0, 1]);
    put(0x18, &0x100_0000_u64.to_le_bytes());
    put(0x20, &[64]);
    put(0x34, &[64, 0, 56, 0, 1, 0]);
    put(64, &[1, 0, 0, 0, 5]);
    put(72, &0x200_u64.to_le_bytes());
    for (at, value) in [(80, 0x100_0000_u64), (88, 0x100_0000), (96, 0x200), (104, 0x3000)] {
        put(at, &value.to_le_bytes());
    }
    put(0x200, &[dx(0x604), out(STATUS), power_off()].concat());
    file
}

fn config(memory: &str) -> VmConfig {
    let raw = RawConfig {
        kernel: Some("kernel".into()),
        cmdline: Some("quiet".into()),
        memory: Some(memory.into()),
        protection: Some("none".into()),
        ..RawConfig::default()
    };
    raw.validate().unwrap()
}

/// The plan of the real program, with the hash in software: a KVM that emulates CPL 0 has no vector
/// instructions.
pub fn good_plan(memory: &str, kernel: Vec<u8>) -> LaunchPlan {
    let initrd = Some((0..3000_u32).map(|index| (index % 255) as u8).collect());
    let plan = plan(&config(memory), Files { kernel, initrd }).unwrap();
    changed(&plan, |what, bytes| {
        if what == "parameters" {
            let mut params = Params::decode(bytes.first_chunk().unwrap()).unwrap();
            params.sha_extensions = false;
            *bytes = params.encode().to_vec();
        }
    })
}

/// The same plan with contents changed by `change`, which gets the name of each part.
pub fn changed(plan: &LaunchPlan, change: impl Fn(&'static str, &mut Vec<u8>)) -> LaunchPlan {
    let mut other = LaunchPlan::new(plan.ram.clone(), plan.vcpus, plan.boot);
    for pages in plan.pages() {
        let mut contents = pages.contents().to_vec();
        change(pages.what, &mut contents);
        other.add_pages(pages.what, pages.kind, pages.range.start(), contents).unwrap();
    }
    for staged in plan.staging() {
        let mut bytes = staged.bytes.to_vec();
        change(staged.what, &mut bytes);
        other.stage(staged.what, staged.gpa, bytes).unwrap();
    }
    other
}

pub fn flipped(plan: &LaunchPlan, part: &'static str, at: usize) -> LaunchPlan {
    changed(plan, |what, bytes| {
        if what == part {
            bytes[at] ^= 1 << (at % 8);
        }
    })
}

pub const BOOTED: Stop = Stop::PowerOff { status: Some(STATUS) };

pub fn refused(termination: Termination) -> Stop {
    Stop::BootRefused(u32::from(termination.code()))
}
