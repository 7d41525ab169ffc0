// SPDX-License-Identifier: GPL-2.0
/*
 * The faults poke, poke-during and poke-late: the host writes other bytes into a shared page before the guest first looks at it,
 * while its first instruction on it is at work, or once it has read it. Where and what is written to debugfs as "GPA BYTES",
 * both hexadecimal. An occasion is a guest that looks at the page.
 */
#include <linux/kvm_host.h>
#include <linux/debugfs.h>
#include <linux/hex.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <asm/svm.h>
#include <asm/trapnr.h>
#include "svm.h"
#include "snpemu.h"

enum { UNREAD, STEPPING, WAS_READ, CHANGED, OVER };

static struct {
	u64 gpa, pfn, rip;
	unsigned int len;
	int state;
	u8 bytes[PAGE_SIZE];
} poke;

static void change(const char *when)
{
	memcpy(__va(poke.pfn << PAGE_SHIFT) + offset_in_page(poke.gpa), poke.bytes, poke.len);
	trace_event("poke: %u bytes at %llx changed %s", poke.len, poke.gpa, when);
}

void poke_new_guest(void)
{
	poke.state = UNREAD;
}

/* Before a nested page fault maps the shared page @pfn at @gpa */
void poke_access(struct world *w, u64 gpa, u64 pfn)
{
	if (likely(!poke.len) || (gpa & PA_MASK & ~C_MASK) != (poke.gpa & PAGE_MASK))
		return;
	poke.pfn = pfn;
	if (poke.state == CHANGED)
		trace_event("poke: the guest looks again, at rip %llx", w->vmcb->save.rip);
	if (poke.state != UNREAD)
		return;
	poke.state = OVER;
	poke.rip = w->vmcb->save.rip;
	if (fault_due(FAULT_POKE)) {
		change("before the guest looked");
	} else if (fault_due(FAULT_POKE_DURING)) {
		single_step(w, true);
		poke.state = STEPPING;
	} else if (fault_due(FAULT_POKE_LATE)) {
		poke.state = WAS_READ;
	}
}

bool poke_stepped(struct world *w)
{
	if (poke.state != STEPPING)
		return false;
	single_step(w, false);
	change("while the guest read it");
	poke.state = OVER;
	return true;
}

/* The guest has left: when another instruction is at work now, it has read. */
void poke_exit(struct world *w)
{
	if (likely(poke.state != WAS_READ) || w->vmcb->save.rip == poke.rip)
		return;
	change("after the guest had read it");
	shadow_unmap(w->shadow, poke.gpa & PAGE_MASK);
	poke.state = CHANGED;
}

/* The world switch ends in the midst of the step: the next access is the first one, once more. */
void poke_leave(struct world *w)
{
	if (likely(poke.state != STEPPING))
		return;
	single_step(w, false);
	change("while the guest read it");
	poke.state = OVER;
}

static ssize_t poke_write(struct file *f, const char __user *from, size_t len, loff_t *at)
{
	char *text = memdup_user_nul(from, min_t(size_t, len, 3 * PAGE_SIZE)), *hex, *digits;
	unsigned int n;
	u64 gpa;
	int r = -EINVAL;

	if (IS_ERR(text))
		return PTR_ERR(text);
	digits = strim(text);
	hex = strchr(digits, ' ');
	if (!hex)
		goto out;
	*hex++ = 0;
	n = strlen(hex) / 2;
	if (kstrtou64(digits, 16, &gpa) || n > PAGE_SIZE - offset_in_page(gpa))
		goto out;
	poke.len = 0;
	r = hex2bin(poke.bytes, hex, n);
	if (r)
		goto out;
	poke.gpa = gpa;
	poke.state = UNREAD;
	poke.len = n;
out:
	kfree(text);
	return r ?: len;
}

static const struct file_operations poke_fops = { .owner = THIS_MODULE, .write = poke_write };

void poke_files(struct dentry *directory)
{
	debugfs_create_file("poke", 0200, directory, NULL, &poke_fops);
}
