//! What KVM launches otherwise than an IGVM file says.
//!
//! A VMM on KVM does not hand a save area to the firmware: it sets registers, and KVM makes the
//! area of them, one for each vCPU, at its own address and after all pages. A file whose vCPU state
//! KVM cannot make, or makes otherwise, has another digest there. Source: as
//! [`crate::digest::VcpuState`]; Linux arch/x86/kvm/svm/sev.c `snp_launch_update_vmsa`.

use crate::digest::{PAGE_SIZE, Segment, VMSA_GPA, VcpuState};
use std::sync::OnceLock;

/// Most differences that are told.
const MAX_TOLD: usize = 16;

#[derive(Debug, Default)]
pub(super) struct KvmDifferences {
    told: Vec<String>,
    vcpu_seen: bool,
}

/// Bytes of the save area: those that KVM writes, and those that it sets whatever it is told.
struct Written {
    all: [u8; PAGE_SIZE],
    forced: [u8; PAGE_SIZE],
}

fn written() -> &'static Written {
    // What KVM writes is asked of the code that builds a save area, not of a second table: a state
    // of all ones shows which bits follow a register, and one of zeros which bits are set whatever
    // the registers hold.
    static WRITTEN: OnceLock<Box<Written>> = OnceLock::new();
    WRITTEN.get_or_init(|| {
        let forced = filled(0).vmsa_page(0);
        Box::new(Written { all: filled(u8::MAX).vmsa_page_with(u64::MAX), forced })
    })
}

/// A state whose every register is made of this byte.
fn filled(byte: u8) -> VcpuState {
    let two = u16::from_le_bytes([byte; 2]);
    let four = u32::from_le_bytes([byte; 4]);
    let eight = u64::from_le_bytes([byte; 8]);
    let segment = Segment::new(two, two, four, eight);
    VcpuState::uniform(segment, eight, four, two)
}

impl KvmDifferences {
    /// A page other than a vCPU's.
    pub(super) fn page(&mut self) {
        if self.vcpu_seen {
            self.tell(
                "KVM measures vCPUs after all pages, the file has pages behind one".to_owned(),
            );
        }
    }

    /// A vCPU's save area.
    pub(super) fn vcpu(&mut self, gpa: u64, page: &[u8; PAGE_SIZE]) {
        self.vcpu_seen = true;
        if gpa != VMSA_GPA {
            self.tell(format!("KVM measures vCPUs at {VMSA_GPA:#x}, the file has one at {gpa:#x}"));
        }
        let Written { all, forced } = written();
        // CPL follows from SS, so it is no register of its own.
        // 0x22: the attributes of SS, the third segment of 16 bytes; DPL is in bits 6:5.
        let cpl = page.get(0x22).map_or(0, |attributes| attributes >> 5 & 3);
        // Byte by byte: bits that no register reaches, then bits that are always set, then the one
        // byte that follows from another.
        for (at, ((own, all), forced)) in page.iter().zip(all).zip(forced).enumerate() {
            let name = field(at);
            if own & !all != 0 {
                self.tell(format!("KVM leaves out what the save area has at {at:#x}{name}"));
            } else if own & forced != *forced {
                self.tell(format!("KVM sets {forced:#x} in the save area at {at:#x}{name}"));
            } else if at == 0xcb && *own != cpl {
                self.tell(format!("KVM makes the save area's CPL of SS: {cpl}, not {own}"));
            }
        }
    }

    fn tell(&mut self, difference: String) {
        let full = self.told.len() >= MAX_TOLD;
        if !full && !self.told.contains(&difference) {
            self.told.push(difference);
        }
    }

    pub(super) fn into_list(self) -> Vec<String> {
        self.told
    }
}

/// The names of the fields that differ most.
fn field(at: usize) -> &'static str {
    match at {
        0xd0..=0xd7 => " (EFER)",
        0x148..=0x14f => " (CR4)",
        0x180..=0x197 => " (debug registers)",
        0x240..=0x247 => " (CR2)",
        0x3b0..=0x3b7 => " (SEV_FEATURES)",
        0x3b8..=0x3bf => " (VINTR_CTRL)",
        0x3c8..=0x3cf => " (VIRTUAL_TOM)",
        0x400.. => " (x87, XMM, YMM)",
        _ => "",
    }
}
