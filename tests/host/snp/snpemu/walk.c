// SPDX-License-Identifier: GPL-2.0
/*
 * Guest memory as the processor reaches it for the guest: page walks, instruction bytes, exception frames. Every page is
 * checked against the RMP. Four-level paging only; accessed and dirty bits are not set.
 */
#include <linux/kvm_host.h>
#include <asm/svm.h>
#include "svm.h"
#include "snpemu.h"

/* @gpa with C-bit; on WALK_NPF the fault is described in @w */
static int guest_page(struct world *w, u64 gpa, enum access access, u64 stage, void **page)
{
	u64 error = NPF_USER | stage, leaf, verdict, pfn;
	int level;

	if (access == ACCESS_WRITE)
		error |= NPF_WRITE;
	if (access == ACCESS_FETCH)
		error |= NPF_FETCH;
	w->fault_gpa = gpa;
	leaf = host_npt_leaf(w, gpa & ~C_MASK, &level);
	if (w->trial && (gpa & C_MASK) && !(leaf & 1)) /* as in nested_page_fault() */
		return WALK_VC;
	if (!(leaf & 1) || host_npt_reserved(leaf) || (access == ACCESS_WRITE && !(leaf & ENTRY_WRITE))) {
		w->fault_error = error;
		return WALK_NPF;
	}
	pfn = leaf_pfn(leaf, level, gpa & ~C_MASK);
	verdict = rmp_check(rmp_get(pfn), w->asid, w->vmpl, w->vmcb->save.cpl, gpa & ~C_MASK, gpa & C_MASK, access,
			    level);
	if (verdict == RMP_NOT_VALIDATED)
		return WALK_VC;
	if (verdict) {
		w->fault_error = error | NPF_PRESENT | verdict;
		return WALK_NPF;
	}
	if (access == ACCESS_WRITE && w->trial && !trial_write(w, gpa, pfn, false))
		return WALK_VC;
	*page = memory_at(pfn << PAGE_SHIFT);
	return WALK_OK;
}

/* The result keeps the C-bit. */
int gva_to_gpa(struct world *w, u64 va, enum access access, u64 *gpa)
{
	u64 table = w->vmcb->save.cr3;
	int level, r;

	w->fault_va = va;
	w->fault_code = (access == ACCESS_WRITE ? PFERR_WRITE_MASK : 0) |
			(w->vmcb->save.cpl == 3 ? PFERR_USER_MASK : 0);
	if (!(w->vmcb->save.cr0 & X86_CR0_PG)) {
		*gpa = va | C_MASK;
		return WALK_OK;
	}
	for (level = 4; level >= 1; level--) {
		u64 e, within = (1ULL << (12 + 9 * (level - 1))) - 1;
		void *page;

		r = guest_page(w, (table & PA_MASK) | C_MASK, ACCESS_READ, NPF_WALK, &page);
		if (r)
			return r;
		e = READ_ONCE(((u64 *)page)[va >> (12 + 9 * (level - 1)) & 511]);
		if (!(e & 1))
			return WALK_PF;
		if (access == ACCESS_WRITE && !(e & ENTRY_WRITE)) {
			w->fault_code |= PFERR_PRESENT_MASK;
			return WALK_PF;
		}
		if (level == 1 || (level <= 3 && (e & 0x80))) {
			*gpa = (e & PA_MASK & ~within) | (va & within);
			return WALK_OK;
		}
		table = e;
	}
	return WALK_PF;
}

int gva_copy(struct world *w, u64 va, void *buf, int len, enum access access)
{
	while (len) {
		int n = min_t(int, len, PAGE_SIZE - offset_in_page(va)), r;
		void *page;
		u64 gpa;

		r = gva_to_gpa(w, va, access, &gpa);
		if (!r)
			r = guest_page(w, access == ACCESS_FETCH ? gpa | C_MASK : gpa, access, NPF_FINAL, &page);
		if (r)
			return r;
		if (access == ACCESS_WRITE)
			memcpy(page + offset_in_page(va), buf, n);
		else
			memcpy(buf, page + offset_in_page(va), n);
		va += n;
		buf += n;
		len -= n;
	}
	return WALK_OK;
}

/* Bytes past the end of the page may be missing (zero): the instruction can end before them. */
int fetch_insn(struct world *w, u8 *bytes, int len)
{
	struct vmcb_save_area *s = &w->vmcb->save;
	bool long_mode = s->cs.attrib & SVM_SELECTOR_L_MASK;
	u64 va = long_mode ? s->rip : (u32)(s->rip + s->cs.base);
	int first = min_t(int, len, PAGE_SIZE - offset_in_page(va)), r;

	memset(bytes, 0, len);
	r = gva_copy(w, va, bytes, first, ACCESS_FETCH);
	if (r || first == len)
		return r;
	r = gva_copy(w, va + first, bytes + first, len - first, ACCESS_FETCH);
	return r == WALK_NPF ? r : WALK_OK;
}

/* What the processor does when one of the above did not succeed */
int walk_failed(struct world *w, int reason)
{
	switch (reason) {
	case WALK_NPF:
		set_npf(w, w->fault_gpa, w->fault_error);
		return LEAVE;
	case WALK_VC:
		return raise_vc(w, 0x404);
	default:
		w->vmcb->save.cr2 = w->fault_va;
		inject(w, PF_VECTOR, true, w->fault_code);
		return ENTER_AGAIN;
	}
}
