/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Force-included into KVM's svm/sev.c: svm.h, and one more redirection.
 *
 * TLB_CONTROL_FLUSH_ASID    sev.c uses it in one place: two vCPUs of a guest share an ASID, so a processor's TLB has to be
 *                           flushed when they alternate on it. The model's TLB is per vCPU and needs no such flush, which
 *                           would make two vCPUs on one processor many times slower. A flush that somebody asked for
 *                           before (in svm.c, with the real value) stays one.
 */
#include "svm.h"
#include <asm/svm.h>

/* An architectural value ("flush this guest's non-global entries") that KVM itself does not use */
#define SNPEMU_FLUSH_VCPU_SWITCH 7
#undef TLB_CONTROL_FLUSH_ASID
#define TLB_CONTROL_FLUSH_ASID (svm->vmcb->control.tlb_ctl ?: SNPEMU_FLUSH_VCPU_SWITCH)
