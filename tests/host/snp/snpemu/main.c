// SPDX-License-Identifier: GPL-2.0
/* Loading the model. It stays loaded: kvm-amd depends on it, and capability bits are not taken back. */
#include <linux/module.h>
#include <linux/preempt.h>
#include "snpemu.h"

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("MODEL of an SEV-SNP processor and its firmware; no security whatsoever");

static int __init snpemu_init(void)
{
	int r = xsave_init();

	if (!r)
		r = rmp_init();
	if (r)
		return r;
	r = host_view_init();
	if (r)
		goto no_view;
	r = shadow_init();
	if (r)
		goto no_shadow;
	r = faults_init();
	if (!r)
		r = event_trials_init();
	if (r)
		goto no_device;
	r = sev_dev_init();
	if (r)
		goto no_device;
	r = firmware_init();
	if (r) {
		sev_dev_exit();
		goto no_device;
	}
	trace_files_init();
	cpu_capabilities_init();
	/*
	 * KVM's preemption notifiers switch a static key at the first and the last vCPU: the kernel patches its scheduler while
	 * it runs. The emulator below, with several processors, may still execute the breakpoint of a patch that is over, which
	 * the kernel takes for a bug. One user more, and the key is never switched.
	 */
	preempt_notifier_inc();
	pr_info("snpemu: MODEL of an SNP platform, C-bit %d, RMP of %lu entries\n", C_BIT, rmp_size());
	return 0;

no_device:
	event_trials_exit();
	shadow_exit();
no_shadow:
	host_view_exit();
no_view:
	rmp_exit();
	return r;
}

static void __exit snpemu_exit(void)
{
	preempt_notifier_dec();
	trace_files_exit();
	firmware_exit();
	sev_dev_exit();
	event_trials_exit();
	shadow_exit();
	host_view_exit();
	rmp_exit();
}

module_init(snpemu_init);
module_exit(snpemu_exit);
