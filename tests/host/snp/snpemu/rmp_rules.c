// SPDX-License-Identifier: GPL-2.0
/*
 * What an RMP entry allows and how PVALIDATE and RMPADJUST change it (APM volume 2, 15.36; volume 3). Decisions only, on plain
 * values: test/rmp_rules.c runs this file in user space against tables. The order of the checks is one reading of the
 * manual's pseudo code.
 */
#include <linux/kernel.h>
#include <linux/string.h>
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

/* One access against one entry (APM 15.36.10, table 15-42) */
u64 rmp_check(const struct rmp_entry *e, u32 asid, u8 vmpl, u8 cpl, u64 gpa, bool private, enum access access,
	      int npt_level)
{
	u8 need;

	if (!private)
		return e && e->assigned ? NPF_RMP : 0;
	if (!e || !e->assigned || e->firmware || e->immutable || e->asid != asid || e->gpa != (gpa & ~4095ULL))
		return NPF_RMP;
	if (e->size_2m && npt_level == 1)
		return NPF_RMP | NPF_SIZE;
	if (!e->validated)
		return RMP_NOT_VALIDATED;
	need = access == ACCESS_READ ? PERM_READ :
	       access == ACCESS_WRITE ? PERM_WRITE :
	       cpl == 3 ? PERM_USER_EXEC : PERM_SUPER_EXEC;
	if (!(e->perms[vmpl] & need))
		return NPF_RMP | NPF_VMPL;
	if (e->vmsa && access == ACCESS_WRITE)
		return NPF_RMP;
	return 0;
}
