/* SPDX-License-Identifier: GPL-2.0 */
/* What the test VMM's files share. */
#ifndef VMM_H
#define VMM_H

#include <linux/kvm.h>
#include <stddef.h>
#include <stdint.h>

#define C_BIT	(1ULL << 39)
#define PAGE	4096
#define RAM	(16 << 20)
#define POLICY	0x30000ULL
#define LOG	0x61000
#define CODE	0x10000

enum page_type { NORMAL = 1, ZERO = 3, UNMEASURED = 4, SECRETS = 5, CPUID = 6 };

struct machine {
	int vm, gmem, vcpu;
	uint8_t *ram;	/* what is shared of the guest's memory */
	struct kvm_run *run;
};

extern uint8_t image[0x20000];	/* page tables, IDT, GDT and code as they are launched */

/* One line of output; what differs is counted. */
void expect(const char *section, const char *what, uint64_t got, uint64_t want);
long must(const char *what, long r);

struct machine create(void);
void destroy(struct machine *m);
void set_private(struct machine *m, uint64_t gpa, uint64_t len, int private);
int create_vcpu(struct machine *m, int id, struct kvm_run **run);
void build_image(void);
int start(struct machine *m, uint64_t policy);
int update(struct machine *m, uint64_t gpa, void *source, uint64_t len, enum page_type type);
int finish(struct machine *m, void *id_block, void *id_auth);

/* The guest of guest.S */
void launch_guest(struct machine *m);
void run_guest(struct machine *m, int evil);
void check_log(struct machine *m, int evil);

void test_host_view(void);	/* host_view.c */
void test_vmpl(void);		/* vmpl.c */

#endif
