// SPDX-License-Identifier: GPL-2.0
/*
 * Which exits reach the hypervisor: automatic ones do, every other becomes #VC in the guest (APM 15.35.4, 15.35.5), with the
 * exit code as error code. #VC is delivered here, because the emulator below pushes no error code for vector 29.
 */
#include <linux/kvm_host.h>
#include <asm/svm.h>
#include <asm/trapnr.h>
#include "svm.h"
#include "snpemu.h"

#define GATE_PRESENT	(1ULL << 47)
#define GATE_TYPE(g)	((g) >> 40 & 0xf)
#define DPL(d)		((d) >> 45 & 3)

static int shutdown_guest(struct world *w)
{
	w->vmcb->control.exit_code = SVM_EXIT_SHUTDOWN;
	return LEAVE;
}

void inject(struct world *w, u32 vector, bool has_error, u32 error)
{
	struct vmcb_control_area *c = &w->vmcb->control;

	c->event_inj = SVM_EVTINJ_VALID | SVM_EVTINJ_TYPE_EXEPT | vector | (has_error ? SVM_EVTINJ_VALID_ERR : 0);
	c->event_inj_err = error;
}

static u16 descriptor_attributes(u64 d)
{
	return (d >> 40 & 0xff) | (d >> 52 & 0xf) << 8;
}

static void enter_handler(struct vmcb *vmcb, u64 rip, bool interrupt_gate)
{
	vmcb->save.rip = rip;
	vmcb->save.rflags &= ~(X86_EFLAGS_TF | X86_EFLAGS_NT | X86_EFLAGS_RF | X86_EFLAGS_VM);
	if (interrupt_gate)
		vmcb->save.rflags &= ~X86_EFLAGS_IF;
	vmcb->control.int_state &= ~SVM_INTERRUPT_SHADOW_MASK;
}

/* Protected mode without long mode, same privilege level: what firmware uses before it enables long mode */
static int deliver_legacy(struct world *w, u32 vector, u32 error)
{
	struct vmcb_save_area *s = &w->vmcb->save;
	u32 frame[4] = { error, s->rip, s->cs.selector, s->rflags | X86_EFLAGS_RF };
	u64 gate, d, rsp = (u32)(s->rsp - sizeof(frame));
	u16 selector;
	int r;

	if (!(s->cr0 & X86_CR0_PE) || s->idtr.limit < vector * 8 + 7)
		return WALK_PF;
	r = gva_copy(w, s->idtr.base + vector * 8, &gate, 8, ACCESS_READ);
	if (r)
		return r;
	selector = gate >> 16;
	if (!(gate & GATE_PRESENT) || (GATE_TYPE(gate) & 0xe) != 0xe)
		return WALK_PF;
	r = gva_copy(w, s->gdtr.base + (selector & ~7), &d, 8, ACCESS_READ);
	if (!r)
		r = gva_copy(w, (u32)(s->ss.base + rsp), frame, sizeof(frame), ACCESS_WRITE);
	if (r)
		return r;
	s->cs.selector = selector;
	s->cs.base = (d >> 16 & 0xffffff) | (d >> 32 & 0xff000000);
	s->cs.limit = (d & 0xffff) | (d >> 32 & 0xf0000);
	if (d & 1ULL << 55)
		s->cs.limit = s->cs.limit << 12 | 0xfff;
	s->cs.attrib = descriptor_attributes(d);
	s->rsp = rsp;
	enter_handler(w->vmcb, (gate & 0xffff) | (gate >> 32 & 0xffff0000), !(GATE_TYPE(gate) & 1));
	return WALK_OK;
}

/* @has_error: as the architecture or whoever injects it says; without one the frame is a word shorter. */
static int deliver_long(struct world *w, u32 vector, bool has_error, u64 error)
{
	struct vmcb_save_area *s = &w->vmcb->save;
	u64 gate[2], d, rsp = s->rsp;
	u64 frame[6] = { error, s->rip, s->cs.selector, s->rflags | X86_EFLAGS_RF, s->rsp, s->ss.selector };
	u64 *from = has_error ? frame : frame + 1;
	int r, ist, dpl, len = has_error ? sizeof(frame) : sizeof(frame) - 8;
	u16 selector;

	if (s->idtr.limit < vector * 16 + 15)
		return WALK_PF;
	r = gva_copy(w, s->idtr.base + vector * 16, gate, 16, ACCESS_READ);
	if (r)
		return r;
	if (!(gate[0] & GATE_PRESENT))
		return WALK_PF;
	selector = gate[0] >> 16;
	ist = gate[0] >> 32 & 7;
	r = gva_copy(w, s->gdtr.base + (selector & ~7), &d, 8, ACCESS_READ);
	if (r)
		return r;
	dpl = DPL(d);
	if (ist)
		r = gva_copy(w, s->tr.base + 36 + 8 * (ist - 1), &rsp, 8, ACCESS_READ);
	else if (dpl < s->cpl)
		r = gva_copy(w, s->tr.base + 4 + 8 * dpl, &rsp, 8, ACCESS_READ);
	if (r)
		return r;
	rsp = (rsp & ~15ULL) - len;
	r = gva_copy(w, rsp, from, len, ACCESS_WRITE);
	if (r)
		return r;
	if (dpl < s->cpl) {
		memset(&s->ss, 0, sizeof(s->ss));
		s->ss.selector = dpl;
	}
	s->cs.selector = (selector & ~3) | dpl;
	s->cs.base = 0;
	s->cs.limit = 0xffffffff;
	s->cs.attrib = descriptor_attributes(d);
	s->cpl = dpl;
	s->rsp = rsp;
	enter_handler(w->vmcb, (gate[0] & 0xffff) | (gate[0] >> 32 & 0xffff0000) | gate[1] << 32,
		      GATE_TYPE(gate[0]) == 0xe);
	return WALK_OK;
}

int raise_vc(struct world *w, u64 error)
{
	int r;

	count(vc);
	if ((error & ~0x1fULL) != SVM_EXIT_READ_DR0 && !w->trial) { /* those come from a guest that prints its state */
		w->shadow->last_vc = error;
		w->shadow->last_vc_rip = w->vmcb->save.rip;
	}
	trace(2, "#VC %llx rip %llx", error, w->vmcb->save.rip);
	r = w->vmcb->save.efer & EFER_LMA ? deliver_long(w, X86_TRAP_VC, true, error) :
					    deliver_legacy(w, X86_TRAP_VC, error);
	if (r == WALK_NPF) /* the host has to provide a page first; the instruction runs again */
		return walk_failed(w, r);
	/* A fault while #VC is delivered: no handler for that exists in practice, so the guest ends here. */
	return r ? shutdown_guest(w) : ENTER_AGAIN;
}

/*
 * An injected exception whose error code is there or missing against the vector's rule (EVENTINJ.EV, APM 15.20): the emulator
 * below goes by the vector alone. In long mode only, where there are guests that get that far.
 */
int deliver_event(struct world *w, u32 vector, bool has_error, u32 error)
{
	int r = deliver_long(w, vector, has_error, error);

	if (r == WALK_NPF)
		return walk_failed(w, r);
	return r ? shutdown_guest(w) : ENTER_AGAIN;
}

/*
 * #GP is intercepted for XRSTOR only (xsave.c). One that happened while an exception was being delivered is a double fault
 * (APM 8.2.9), and one while a double fault was, a shutdown.
 */
static int general_protection(struct world *w)
{
	struct vmcb_control_area *c = &w->vmcb->control;
	u32 during = c->exit_int_info, error = c->exit_info_1;
	int r;

	if ((during & SVM_EXITINTINFO_VALID) &&
	    (during & SVM_EXITINTINFO_TYPE_MASK) == SVM_EXITINTINFO_TYPE_EXEPT) {
		switch (during & SVM_EXITINTINFO_VEC_MASK) {
		case DF_VECTOR:
			return shutdown_guest(w);
		case DE_VECTOR:
		case TS_VECTOR:
		case NP_VECTOR:
		case SS_VECTOR:
		case GP_VECTOR:
		case PF_VECTOR:
			inject(w, DF_VECTOR, true, 0);
			return ENTER_AGAIN;
		}
	}
	r = during & SVM_EXITINTINFO_VALID ? NOT_MINE : xsave_insn(w, false);
	if (r != NOT_MINE)
		return r;
	inject(w, GP_VECTOR, true, error);
	return ENTER_AGAIN;
}

static void trace_vc(struct world *w)
{
	u8 bytes[8];

	if (trace_level < 2)
		return;
	fetch_insn(w, bytes, sizeof(bytes));
	trace(2, "exit %x rip %llx rax %llx rcx %llx bytes %8ph", (u32)w->vmcb->control.exit_code, w->vmcb->save.rip,
	      w->vmcb->save.rax, w->vmsa->rcx, bytes);
}

int handle_exit(struct world *w)
{
	struct vmcb_control_area *c = &w->vmcb->control;
	struct vmcb_save_area *s = &w->vmcb->save;

	switch (c->exit_code) {
	case SVM_EXIT_NPF:
		return nested_page_fault(w);
	case SVM_EXIT_EXCP_BASE + UD_VECTOR:
		return undefined_opcode(w);
	case SVM_EXIT_EXCP_BASE + GP_VECTOR:
		return general_protection(w);
	case SVM_EXIT_EXCP_BASE + DB_VECTOR:
		if (ghcb_late_stepped(w) || poke_stepped(w) || inject_stepped(w))
			return ENTER_AGAIN;
		break;
	case SVM_EXIT_MSR:
		return msr_access(w);
	case SVM_EXIT_VMMCALL:
		return vmmcall(w);
	case SVM_EXIT_WRITE_CR0 + 8:
		return cr8_write(w);
	case SVM_EXIT_HLT: /* automatic exits come after the instruction, so no STI shadow is left */
		s->rip += 1;
		c->int_state &= ~SVM_INTERRUPT_SHADOW_MASK;
		return LEAVE;
	case SVM_EXIT_PAUSE:
		s->rip += 2;
		return LEAVE;
	case SVM_EXIT_INTR:
	case SVM_EXIT_NMI:
	case SVM_EXIT_SMI:
	case SVM_EXIT_INIT:
	case SVM_EXIT_VINTR:
	case SVM_EXIT_SHUTDOWN:
	case SVM_EXIT_ERR:
	case SVM_EXIT_EXCP_BASE + MC_VECTOR:
		return LEAVE;
	}
	trace_vc(w);
	return raise_vc(w, c->exit_code);
}
