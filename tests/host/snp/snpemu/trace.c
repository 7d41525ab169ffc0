// SPDX-License-Identifier: GPL-2.0
/*
 * What the model can be seen doing: /sys/kernel/debug/snpemu/{counters,trace,rmp}, and with the module parameter trace the same
 * events in the kernel log. Levels: 1 firmware commands, #UD and accesses to pages that are not validated; 2 also RMP
 * changes, #VC and VMGEXIT; 3 also exits to KVM, PVALIDATE and RMPADJUST.
 */
#include <linux/module.h>
#include <linux/debugfs.h>
#include <linux/seq_file.h>
#include <linux/sched/clock.h>
#include <asm/page.h>
#include "snpemu.h"

#define EVENTS	2048
#define TEXT	200

int trace_level;
module_param_named(trace, trace_level, int, 0644);
MODULE_PARM_DESC(trace, "0 nothing, 1 firmware commands, 2 also #VC and VMGEXIT, 3 also exits");

atomic64_t counters[COUNTS];

static struct {
	u64 time;
	char text[TEXT];
} ring[EVENTS];
static unsigned long recorded;
static DEFINE_RAW_SPINLOCK(ring_lock);
static struct dentry *directory;

void trace_event(const char *fmt, ...)
{
	unsigned long flags;
	char text[TEXT];
	va_list args;

	va_start(args, fmt);
	vscnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	raw_spin_lock_irqsave(&ring_lock, flags);
	ring[recorded % EVENTS].time = local_clock();
	strscpy(ring[recorded % EVENTS].text, text, TEXT);
	recorded++;
	raw_spin_unlock_irqrestore(&ring_lock, flags);
	pr_info("snpemu: %s\n", text);
}

static int counters_show(struct seq_file *f, void *unused)
{
	static const char *const names[] = {
#define X(name) #name,
		COUNTERS(X)
#undef X
	};
	int i;

	for (i = 0; i < COUNTS; i++)
		seq_printf(f, "%s %lld\n", names[i], atomic64_read(&counters[i]));
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(counters);

static int trace_show(struct seq_file *f, void *unused)
{
	unsigned long i = recorded > EVENTS ? recorded - EVENTS : 0;

	for (; i < recorded; i++)
		seq_printf(f, "%12llu %s\n", ring[i % EVENTS].time, ring[i % EVENTS].text);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(trace);

static bool continues(const struct rmp_entry *a, const struct rmp_entry *b)
{
	return a->asid == b->asid && a->gpa + PAGE_SIZE == b->gpa && a->immutable == b->immutable &&
	       a->validated == b->validated && a->vmsa == b->vmsa && a->size_2m == b->size_2m &&
	       a->firmware == b->firmware && !memcmp(a->perms, b->perms, VMPLS);
}

/* Runs of assigned pages that belong together */
static int rmp_show(struct seq_file *f, void *unused)
{
	unsigned long pfn, n, total = rmp_size();

	seq_puts(f, "pfn pages asid gpa state permissions(VMPL0..3)\n");
	for (pfn = 0; pfn < total; pfn += n) {
		const struct rmp_entry *e = rmp_get(pfn);

		n = 1;
		if (!e->assigned)
			continue;
		while (pfn + n < total && rmp_get(pfn + n)->assigned &&
		       continues(rmp_get(pfn + n - 1), rmp_get(pfn + n)))
			n++;
		seq_printf(f, "%lx %lu %u %llx %s%s%s%s%s %x%x%x%x\n", pfn, n, e->asid, e->gpa,
			   e->firmware ? "firmware" : e->immutable ? "pre-guest" : "guest",
			   e->validated ? " valid" : "", e->vmsa ? " vmsa" : "", e->size_2m ? " 2M" : "",
			   e->mapped ? " mapped" : "", e->perms[0], e->perms[1], e->perms[2], e->perms[3]);
	}
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(rmp);

/* The model works without debugfs, too. */
int trace_files_init(void)
{
	directory = debugfs_create_dir("snpemu", NULL);
	debugfs_create_file("counters", 0400, directory, NULL, &counters_fops);
	debugfs_create_file("trace", 0400, directory, NULL, &trace_fops);
	debugfs_create_file("rmp", 0400, directory, NULL, &rmp_fops);
	host_view_files(directory);
	faults_files(directory);
	poke_files(directory);
	inject_files(directory);
	event_trials_files(directory);
	return 0;
}

void trace_files_exit(void)
{
	debugfs_remove(directory);
}
