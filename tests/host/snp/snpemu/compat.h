/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What differs between the kernels that the model is built for: Debian's 6.12 and 7.2. Where the change came in between matters
 * to neither, so every condition is the same.
 */
#ifndef SNPEMU_COMPAT_H
#define SNPEMU_COMPAT_H

#include <linux/version.h>
#include <asm/svm.h>

#define SINCE_7	(LINUX_VERSION_CODE >= KERNEL_VERSION(7, 0, 0))

/* cpuid() and its relatives have moved out of <asm/processor.h>. */
#if SINCE_7
#include <asm/cpuid/api.h>
#endif

/* Two fields of the VMCB and a bit have new names. */
#if SINCE_7
#define NESTED_CTL	misc_ctl
#define VIRT_EXT	misc_ctl2
#define NESTED_PAGING	SVM_MISC_ENABLE_NP
#else
#define NESTED_CTL	nested_ctl
#define VIRT_EXT	virt_ext
#define NESTED_PAGING	SVM_NESTED_CTL_NP_ENABLE
#endif

/* The exit code is one field of 64 bits, which was two of 32. */
#define EXIT_ERR	(~0ULL)
static inline void set_exit_code(struct vmcb_control_area *c, u64 code)
{
	c->exit_code = code;
#if !SINCE_7
	c->exit_code_hi = code >> 32;
#endif
}

/* The library's AES takes a key for encryption alone. */
#if SINCE_7
#define AES_KEY		struct aes_enckey
#define aes_key_expand	aes_prepareenckey
#else
#define AES_KEY		struct crypto_aes_ctx
#define aes_key_expand	aes_expandkey
#endif

#endif
