// SPDX-License-Identifier: GPL-2.0
/* A vCPU at VMPL1: what it may and may not (APM 15.36.7, RMPADJUST and PVALIDATE of volume 3). The guest is vmpl.S. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include "vmm.h"

#define VMSA		0x80000
#define DATA		0x81000
#define STACK		0x82000
#define FUNCTION	0x85000

extern uint8_t vmpl_start[], vmpl_end[], vmpl_second[];

static uint8_t page[PAGE] __attribute__((aligned(PAGE)));
static atomic_int ended;

static void put(unsigned int at, uint64_t value, int size)
{
	memcpy(page + at, &value, size);
}

/* Selector, attributes, limit, base, as in the VMSA (APM 2, table B-4) */
static void put_segment(unsigned int at, uint64_t selector, uint64_t attributes, uint64_t limit, uint64_t base)
{
	put(at, selector, 2);
	put(at + 2, attributes, 2);
	put(at + 4, limit, 4);
	put(at + 8, base, 8);
}

/* The second vCPU's state: 64-bit mode as the first has it, at VMPL1 */
static void build_vmsa(void)
{
	memset(page, 0, PAGE);
	for (unsigned int at = 0; at < 0x60; at += 0x10) /* ES, CS, SS, DS, FS, GS */
		put_segment(at, at == 0x10 ? 8 : 16, at == 0x10 ? 0xa9b : 0xc93, 0xffffffff, 0);
	put_segment(0x60, 0, 0, 23, 0x6000);	/* GDTR */
	put_segment(0x70, 0, 0x82, 0xffff, 0);	/* LDTR */
	put_segment(0x80, 0, 0, 0xfff, 0x5000);	/* IDTR */
	put_segment(0x90, 0, 0x8b, 0xffff, 0);	/* TR */
	put(0xca, 1, 1);			/* VMPL */
	put(0xd0, 0x1d00, 8);			/* EFER */
	put(0x148, 0x620, 8);			/* CR4 */
	put(0x150, 0x1000 | C_BIT, 8);		/* CR3 */
	put(0x158, 0x80010031, 8);		/* CR0 */
	put(0x160, 0x400, 8);			/* DR7 */
	put(0x168, 0xffff0ff0, 8);		/* DR6 */
	put(0x170, 2, 8);			/* RFLAGS */
	put(0x178, CODE + (vmpl_second - vmpl_start), 8);
	put(0x1d8, STACK + PAGE, 8);		/* RSP */
	put(0x268, 0x0007040600070406, 8);	/* PAT */
	put(0x3b0, 1, 8);			/* SEV_FEATURES: SNP */
	put(0x3e8, 1, 8);			/* XCR0 */
	put(0x408, 0x1f80, 4);			/* MXCSR */
	put(0x410, 0x37f, 2);			/* x87 control word */
}

static void launch(struct machine *m, struct kvm_run **second_run, int *second)
{
	*m = create();
	set_private(m, 0x60000, 0x2000, 0);
	must("KVM_CREATE_IRQCHIP", ioctl(m->vm, KVM_CREATE_IRQCHIP, 0));
	m->vcpu = create_vcpu(m, 0, &m->run);
	*second = create_vcpu(m, 1, second_run);
	build_image();
	memset(image + CODE, 0, PAGE);
	memcpy(image + CODE, vmpl_start, vmpl_end - vmpl_start);
	must("launch start", -start(m, POLICY));
	must("image", -update(m, 0x1000, image + 0x1000, 0x6000, NORMAL));
	must("code", -update(m, CODE, image + CODE, PAGE, NORMAL));
	must("stack", -update(m, 0x1f000, image + 0x1f000, PAGE, ZERO));
	must("data", -update(m, DATA, image + 0x1f000, PAGE, ZERO));
	must("second stack", -update(m, STACK, image + 0x1f000, PAGE, ZERO));
	build_vmsa();
	must("VMSA", -update(m, VMSA, page, PAGE, NORMAL));
	memset(page, 0xc3, PAGE); /* RET */
	must("function", -update(m, FUNCTION, page, PAGE, NORMAL));
	must("launch finish", -finish(m, NULL, NULL));
}

static void on_signal(int number)
{
}

/* The second vCPU waits to be created, and for permissions, in here. A signal gets it out of there at the end. */
static void *run_second(void *vcpu)
{
	while (!ended)
		if (ioctl(*(int *)vcpu, KVM_RUN, 0) < 0 && errno != EINTR && errno != EAGAIN)
			break;
	return NULL;
}

static void check(const uint64_t *log)
{
	static const struct {
		int slot;
		const char *section, *what;
		uint64_t want;
	} rows[] = {
		{ 0, "APM 3 RMPADJUST", "permission to read, for VMPL1", 0 },
		{ 1, "APM 3 RMPADJUST", "a page becomes a VMSA", 0 },
		{ 6, "GHCB 4.1.9", "AP creation at VMPL1", 0 },
		{ 16, "APM 15.36.7", "VMPL1 reads", 0x1234 },
		{ 17, "APM 3 PVALIDATE", "VMPL1 does not validate", 2 },
		{ 18, "APM 3 RMPADJUST", "VMPL1 does not adjust VMPL1", 2 },
		{ 19, "APM 3 RMPADJUST", "VMPL1 gives no more than it has", 2 },
		{ 20, "APM 3 RMPADJUST", "VMPL1 gives what it has to VMPL2", 0 },
		{ 2, "APM 15.36.7", "VMPL1 waits at a write without permission", 1 },
		{ 3, "APM 15.36.7", "which changes nothing", 0x1234 },
		{ 4, "APM 15.36.7", "with permission it writes", 0x5678 },
		{ 5, "APM 15.36.7", "VMPL1 waits at a call without permission to execute", 2 },
		{ 21, "APM 15.36.7", "with permission it executes", FUNCTION },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		expect(rows[i].section, rows[i].what, log[rows[i].slot], rows[i].want);
}

void test_vmpl(void)
{
	struct kvm_run *second_run;
	struct machine m;
	pthread_t thread;
	int second;

	launch(&m, &second_run, &second);
	/* With an interrupt controller in the kernel it would wait for INIT, which SNP guests do not send. */
	must("KVM_SET_MP_STATE", ioctl(second, KVM_SET_MP_STATE, &(struct kvm_mp_state){ KVM_MP_STATE_HALTED }));
	signal(SIGUSR1, on_signal);
	ended = 0;
	must("thread", -pthread_create(&thread, NULL, run_second, &second));
	must("KVM_RUN", ioctl(m.vcpu, KVM_RUN, 0));
	expect("GHCB 2.3.1", "the guest comes to its end", m.run->exit_reason, KVM_EXIT_SYSTEM_EVENT);
	check((uint64_t *)(m.ram + LOG));
	ended = 1;
	pthread_kill(thread, SIGUSR1);
	must("end of the second vCPU", -pthread_join(thread, NULL));
	close(second);
	destroy(&m);
}
