//! The words in which the MODEL of KVM writes down a call.

use super::*;

/// Where an address of this process lies: `guest-ram+0x1000`, or `process memory` and whether a
/// page starts there.
fn place(address: u64) -> String {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    for line in maps.lines().filter(|line| line.contains("memfd:guest-ram")) {
        let mut words = line.split_whitespace();
        let (start, end) = words.next().unwrap().split_once('-').unwrap();
        let offset = words.nth(1).unwrap();
        let number = |text| u64::from_str_radix(text, 16).unwrap();
        if (number(start)..number(end)).contains(&address) {
            return format!("guest-ram+{:#x}", address - number(start) + number(offset));
        }
    }
    let aligned = if address.is_multiple_of(4096) { "page-aligned" } else { "unaligned" };
    format!("process memory, {aligned}")
}

fn short_hash(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

fn segment(s: &kvm::kvm_segment) -> String {
    format!(
        "selector={:#x} base={:#x} limit={:#x} type={} s={} dpl={} p={} avl={} l={} db={} g={} unusable={}",
        s.selector,
        s.base,
        s.limit,
        s.type_,
        s.s,
        s.dpl,
        s.present,
        s.avl,
        s.l,
        s.db,
        s.g,
        s.unusable
    )
}

fn describe_sregs(s: &kvm::kvm_sregs) -> String {
    let mut text = String::new();
    for (name, one) in [
        ("cs", s.cs),
        ("ds", s.ds),
        ("es", s.es),
        ("fs", s.fs),
        ("gs", s.gs),
        ("ss", s.ss),
        ("tr", s.tr),
        ("ldt", s.ldt),
    ] {
        write!(text, "\n    {name} {}", segment(&one)).unwrap();
    }
    write!(
        text,
        "\n    gdt base={:#x} limit={:#x} idt base={:#x} limit={:#x}\n    cr0={:#x} cr2={:#x} cr3={:#x} cr4={:#x} cr8={:#x} efer={:#x} apic_base={:#x}",
        s.gdt.base, s.gdt.limit, s.idt.base, s.idt.limit, s.cr0, s.cr2, s.cr3, s.cr4, s.cr8, s.efer, s.apic_base
    )
    .unwrap();
    text
}

impl Model {
    /// All fields of a request.
    pub(super) fn describe(
        &self,
        request: u32,
        argument: *mut c_void,
    ) -> (String, Option<(u64, u8, Vec<u8>)>) {
        let value = argument as u64;
        let text = match request {
            KVM_CREATE_VM => format!(" type={value}"),
            KVM_CHECK_EXTENSION => format!(" cap={value}"),
            KVM_CREATE_VCPU => format!(" id={value}"),
            KVM_SET_TSS_ADDR => format!(" address={value:#x}"),
            KVM_GET_SUPPORTED_CPUID => format!(" nent={}", at::<kvm::kvm_cpuid2>(argument).nent),
            KVM_SET_CPUID2 => {
                let header = at::<kvm::kvm_cpuid2>(argument);
                let leaves = tail::<kvm::kvm_cpuid2, kvm::kvm_cpuid_entry2>(argument, header.nent);
                let mut text = format!(" nent={}", header.nent);
                for e in leaves {
                    write!(
                        text,
                        "\n    leaf {:#x}.{} flags={} eax={:#x} ebx={:#x} ecx={:#x} edx={:#x}",
                        e.function, e.index, e.flags, e.eax, e.ebx, e.ecx, e.edx
                    )
                    .unwrap();
                }
                text
            }
            KVM_SET_USER_MEMORY_REGION2 => {
                let r = at::<kvm::kvm_userspace_memory_region2>(argument);
                format!(
                    " slot={} flags={:#x} guest_phys_addr={:#x} memory_size={:#x} userspace_addr={} guest_memfd_offset={:#x} guest_memfd={}",
                    r.slot,
                    r.flags,
                    r.guest_phys_addr,
                    r.memory_size,
                    place(r.userspace_addr),
                    r.guest_memfd_offset,
                    self.name(r.guest_memfd)
                )
            }
            KVM_IRQFD => {
                let i = at::<kvm::kvm_irqfd>(argument);
                format!(" fd=eventfd gsi={} flags={:#x}", i.gsi, i.flags)
            }
            KVM_CREATE_PIT2 => format!(" flags={:#x}", at::<kvm::kvm_pit_config>(argument).flags),
            KVM_SET_REGS => {
                let r = at::<kvm::kvm_regs>(argument);
                format!(
                    "\n    rax={:#x} rbx={:#x} rcx={:#x} rdx={:#x} rsi={:#x} rdi={:#x} rsp={:#x} rbp={:#x} r8-r15={:x?} rip={:#x} rflags={:#x}",
                    r.rax,
                    r.rbx,
                    r.rcx,
                    r.rdx,
                    r.rsi,
                    r.rdi,
                    r.rsp,
                    r.rbp,
                    [r.r8, r.r9, r.r10, r.r11, r.r12, r.r13, r.r14, r.r15],
                    r.rip,
                    r.rflags
                )
            }
            KVM_SET_SREGS => describe_sregs(at::<kvm::kvm_sregs>(argument)),
            KVM_SET_MSRS => {
                let header = at::<kvm::kvm_msrs>(argument);
                let mut text = format!(" nmsrs={}", header.nmsrs);
                for e in tail::<kvm::kvm_msrs, kvm::kvm_msr_entry>(argument, header.nmsrs) {
                    write!(text, " {:#x}={:#x}", e.index, e.data).unwrap();
                }
                text
            }
            KVM_SET_MP_STATE => format!(" mp_state={}", at::<kvm::kvm_mp_state>(argument).mp_state),
            KVM_ENABLE_CAP => {
                let c = at::<kvm::kvm_enable_cap>(argument);
                format!(" cap={} flags={} args={:x?}", c.cap, c.flags, c.args)
            }
            KVM_SET_MEMORY_ATTRIBUTES => {
                let a = at::<kvm::kvm_memory_attributes>(argument);
                format!(
                    " address={:#x} size={:#x} attributes={:#x} flags={}",
                    a.address, a.size, a.attributes, a.flags
                )
            }
            KVM_CREATE_GUEST_MEMFD => {
                let g = at::<kvm::kvm_create_guest_memfd>(argument);
                format!(" size={:#x} flags={}", g.size, g.flags)
            }
            KVM_HAS_DEVICE_ATTR | KVM_GET_DEVICE_ATTR => {
                let a = at::<kvm::kvm_device_attr>(argument);
                format!(" group={} attr={} flags={}", a.group, a.attr, a.flags)
            }
            KVM_MEMORY_ENCRYPT_OP => return self.describe_command(argument),
            _ => String::new(),
        };
        (text, None)
    }

    fn describe_command(&self, argument: *mut c_void) -> (String, Option<(u64, u8, Vec<u8>)>) {
        let command = at::<kvm::kvm_sev_cmd>(argument);
        let data = command.data as *mut c_void;
        let mut text = format!(
            " id={} error={} sev_fd={}",
            command.id,
            command.error,
            self.name(command.sev_fd)
        );
        let mut page = None;
        match command.id {
            kvm::sev_cmd_id_KVM_SEV_INIT2 => {
                let i = at::<kvm::kvm_sev_init>(data);
                write!(
                    text,
                    "\n    vmsa_features={:#x} flags={:#x} ghcb_version={}",
                    i.vmsa_features, i.flags, i.ghcb_version
                )
                .unwrap();
            }
            kvm::sev_cmd_id_KVM_SEV_SNP_LAUNCH_START => {
                let s = at::<kvm::kvm_sev_snp_launch_start>(data);
                write!(text, "\n    policy={:#x} gosvw={:x?} flags={}", s.policy, s.gosvw, s.flags)
                    .unwrap();
            }
            kvm::sev_cmd_id_KVM_SEV_SNP_LAUNCH_UPDATE => {
                let u = at::<kvm::kvm_sev_snp_launch_update>(data);
                let bytes = at::<[u8; 4096]>(u.uaddr as *mut c_void).to_vec();
                write!(
                    text,
                    "\n    gfn_start={:#x} uaddr={} len={:#x} type={} flags={} contents={}",
                    u.gfn_start,
                    place(u.uaddr),
                    u.len,
                    u.type_,
                    u.flags,
                    short_hash(&bytes)
                )
                .unwrap();
                page = Some((u.gfn_start << 12, u.type_, bytes));
            }
            kvm::sev_cmd_id_KVM_SEV_SNP_LAUNCH_FINISH => {
                let f = at::<kvm::kvm_sev_snp_launch_finish>(data);
                let block = |enabled: u8, address: u64, size: usize| match enabled {
                    0 => format!("{address:#x}"),
                    // SAFETY: KVM copies this many bytes from there when the block is enabled.
                    _ => short_hash(unsafe {
                        std::slice::from_raw_parts(address as *const u8, size)
                    }),
                };
                write!(
                    text,
                    "\n    id_block={} id_auth={} id_block_en={} auth_key_en={} vcek_disabled={} host_data={:x?} flags={}",
                    block(f.id_block_en, f.id_block_uaddr, 96), block(f.id_block_en, f.id_auth_uaddr, 4096),
                    f.id_block_en, f.auth_key_en, f.vcek_disabled, f.host_data, f.flags
                )
                .unwrap();
            }
            _ => {}
        }
        (text, page)
    }
}
