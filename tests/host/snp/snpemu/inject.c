// SPDX-License-Identifier: GPL-2.0
/*
 * The faults inject and ap-run: a host that gives a vCPU events which nobody asked for (EVENTINJ, APM 15.20), and that runs the
 * launched state of a vCPU which the guest never started, with and without an event.
 *
 * inject:N and ap-run:N happen once and for good. With + they are trials (event_trials.c) from the Nth occasion on: every event
 * in turn, at one entry after the other, each undone, so that one boot answers for every event at thousands of places. The boot
 * vCPU is asked while its RIP is below the parameter inject_end, and single-stepped for a while after its first entry and after
 * each VMGEXIT, so that every instruction there is a place; the launched states of the others are asked whenever any vCPU of
 * the guest runs. For vCPUs that run Linux there is the debugfs file inject.
 */
#include <linux/module.h>
#include <linux/kvm_host.h>
#include <linux/debugfs.h>
#include <linux/seq_file.h>
#include <linux/uaccess.h>
#include <asm/svm.h>
#include <asm/trapnr.h>
#include "svm.h"
#include "compat.h"
#include "snpemu.h"

static ulong inject_end;
module_param(inject_end, ulong, 0644);
MODULE_PARM_DESC(inject_end, "the fault inject is for the boot vCPU while its RIP is below");
static uint inject_stride = 64;
module_param(inject_stride, uint, 0644);
MODULE_PARM_DESC(inject_stride, "after the first 1024 occasions, trials of launched states happen at each one of so many");
static uint inject_event = SVM_EVTINJ_VALID | SVM_EVTINJ_TYPE_NMI | 2;
module_param(inject_event, uint, 0644);
MODULE_PARM_DESC(inject_event, "EVENTINJ of inject:N, low half");

#define STATES		16	/* launched states of a guest that are remembered */
#define STEPS		1024	/* single steps after an entry that follows a VMGEXIT */

static struct { u32 count; u64 pfn[STATES]; } launched[ASIDS + 1];

static unsigned int steps_left;
static u64 occasions;
static bool stepping;
static bool run_once;	/* ap-run:N is due */

static struct {
	bool pending;
	u32 event, error;
	int cpl, interrupts;	/* -1: any */
	int vcpu;		/* 0: the boot vCPU, 1: another */
} request;
static u64 requests_done;

void inject_new_guest(u32 asid)
{
	if (asid <= ASIDS)
		launched[asid].count = 0;
	steps_left = STEPS;
	occasions = 0;
	run_once = false;
}

/* The first is the boot vCPU's. */
void inject_launched_state(u32 asid, u64 pfn)
{
	if (asid <= ASIDS && launched[asid].count < STATES)
		launched[asid].pfn[launched[asid].count++] = pfn;
}

static bool is_boot_vcpu(struct world *w)
{
	return w->asid <= ASIDS && launched[w->asid].count &&
	       (w->kvm->control.vmsa_pa & PA_MASK) >> PAGE_SHIFT == launched[w->asid].pfn[0];
}

/* ---- events ---- */

/* VMRUN takes no exception that is none (APM 15.20). */
bool event_acceptable(u32 event)
{
	u32 vector = event & SVM_EVTINJ_VEC_MASK;

	switch (event & SVM_EVTINJ_TYPE_MASK) {
	case SVM_EVTINJ_TYPE_INTR:
	case SVM_EVTINJ_TYPE_NMI:
	case SVM_EVTINJ_TYPE_SOFT:
		return true;
	case SVM_EVTINJ_TYPE_EXEPT:
		return vector < 32 && vector != NMI_VECTOR;
	}
	return false;
}

/* Whether the architecture pushes an error code for the exception; what the emulator below does, but for #VC. */
static bool has_error_code(u32 vector)
{
	return vector == DF_VECTOR || (vector >= TS_VECTOR && vector <= PF_VECTOR) || vector == AC_VECTOR;
}

/* The event is the next thing that happens to the guest: ENTER_AGAIN, or LEAVE when that takes the host first. */
int give_event(struct world *w, u32 event, u32 error)
{
	struct vmcb_control_area *c = &w->vmcb->control;
	u32 vector = event & SVM_EVTINJ_VEC_MASK;
	bool with_error = event & SVM_EVTINJ_VALID_ERR;

	if ((event & SVM_EVTINJ_TYPE_MASK) == SVM_EVTINJ_TYPE_EXEPT && with_error != has_error_code(vector) &&
	    (w->vmcb->save.efer & EFER_LMA))
		return deliver_event(w, vector, with_error, error);
	c->event_inj = event;
	c->event_inj_err = error;
	return ENTER_AGAIN;
}

/* ---- before every VMRUN of KVM's ---- */

static bool often_enough(void)
{
	occasions++;
	return occasions < 1024 || !(occasions % max(inject_stride, 1u));
}

/* The launched states of the other vCPUs. True: one of them ran for good, and shut down. */
static bool run_launched_states(struct world *w)
{
	bool events = fault_planned(FAULT_INJECT, true), run = fault_planned(FAULT_AP_RUN, true);
	bool once = fault_planned(FAULT_AP_RUN, false);
	int ended;
	u32 n;

	if (!(events || run || once) || w->asid > ASIDS || (!once && !often_enough()))
		return false;
	run_once |= once && fault_due(FAULT_AP_RUN);
	run = run && fault_due(FAULT_AP_RUN);
	for (n = 1; n < launched[w->asid].count; n++) {
		u64 pfn = launched[w->asid].pfn[n];
		struct rmp_entry *e = rmp_get(pfn);

		if (!e || !e->assigned || !e->vmsa || !e->validated || e->asid != w->asid)
			continue;
		if (events)
			try_launched_state(w, memory_at(pfn << PAGE_SHIFT));
		if (!run && !run_once)
			continue;
		ended = run_launched_state(w, memory_at(pfn << PAGE_SHIFT));
		if (run_once && ended != -EINTR) { /* else at the next occasion */
			run_once = false;
			return ended;
		}
	}
	return false;
}

/* True: KVM is to be told of a shutdown instead of a run. */
bool inject_before_vmrun(struct world *w)
{
	if (w->shadow->after_vmgexit)
		steps_left = STEPS;
	if (likely(!fault_planned(FAULT_INJECT, true) && !fault_planned(FAULT_AP_RUN, true) &&
		   !fault_planned(FAULT_AP_RUN, false)))
		return false;
	if (num_online_cpus() > 1) {
		pr_warn_once("snpemu: the faults inject and ap-run need a host with one processor\n");
		return false;
	}
	return run_launched_states(w);
}

/* ---- before every entry, also those that KVM does not see ---- */

static bool request_fits(struct world *w)
{
	struct vmcb_save_area *s = &w->vmcb->save;

	return request.pending && (request.cpl < 0 || s->cpl == request.cpl) &&
	       (request.vcpu < 0 || is_boot_vcpu(w) == !request.vcpu) &&
	       (request.interrupts < 0 || !!(s->rflags & X86_EFLAGS_IF) == request.interrupts) &&
	       !(w->vmcb->control.int_state & SVM_INTERRUPT_SHADOW_MASK);
}

static int fulfil_request(struct world *w)
{
	int r;

	trace(1, "INJECT event %x error %x at rip %llx cpl %d", request.event, request.error, w->vmcb->save.rip,
	      w->vmcb->save.cpl);
	if (!event_acceptable(request.event)) {
		request.pending = false;
		return ENTER_AGAIN;
	}
	r = give_event(w, request.event, request.error);
	if (r == LEAVE && w->vmcb->control.exit_code == SVM_EXIT_NPF)
		return r; /* the host has to provide a page first */
	request.pending = false;
	requests_done++;
	return r;
}

static void inject_into_boot_code(struct world *w)
{
	if (fault_planned(FAULT_INJECT, false)) {
		if (fault_due(FAULT_INJECT)) {
			trace_event("inject: event %x at rip %llx", inject_event, w->vmcb->save.rip);
			w->vmcb->control.event_inj = inject_event;
		}
		return;
	}
	if (!fault_due(FAULT_INJECT))
		return;
	try_boot_vcpu(w);
	if (steps_left) {
		steps_left--;
		single_step(w, true);
		stepping = true;
	}
}

int inject_before_entry(struct world *w)
{
	bool first = !w->entered;

	w->entered = true;
	if (w->vmcb->control.event_inj)
		return ENTER_AGAIN;
	if (unlikely(first && request.pending) && request_fits(w))
		return fulfil_request(w);
	if (likely(!inject_end) || w->vmcb->save.rip >= inject_end || !is_boot_vcpu(w))
		return ENTER_AGAIN;
	if (fault_planned(FAULT_INJECT, true) ? num_online_cpus() == 1 : fault_planned(FAULT_INJECT, false))
		inject_into_boot_code(w);
	return ENTER_AGAIN;
}

bool inject_stepped(struct world *w)
{
	if (!stepping)
		return false;
	inject_leave(w);
	return true;
}

void inject_leave(struct world *w)
{
	if (likely(!stepping))
		return;
	single_step(w, false);
	stepping = false;
}

/* ---- the file inject ---- */

static int inject_show(struct seq_file *f, void *unused)
{
	seq_printf(f, "%s %llu\n", request.pending ? "pending" : "idle", requests_done);
	return 0;
}

static int inject_open(struct inode *inode, struct file *f)
{
	return single_open(f, inject_show, NULL);
}

/* "EVENTINJ ERROR CPL IF [VCPU]", the first two hexadecimal, -1 for any: given once, at the next entry from KVM that fits */
static ssize_t inject_write(struct file *f, const char __user *from, size_t len, loff_t *at)
{
	char text[64];
	u32 event, error;
	int cpl, interrupts, vcpu = -1;

	if (len >= sizeof(text) || copy_from_user(text, from, len))
		return -EINVAL;
	text[len] = 0;
	request.pending = false;
	if (sscanf(text, "%x %x %d %d %d", &event, &error, &cpl, &interrupts, &vcpu) < 4 || !(event & SVM_EVTINJ_VALID))
		return len; /* anything else takes the request back */
	request.event = event;
	request.error = error;
	request.cpl = cpl;
	request.interrupts = interrupts;
	request.vcpu = vcpu;
	request.pending = true;
	return len;
}

static const struct file_operations inject_fops = {
	.owner = THIS_MODULE, .open = inject_open, .read = seq_read, .llseek = seq_lseek, .release = single_release,
	.write = inject_write,
};

void inject_files(struct dentry *directory)
{
	debugfs_create_file("inject", 0600, directory, NULL, &inject_fops);
}
