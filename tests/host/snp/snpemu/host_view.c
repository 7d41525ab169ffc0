// SPDX-License-Identifier: GPL-2.0
/*
 * What the host sees of guest pages. On hardware a read of an assigned page gives ciphertext and a write is a page fault (APM
 * 15.36.7). Here the kernel's direct map of such a page is turned to a read-only page of noise, so that the
 * host reads noise and a write of it faults; the model itself works through a second mapping of all memory. The host's
 * kernel takes that fault as it takes a real one: an oops, unless the access was made ready to fail.
 *
 * Limits: one page of noise stands for all ciphertext; the fault has no RMP bit in its error code.
 */
#include <linux/module.h>
#include <linux/debugfs.h>
#include <linux/mm.h>
#include <linux/random.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>
#include <asm/pgtable.h>
#include <asm/tlbflush.h>
#include "snpemu.h"

static bool host_view = true;
module_param(host_view, bool, 0444);
MODULE_PARM_DESC(host_view, "the host reads noise of a guest's pages and cannot write them");

#define CHUNK_SHIFT	27	/* vmap() takes less than all memory at once */
#define CHUNK_PAGES	(1UL << (CHUNK_SHIFT - PAGE_SHIFT))

static u8 **chunks;	/* all memory, for the model only */
static unsigned long chunk_count;
static u8 *noise;

/* The contents of physical memory, whoever owns it: for what the processor and the firmware do */
void *memory_at(u64 pa)
{
	if (!chunks || pa >> CHUNK_SHIFT >= chunk_count)
		return __va(pa);
	return chunks[pa >> CHUNK_SHIFT] + (pa & ((1UL << CHUNK_SHIFT) - 1));
}

/* ---- the direct map in pages of 4 KiB ---- */

/* One large entry becomes a table of 512 smaller ones. No other processor changes the direct map at this time. */
static int split_entry(pte_t *entry, unsigned int level)
{
	u64 *t = (u64 *)get_zeroed_page(GFP_KERNEL), e = pte_val(*entry), step = level == PG_LEVEL_1G ? SZ_2M : SZ_4K;
	int i;

	if (!t)
		return -ENOMEM;
	if (level == PG_LEVEL_2M)
		e &= ~(u64)_PAGE_PSE;
	for (i = 0; i < PTRS_PER_PTE; i++)
		t[i] = e + i * step;
	WRITE_ONCE(*(u64 *)entry, __pa(t) | _KERNPG_TABLE);
	return 0;
}

static int split_direct_map(void)
{
	unsigned int level;
	u64 pa;
	int r;

	for (pa = 0; pa >> PAGE_SHIFT < rmp_size();) {
		pte_t *entry = lookup_address((unsigned long)__va(pa), &level);

		if (!entry || !(pte_val(*entry) & _PAGE_PRESENT)) {
			pa += SZ_2M - (pa & (SZ_2M - 1));
			continue;
		}
		if (level == PG_LEVEL_4K) {
			pa += SZ_2M - (pa & (SZ_2M - 1));
			continue;
		}
		r = split_entry(entry, level);
		if (r)
			return r;
	}
	return 0;
}

static void flush_one(void *address)
{
	asm volatile("invlpg (%0)" ::"r"(address) : "memory");
}

/* Global entries, too: a change of CR4.PGE (APM 5.5.2) */
static void flush_everywhere(void *unused)
{
	unsigned long cr4 = __read_cr4();

	asm volatile("mov %0, %%cr4" ::"r"(cr4 ^ X86_CR4_PGE) : "memory");
	asm volatile("mov %0, %%cr4" ::"r"(cr4) : "memory");
}

static int map_chunk(struct page **pages, unsigned long chunk)
{
	unsigned long first = chunk * CHUNK_PAGES, n;

	for (n = 0; n < CHUNK_PAGES && first + n < rmp_size(); n++)
		pages[n] = pfn_valid(first + n) ? pfn_to_page(first + n) : ZERO_PAGE(0);
	chunks[chunk] = vmap(pages, n, VM_MAP, PAGE_KERNEL);
	return chunks[chunk] ? 0 : -ENOMEM;
}

static int map_all_memory(void)
{
	struct page **pages = kvmalloc_array(CHUNK_PAGES, sizeof(*pages), GFP_KERNEL);
	unsigned long i;
	int r = 0;

	chunk_count = DIV_ROUND_UP(rmp_size(), CHUNK_PAGES);
	chunks = kcalloc(chunk_count, sizeof(*chunks), GFP_KERNEL);
	if (!pages || !chunks)
		r = -ENOMEM;
	for (i = 0; !r && i < chunk_count; i++)
		r = map_chunk(pages, i);
	kvfree(pages);
	return r;
}

/* ---- one page ---- */

/*
 * @pfn is, in the host's eyes, its own page, a page it can only read, or ciphertext. Other processors lose their old
 * translation before this returns.
 */
void host_view_set(u64 pfn, enum host_view view)
{
	void *address = __va(pfn << PAGE_SHIFT);
	unsigned int level;
	pte_t *entry;
	u64 e;

	if (!chunks)
		return;
	entry = lookup_address((unsigned long)address, &level);
	if (!entry || level != PG_LEVEL_4K)
		return;
	e = pte_val(*entry) & ~(PA_MASK | _PAGE_RW | _PAGE_DIRTY);
	if (view == HOST_CIPHERTEXT)
		e |= __pa(noise);
	else
		e |= pfn << PAGE_SHIFT;
	if (view == HOST_OWN)
		e |= _PAGE_RW | _PAGE_DIRTY;
	if (pte_val(*entry) == e)
		return;
	WRITE_ONCE(*(u64 *)entry, e);
	on_each_cpu(flush_one, address, 1);
}

/* ---- a host that tries: debugfs host_write takes a page's number and stores into that page as the kernel would ---- */

static ssize_t host_write(struct file *file, const char __user *from, size_t len, loff_t *at)
{
	unsigned long pfn;
	u64 *word, value = 0x4057;
	int r = kstrtoul_from_user(from, len, 16, &pfn);

	if (r)
		return r;
	if (pfn >= rmp_size() || !pfn_valid(pfn))
		return -ENXIO;
	word = __va(pfn << PAGE_SHIFT);
	__put_kernel_nofault(word, &value, u64, fault);
	return len;
fault:
	return -EFAULT;
}

static const struct file_operations host_write_fops = { .owner = THIS_MODULE, .write = host_write };

void host_view_files(struct dentry *directory)
{
	debugfs_create_file("host_write", 0200, directory, NULL, &host_write_fops);
}

int host_view_init(void)
{
	int r;

	if (!host_view)
		return 0;
	noise = (u8 *)__get_free_page(GFP_KERNEL);
	if (!noise)
		return -ENOMEM;
	get_random_bytes(noise, PAGE_SIZE);
	r = map_all_memory();
	if (!r)
		r = split_direct_map();
	on_each_cpu(flush_everywhere, NULL, 1);
	if (r)
		host_view_exit();
	return r;
}

/* The direct map stays split: nothing can tell. */
void host_view_exit(void)
{
	unsigned long i;

	for (i = 0; chunks && i < chunk_count; i++)
		vunmap(chunks[i]);
	kfree(chunks);
	chunks = NULL;
	free_page((unsigned long)noise);
}
