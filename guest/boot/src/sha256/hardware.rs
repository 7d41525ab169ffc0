//! The compression function with the SHA extensions (Intel SDM volume 2, SHA256RNDS2, SHA256MSG1,
//! SHA256MSG2).
//!
//! In assembly, since the image is compiled without vector registers: `casemate_sha256_blocks` is
//! the only function of the image that has any.
#![allow(unsafe_code, reason = "one call of the assembly below")]

use super::{BLOCK, Extensions};

unsafe extern "sysv64" {
    /// Adds `count` blocks at `blocks` to `state`.
    fn casemate_sha256_blocks(state: *mut u32, blocks: *const u8, count: usize);
}

pub(super) fn compress(_: Extensions, state: &mut [u32; 8], blocks: &[[u8; BLOCK]]) {
    // SAFETY: the pointers are valid for 8 words and `blocks.len()` blocks; `Extensions` proves the
    // instructions work.
    unsafe { casemate_sha256_blocks(state.as_mut_ptr(), blocks.as_ptr().cast(), blocks.len()) }
}

// Registers: xmm1 = ABEF, xmm2 = CDGH, xmm3 to xmm6 = sixteen words of the schedule, xmm0 = words
// plus constants, xmm7 = scratch, xmm8 = byte order, xmm9 and xmm10 = state before the block; rdi
// state, rsi blocks, rdx count, rax constants.
core::arch::global_asm!(
    r#"
    .pushsection .rodata.casemate_sha256, "a", @progbits
    .balign 16
casemate_sha256_order:
    .byte 3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12
    .popsection

    # Four rounds with words in \w and the constants at \k.
    .macro casemate_sha256_rounds w, k
    movdqa xmm0, \w
    paddd xmm0, xmmword ptr [rax + (\k) * 16]
    sha256rnds2 xmm2, xmm1
    pshufd xmm0, xmm0, 0x0e
    sha256rnds2 xmm1, xmm2
    .endm
    # Words t to t+3 into \a, which has t-16 to t-13; \b, \c, \d have those after.
    .macro casemate_sha256_words a, b, c, d
    movdqa xmm7, \d
    palignr xmm7, \c, 4
    sha256msg1 \a, \b
    paddd \a, xmm7
    sha256msg2 \a, \d
    .endm
    .macro casemate_sha256_load w, offset
    movdqu \w, xmmword ptr [rsi + \offset]
    pshufb \w, xmm8
    .endm
    .macro casemate_sha256_sixteen k
    casemate_sha256_words xmm3, xmm4, xmm5, xmm6
    casemate_sha256_rounds xmm3, \k
    casemate_sha256_words xmm4, xmm5, xmm6, xmm3
    casemate_sha256_rounds xmm4, \k + 1
    casemate_sha256_words xmm5, xmm6, xmm3, xmm4
    casemate_sha256_rounds xmm5, \k + 2
    casemate_sha256_words xmm6, xmm3, xmm4, xmm5
    casemate_sha256_rounds xmm6, \k + 3
    .endm

    .pushsection .text.casemate_sha256_blocks, "ax", @progbits
    .balign 16
    .global casemate_sha256_blocks
    .type casemate_sha256_blocks, @function
casemate_sha256_blocks:
    test rdx, rdx
    jz 3f
    lea rax, [rip + {constants}]
    movdqa xmm8, xmmword ptr [rip + casemate_sha256_order]
    movdqu xmm1, xmmword ptr [rdi]
    movdqu xmm2, xmmword ptr [rdi + 16]
    pshufd xmm7, xmm1, 0xb1
    pshufd xmm2, xmm2, 0x1b
    movdqa xmm1, xmm7
    palignr xmm1, xmm2, 8
    pblendw xmm2, xmm7, 0xf0
2:
    movdqa xmm9, xmm1
    movdqa xmm10, xmm2
    casemate_sha256_load xmm3, 0
    casemate_sha256_rounds xmm3, 0
    casemate_sha256_load xmm4, 16
    casemate_sha256_rounds xmm4, 1
    casemate_sha256_load xmm5, 32
    casemate_sha256_rounds xmm5, 2
    casemate_sha256_load xmm6, 48
    casemate_sha256_rounds xmm6, 3
    casemate_sha256_sixteen 4
    casemate_sha256_sixteen 8
    casemate_sha256_sixteen 12
    paddd xmm1, xmm9
    paddd xmm2, xmm10
    add rsi, 64
    dec rdx
    jnz 2b
    pshufd xmm7, xmm1, 0x1b
    pshufd xmm2, xmm2, 0xb1
    movdqa xmm1, xmm7
    pblendw xmm1, xmm2, 0xf0
    palignr xmm2, xmm7, 8
    movdqu xmmword ptr [rdi], xmm1
    movdqu xmmword ptr [rdi + 16], xmm2
3:
    ret
    .size casemate_sha256_blocks, . - casemate_sha256_blocks
    .popsection
    "#,
    constants = sym super::software::K,
);
