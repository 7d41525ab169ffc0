// SPDX-License-Identifier: GPL-2.0
/*
 * The nested page table that a vCPU really runs on: a software TLB, filled on a nested page fault by walking KVM's own table
 * (read only) and asking the RMP. One per vCPU; entries go when KVM flushes, when KVM's root changes, and one by one
 * when the RMP changes. Guest physical addresses keep their C-bit here: the same page has two addresses.
 */
#include <linux/kvm_host.h>
#include <linux/slab.h>
#include <linux/smp.h>
#include <trace/events/ipi.h>
#include <asm/svm.h>
#include "svm.h"
#include "compat.h"
#include "snpemu.h"

#define SHADOWS		64	/* vCPUs that keep their tables; more share them by turns */
#define MAX_TABLES	4096
#define RESERVED	0x000fff0000000000ULL	/* beyond the emulator's 40 bits: KVM's MMIO entries */

static struct shadow *shadows[SHADOWS];
static DEFINE_RAW_SPINLOCK(shadows_lock);
static unsigned int flushes;	/* number of shadows_flush_all */
static unsigned long uses;

/* ---- life ---- */

void shadow_free(struct shadow *s)
{
	unsigned int i;

	if (!s)
		return;
	for (i = 0; s->tables && i < s->tables_have; i++)
		free_page((unsigned long)s->tables[i]);
	free_pages((unsigned long)s->tables, get_order(MAX_TABLES * sizeof(*s->tables)));
	free_page((unsigned long)s->root);
	free_page((unsigned long)s->vmcb);
	free_page((unsigned long)s->fpu);
	kfree(s);
}

struct shadow *shadow_alloc(gfp_t gfp)
{
	struct shadow *s = kzalloc(sizeof(*s), gfp);

	if (!s)
		return NULL;
	raw_spin_lock_init(&s->lock);
	s->cpu = -1;
	s->tables = (void *)__get_free_pages(gfp | __GFP_ZERO, get_order(MAX_TABLES * sizeof(*s->tables)));
	s->root = (void *)get_zeroed_page(gfp);
	s->vmcb = (void *)get_zeroed_page(gfp);
	s->fpu = (void *)get_zeroed_page(gfp);
	if (s->tables && s->root && s->vmcb && s->fpu)
		return s;
	shadow_free(s);
	return NULL;
}

int shadow_init(void)
{
	int i;

	/* The usual number beforehand; the rest in the world switch, where memory may be refused. */
	for (i = 0; i < 8; i++) {
		shadows[i] = shadow_alloc(GFP_KERNEL);
		if (!shadows[i]) {
			shadow_exit();
			return -ENOMEM;
		}
	}
	return 0;
}

void shadow_exit(void)
{
	int i;

	for (i = 0; i < SHADOWS; i++) {
		shadow_free(shadows[i]);
		shadows[i] = NULL;
	}
}

/* The vCPU's own shadow, or else a free one, or else the one that has been idle for longest. */
static struct shadow *shadow_choose(struct vcpu_svm *svm)
{
	struct shadow *best = NULL;
	int i;

	for (i = 0; i < SHADOWS && shadows[i]; i++) {
		struct shadow *s = shadows[i];

		if (s->owner == svm)
			return s;
		if (s->cpu < 0 && (!best || (best->owner && (!s->owner || s->last_used < best->last_used))))
			best = s;
	}
	if (i < SHADOWS && (!best || best->owner)) {
		struct shadow *s = shadow_alloc(GFP_NOWAIT | __GFP_NOWARN);

		if (s)
			best = shadows[i] = s;
	}
	return best;
}

struct shadow *shadow_get(struct vcpu_svm *svm)
{
	struct shadow *s;

	raw_spin_lock(&shadows_lock);
	s = shadow_choose(svm);
	if (s) {
		/* A vCPU that never ran may have the address of one that is gone. */
		bool fresh = s->owner != svm || svm->vcpu.arch.last_vmentry_cpu == -1;

		s->last_used = ++uses;
		WRITE_ONCE(s->cpu, raw_smp_processor_id());
		if (fresh) {
			s->owner = svm;
			s->vmsa_pa = 0;
			s->after_vmgexit = false;
			s->late = 0;
			shadow_flush(s);
		}
	}
	raw_spin_unlock(&shadows_lock);
	return s;
}

void shadow_put(struct shadow *s)
{
	WRITE_ONCE(s->cpu, -1);
}

/* ---- entries ---- */

void shadow_flush(struct shadow *s)
{
	memset(s->root, 0, PAGE_SIZE);
	s->tables_used = 0;
	s->unpaged = false;
	count(tlb_flush);
}

static u64 *new_table(struct shadow *s)
{
	u64 *t;

	if (s->tables_used == s->tables_have && s->tables_have < MAX_TABLES) {
		t = (void *)__get_free_page(GFP_NOWAIT | __GFP_NOWARN);
		if (t)
			s->tables[s->tables_have++] = t;
	}
	if (s->tables_used == s->tables_have)
		return NULL;
	t = s->tables[s->tables_used++];
	memset(t, 0, PAGE_SIZE);
	return t;
}

static unsigned int slot_of(u64 gpa, int level)
{
	return gpa >> (12 + 9 * (level - 1)) & 511;
}

/* Maps a page present, accessed, dirty and for user mode; @bits: the writable and the no-execute bit. */
void shadow_map(struct shadow *s, u64 gpa, u64 pfn, u64 bits)
{
	u64 *t = s->root;
	int level;

	for (level = 4; level > 1; level--) {
		u64 *e = &t[slot_of(gpa, level)];

		if (!(*e & 1)) {
			u64 *n = new_table(s);

			if (!n) { /* a TLB may forget everything at any time */
				shadow_flush(s);
				n = new_table(s);
				if (!n)
					return;
				t = s->root;
				level = 5;
				continue;
			}
			*e = __pa(n) | 0x67;
		}
		t = __va(*e & PA_MASK);
	}
	t[slot_of(gpa, 1)] = pfn << PAGE_SHIFT | 0x65 | bits;
	count(tlb_fill);
}

void shadow_unmap(struct shadow *s, u64 gpa)
{
	u64 *t = s->root;
	int level;

	for (level = 4; level > 1; level--) {
		u64 e = t[slot_of(gpa, level)];

		if (!(e & 1))
			return;
		t = __va(e & PA_MASK);
	}
	t[slot_of(gpa, 1)] = 0;
}

/* ---- invalidation from outside ---- */

static void kick(struct shadow *s)
{
	int cpu = READ_ONCE(s->cpu);

	if (cpu >= 0 && cpu != raw_smp_processor_id())
		smp_send_reschedule(cpu);
}

/* Takes effect before each vCPU's next entry; a vCPU that runs on another processor now is made to leave. @asid 0: all */
void shadows_invalidate(u32 asid, u64 gpa)
{
	unsigned long flags;
	int i;

	count(tlb_invalidate);
	for (i = 0; i < SHADOWS && shadows[i]; i++) {
		struct shadow *s = shadows[i];

		if (!s->owner || (asid && s->asid != asid))
			continue;
		raw_spin_lock_irqsave(&s->lock, flags);
		if (s->stale_count < ARRAY_SIZE(s->stale))
			s->stale[s->stale_count] = gpa & PA_MASK & ~C_MASK;
		s->stale_count++; /* past the end: everything is stale */
		raw_spin_unlock_irqrestore(&s->lock, flags);
		kick(s);
	}
}

void shadows_flush_all(void)
{
	int i;

	WRITE_ONCE(flushes, flushes + 1);
	for (i = 0; i < SHADOWS && shadows[i]; i++)
		kick(shadows[i]);
}

/* Before every entry: forget what others have invalidated. */
void shadow_refresh(struct shadow *s)
{
	unsigned int now = READ_ONCE(flushes), i, n;

	if (likely(!READ_ONCE(s->stale_count) && s->flushes_seen == now))
		return;
	raw_spin_lock(&s->lock);
	n = s->stale_count;
	s->stale_count = 0;
	if (s->flushes_seen != now || n > ARRAY_SIZE(s->stale)) {
		s->flushes_seen = now;
		shadow_flush(s);
	} else {
		for (i = 0; i < n; i++) {
			shadow_unmap(s, s->stale[i]);
			shadow_unmap(s, s->stale[i] | C_MASK);
		}
	}
	raw_spin_unlock(&s->lock);
}

/* ---- KVM's table ---- */

u64 host_npt_leaf(struct world *w, u64 gpa, int *level)
{
	u64 table = w->kvm->control.nested_cr3 & PA_MASK, e = 0;
	int l;

	for (l = 4; l >= 1; l--) {
		e = READ_ONCE(((u64 *)__va(table))[slot_of(gpa, l)]);
		if (!(e & 1) || (e & RESERVED) || l == 1 || (l <= 3 && (e & 0x80)))
			break;
		table = e & PA_MASK;
	}
	*level = l;
	return e;
}

bool host_npt_reserved(u64 entry)
{
	return (entry & 1) && (entry & RESERVED);
}

u64 leaf_pfn(u64 entry, int level, u64 gpa)
{
	u64 within = (1ULL << (9 * (level - 1))) - 1;

	return ((entry & PA_MASK) >> PAGE_SHIFT & ~within) | (gpa >> PAGE_SHIFT & within);
}

void set_npf(struct world *w, u64 gpa, u64 error)
{
	struct vmcb_control_area *c = &w->vmcb->control;

	set_exit_code(c, SVM_EXIT_NPF);
	c->exit_info_1 = error | (gpa & C_MASK ? NPF_ENC : 0);
	c->exit_info_2 = gpa & ~C_MASK;
	count(npf_to_host);
}

static int npf_to_kvm(struct world *w, u64 gpa, u64 error)
{
	set_npf(w, gpa, error);
	return LEAVE;
}

/* Remembers that shadow tables map the page; the entry is locked. */
static void note_mapping(struct rmp_entry *e, u64 gpa)
{
	if (!e->assigned) {
		if (e->mapped && e->shared_gpa != (gpa & PA_MASK))
			e->mapped_twice = 1;
		e->shared_gpa = gpa & PA_MASK;
	}
	e->mapped = 1;
}

int nested_page_fault(struct world *w)
{
	struct vmcb_control_area *c = &w->vmcb->control;
	struct vmcb_save_area *s = &w->vmcb->save;
	u64 address = c->exit_info_2, gpa = address & ~C_MASK, leaf, verdict, bits, pfn;
	u64 error = c->exit_info_1 & (NPF_WRITE | NPF_USER | NPF_FETCH | NPF_FINAL | NPF_WALK);
	bool paging = s->cr0 & X86_CR0_PG, fetch = error & NPF_FETCH;
	/* Without paging, in fetches and in page walks the C-bit is not looked at: private (APM 15.34.5, 15.36). */
	bool private = (address & C_MASK) || (error & (NPF_WALK | NPF_FETCH)) || !paging;
	enum access access = error & NPF_WRITE ? ACCESS_WRITE : fetch ? ACCESS_FETCH : ACCESS_READ;
	struct rmp_entry *e;
	unsigned long flags;
	int level;

	if (!paging)
		w->shadow->unpaged = true;
	leaf = host_npt_leaf(w, gpa, &level);
	if (w->trial && private && !(leaf & 1)) /* the worst that a host can make of it: its page, not validated */
		return raise_vc(w, 0x404);
	if (host_npt_reserved(leaf)) { /* emulated MMIO: the guest has to ask (APM 15.35.4) */
		if (c->exit_int_info & SVM_EXITINTINFO_VALID) {
			c->exit_code = SVM_EXIT_SHUTDOWN;
			return LEAVE;
		}
		return raise_vc(w, SVM_EXIT_NPF);
	}
	if (!(leaf & 1) || (access == ACCESS_WRITE && !(leaf & ENTRY_WRITE)) || (fetch && (leaf & ENTRY_NX)))
		return npf_to_kvm(w, private ? gpa | C_MASK : gpa, error | (leaf & 1 ? NPF_PRESENT : 0));

	pfn = leaf_pfn(leaf, level, gpa);
	e = rmp_get(pfn);
	bits = leaf & (ENTRY_WRITE | ENTRY_NX);
	raw_spin_lock_irqsave(&rmp_lock, flags);
	if (private && fault_due(FAULT_ALIAS)) /* the host maps a page here that is somewhere else in the RMP */
		verdict = rmp_check(e, w->asid, w->vmpl, s->cpl, gpa ^ PAGE_SIZE, true, access, level);
	else
		verdict = rmp_check(e, w->asid, w->vmpl, s->cpl, gpa, private, access, level);
	if (!verdict && e) {
		if (private && (!(e->perms[w->vmpl] & PERM_WRITE) || e->vmsa))
			bits &= ~ENTRY_WRITE;
		if (private && !(e->perms[w->vmpl] & (PERM_USER_EXEC | PERM_SUPER_EXEC)))
			bits |= ENTRY_NX;
		note_mapping(e, gpa);
	}
	raw_spin_unlock_irqrestore(&rmp_lock, flags);
	if (verdict == RMP_NOT_VALIDATED) {
		trace(1, "not validated: gpa %llx rip %llx", gpa, s->rip);
		return raise_vc(w, 0x404);
	}
	if (verdict && !private)
		trace(1, "shared access to a private page: gpa %llx rip %llx", gpa, s->rip);
	if (verdict)
		return npf_to_kvm(w, private ? gpa | C_MASK : gpa, error | NPF_PRESENT | verdict);

	/* A C=0 leaf is private for fetches and shared for data: no entry may serve both fetch and write. */
	if (!(address & C_MASK) && paging) {
		if (!private)
			bits |= ENTRY_NX;
		else if (!(error & NPF_WALK))
			bits &= ~ENTRY_WRITE;
	}
	if (w->trial && access != ACCESS_WRITE)
		bits &= ~ENTRY_WRITE;
	else if (w->trial && !trial_write(w, gpa, pfn, error & NPF_WALK))
		return trial_stop(w);
	if (!private && !w->trial) {
		ghcb_late_access(w, gpa, pfn);
		poke_access(w, gpa, pfn);
	}
	shadow_map(w->shadow, address, pfn, bits);
	if (c->exit_int_info & SVM_EXITINTINFO_VALID) {
		c->event_inj = c->exit_int_info;
		c->event_inj_err = c->exit_int_info_err;
	}
	return ENTER_AGAIN;
}
