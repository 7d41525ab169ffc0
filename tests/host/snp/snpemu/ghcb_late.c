// SPDX-License-Identifier: GPL-2.0
/*
 * The fault ghcb-late: the GHCB changes after the guest's first access to it since an answer, so between two reads of it. The
 * page is taken out of the guest's table; its first access is single-stepped, and its second one finds other bytes.
 */
#include <linux/kvm_host.h>
#include <asm/svm.h>
#include <asm/trapnr.h>
#include <asm/debugreg.h>
#include "svm.h"
#include "snpemu.h"

enum { OFF, FIRST, STEPPED, SECOND };

static void take_out(struct shadow *s, int state)
{
	s->late = state;
	shadow_unmap(s, s->late_gpa);
	shadow_unmap(s, s->late_gpa | C_MASK);
}

void single_step(struct world *w, bool on)
{
	struct vmcb *v = w->vmcb;
	unsigned long *intercepts = (unsigned long *)v->control.intercepts;

	if (on) {
		v->save.rflags |= X86_EFLAGS_TF;
		__set_bit(INTERCEPT_EXCEPTION_OFFSET + DB_VECTOR, intercepts);
	} else {
		v->save.rflags &= ~X86_EFLAGS_TF;
		v->save.dr6 &= ~(u64)DR_STEP;
		__clear_bit(INTERCEPT_EXCEPTION_OFFSET + DB_VECTOR, intercepts);
	}
}

/* The host has answered; @due: and will change the answer. */
void ghcb_late_answer(struct world *w, u64 gpa, bool due)
{
	w->shadow->late = OFF;
	w->shadow->late_gpa = gpa & PA_MASK;
	if (due)
		take_out(w->shadow, FIRST);
}

/* Before a nested page fault maps the shared page @pfn at @gpa; a GHCB that was made private is no GHCB any more. */
void ghcb_late_access(struct world *w, u64 gpa, u64 pfn)
{
	struct shadow *s = w->shadow;

	if (likely(s->late == OFF) || (gpa & PA_MASK & ~C_MASK) != s->late_gpa)
		return;
	if (s->late == FIRST && !(w->vmcb->save.rflags & X86_EFLAGS_TF)) {
		s->late = STEPPED;
		single_step(w, true);
	} else if (s->late == SECOND) {
		s->late = OFF;
		fault_shared_page(pfn << PAGE_SHIFT, PAGE_SIZE);
		trace_event("ghcb-late: the GHCB changed before the access at rip %llx", w->vmcb->save.rip);
	}
}

/* The single step is over: true when it was this file's. */
bool ghcb_late_stepped(struct world *w)
{
	if (w->shadow->late != STEPPED)
		return false;
	single_step(w, false);
	take_out(w->shadow, SECOND);
	return true;
}

/* The world switch ends before the first access was made: it is still to come. */
void ghcb_late_leave(struct world *w)
{
	if (likely(w->shadow->late != STEPPED))
		return;
	single_step(w, false);
	take_out(w->shadow, FIRST);
}
