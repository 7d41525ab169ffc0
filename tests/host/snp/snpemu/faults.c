// SPDX-License-Identifier: GPL-2.0
/*
 * A host that misbehaves, for tests of guest code. Module parameter faults=NAME:N[+],..., or the same written to debugfs: the
 * fault happens at the Nth occasion (from 1), with + from then on. What an occasion is stands beside each name in snpemu.h.
 */
#include <linux/module.h>
#include <linux/debugfs.h>
#include <linux/string.h>
#include <linux/uaccess.h>
#include "snpemu.h"

static char *faults;
module_param(faults, charp, 0444);
MODULE_PARM_DESC(faults, "NAME:N[+],... misbehaviour of the host at its Nth occasion, + from then on");

static const char *const names[FAULTS] = {
	[FAULT_PSC_DROP] = "psc-drop",
	[FAULT_PSC_SHARED_DROP] = "psc-shared-drop",
	[FAULT_PSC_REPEAT] = "psc-repeat",
	[FAULT_PSC_REORDER] = "psc-reorder",
	[FAULT_PSC_LIE] = "psc-lie",
	[FAULT_REMAP] = "remap",
	[FAULT_ALIAS] = "alias",
	[FAULT_REPLAY] = "replay",
	[FAULT_CPUID_PAGE] = "cpuid-page",
	[FAULT_GHCB] = "ghcb",
	[FAULT_GHCB_LATE] = "ghcb-late",
	[FAULT_GHCB_MSR] = "ghcb-msr",
	[FAULT_FW_FAIL] = "fw-fail",
	[FAULT_FW_DELAY] = "fw-delay",
	[FAULT_INJECT] = "inject",
	[FAULT_AP_RUN] = "ap-run",
	[FAULT_POKE] = "poke",
	[FAULT_POKE_DURING] = "poke-during",
	[FAULT_POKE_LATE] = "poke-late",
};

static struct {
	long at;	/* 0: never */
	bool always;
	atomic_long_t seen;
} plan[FAULTS];
static bool any;

static int plan_one(char *spec)
{
	char *number = strchr(spec, ':'), *end;
	int f;

	if (number)
		*number++ = 0;
	for (f = 1; f < FAULTS; f++)
		if (!strcmp(spec, names[f]))
			break;
	if (f == FAULTS) {
		pr_err("snpemu: no fault has the name \"%s\"\n", spec);
		return -EINVAL;
	}
	plan[f].at = 1;
	if (number) {
		plan[f].at = simple_strtoul(number, &end, 10);
		plan[f].always = *end == '+';
		if (plan[f].at < 1 || end[plan[f].always]) {
			pr_err("snpemu: fault %s: \"%s\" is not a number from 1 on\n", spec, number);
			return -EINVAL;
		}
	}
	any = true;
	return 0;
}

static int plan_all(char *list)
{
	char *spec;
	int r = 0;

	memset(plan, 0, sizeof(plan));
	any = false;
	while (!r && (spec = strsep(&list, ",")))
		if (*spec)
			r = plan_one(spec);
	return r;
}

int faults_init(void)
{
	return plan_all(faults);
}

/* The same while the host runs: what is written replaces the plan, and occasions are counted from 1 again. */
static ssize_t faults_write(struct file *f, const char __user *from, size_t len, loff_t *at)
{
	char list[256];
	int r;

	if (len >= sizeof(list) || copy_from_user(list, from, len))
		return -EINVAL;
	list[len] = 0;
	r = plan_all(strim(list));
	return r ?: len;
}

static const struct file_operations faults_fops = { .owner = THIS_MODULE, .write = faults_write };

void faults_files(struct dentry *directory)
{
	debugfs_create_file("faults", 0200, directory, NULL, &faults_fops);
}

bool fault_due(enum fault f)
{
	long n;

	if (likely(!any) || !plan[f].at)
		return false;
	n = atomic_long_inc_return(&plan[f].seen);
	if (n != plan[f].at && !(plan[f].always && n > plan[f].at))
		return false;
	count(fault_injected);
	if (n == plan[f].at) /* what happens again and again is said once */
		trace_event("FAULT %s at occasion %ld", names[f], n);
	return true;
}

/* Whether the fault is planned at all: once, or @always from some occasion on */
bool fault_planned(enum fault f, bool always)
{
	return any && plan[f].at && plan[f].always == always;
}

/* Every byte changes. */
void fault_shared_page(u64 pa, size_t len)
{
	u8 *p = __va(pa);
	size_t i;

	for (i = 0; i < len; i++)
		p[i] ^= 0x5a;
}
