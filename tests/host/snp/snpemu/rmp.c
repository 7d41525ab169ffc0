// SPDX-License-Identifier: GPL-2.0
/*
 * The reverse map table: who owns each page of physical memory (APM 15.36), and the host's operations on it, under the names
 * by which KVM calls the kernel's SNP host support.
 */
#include <linux/module.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/vmalloc.h>
#include <asm/sev.h>
#include <asm/pgtable_types.h>
#include "compat.h"
#include "snpemu.h"

static struct rmp_entry *table;
static unsigned long entries;
DEFINE_RAW_SPINLOCK(rmp_lock);

struct rmp_entry *rmp_get(u64 pfn)
{
	return pfn < entries ? &table[pfn] : NULL;
}

unsigned long rmp_size(void)
{
	return entries;
}

int rmp_init(void)
{
	entries = __pa(high_memory - 1) / PAGE_SIZE + 1;
	table = vzalloc(array_size(entries, sizeof(*table)));
	return table ? 0 : -ENOMEM;
}

void rmp_exit(void)
{
	vfree(table);
}

/*
 * In place of encryption: content that changes owner becomes noise, in both directions, as ciphertext read with the wrong key
 * (or none) would be. Not cryptography: the noise only has to be nothing that anybody wrote.
 */
void rmp_scramble(u64 pfn)
{
	static u64 seed = 0x9e3779b97f4a7c15ULL;
	u64 x = READ_ONCE(seed) ^ pfn << 20, *word = memory_at(pfn << PAGE_SHIFT);
	int i;

	for (i = 0; i < PAGE_SIZE / 8; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		word[i] = x;
	}
	WRITE_ONCE(seed, x);
}

/* Removes what shadow tables may still map; the entry is locked. */
static void unmap(struct rmp_entry *e)
{
	if (!e->mapped)
		return;
	if (e->assigned)
		shadows_invalidate(e->asid, e->gpa);
	else if (e->mapped_twice)
		shadows_flush_all();
	else
		shadows_invalidate(0, e->shared_gpa);
}

int snp_lookup_rmpentry(u64 pfn, bool *assigned, int *level)
{
	struct rmp_entry *e = rmp_get(pfn);

	if (!e)
		return -ENODEV;
	*assigned = e->assigned;
	*level = e->size_2m ? PG_LEVEL_2M : PG_LEVEL_4K;
	return 0;
}
EXPORT_SYMBOL_GPL(snp_lookup_rmpentry);

/* PSMASH: one 2 MiB entry becomes 512 entries of 4 KiB with the same owner and state. */
int psmash(u64 pfn)
{
	struct rmp_entry *e = rmp_get(pfn | 511);
	unsigned long flags;
	int i;

	if (!e || !rmp_get(pfn & ~511ULL)->size_2m)
		return 1; /* FAIL_INPUT */
	raw_spin_lock_irqsave(&rmp_lock, flags);
	for (i = 0; i < 512; i++)
		rmp_get((pfn & ~511ULL) + i)->size_2m = 0;
	raw_spin_unlock_irqrestore(&rmp_lock, flags);
	return 0;
}
EXPORT_SYMBOL_GPL(psmash);

static int assign(u64 pfn, u64 gpa, int n, u32 asid, bool immutable)
{
	unsigned long flags;
	int i;

	trace(2, "RMP pfn %llx gpa %llx -> private asid %u%s", pfn, gpa, asid, immutable ? " immutable" : "");
	for (i = 0; i < n; i++) {
		struct rmp_entry *e = rmp_get(pfn + i);

		raw_spin_lock_irqsave(&rmp_lock, flags);
		if (e->firmware || e->immutable) {
			raw_spin_unlock_irqrestore(&rmp_lock, flags);
			return -EPERM;
		}
		unmap(e);
		*e = (struct rmp_entry){
			.gpa = gpa + ((u64)i << PAGE_SHIFT),
			.asid = asid,
			.assigned = 1,
			.immutable = immutable,
			.size_2m = n > 1,
			.perms = { PERM_ALL },
		};
		raw_spin_unlock_irqrestore(&rmp_lock, flags);
		host_view_set(pfn + i, immutable ? HOST_READ_ONLY : HOST_CIPHERTEXT);
		/* A page that the firmware is about to encrypt in place keeps what the host wrote. */
		if (!immutable)
			rmp_scramble(pfn + i);
	}
	return 0;
}

/* A change of one page to private, by a host that may be made to misbehave */
static int assign_with_faults(u64 pfn, u64 gpa, u32 asid)
{
	static struct {
		u64 pfn, gpa;
		u32 asid;
	} before, postponed;
	static DEFINE_MUTEX(changes);
	struct rmp_entry *e;
	int r = 0;

	if (fault_due(FAULT_PSC_DROP))
		return 0;
	mutex_lock(&changes);
	e = rmp_get(before.pfn);
	if (e && e->assigned && e->asid == asid && e->gpa == before.gpa && fault_due(FAULT_PSC_REPEAT))
		assign(before.pfn, before.gpa, 1, asid, false);
	if (fault_due(FAULT_PSC_REORDER)) {
		postponed.pfn = pfn;
		postponed.gpa = gpa;
		postponed.asid = asid;
	} else {
		r = assign(pfn, gpa, 1, asid, false);
		if (postponed.asid == asid)
			assign(postponed.pfn, postponed.gpa, 1, asid, false);
		postponed.asid = 0;
	}
	before.pfn = pfn;
	before.gpa = gpa;
	mutex_unlock(&changes);
	return r;
}

/* RMPUPDATE to the assigned state. */
int rmp_make_private(u64 pfn, u64 gpa, enum pg_level level, u32 asid, bool immutable)
{
	int n = level == PG_LEVEL_2M ? 512 : 1;

	if (!rmp_get(pfn + n - 1))
		return -ENODEV;
	if (n > 1 && ((pfn | gpa >> PAGE_SHIFT) & 511))
		return -EINVAL;
	count(rmp_private);
	return immutable || n > 1 ? assign(pfn, gpa, n, asid, immutable) : assign_with_faults(pfn, gpa, asid);
}
EXPORT_SYMBOL_GPL(rmp_make_private);

/* RMPUPDATE to the hypervisor-owned state. */
int rmp_make_shared(u64 pfn, enum pg_level level)
{
	int i, n = level == PG_LEVEL_2M ? 512 : 1;
	unsigned long flags;

	if (!rmp_get(pfn + n - 1))
		return -ENODEV;
	count(rmp_shared);
	if (fault_due(FAULT_PSC_SHARED_DROP)) { /* the guest's page still, but the host's kernel goes on using it */
		for (i = 0; i < n; i++)
			host_view_set(pfn + i, HOST_OWN);
		return 0;
	}
	trace(2, "RMP pfn %llx -> shared", pfn);
	for (i = 0; i < n; i++) {
		struct rmp_entry *e = rmp_get(pfn + i);
		bool encrypted;

		raw_spin_lock_irqsave(&rmp_lock, flags);
		if (e->firmware || e->immutable) { /* FAIL_PERMISSION */
			raw_spin_unlock_irqrestore(&rmp_lock, flags);
			return -EPERM;
		}
		unmap(e);
		encrypted = e->assigned && e->asid && !e->size_2m;
		memset(e, 0, sizeof(*e));
		raw_spin_unlock_irqrestore(&rmp_lock, flags);
		if (encrypted)
			rmp_scramble(pfn + i);
		host_view_set(pfn + i, HOST_OWN);
	}
	return 0;
}
EXPORT_SYMBOL_GPL(rmp_make_shared);

#if SINCE_7
void __snp_leak_pages(u64 pfn, unsigned int pages, bool dump_rmp)
#else
void snp_leak_pages(u64 pfn, unsigned int pages)
#endif
{
	pr_warn("snpemu: %u pages leaked at pfn %llx\n", pages, pfn);
}
#if SINCE_7
EXPORT_SYMBOL_GPL(__snp_leak_pages);
#else
EXPORT_SYMBOL_GPL(snp_leak_pages);
#endif
