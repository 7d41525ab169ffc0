//! First and last instructions.

use casemate_layout::{Mode, Params, TERMINATION_SET, Termination, map};
use casemate_boot::Entry;

/// GHCB MSR value that asks for termination.
const fn termination_request(termination: Termination) -> u32 {
    0x100 | (TERMINATION_SET as u32) << 12 | (termination.code() as u32) << 16
}

// Under SNP nothing but launched pages is valid yet, so there is no stack: this accepts the scratch
// range first, page by page, with the rules of `casemate_boot::accept`. Under SNP an exception here
// ends the guest; there is no IDT.
core::arch::global_asm!(
    r#"
    .pushsection .text.start, "ax", @progbits
    .global _start
_start:
    cli
    cld
    cmp dword ptr [{mode_at}], {snp}
    jne 3f
    mov ebx, {scratch}
2:
    mov eax, ebx
    xor ecx, ecx
    mov edx, 1
    .byte 0xf2, 0x0f, 0x01, 0xff        # PVALIDATE rax, 4 KiB, to valid
    jc 4f
    test eax, eax
    jnz 5f
    mov al, byte ptr [rbx]
    mov al, byte ptr [rbx + 4095]
    add ebx, 4096
    cmp ebx, {scratch_end}
    jb 2b
3:
    mov esp, {scratch_end}
    xor ebp, ebp
    call casemate_boot_main
    ud2
4:
    mov eax, {already}
    jmp 6f
5:
    mov eax, {failed}
6:
    xor edx, edx
    mov ecx, 0xc0010130
    wrmsr
    .byte 0xf3, 0x0f, 0x01, 0xd9        # VMGEXIT
7:
    hlt
    jmp 7b
    .popsection
    "#,
    mode_at = const map::PARAMS.start + Params::MODE_OFFSET as u64,
    snp = const Mode::Snp as u32,
    scratch = const map::SCRATCH.start,
    scratch_end = const map::SCRATCH.start + map::SCRATCH.size,
    already = const termination_request(Termination::AlreadyValidated),
    failed = const termination_request(Termination::ValidateFailed),
);

// Every exception under SNP ends the guest with a code: a page that is not valid any more raises
// #VC.
core::arch::global_asm!(
    r#"
    .pushsection .text.exception, "ax", @progbits
    .global casemate_boot_exception
casemate_boot_exception:
    mov eax, {exception}
    xor edx, edx
    mov ecx, 0xc0010130
    wrmsr
    .byte 0xf3, 0x0f, 0x01, 0xd9        # VMGEXIT
2:
    hlt
    jmp 2b
    .popsection
    "#,
    exception = const termination_request(Termination::Exception),
);

unsafe extern "C" {
    fn casemate_boot_exception();
}

/// Exceptions of the processor, vectors 0 to 31.
const VECTORS: usize = 32;
/// Bits 47:32 of a gate: present, for privilege level 0, a 64-bit interrupt gate, with the first
/// stack of the interrupt stack table.
const GATE: u64 = 0x8e01;
/// Where the task state has the end of that stack (AMD64 APM volume 2, "64-Bit Task State
/// Segment").
const STACK_1: u64 = 0x24;

/// Interrupt gates, as two words each (AMD64 APM volume 2, "Interrupt-Gate and Trap-Gate
/// Descriptors"). In the scratch range, so that no launched page is spent on them.
type Gates = [[u64; 2]; VECTORS];
const _: () = assert!(size_of::<Gates>() as u64 <= map::SCRATCH_GATES.size);

/// From here on an exception ends the guest with [`Termination::Exception`]. Under SNP only.
///
/// Every frame goes to the same place, which the task register of the measured state leads to: a
/// host can inject one event after another, the next one before the handler has run a single
/// instruction, and were each frame below the last one, they would come down through the gates to
/// the page tables, with words among them that the host chose (error codes).
pub fn catch_exceptions() {
    let handler = casemate_boot_exception as *const () as u64;
    let low = handler & 0xffff | CODE << 16 | GATE << 32 | (handler >> 16 & 0xffff) << 48;
    let table = core::ptr::with_exposed_provenance_mut::<Gates>(map::SCRATCH_GATES.start as usize);
    // SAFETY: the range is mapped, valid, aligned, and for the gates alone; the processor reads
    // them only after `lidt`.
    unsafe { table.write([[low, handler >> 32]; VECTORS]) };
    let stack = map::SCRATCH_TASK.start + STACK_1;
    // SAFETY: as before; the processor reads it when it delivers an exception.
    unsafe {
        core::ptr::with_exposed_provenance_mut::<u64>(stack as usize)
            .write_unaligned(map::SCRATCH_FRAME.start + map::SCRATCH_FRAME.size);
    };
    let segments = TablePointer { limit: 31, base: SEGMENTS.as_ptr() };
    let gates = TablePointer { limit: (VECTORS * 16 - 1) as u16, base: table.cast() };
    // SAFETY: both tables are right and stay where they are. No selector is loaded until an
    // exception is delivered.
    unsafe {
        core::arch::asm!(
            "lgdt [{segments}]",
            "lidt [{gates}]",
            segments = in(reg) &raw const segments,
            gates = in(reg) &raw const gates,
            options(nostack),
        );
    }
}

/// `__BOOT_CS`: the selector of the third segment below.
const CODE: u64 = 0x10;

/// The segments that the 64-bit boot protocol asks for: `__BOOT_CS` 0x10, `__BOOT_DS` 0x18, flat.
static SEGMENTS: [u64; 4] = [0, 0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff];

#[repr(C, packed)]
struct TablePointer {
    limit: u16,
    base: *const u64,
}

/// Jumps to the kernel.
pub fn enter_kernel(entry: Entry) -> ! {
    let table = TablePointer { limit: 31, base: SEGMENTS.as_ptr() };
    // The gates are the boot code's, and its memory the kernel's now.
    let no_gates = TablePointer { limit: 0, base: core::ptr::null() };
    // SAFETY: the entry was verified and its memory is mapped; the segments are flat; nothing of
    // the boot code runs again.
    unsafe {
        core::arch::asm!(
            "lgdt [{table}]",
            "lidt [{no_gates}]",
            "mov ecx, 0x18",
            "mov ds, ecx",
            "mov es, ecx",
            "mov fs, ecx",
            "mov gs, ecx",
            "mov ss, ecx",
            "push 0x10",
            "push rax",
            "xor ebx, ebx",
            "xor ebp, ebp",
            "xor edi, edi",
            "retfq",
            table = in(reg) &raw const table,
            no_gates = in(reg) &raw const no_gates,
            in("rax") entry.rip,
            in("rsi") entry.zero_page,
            options(noreturn),
        )
    }
}
