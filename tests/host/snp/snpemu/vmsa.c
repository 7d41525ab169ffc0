// SPDX-License-Identifier: GPL-2.0
/* The guest's register state between the VMSA (APM volume 2, appendix B) and the VMCB and FPU that run. */
#include <linux/kvm_host.h>
#include <asm/svm.h>
#include "svm.h"
#include "snpemu.h"

#define FPU_FEATURES	7	/* x87, SSE, AVX */
#define SEGMENTS	10	/* es to tr, in the same order in both */

/* Everything with the same name and meaning in both structures */
#define FOR_EACH_REGISTER(X)                                                                                         \
	X(cpl) X(cr4) X(cr3) X(cr0) X(dr7) X(dr6) X(rflags) X(rip) X(rsp) X(rax) X(star) X(lstar) X(cstar) X(sfmask)    \
	X(kernel_gs_base) X(sysenter_cs) X(sysenter_esp) X(sysenter_eip) X(cr2) X(g_pat) X(dbgctl)

static void copy_segments(void *to, const void *from)
{
	BUILD_BUG_ON(offsetof(struct sev_es_save_area, tr) != offsetof(struct vmcb_save_area, tr));
	BUILD_BUG_ON(offsetof(struct vmcb_save_area, tr) + sizeof(struct vmcb_seg) !=
		     SEGMENTS * sizeof(struct vmcb_seg));
	/* one object to the fortified memcpy, many to the compiler */
	OPTIMIZER_HIDE_VAR(to);
	OPTIMIZER_HIDE_VAR(from);
	memcpy(to, from, SEGMENTS * sizeof(struct vmcb_seg));
}

void vmsa_load(struct vmcb *vmcb, const struct sev_es_save_area *vmsa)
{
	struct vmcb_save_area *s = &vmcb->save;

	memset(s, 0, sizeof(*s));
	copy_segments(s, vmsa);
#define X(r) s->r = vmsa->r;
	FOR_EACH_REGISTER(X)
#undef X
	s->efer = vmsa->efer | EFER_SVME;
}

void vmsa_store(struct sev_es_save_area *vmsa, const struct vmcb *vmcb)
{
	const struct vmcb_save_area *s = &vmcb->save;

	copy_segments(vmsa, s);
#define X(r) vmsa->r = s->r;
	FOR_EACH_REGISTER(X)
#undef X
	vmsa->efer = s->efer | EFER_SVME;
}

/* The VMSA has the eight x87 registers' mantissas first and then their exponents; an XSAVE area has them together. */
void vmsa_load_fpu(u8 *a, const struct sev_es_save_area *vmsa)
{
	int i;

	memset(a, 0, 832);
	*(u16 *)(a + 0) = vmsa->x87_fcw;
	*(u16 *)(a + 2) = vmsa->x87_fsw;
	a[4] = vmsa->x87_ftw;
	*(u16 *)(a + 6) = vmsa->x87_fop;
	*(u64 *)(a + 8) = vmsa->x87_rip;
	*(u64 *)(a + 16) = vmsa->x87_dp;
	*(u32 *)(a + 24) = vmsa->mxcsr & 0xffff;
	for (i = 0; i < 8; i++) {
		memcpy(a + 32 + 16 * i, vmsa->fpreg_x87 + 8 * i, 8);
		memcpy(a + 40 + 16 * i, vmsa->fpreg_x87 + 64 + 2 * i, 2);
	}
	memcpy(a + 160, vmsa->fpreg_xmm, 256);
	*(u64 *)(a + 512) = FPU_FEATURES;
	memcpy(a + 576, vmsa->fpreg_ymm, 256);
	asm volatile("xrstor64 (%0)" ::"r"(a), "a"(FPU_FEATURES), "d"(0) : "memory");
}

void vmsa_store_fpu(u8 *a, struct sev_es_save_area *vmsa)
{
	int i;

	memset(a, 0, 832);
	asm volatile("xsave64 (%0)" ::"r"(a), "a"(FPU_FEATURES), "d"(0) : "memory");
	vmsa->x87_fcw = *(u64 *)(a + 512) & 1 ? *(u16 *)(a + 0) : 0x37f;
	vmsa->x87_fsw = *(u16 *)(a + 2);
	vmsa->x87_ftw = a[4];
	vmsa->x87_fop = *(u16 *)(a + 6);
	vmsa->x87_rip = *(u64 *)(a + 8);
	vmsa->x87_dp = *(u64 *)(a + 16);
	vmsa->mxcsr = *(u32 *)(a + 24);
	for (i = 0; i < 8; i++) {
		memcpy(vmsa->fpreg_x87 + 8 * i, a + 32 + 16 * i, 8);
		memcpy(vmsa->fpreg_x87 + 64 + 2 * i, a + 40 + 16 * i, 2);
	}
	memcpy(vmsa->fpreg_xmm, a + 160, 256);
	memcpy(vmsa->fpreg_ymm, a + 576, 256);
}
