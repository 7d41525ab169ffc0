// SPDX-License-Identifier: GPL-2.0
/* Instructions that the emulator below does not have, or that an SNP guest executes differently. */
#include <linux/kvm_host.h>
#include <asm/svm.h>
#include "svm.h"
#include "snpemu.h"

#define MSR_SEV_STATUS	0xc0010131
#ifndef GHCB_MSR_TERM_REQ
#define GHCB_MSR_TERM_REQ 0x100
#endif

u64 gpr_read(struct world *w, int number)
{
	switch (number) {
	case 0:
		return w->vmcb->save.rax;
	case 4:
		return w->vmcb->save.rsp;
	default: /* from 0x300 the VMSA has a block of all registers in their encoding's order */
		return ((u64 *)((u8 *)w->vmsa + 0x300))[number & 15];
	}
}

/* A simulated host replaces the page that the guest has just validated. */
static void faults_on_validated_page(u64 pfn, struct rmp_entry *e)
{
	bool remap = fault_due(FAULT_REMAP), replay = fault_due(FAULT_REPLAY);

	if (!remap && !replay)
		return;
	e->validated = 0; /* RMPUPDATE to shared and back; the old content, when the host kept a copy */
	shadows_invalidate(e->asid, e->gpa);
	if (remap)
		rmp_scramble(pfn);
}

/* PVALIDATE and RMPADJUST: rAX address, ECX page size, RDX what to do; EAX the result, flags from it */
static int rmp_insn(struct world *w, bool pvalidate)
{
	struct vmcb_save_area *s = &w->vmcb->save;
	struct insn_operands op = {
		.asid = w->asid, .vmpl = w->vmpl, .size_2m = w->vmsa->rcx & 1, .rdx = w->vmsa->rdx,
	};
	bool unchanged = false;
	struct rmp_entry *e;
	unsigned long flags;
	u64 gpa, leaf, pfn;
	int level, r;

	if (s->cpl) {
		inject(w, GP_VECTOR, true, 0);
		return ENTER_AGAIN;
	}
	if (w->trial)
		return trial_stop(w);
	r = gva_to_gpa(w, s->rax & PAGE_MASK, ACCESS_READ, &gpa);
	if (r)
		return walk_failed(w, r);
	op.gpa = gpa & ~C_MASK;
	op.shared = !(gpa & C_MASK);
	leaf = host_npt_leaf(w, op.gpa, &level);
	if (!(leaf & 1) || host_npt_reserved(leaf)) {
		set_npf(w, gpa | C_MASK, NPF_WRITE | NPF_USER | NPF_FINAL);
		return LEAVE;
	}
	pfn = leaf_pfn(leaf, level, op.gpa);
	e = rmp_get(pfn);
	raw_spin_lock_irqsave(&rmp_lock, flags);
	if (pvalidate) {
		count(pvalidate);
		r = rmp_pvalidate(e, &op, &unchanged);
	} else {
		count(rmpadjust);
		r = rmp_adjust(e, &op);
	}
	if (r == INSN_OK && e->mapped && !unchanged)
		shadows_invalidate(e->asid, op.gpa);
	if (r == INSN_OK && pvalidate && !unchanged && (op.rdx & 1))
		faults_on_validated_page(pfn, e);
	raw_spin_unlock_irqrestore(&rmp_lock, flags);
	trace(3, "%s gpa %llx rdx %llx -> %d%s", pvalidate ? "PVALIDATE" : "RMPADJUST", op.gpa, op.rdx, r,
	      unchanged ? " unchanged" : "");
	if (r == INSN_NPF_RMP || r == INSN_NPF_SIZE) {
		set_npf(w, op.gpa | C_MASK,
			NPF_PRESENT | NPF_WRITE | NPF_USER | NPF_FINAL | NPF_RMP | (r == INSN_NPF_SIZE ? NPF_SIZE : 0));
		return LEAVE;
	}
	s->rax = r;
	s->rflags &= ~(X86_EFLAGS_CF | X86_EFLAGS_ZF | X86_EFLAGS_SF | X86_EFLAGS_PF | X86_EFLAGS_AF | X86_EFLAGS_OF);
	s->rflags |= (unchanged ? X86_EFLAGS_CF : 0) | (r ? 0 : X86_EFLAGS_ZF);
	s->rip += 4;
	return ENTER_AGAIN;
}

static bool is_0f01(const u8 *b, u8 prefix, u8 last)
{
	return b[0] == prefix && b[1] == 0x0f && b[2] == 0x01 && b[3] == last;
}

/* VMMCALL with a REP prefix is VMGEXIT; plain VMMCALL is for the guest's #VC handler. */
int vmmcall(struct world *w)
{
	struct vmcb_control_area *c = &w->vmcb->control;
	u8 b[4];
	int r = fetch_insn(w, b, 4);

	if (r)
		return walk_failed(w, r);
	if (!is_0f01(b, 0xf3, 0xd9) && !is_0f01(b, 0xf2, 0xd9))
		return raise_vc(w, SVM_EXIT_VMMCALL);
	w->vmcb->save.rip += 4;
	c->exit_code = SVM_EXIT_VMGEXIT;
	c->exit_info_1 = c->exit_info_2 = 0;
	w->shadow->after_vmgexit = true;
	count(vmgexit);
	if ((w->kvm->control.ghcb_gpa & 0xfff) == GHCB_MSR_TERM_REQ && !w->trial)
		trace_event("guest asks for its end: request %llx rip %llx, last #VC %llx at %llx", w->kvm->control.ghcb_gpa,
			    w->vmcb->save.rip, w->shadow->last_vc, w->shadow->last_vc_rip);
	trace(2, "VMGEXIT ghcb %llx rip %llx", w->kvm->control.ghcb_gpa, w->vmcb->save.rip);
	return LEAVE;
}

int undefined_opcode(struct world *w)
{
	u8 b[4];
	int r = xsave_insn(w, true);

	if (r != NOT_MINE)
		return r;
	r = fetch_insn(w, b, 4);
	if (r)
		return walk_failed(w, r);
	if (is_0f01(b, 0xf2, 0xff))
		return rmp_insn(w, true);
	if (is_0f01(b, 0xf3, 0xfe))
		return rmp_insn(w, false);
	if (is_0f01(b, 0xf2, 0xd9) || is_0f01(b, 0xf3, 0xd9))
		return vmmcall(w);
	trace(1, "#UD rip %llx bytes %4ph", w->vmcb->save.rip, b);
	inject(w, UD_VECTOR, false, 0);
	return ENTER_AGAIN;
}

/* GHCB_MSR and SEV_STATUS never exit on hardware. */
int msr_access(struct world *w)
{
	struct vmcb_save_area *s = &w->vmcb->save;
	bool write = w->vmcb->control.exit_info_1;
	u64 value;

	switch ((u32)w->vmsa->rcx) {
	case MSR_SEV_STATUS:
		if (write) {
			inject(w, GP_VECTOR, true, 0);
			return ENTER_AGAIN;
		}
		/* SEV, SEV-ES, SNP, and SEV_FEATURES from bit 1 on as they follow there */
		value = 7 | (w->vmsa->sev_features & ~1ULL) << 2;
		break;
	case MSR_AMD64_SEV_ES_GHCB:
		if (write) {
			w->kvm->control.ghcb_gpa = (u32)s->rax | w->vmsa->rdx << 32;
			s->rip += 2;
			return ENTER_AGAIN;
		}
		value = w->kvm->control.ghcb_gpa;
		break;
	default:
		return raise_vc(w, SVM_EXIT_MSR);
	}
	s->rax = (u32)value;
	w->vmsa->rdx = value >> 32;
	s->rip += 2;
	return ENTER_AGAIN;
}

/*
 * MOV to CR8: hardware completes it and then takes the trap that KVM asks for. The emulator below has the fault-like
 * intercept only.
 */
int cr8_write(struct world *w)
{
	struct vmcb_save_area *s = &w->vmcb->save;
	struct vmcb_control_area *c = &w->vmcb->control;
	u8 b[8], rex = 0;
	int n = 0, r = fetch_insn(w, b, sizeof(b));
	u64 value;

	if (r)
		return walk_failed(w, r);
	while (n < 4 && (b[n] == 0xf0 || b[n] == 0x66 || b[n] == 0xf2 || b[n] == 0xf3))
		n++;
	if ((b[n] & 0xf0) == 0x40)
		rex = b[n++];
	if (b[n] != 0x0f || b[n + 1] != 0x22) {
		pr_warn_ratelimited("snpemu: write to CR8 not understood: rip %llx bytes %8ph\n", s->rip, b);
		inject(w, UD_VECTOR, false, 0);
		return ENTER_AGAIN;
	}
	value = gpr_read(w, (b[n + 2] & 7) | (rex & 1) << 3);
	if (value & ~15ULL) {
		inject(w, GP_VECTOR, true, 0);
		return ENTER_AGAIN;
	}
	s->rip += n + 3;
	c->int_ctl = (c->int_ctl & ~V_TPR_MASK) | (value & V_TPR_MASK);
	c->exit_code = SVM_EXIT_CR8_WRITE_TRAP;
	c->exit_info_1 = value;
	c->exit_info_2 = 0;
	return LEAVE;
}
