//! The VMSA page of a vCPU, as KVM builds it at LAUNCH_FINISH.
//!
//! Principle: the VMM sets registers through KVM ioctls; KVM changes some of them on the way into
//! the save area (MCE in CR4, SVME in EFER, CPL from SS). [`VcpuState`] holds what the VMM sets,
//! [`VcpuState::vmsa_page`] applies what KVM changes. Sources: Linux arch/x86/include/asm/svm.h
//! `struct sev_es_save_area`; arch/x86/kvm/svm/sev.c `sev_es_sync_vmsa`, svm.c `svm_set_cr4`,
//! `svm_set_efer`, `svm_set_segment`. Limit: CR2 and DR0-3 are not synchronised by KVM and stay
//! zero; no x87, XMM or YMM contents.

use super::PAGE_SIZE;

/// CR4.MCE: KVM keeps the host's value set whatever the VMM writes.
const CR4_MCE: u64 = 1 << 6;
/// EFER.SVME: KVM sets it in every VMCB.
const EFER_SVME: u64 = 1 << 12;
/// SEV_FEATURES bit 0, SNPActive.
const SNP_ACTIVE: u64 = 1;

/// A segment register as a VMCB holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Segment {
    /// Selector, as the guest reads it from the segment register.
    pub selector: u16,
    /// VMCB attributes: type 3:0, S 4, DPL 6:5, P 7, AVL 8, L 9, D/B 10, G 11.
    pub attributes: u16,
    /// Limit in bytes, after scaling by granularity.
    pub limit: u32,
    /// Linear base address of the segment or table.
    pub base: u64,
}

impl Segment {
    /// A segment from its parts, in the order of the VMCB.
    #[must_use]
    pub const fn new(selector: u16, attributes: u16, limit: u32, base: u64) -> Self {
        Self { selector, attributes, limit, base }
    }
}

/// The state of a vCPU before its first instruction, as the VMM sets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are registers, named as the architecture names them")]
pub struct VcpuState {
    pub es: Segment,
    pub cs: Segment,
    pub ss: Segment,
    pub ds: Segment,
    pub fs: Segment,
    pub gs: Segment,
    pub gdtr: Segment,
    pub ldtr: Segment,
    pub idtr: Segment,
    pub tr: Segment,
    pub efer: u64,
    pub cr0: u64,
    pub cr3: u64,
    pub cr4: u64,
    pub dr6: u64,
    pub dr7: u64,
    pub rflags: u64,
    pub rip: u64,
    pub rsp: u64,
    pub rax: u64,
    pub rbx: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    pub rbp: u64,
    /// R8 to R15, in this order; they are one after another in the VMSA too.
    pub r8_15: [u64; 8],
    pub star: u64,
    pub lstar: u64,
    pub cstar: u64,
    pub sfmask: u64,
    pub kernel_gs_base: u64,
    pub sysenter_cs: u64,
    pub sysenter_esp: u64,
    pub sysenter_eip: u64,
    pub g_pat: u64,
    pub xcr0: u64,
    pub xss: u64,
    pub pkru: u32,
    pub mxcsr: u32,
    pub fcw: u16,
}

impl VcpuState {
    /// The state that KVM's own vCPU reset leaves: 16-bit mode at the reset vector, RDX 0x600.
    /// Source: Linux arch/x86/kvm/x86.c `kvm_vcpu_reset`, svm.c `init_vmcb`.
    #[must_use]
    pub const fn kvm_reset() -> Self {
        // Data segments are present, writable and not yet accessed (0x92), code is readable (0x9a),
        // LDT and TSS as a reset has them (AMD APM volume 2, 14.1.3).
        let data = Segment::new(0, 0x92, 0xffff, 0);
        let table = Segment::new(0, 0, 0xffff, 0);
        Self {
            es: data,
            cs: Segment::new(0xf000, 0x9a, 0xffff, 0xffff_0000),
            ss: data,
            ds: data,
            fs: data,
            gs: data,
            gdtr: table,
            ldtr: Segment::new(0, 0x82, 0xffff, 0),
            idtr: table,
            tr: Segment::new(0, 0x83, 0xffff, 0),
            efer: 0,
            cr0: 0x10,
            cr3: 0,
            cr4: 0,
            dr6: 0xffff_0ff0,
            dr7: 0x400,
            rflags: 2,
            rip: 0xfff0,
            rsp: 0,
            rax: 0,
            rbx: 0,
            rcx: 0,
            rdx: 0x600,
            rsi: 0,
            rdi: 0,
            rbp: 0,
            r8_15: [0; 8],
            star: 0,
            lstar: 0,
            cstar: 0,
            sfmask: 0,
            kernel_gs_base: 0,
            sysenter_cs: 0,
            sysenter_esp: 0,
            sysenter_eip: 0,
            g_pat: 0x0007_0406_0007_0406,
            xcr0: 1,
            xss: 0,
            pkru: 0,
            mxcsr: 0x1f80,
            fcw: 0x37f,
        }
    }

    /// A state whose registers of one size are all the same: to see which bytes of a save area they
    /// make.
    pub(crate) const fn uniform(segment: Segment, eight: u64, four: u32, two: u16) -> Self {
        Self {
            es: segment,
            cs: segment,
            ss: segment,
            ds: segment,
            fs: segment,
            gs: segment,
            gdtr: segment,
            ldtr: segment,
            idtr: segment,
            tr: segment,
            efer: eight,
            cr0: eight,
            cr3: eight,
            cr4: eight,
            dr6: eight,
            dr7: eight,
            rflags: eight,
            rip: eight,
            rsp: eight,
            rax: eight,
            rbx: eight,
            rcx: eight,
            rdx: eight,
            rsi: eight,
            rdi: eight,
            rbp: eight,
            r8_15: [eight; 8],
            star: eight,
            lstar: eight,
            cstar: eight,
            sfmask: eight,
            kernel_gs_base: eight,
            sysenter_cs: eight,
            sysenter_esp: eight,
            sysenter_eip: eight,
            g_pat: eight,
            xcr0: eight,
            xss: eight,
            pkru: four,
            mxcsr: four,
            fcw: two,
        }
    }

    /// The state QEMU gives a vCPU that starts at `eip`; `signature` is CPUID 1 EAX of its CPU
    /// model.
    #[must_use]
    pub const fn qemu(eip: u32, signature: u32) -> Self {
        let mut state = Self::accessed_reset(eip);
        // RDX holds the processor's signature after a reset (APM volume 2, 14.1.3). KVM's own reset
        // comes before the VMM has given CPUID and leaves 0x600; QEMU writes the signature of the
        // CPU model that it shows.
        state.rdx = signature as u64;
        state
    }

    /// The state of KVM's reset with the accessed bits that QEMU's and GCE's register writes set.
    pub(crate) const fn accessed_reset(eip: u32) -> Self {
        // KVM_SET_SREGS takes segments as the VMM writes them: data and code accessed (types 3 and
        // 11), TR a busy TSS of 32 bits (11) where KVM's reset has one of 16 bits (3). CS:IP are
        // split so that base + IP is `eip`, as at the reset vector.
        let data = Segment::new(0, 0x93, 0xffff, 0);
        let mut state = Self::kvm_reset();
        state.es = data;
        state.ss = data;
        state.ds = data;
        state.fs = data;
        state.gs = data;
        state.cs = Segment::new(0xf000, 0x9b, 0xffff, (eip & 0xffff_0000) as u64);
        state.tr = Segment::new(0, 0x8b, 0xffff, 0);
        state.rip = (eip & 0xffff) as u64;
        state
    }

    /// The 4 KiB page that KVM hands to the firmware for this vCPU.
    ///
    /// `sev_features` is INIT2's `vmsa_features`; SNPActive is added as KVM does.
    #[must_use]
    pub fn vmsa_page(&self, sev_features: u64) -> [u8; PAGE_SIZE] {
        self.vmsa_page_with(sev_features | SNP_ACTIVE)
    }

    /// The same with SEV_FEATURES as they are given.
    #[must_use]
    pub fn vmsa_page_with(&self, sev_features: u64) -> [u8; PAGE_SIZE] {
        let mut page = Writer([0; PAGE_SIZE]);
        let segments = [
            self.es, self.cs, self.ss, self.ds, self.fs, self.gs, self.gdtr, self.ldtr, self.idtr,
            self.tr,
        ];
        // `struct vmcb_seg`: selector, attributes, limit, base, 16 bytes each from offset 0 on, in
        // the order of `struct sev_es_save_area`.
        for (at, segment) in (0usize..).step_by(16).zip(segments) {
            page.put(at, segment.selector.to_le_bytes());
            page.put(at.saturating_add(2), segment.attributes.to_le_bytes());
            page.put(at.saturating_add(4), segment.limit.to_le_bytes());
            page.put(at.saturating_add(8), segment.base.to_le_bytes());
        }
        // CPL is SS.DPL.
        page.put(0xcb, [((self.ss.attributes >> 5) & 3).to_le_bytes()[0]]);
        for (at, value) in self.quadwords(sev_features) {
            page.put(at, value.to_le_bytes());
        }
        page.put(0x2e8, self.pkru.to_le_bytes());
        page.put(0x408, self.mxcsr.to_le_bytes());
        page.put(0x410, self.fcw.to_le_bytes());
        page.0
    }

    /// The 64-bit fields of the save area with their byte offsets.
    fn quadwords(&self, sev_features: u64) -> [(usize, u64); 40] {
        let [r8, r9, r10, r11, r12, r13, r14, r15] = self.r8_15;
        [
            (0x0d0, self.efer | EFER_SVME),
            (0x140, self.xss),
            (0x148, self.cr4 | CR4_MCE),
            (0x150, self.cr3),
            (0x158, self.cr0),
            (0x160, self.dr7),
            (0x168, self.dr6),
            (0x170, self.rflags),
            (0x178, self.rip),
            (0x1d8, self.rsp),
            (0x1f8, self.rax),
            (0x200, self.star),
            (0x208, self.lstar),
            (0x210, self.cstar),
            (0x218, self.sfmask),
            (0x220, self.kernel_gs_base),
            (0x228, self.sysenter_cs),
            (0x230, self.sysenter_esp),
            (0x238, self.sysenter_eip),
            (0x268, self.g_pat),
            (0x308, self.rcx),
            (0x310, self.rdx),
            (0x318, self.rbx),
            (0x328, self.rbp),
            (0x330, self.rsi),
            (0x338, self.rdi),
            (0x340, r8),
            (0x348, r9),
            (0x350, r10),
            (0x358, r11),
            (0x360, r12),
            (0x368, r13),
            (0x370, r14),
            (0x378, r15),
            (0x3b0, sev_features),
            (0x3e8, self.xcr0),
            // Not synchronised by KVM: CR2 and DR0-2 (DR3 likewise).
            (0x240, 0),
            (0x180, 0),
            (0x188, 0),
            (0x190, 0),
        ]
    }
}

struct Writer([u8; PAGE_SIZE]);

impl Writer {
    /// Writes `bytes` at a constant offset of the save area, all of which lie inside the page.
    fn put<const N: usize>(&mut self, at: usize, bytes: [u8; N]) {
        if let Some(to) = at.checked_add(N).and_then(|end| self.0.get_mut(at..end)) {
            to.copy_from_slice(&bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Segment, VcpuState};

    fn quad(page: &[u8], at: usize) -> u64 {
        u64::from_le_bytes(page[at..at + 8].try_into().unwrap())
    }

    #[test]
    fn kvm_adds_mce_svme_and_snp_active() {
        let page = VcpuState::kvm_reset().vmsa_page(0x20);
        assert_eq!(quad(&page, 0x148), 0x40);
        assert_eq!(quad(&page, 0xd0), 0x1000);
        assert_eq!(quad(&page, 0x3b0), 0x21);
        assert_eq!(quad(&page, 0x310), 0x600);
    }

    #[test]
    fn cpl_follows_the_dpl_of_ss() {
        let mut state = VcpuState::kvm_reset();
        state.ss = Segment::new(0x1b, 0xf3, 0xffff_ffff, 0);
        assert_eq!(state.vmsa_page(1)[0xcb], 3);
    }

    #[test]
    fn a_long_mode_start_keeps_what_the_vmm_set() {
        let mut state = VcpuState::kvm_reset();
        state.cs = Segment::new(0x10, 0xa9b, 0xffff_ffff, 0);
        state.efer = 0x500;
        state.cr0 = 0x8000_0011;
        state.cr4 = 0x20;
        state.rip = 0x20_0000;
        let page = state.vmsa_page(1);
        assert_eq!(page[0x10..0x14], [0x10, 0, 0x9b, 0x0a]);
        assert_eq!(quad(&page, 0xd0), 0x1500);
        assert_eq!(quad(&page, 0x148), 0x60);
        assert_eq!(quad(&page, 0x178), 0x20_0000);
        assert!(page[0x670..].iter().all(|byte| *byte == 0));
    }
}
