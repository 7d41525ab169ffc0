// SPDX-License-Identifier: GPL-2.0
/*
 * What comes of an event, without its coming: trials (trial.c) of every event there is, in turn, and what came of them: the debugfs
 * file trials.
 */
#include <linux/kvm_host.h>
#include <linux/debugfs.h>
#include <linux/seq_file.h>
#include <asm/svm.h>
#include <asm/trapnr.h>
#include "svm.h"
#include "compat.h"
#include "snpemu.h"

#define ROUNDS		64	/* entries that a trial takes at most */
#define DEEP_ROUNDS	1024	/* more frames than a boot code's stack holds */
#define PLACES		0x10000	/* of an instruction, by its low 16 bits */

/* Events in the order in which they are tried */
enum { INTERRUPTS = 0, NMI = 256, EXCEPTIONS = 257, WITH_ERROR = 289, SOFTWARE = 321, EVENTS = 577, NOTHING = EVENTS };

enum outcome { SHUT_DOWN, ENDED, REFUSED, STOOD_STILL, INTERRUPTED, OTHER, OUTCOMES };
static const char *const outcome_names[OUTCOMES] = { "shutdown", "ended", "refused", "still", "interrupted", "other" };

static struct target {
	const char *name;
	unsigned int next;
	DECLARE_BITMAP(done, EVENTS);
	DECLARE_BITMAP(places, PLACES);
	u64 count[OUTCOMES], low[OUTCOMES], high[OUTCOMES];
	u64 reason, other_reasons;	/* of those that ended: the GHCB MSR's value */
} boot = { .name = "boot" }, parked = { .name = "parked" }, parked_run = { .name = "parked-run" }, deep = { .name = "deep" };

static struct trial trial;
static struct {
	u32 event;
	enum outcome outcome;
	u64 reason;
} asked;		/* what the trial that runs now is about */
static u32 event_of(unsigned int n)
{
	if (n < NMI)
		return SVM_EVTINJ_VALID | SVM_EVTINJ_TYPE_INTR | n;
	if (n == NMI)
		return SVM_EVTINJ_VALID | SVM_EVTINJ_TYPE_NMI | 2;
	if (n < WITH_ERROR)
		return SVM_EVTINJ_VALID | SVM_EVTINJ_TYPE_EXEPT | (n - EXCEPTIONS);
	if (n < SOFTWARE)
		return SVM_EVTINJ_VALID | SVM_EVTINJ_TYPE_EXEPT | SVM_EVTINJ_VALID_ERR | (n - WITH_ERROR);
	if (n < EVENTS)
		return SVM_EVTINJ_VALID | SVM_EVTINJ_TYPE_SOFT | (n - SOFTWARE);
	return 0;
}

static enum outcome outcome_of(struct world *w)
{
	u64 code = w->vmcb->control.exit_code;

	if (w->trial->stopped)
		return OTHER;
	switch (code) {
	case SVM_EXIT_SHUTDOWN:
		return SHUT_DOWN;
	case SVM_EXIT_VMGEXIT:
		asked.reason = w->kvm->control.ghcb_gpa;
		return (asked.reason & 0xfff) == 0x100 ? ENDED : OTHER;
	case SVM_EXIT_NPF:
		return STOOD_STILL;
	case SVM_EXIT_INTR:
	case SVM_EXIT_NMI:
	case SVM_EXIT_SMI:
	case SVM_EXIT_VINTR:
		return INTERRUPTED;
	case (u32)SVM_EXIT_ERR: /* the processor takes no such event */
	case EXIT_ERR:
		return REFUSED;
	}
	return OTHER;
}

/* Enters until the guest leaves for the host. An INTn that a nested page fault interrupted is given again. */
static enum outcome run_to_exit(struct world *w)
{
	struct vmcb_control_area *c = &w->vmcb->control;
	unsigned int n;

	for (n = 0; n < ROUNDS; n++) {
		u32 soft = 0;

		enter_once(w);
		if ((c->exit_int_info & SVM_EXITINTINFO_VALID) &&
		    (c->exit_int_info & SVM_EXITINTINFO_TYPE_MASK) == SVM_EXITINTINFO_TYPE_SOFT) {
			soft = c->exit_int_info;
			c->exit_int_info = 0;
		}
		if (handle_exit(w) == LEAVE)
			return outcome_of(w);
		if (soft && !c->event_inj && c->exit_code == SVM_EXIT_NPF)
			c->event_inj = soft;
	}
	return OTHER;
}

static void run_event(struct world *w)
{
	u32 event = event_of(asked.event);

	if (event && !event_acceptable(event)) {
		asked.outcome = REFUSED;
		return;
	}
	if (event && give_event(w, event, 0xdeadbeef) == LEAVE)
		asked.outcome = outcome_of(w);
	else
		asked.outcome = run_to_exit(w);
}

/*
 * Event upon event, without waiting for what the guest makes of them: its stack comes down as far as it will. A guest that asked
 * for its end is not ended.
 */
static void run_deep(struct world *w)
{
	u32 events[] = { event_of(EXCEPTIONS + DE_VECTOR), event_of(WITH_ERROR + GP_VECTOR), event_of(NMI) };
	unsigned int n;

	for (n = 0; n < DEEP_ROUNDS; n++) {
		if (give_event(w, events[n % ARRAY_SIZE(events)], ~0u) == LEAVE)
			asked.outcome = outcome_of(w);
		else
			asked.outcome = run_to_exit(w);
		if (asked.outcome != ENDED && asked.outcome != INTERRUPTED)
			return;
	}
}

static void note(struct target *t, struct world *w)
{
	enum outcome o = asked.outcome;

	t->count[o]++;
	if (trial.low <= trial.high) {
		t->low[o] = t->low[o] || t->high[o] ? min(t->low[o], trial.low) : trial.low;
		t->high[o] = max(t->high[o], trial.high);
	}
	if (o == ENDED && t->reason && t->reason != asked.reason)
		t->other_reasons++;
	if (o == ENDED)
		t->reason = t->reason ?: asked.reason;
	if (o != INTERRUPTED) {
		if (asked.event < EVENTS)
			__set_bit(asked.event, t->done);
		__set_bit(w->vmsa->rip & (PLACES - 1), t->places);
	}
	if (o == OTHER && t->count[OTHER] <= 20)
		trace_event("trial %s: event %x at rip %llx: exit %llx request %llx rip %llx", t->name, event_of(asked.event),
			    w->vmsa->rip, (u64)trial.shadow->vmcb->control.exit_code, asked.reason,
			    trial.shadow->vmcb->save.rip);
}

static void try(struct target *t, struct world *of, const void *vmsa, void (*how)(struct world *w))
{
	struct world w;

	trial_begin(&trial, &w, of, vmsa);
	prepare(&w);
	asked.reason = 0;
	with_guest_state(&w, how);
	trial_undo(&trial);
	if (vmsa) { /* for what is noted: where it began */
		struct world from = { .vmsa = (void *)vmsa };

		note(t, &from);
	} else {
		note(t, of);
	}
}

/* The next event in turn; what the host's own interrupts disturbed is tried again. */
static void try_next(struct target *t, struct world *of, const void *vmsa)
{
	asked.event = t->next;
	try(t, of, vmsa, run_event);
	if (asked.outcome != INTERRUPTED)
		t->next = (t->next + 1) % EVENTS;
}

/* In the midst of the boot vCPU's run */
void try_boot_vcpu(struct world *w)
{
	suspend_guest_state(w);
	try_next(&boot, w, NULL);
	/* From every 4096th place where the guest would end itself */
	if (asked.outcome == ENDED && boot.count[ENDED] % 4096 == 1) {
		asked.event = NOTHING;
		try(&deep, w, NULL, run_deep);
	}
	resume_guest_state(w);
}

/* A vCPU whose launched state is @vmsa, which nobody started: with an event, ... */
void try_launched_state(struct world *w, const void *vmsa)
{
	try_next(&parked, w, vmsa);
}

/* ... and as it is: whether it shut down, which -EINTR leaves open: the host's own interrupts disturbed. */
int run_launched_state(struct world *w, const void *vmsa)
{
	asked.event = NOTHING;
	try(&parked_run, w, vmsa, run_event);
	return asked.outcome == INTERRUPTED ? -EINTR : asked.outcome == SHUT_DOWN;
}

int event_trials_init(void)
{
	return trial_init(&trial);
}

void event_trials_exit(void)
{
	trial_exit(&trial);
}

static void show(struct seq_file *f, const struct target *t)
{
	int o;

	seq_printf(f, "%s events %d of %d places %d\n", t->name, bitmap_weight(t->done, EVENTS), EVENTS,
		   bitmap_weight(t->places, PLACES));
	for (o = 0; o < OUTCOMES; o++) {
		seq_printf(f, "%s %s %llu", t->name, outcome_names[o], t->count[o]);
		if (t->low[o] || t->high[o])
			seq_printf(f, " wrote %llx to %llx", t->low[o], t->high[o]);
		seq_putc(f, '\n');
	}
	seq_printf(f, "%s asked for its end by %llx, otherwise %llu\n", t->name, t->reason, t->other_reasons);
}

static int trials_show(struct seq_file *f, void *unused)
{
	show(f, &boot);
	show(f, &deep);
	show(f, &parked);
	show(f, &parked_run);
	return 0;
}

static int trials_open(struct inode *inode, struct file *f)
{
	return single_open(f, trials_show, NULL);
}

/* Whatever is written: counting begins anew. */
static ssize_t trials_write(struct file *f, const char __user *from, size_t len, loff_t *at)
{
	struct target *all[] = { &boot, &deep, &parked, &parked_run };
	int i;

	for (i = 0; i < ARRAY_SIZE(all); i++) {
		const char *name = all[i]->name;

		memset(all[i], 0, sizeof(*all[i]));
		all[i]->name = name;
	}
	return len;
}

static const struct file_operations trials_fops = {
	.owner = THIS_MODULE, .open = trials_open, .read = seq_read, .llseek = seq_lseek, .release = single_release,
	.write = trials_write,
};

void event_trials_files(struct dentry *directory)
{
	debugfs_create_file("trials", 0600, directory, NULL, &trials_fops);
}
