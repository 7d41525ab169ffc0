// SPDX-License-Identifier: GPL-2.0
/*
 * XSAVEC, and XRSTOR of the compacted format. Every SNP processor has them and Linux' SNP CPUID code insists; the emulator
 * below has not. With XCR0 within x87, SSE and AVX the compacted layout is the standard one plus XCOMP_BV. The guest's FPU
 * state is live in the registers here.
 */
#include <linux/kvm_host.h>
#include <asm/svm.h>
#include <asm/fpu/xcr.h>
#include "svm.h"
#include "snpemu.h"

#define X87	1
#define SSE	2
#define AVX	4
#define KNOWN	(X87 | SSE | AVX)
#define COMPACT	(1ULL << 63)
#define MXCSR_INIT	0x1f80

/* Standard layout of an XSAVE area */
#define AT_MXCSR	24
#define AT_ST		32
#define AT_XMM		160
#define AT_XSTATE_BV	512
#define AT_XCOMP_BV	520
#define AT_YMM		576
#define AREA		832

struct memory_operand {
	u64 address;
	int length;	/* of the instruction */
};

/* [REX] 0F opcode ModRM with a memory operand in 64-bit mode (APM volume 3, 1.4) */
static bool decode(struct world *w, const u8 *b, u8 opcode, u8 extension, struct memory_operand *o)
{
	u8 rex = 0, modrm, mod, rm;
	int n = 0;
	u64 a;

	if ((b[0] & 0xf0) == 0x40)
		rex = b[n++];
	if (b[n] != 0x0f || b[n + 1] != opcode)
		return false;
	modrm = b[n + 2];
	n += 3;
	mod = modrm >> 6;
	rm = modrm & 7;
	if (mod == 3 || (modrm >> 3 & 7) != extension)
		return false;
	if (rm == 4) {
		u8 sib = b[n++], i = (sib >> 3 & 7) | (rex & 2) << 2, base = sib & 7;

		if (base == 5 && !mod) {
			a = (s64)*(s32 *)(b + n);
			n += 4;
		} else {
			a = gpr_read(w, base | (rex & 1) << 3);
		}
		if (i != 4)
			a += gpr_read(w, i) << (sib >> 6);
	} else if (rm == 5 && !mod) {
		a = (s64)*(s32 *)(b + n);
		n += 4;
		a += w->vmcb->save.rip + n;
	} else {
		a = gpr_read(w, rm | (rex & 1) << 3);
	}
	if (mod == 1) {
		a += (s64)(s8)b[n++];
	} else if (mod == 2) {
		a += (s64)*(s32 *)(b + n);
		n += 4;
	}
	o->address = a;
	o->length = n;
	return true;
}

static int xsavec(struct world *w, u64 to, u64 features)
{
	u8 *area = w->shadow->fpu + 1024;
	u64 used;
	int r = 0;

	memset(area, 0, AREA);
	asm volatile("xsave64 (%0)" ::"r"(area), "a"((u32)features), "d"(0) : "memory");
	*(u64 *)(area + AT_XCOMP_BV) = features | COMPACT;
	used = *(u64 *)(area + AT_XSTATE_BV);
	if (used & X87) {
		r = gva_copy(w, to, area, AT_MXCSR, ACCESS_WRITE);
		if (!r)
			r = gva_copy(w, to + AT_ST, area + AT_ST, AT_XMM - AT_ST, ACCESS_WRITE);
	}
	if (!r && (used & SSE)) {
		r = gva_copy(w, to + AT_MXCSR, area + AT_MXCSR, 8, ACCESS_WRITE);
		if (!r)
			r = gva_copy(w, to + AT_XMM, area + AT_XMM, 256, ACCESS_WRITE);
	}
	if (!r && (features & AVX))
		r = gva_copy(w, to + AT_YMM, area + AT_YMM, 256, ACCESS_WRITE);
	if (!r)
		r = gva_copy(w, to + AT_XSTATE_BV, area + AT_XSTATE_BV, 64, ACCESS_WRITE);
	return r;
}

static int xrstor_compacted(struct world *w, u64 from, u64 features)
{
	u8 *area = w->shadow->fpu + 1024;
	u64 layout, used;
	int r;

	memset(area, 0, AREA);
	r = gva_copy(w, from + AT_XSTATE_BV, area + AT_XSTATE_BV, 16, ACCESS_READ);
	if (r)
		return r;
	layout = *(u64 *)(area + AT_XCOMP_BV);
	used = *(u64 *)(area + AT_XSTATE_BV);
	if (!(layout & COMPACT))
		return 1; /* a #GP of the guest's own making */
	layout &= ~COMPACT;
	if ((layout & ~KNOWN) || (used & ~layout))
		return 1;
	r = gva_copy(w, from, area, 416, ACCESS_READ);
	if (!r && (used & AVX))
		r = gva_copy(w, from + AT_YMM, area + AT_YMM, 256, ACCESS_READ);
	if (r)
		return r;
	*(u64 *)(area + AT_XCOMP_BV) = 0;
	*(u32 *)(area + AT_MXCSR) &= 0xffff;
	if (!(used & SSE) && !(features & (SSE | AVX)))
		*(u32 *)(area + AT_MXCSR) = MXCSR_INIT;
	asm volatile("xrstor64 (%0)" ::"r"(area), "a"((u32)features), "d"(0) : "memory");
	return 0;
}

int xsave_insn(struct world *w, bool save)
{
	struct vmcb_save_area *s = &w->vmcb->save;
	struct memory_operand o;
	u64 features;
	u8 bytes[16];
	int r;

	if (!(s->efer & EFER_LMA) || !(s->cs.attrib & SVM_SELECTOR_L_MASK) || !(s->cr4 & X86_CR4_OSXSAVE))
		return NOT_MINE;
	r = fetch_insn(w, bytes, 15);
	if (r)
		return walk_failed(w, r);
	bytes[15] = 0;
	if (!decode(w, bytes, save ? 0xc7 : 0xae, save ? 4 : 5, &o))
		return NOT_MINE;
	if (o.address & 63) {
		inject(w, GP_VECTOR, true, 0);
		return ENTER_AGAIN;
	}
	features = ((u32)s->rax | w->vmsa->rdx << 32) & xgetbv(0) & KNOWN;
	r = save ? xsavec(w, o.address, features) : xrstor_compacted(w, o.address, features);
	if (r > 0)
		return NOT_MINE;
	if (r)
		return walk_failed(w, r);
	count(xsave);
	s->rip += o.length;
	return ENTER_AGAIN;
}

/*
 * An emulator that takes XSAVEC for an instruction without effect leaves nothing to intercept, and guests would lose their FPU
 * state: QEMU 10.0.2, and others before the fix of its issue 3172 in October 2025. QEMU 7.2 is right.
 */
int xsave_init(void)
{
	u8 *area = (u8 *)get_zeroed_page(GFP_KERNEL);
	u32 fault = 1;
	u64 layout;

	if (!area)
		return -ENOMEM;
	asm volatile("1: xsavec64 (%1)\n\txor %0, %0\n2:" _ASM_EXTABLE(1b, 2b)
		     : "+r"(fault)
		     : "r"(area), "a"(X87 | SSE), "d"(0)
		     : "memory");
	layout = *(u64 *)(area + AT_XCOMP_BV);
	free_page((unsigned long)area);
	if (fault || layout)
		return 0;
	pr_err("snpemu: this emulator executes XSAVEC and saves nothing (QEMU issue 3172); another QEMU is needed, such as that of run --qemu newer\n");
	return -ENODEV;
}
