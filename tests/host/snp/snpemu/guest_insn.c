// SPDX-License-Identifier: GPL-2.0
/*
 * PVALIDATE and RMPADJUST: what they do to an RMP entry (APM volume 3). Decisions only, on plain values; insn.c finds the
 * operands. The order of the checks is one reading of the manual's pseudo code.
 */
#include <linux/kernel.h>
#include "snpemu.h"

static int common_checks(const struct rmp_entry *e, const struct insn_operands *op)
{
	if (op->size_2m && (op->gpa & 0x1ff000))
		return INSN_FAIL_INPUT;
	if (op->shared)
		return INSN_NPF_RMP;
	if (!e || !e->assigned || e->immutable || e->firmware || e->asid != op->asid ||
	    e->gpa != (op->gpa & ~4095ULL))
		return INSN_NPF_RMP;
	if (op->size_2m && !e->size_2m)
		return INSN_FAIL_SIZEMISMATCH;
	if (!op->size_2m && e->size_2m)
		return INSN_NPF_SIZE;
	return INSN_OK;
}

/* @unchanged: the carry flag, "the entry already was in that state" */
int rmp_pvalidate(struct rmp_entry *e, const struct insn_operands *op, bool *unchanged)
{
	bool validate = op->rdx & 1;
	int i, r;

	*unchanged = false;
	if (op->vmpl)
		return INSN_FAIL_PERMISSION;
	r = common_checks(e, op);
	if (r)
		return r;
	if (e->validated == validate) {
		*unchanged = true;
		return INSN_OK;
	}
	for (i = 0; i < (op->size_2m ? 512 : 1); i++) {
		e[i].validated = validate;
		if (validate) {
			memset(e[i].perms, 0, sizeof(e[i].perms));
			e[i].perms[0] = PERM_ALL;
			e[i].vmsa = 0;
		}
	}
	return INSN_OK;
}

/* RDX: target VMPL in 7:0, permissions in 15:8, VMSA in 16 */
int rmp_adjust(struct rmp_entry *e, const struct insn_operands *op)
{
	u8 target = op->rdx, perms = op->rdx >> 8;
	bool vmsa = op->rdx >> 16 & 1;
	int i, r;

	if (target >= VMPLS || (perms & ~PERM_ALL))
		return INSN_FAIL_INPUT;
	if (target <= op->vmpl)
		return INSN_FAIL_PERMISSION;
	r = common_checks(e, op);
	if (r)
		return r;
	if (!e->validated)
		return INSN_NPF_RMP;
	/* Nobody gives away more than he has, and only VMPL0 makes VMSA pages. */
	if (perms & ~e->perms[op->vmpl])
		return INSN_FAIL_PERMISSION;
	if (vmsa && op->size_2m)
		return INSN_FAIL_INPUT;
	for (i = 0; i < (op->size_2m ? 512 : 1); i++) {
		e[i].perms[target] = perms;
		if (!op->vmpl)
			e[i].vmsa = vmsa;
	}
	return INSN_OK;
}
