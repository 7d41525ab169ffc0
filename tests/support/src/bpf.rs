//! What the kernel does with a filter: classic BPF as far as seccomp admits it, run by an
//! interpreter of our own (Linux `net/core/filter.c`, `kernel/seccomp.c`).

use seccompiler::sock_filter;

/// `AUDIT_ARCH_X86_64`.
pub const X86_64: u32 = 0xc000_003e;
/// `AUDIT_ARCH_I386`: what `int 0x80` calls.
pub const I386: u32 = 0x4000_0003;
/// `__X32_SYSCALL_BIT`: calls of the x32 ABI come under the architecture of x86-64.
pub const X32: u32 = 0x4000_0000;

/// An instruction for the kernel; `jf` is how many to pass over where a comparison fails.
pub(crate) const fn statement(code: u32, k: u32, jf: u8) -> libc::sock_filter {
    #[allow(clippy::cast_possible_truncation, reason = "every code of classic BPF has 16 bits")]
    libc::sock_filter { code: code as u16, jt: 0, jf, k }
}

/// What a filter answers, `SECCOMP_RET_…` and its data, to this call.
///
/// # Panics
/// On an instruction that no filter of ours has, and on a program that runs over its end: the
/// kernel would have refused both.
#[must_use]
pub fn answer(program: &[sock_filter], arch: u32, number: u32, args: &[u64; 6]) -> u32 {
    // `struct seccomp_data`: number, architecture, instruction pointer, arguments.
    let head = [number.to_ne_bytes(), arch.to_ne_bytes(), [0; 4], [0; 4]].concat();
    let data: Vec<u8> =
        head.into_iter().chain(args.iter().flat_map(|arg| arg.to_ne_bytes())).collect();
    let (mut at, mut acc) = (0, 0);
    loop {
        let i = &program[at];
        at += 1;
        let jump = |taken: bool| usize::from(if taken { i.jt } else { i.jf });
        match i.code {
            // BPF_LD | BPF_W | BPF_ABS
            0x20 => {
                let offset = i.k as usize;
                acc = u32::from_ne_bytes(data[offset..offset + 4].try_into().unwrap());
            }
            // BPF_ALU | BPF_AND | BPF_K
            0x54 => acc &= i.k,
            // BPF_JMP with BPF_JA, BPF_JEQ, BPF_JGT, BPF_JGE
            0x05 => at += i.k as usize,
            0x15 => at += jump(acc == i.k),
            0x25 => at += jump(acc > i.k),
            0x35 => at += jump(acc >= i.k),
            // BPF_RET | BPF_K
            0x06 => return i.k,
            code => panic!("instruction {code:#x}"),
        }
    }
}
