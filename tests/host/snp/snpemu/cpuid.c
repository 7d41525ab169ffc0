// SPDX-License-Identifier: GPL-2.0
/* What the modelled processor says of itself: to KVM (CPUID) and to the kernel (capability bits). */
#include <linux/module.h>
#include <asm/processor.h>
#include <asm/cpufeature.h>
#include "compat.h"
#include "snpemu.h"

#define SEV_LEAF	0x8000001f
#define SEV_FEATURES	0x1a	/* SEV, SEV-ES, SEV-SNP */
#define MAX_EXT_LEAF	0x80000021

void snpemu_cpuid_count(unsigned int op, int index, unsigned int *a, unsigned int *b, unsigned int *c,
			unsigned int *d)
{
	if (op == SEV_LEAF) {
		*a = SEV_FEATURES;
		*b = C_BIT | 1 << 6 | (VMPLS << 12);
		*c = ASIDS;
		*d = MIN_SEV_ASID;
		return;
	}
	cpuid_count(op, index, a, b, c, d);
	if (op == 0xd && index == 1)
		*a |= 2; /* XSAVEC: every SNP part has it; xsave.c */
	if (op == 0x80000000 && *a < MAX_EXT_LEAF)
		*a = MAX_EXT_LEAF;
	else if (op > 0x8000000a && op <= MAX_EXT_LEAF && op != 0x80000019 && cpuid_eax(0x80000000) < op)
		*a = *b = *c = *d = 0;
}
EXPORT_SYMBOL_GPL(snpemu_cpuid_count);

void snpemu_cpuid(unsigned int op, unsigned int *a, unsigned int *b, unsigned int *c, unsigned int *d)
{
	snpemu_cpuid_count(op, 0, a, b, c, d);
}
EXPORT_SYMBOL_GPL(snpemu_cpuid);

/* kvm-amd is loaded later, and its alternatives are patched then: boot_cpu_has and cpu_feature_enabled agree. */
static const int capabilities[] = {
	X86_FEATURE_SEV,	    X86_FEATURE_SEV_ES,     X86_FEATURE_SEV_SNP,
	X86_FEATURE_SME_COHERENT,   X86_FEATURE_FLUSHBYASID, X86_FEATURE_DECODEASSISTS,
	X86_FEATURE_NRIPS,	    X86_FEATURE_LBRV,	    X86_FEATURE_XSAVEC,
};

void cpu_capabilities_init(void)
{
	int i, cpu;

	for (i = 0; i < ARRAY_SIZE(capabilities); i++) {
		set_cpu_cap(&boot_cpu_data, capabilities[i]);
		for_each_possible_cpu(cpu)
			set_cpu_cap(&cpu_data(cpu), capabilities[i]);
	}
}
