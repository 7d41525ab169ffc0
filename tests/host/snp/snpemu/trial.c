// SPDX-License-Identifier: GPL-2.0
/*
 * A trial: a vCPU runs for a moment on copies of its state, and what it wrote to guest memory is put back. So one guest can be
 * asked thousands of times what it would have done. What cannot be put back (PVALIDATE, RMPADJUST) ends the trial.
 *
 * Only one processor of the host runs guests meanwhile (inject.c makes sure of that): nobody else sees what is put back.
 */
#include <linux/kvm_host.h>
#include <linux/slab.h>
#include <asm/svm.h>
#include "svm.h"
#include "compat.h"
#include "snpemu.h"

/* Accessed and dirty bits of a page table that the processor itself sets: no write of the guest's */
#define WALK_BITS	0x60ULL

int trial_init(struct trial *t)
{
	int i;

	t->shadow = shadow_alloc(GFP_KERNEL);
	t->kvm = (void *)get_zeroed_page(GFP_KERNEL);
	t->vmsa = (void *)get_zeroed_page(GFP_KERNEL);
	for (i = 0; i < TRIAL_PAGES; i++) {
		t->page[i].copy = (void *)__get_free_page(GFP_KERNEL);
		if (!t->page[i].copy)
			return -ENOMEM;
	}
	return t->shadow && t->kvm && t->vmsa ? 0 : -ENOMEM;
}

void trial_exit(struct trial *t)
{
	int i;

	shadow_free(t->shadow);
	free_page((unsigned long)t->kvm);
	free_page((unsigned long)t->vmsa);
	for (i = 0; i < TRIAL_PAGES; i++)
		free_page((unsigned long)t->page[i].copy);
}

/* Makes @w one that starts where @of stands, or, with @vmsa, in that state. */
void trial_begin(struct trial *t, struct world *w, const struct world *of, const void *vmsa)
{
	struct vmcb_control_area *k = &t->kvm->control;
	struct shadow *s = t->shadow;

	*w = *of;
	w->trial = t;
	w->shadow = s;
	w->vmcb = s->vmcb;
	memcpy(t->kvm, of->kvm, PAGE_SIZE);
	memcpy(t->vmsa, vmsa ?: of->vmsa, PAGE_SIZE);
	w->kvm = t->kvm;
	w->vmsa = (void *)t->vmsa;
	w->vmpl = w->vmsa->vmpl;
	/* Nothing of what KVM or the model was about to do to the guest */
	k->event_inj = 0;
	k->int_state = 0;
	k->int_ctl &= ~V_IRQ_MASK;
	w->vmsa->rflags &= ~X86_EFLAGS_TF;
	s->asid = of->asid;
	s->cr0 = w->vmsa->cr0;
	s->cr4 = w->vmsa->cr4;
	s->efer = w->vmsa->efer;
	s->late = 0;
	s->after_vmgexit = false;
	shadow_flush(s);
	t->used = 0;
	t->stopped = false;
	t->low = ~0ULL;
	t->high = 0;
}

/* What this trial cannot put back: it ends. */
int trial_stop(struct world *w)
{
	w->trial->stopped = true;
	set_exit_code(&w->vmcb->control, EXIT_ERR);
	return LEAVE;
}

/* Before the page at @gpa is written; @walk: by the processor's page walk. False: the trial is over. */
bool trial_write(struct world *w, u64 gpa, u64 pfn, bool walk)
{
	struct trial *t = w->trial;
	unsigned int i;

	for (i = 0; i < t->used; i++)
		if (t->page[i].pfn == pfn) {
			t->page[i].walk &= walk;
			return true;
		}
	t->stopped |= t->used == TRIAL_PAGES;
	if (t->stopped)
		return false;
	t->page[i].pfn = pfn;
	t->page[i].gpa = gpa & PA_MASK & ~C_MASK;
	t->page[i].walk = walk;
	memcpy(t->page[i].copy, memory_at(pfn << PAGE_SHIFT), PAGE_SIZE);
	t->used++;
	return true;
}

/* Puts everything back, and notes from where to where the guest's memory had changed. */
void trial_undo(struct trial *t)
{
	unsigned int i, n;

	for (i = 0; i < t->used; i++) {
		u64 *now = memory_at(t->page[i].pfn << PAGE_SHIFT), *before = (u64 *)t->page[i].copy;
		u64 ignore = t->page[i].walk ? WALK_BITS : 0;

		for (n = 0; n < PAGE_SIZE / 8; n++) {
			u64 at = t->page[i].gpa + 8 * n;

			if (!((now[n] ^ before[n]) & ~ignore))
				continue;
			t->low = min(t->low, at);
			t->high = max(t->high, at + 7);
		}
		memcpy(now, before, PAGE_SIZE);
	}
	t->used = 0;
}
