// SPDX-License-Identifier: GPL-2.0
/*
 * A VMM for the virtual SNP host that uses KVM's SNP interface and nothing else: an example, and a test of the platform's
 * semantics. vmm TEST...; each check prints a line, exit status 1 when one failed.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vmm.h"

enum fw_error { FW_POLICY = 7, FW_SIGNATURE = 10, FW_MEASUREMENT = 11, FW_PARAM = 22 };

extern uint8_t guest_start[], guest_end[], guest_vc[];

static int kvm, sev_fd;
static int failures;

void expect(const char *section, const char *what, uint64_t got, uint64_t want)
{
	printf("%s %s: %s", got == want ? "ok  " : "FAIL", section, what);
	if (got != want) {
		printf(" is %#llx instead of %#llx", (unsigned long long)got, (unsigned long long)want);
		failures++;
	}
	printf("\n");
}

long must(const char *what, long r)
{
	if (r >= 0)
		return r;
	printf("FAIL %s: %s\n", what, strerror(errno));
	exit(1);
}

/* Returns 0, or the firmware's error, or -1 for a refusal by KVM. */
static int sev(struct machine *m, uint32_t id, void *data)
{
	struct kvm_sev_cmd c = { .id = id, .data = (uint64_t)data, .sev_fd = sev_fd };

	if (!ioctl(m->vm, KVM_MEMORY_ENCRYPT_OP, &c))
		return 0;
	return c.error ? (int)c.error : -1;
}

void set_private(struct machine *m, uint64_t gpa, uint64_t len, int private)
{
	struct kvm_memory_attributes a = {
		.address = gpa, .size = len, .attributes = private ? KVM_MEMORY_ATTRIBUTE_PRIVATE : 0,
	};

	must("KVM_SET_MEMORY_ATTRIBUTES", ioctl(m->vm, KVM_SET_MEMORY_ATTRIBUTES, &a));
}

static void punch(struct machine *m, uint64_t gpa, uint64_t len)
{
	must("punch hole", fallocate(m->gmem, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, gpa, len));
}

struct machine create(void)
{
	struct machine m = { .vcpu = -1 };
	struct kvm_sev_init init = { 0 };
	struct kvm_enable_cap cap = { .cap = KVM_CAP_EXIT_HYPERCALL, .args = { 1 << 12 } };
	struct kvm_create_guest_memfd gmem = { .size = RAM };
	struct kvm_userspace_memory_region2 slot = { .flags = KVM_MEM_GUEST_MEMFD, .memory_size = RAM };

	m.vm = must("KVM_CREATE_VM type 4", ioctl(kvm, KVM_CREATE_VM, 4));
	must("SEV_INIT2", sev(&m, KVM_SEV_INIT2, &init) ? -1 : 0);
	must("KVM_ENABLE_CAP", ioctl(m.vm, KVM_ENABLE_CAP, &cap));
	m.gmem = must("KVM_CREATE_GUEST_MEMFD", ioctl(m.vm, KVM_CREATE_GUEST_MEMFD, &gmem));
	m.ram = mmap(0, RAM, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	slot.userspace_addr = (uint64_t)m.ram;
	slot.guest_memfd = m.gmem;
	must("KVM_SET_USER_MEMORY_REGION2", ioctl(m.vm, KVM_SET_USER_MEMORY_REGION2, &slot));
	set_private(&m, 0, RAM, 1);
	return m;
}

void destroy(struct machine *m)
{
	if (m->vcpu >= 0) {
		munmap(m->run, ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0));
		close(m->vcpu);
	}
	munmap(m->ram, RAM);
	close(m->gmem);
	close(m->vm);
}

int start(struct machine *m, uint64_t policy)
{
	struct kvm_sev_snp_launch_start s = { .policy = policy };

	return sev(m, KVM_SEV_SNP_LAUNCH_START, &s);
}

int update(struct machine *m, uint64_t gpa, void *source, uint64_t len, enum page_type type)
{
	struct kvm_sev_snp_launch_update u = {
		.gfn_start = gpa / PAGE, .uaddr = (uint64_t)source, .len = len, .type = type,
	};
	int r;

	do
		r = sev(m, KVM_SEV_SNP_LAUNCH_UPDATE, &u);
	while (!r && u.len);
	return r;
}

static int finish_signed(struct machine *m, void *id_block, void *id_auth, int author)
{
	struct kvm_sev_snp_launch_finish f = {
		.id_block_uaddr = (uint64_t)id_block, .id_auth_uaddr = (uint64_t)id_auth, .id_block_en = !!id_block,
		.auth_key_en = author,
	};

	f.host_data[0] = 0xa0;
	return sev(m, KVM_SEV_SNP_LAUNCH_FINISH, &f);
}

int finish(struct machine *m, void *id_block, void *id_auth)
{
	return finish_signed(m, id_block, id_auth, 0);
}

static uint8_t page[PAGE] __attribute__((aligned(PAGE)));
uint8_t image[0x20000] __attribute__((aligned(PAGE)));

static void test_launch(void)
{
	struct machine m = create();

	memset(page, 0, sizeof(page));
	expect("ABI 8.16", "launch start", start(&m, POLICY), 0);
	expect("ABI 8.17", "normal page", update(&m, 0x1000, page, PAGE, NORMAL), 0);
	expect("ABI 8.17", "zero page", update(&m, 0x2000, page, PAGE, ZERO), 0);
	expect("ABI 8.17", "unmeasured page", update(&m, 0x3000, page, PAGE, UNMEASURED), 0);
	expect("ABI 8.17", "secrets page", update(&m, 0x4000, page, PAGE, SECRETS), 0);
	expect("ABI 8.17", "CPUID page", update(&m, 0x5000, page, PAGE, CPUID), 0);
	expect("KVM", "second update of a page is refused", update(&m, 0x1000, page, PAGE, NORMAL), -1);
	expect("KVM", "VMSA page from user space is refused", update(&m, 0x6000, page, PAGE, 2), -1);
	expect("ABI 8.18", "launch finish", finish(&m, NULL, NULL), 0);
	expect("ABI 8.17", "no update after finish", !!update(&m, 0x7000, page, PAGE, NORMAL), 1);
	destroy(&m);
}

static void test_refusals(void)
{
	static uint8_t id_block[96], id_auth[PAGE];
	struct machine m = create();
	uint32_t *entry = (uint32_t *)(page + 16);

	expect("ABI 8.16", "policy of a newer ABI is refused", start(&m, POLICY | 2 << 8), FW_POLICY);
	expect("ABI 8.16", "launch start after a refusal", start(&m, POLICY), 0);
	memset(page, 0, sizeof(page));
	*(uint32_t *)page = 65;
	expect("ABI 8.17", "CPUID table of 65 entries is refused", update(&m, 0x5000, page, PAGE, CPUID), FW_PARAM);
	*(uint32_t *)page = 1;
	entry[0] = 1;
	entry[8] = 1u << 24; /* ECX: TSC_DEADLINE, which KVM emulates and the processor has not */
	expect("ABI 8.17", "feature the processor has not is refused", update(&m, 0x5000, page, PAGE, CPUID), FW_PARAM);
	expect("ABI 8.17", "and corrected in the source page", entry[8] & 1u << 24, 0);
	expect("ABI 8.17", "the corrected table is taken", update(&m, 0x5000, page, PAGE, CPUID), 0);
	id_block[80] = 1; /* version */
	*(uint64_t *)(id_block + 88) = POLICY;
	id_auth[0] = 1;
	expect("ABI 8.18", "ID block of another digest is refused", finish(&m, id_block, id_auth), FW_MEASUREMENT);
	*(uint64_t *)(id_block + 88) = POLICY | 1 << 19;
	expect("ABI 8.18", "ID block of another policy is refused", finish(&m, id_block, id_auth), FW_POLICY);
	expect("ABI 8.18", "launch finish after refusals", finish(&m, NULL, NULL), 0);
	destroy(&m);
}

static void read_file(const char *directory, const char *name, const char *kind, void *to, size_t len)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%s/%s.%s", directory, name, kind);
	fd = must(path, open(path, O_RDONLY));
	must(path, read(fd, to, len) == (ssize_t)len ? 0 : -1);
	close(fd);
}

/* ID blocks with real signatures, made by tests/snp_report.rs for a launch of one page of zeros at 0x1000 */
static void test_id_blocks(const char *directory)
{
	static const struct {
		const char *name;
		int author, want;
	} rows[] = {
		{ "good", 0, 0 }, { "author", 1, 0 },
		{ "bad-signature", 0, FW_SIGNATURE }, { "bad-author", 1, FW_SIGNATURE },
		{ "other-digest", 0, FW_MEASUREMENT }, { "other-policy", 0, FW_POLICY },
	};
	static uint8_t block[96], auth[PAGE];

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct machine m = create();

		read_file(directory, rows[i].name, "block", block, sizeof(block));
		read_file(directory, rows[i].name, "auth", auth, sizeof(auth));
		memset(page, 0, sizeof(page));
		must("launch start", -start(&m, POLICY));
		must("page", -update(&m, 0x1000, page, PAGE, NORMAL));
		expect("ABI 8.18 ID block", rows[i].name, finish_signed(&m, block, auth, rows[i].author), rows[i].want);
		destroy(&m);
	}
}

/* ---- the guest of guest.S ---- */

static void segment(struct kvm_segment *s, int selector, int type, int l)
{
	*s = (struct kvm_segment){
		.selector = selector, .type = type, .s = 1, .present = 1, .limit = 0xffffffff, .g = 1, .l = l, .db = !l,
	};
}

void build_image(void)
{
	uint64_t *pml4 = (uint64_t *)(image + 0x1000), *pdpt = (uint64_t *)(image + 0x2000);
	uint64_t *pd = (uint64_t *)(image + 0x3000), *pt = (uint64_t *)(image + 0x4000);
	uint64_t *idt = (uint64_t *)(image + 0x5000), *gdt = (uint64_t *)(image + 0x6000);
	uint64_t handler = 0x10000 + (guest_vc - guest_start);

	pml4[0] = 0x2003 | C_BIT;
	pdpt[0] = 0x3003 | C_BIT;
	pdpt[3] = 0xc0000083;
	pd[0] = 0x4003 | C_BIT;
	for (uint64_t i = 1; i < 8; i++)
		pd[i] = i << 21 | 0x83 | C_BIT;
	for (uint64_t i = 0; i < 512; i++)
		pt[i] = i << 12 | 3 | (i == 0x60 || i == 0x61 ? 0 : C_BIT);
	idt[58] = (handler & 0xffff) | 8 << 16 | 0x8eULL << 40 | (handler >> 16 & 0xffff) << 48;
	gdt[1] = 0x00af9b000000ffff;
	gdt[2] = 0x00cf93000000ffff;
	memcpy(image + 0x10000, guest_start, guest_end - guest_start);
}

int create_vcpu(struct machine *m, int id, struct kvm_run **run)
{
	struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 entry[128];
	} cpuid = { .head.nent = 128 };
	struct kvm_regs regs = { .rip = 0x10000, .rsp = 0x20000, .rflags = 2 };
	struct kvm_sregs s;
	int c_bit = 0, vcpu = must("KVM_CREATE_VCPU", ioctl(m->vm, KVM_CREATE_VCPU, id));

	*run = mmap(0, ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	must("KVM_GET_SUPPORTED_CPUID", ioctl(kvm, KVM_GET_SUPPORTED_CPUID, &cpuid));
	for (uint32_t i = 0; i < cpuid.head.nent; i++)
		if (cpuid.entry[i].function == 0x8000001f)
			c_bit = cpuid.entry[i].ebx & 0x3f;
	expect("CPUID", "C-bit in the supported CPUID", c_bit, 39);
	must("KVM_SET_CPUID2", ioctl(vcpu, KVM_SET_CPUID2, &cpuid));
	must("KVM_GET_SREGS", ioctl(vcpu, KVM_GET_SREGS, &s));
	segment(&s.cs, 8, 0xb, 1);
	segment(&s.ds, 16, 3, 0);
	s.es = s.ss = s.fs = s.gs = s.ds;
	s.cr0 = 0x80010031;
	s.cr4 = 0x620;
	s.efer = 0xd00;
	s.cr3 = 0x1000 | C_BIT;
	s.gdt.base = 0x6000;
	s.gdt.limit = 23;
	s.idt.base = 0x5000;
	s.idt.limit = 0xfff;
	must("KVM_SET_SREGS", ioctl(vcpu, KVM_SET_SREGS, &s));
	must("KVM_SET_REGS", ioctl(vcpu, KVM_SET_REGS, &regs));
	return vcpu;
}

void launch_guest(struct machine *m)
{
	*m = create();
	set_private(m, 0x60000, 0x2000, 0);
	must("KVM_CREATE_IRQCHIP", ioctl(m->vm, KVM_CREATE_IRQCHIP, 0));
	m->vcpu = create_vcpu(m, 0, &m->run);
	build_image();
	must("launch start", -start(m, POLICY));
	must("image", -update(m, 0x1000, image + 0x1000, 0x6000, NORMAL));
	must("secrets", -update(m, 0x8000, page, PAGE, SECRETS));
	memset(page, 0, sizeof(page));
	*(uint32_t *)page = 1;
	*(uint32_t *)(page + 16) = 0x80000000;
	*(uint32_t *)(page + 16 + 24) = 0x80000021;
	must("CPUID", -update(m, 0x9000, page, PAGE, CPUID));
	must("code", -update(m, 0x10000, image + 0x10000, 0x1000, NORMAL));
	must("stack", -update(m, 0x1f000, image + 0x1f000, 0x1000, ZERO));
	must("launch finish", -finish(m, NULL, NULL));
}

/* The guest asks for a page's other state. An evil host replaces another page meanwhile. */
static void page_state_change(struct machine *m, int evil)
{
	uint64_t gpa = m->run->hypercall.args[0], len = m->run->hypercall.args[1] * PAGE;
	int private = !!(m->run->hypercall.args[2] & 16);

	expect("GHCB 2.3.1", "page of the request", gpa, 0x71000);
	expect("GHCB 2.3.1", "length of the request", len, PAGE);
	set_private(m, gpa, len, private);
	if (private) {
		expect("APM 15.36", "host reads what the guest wrote shared", *(uint64_t *)(m->ram + gpa), 0x5ade5ade5ade5ade);
	} else {
		punch(m, gpa, len);
		*(uint64_t *)(m->ram + gpa + 8) = 0x4057;
	}
	if (evil)
		punch(m, 0x70000, PAGE);
	m->run->hypercall.ret = 0;
}

void run_guest(struct machine *m, int evil)
{
	char text[64] = "";
	size_t n = 0;

	for (int i = 0; i < 400; i++) {
		must("KVM_RUN", ioctl(m->vcpu, KVM_RUN, 0));
		switch (m->run->exit_reason) {
		case KVM_EXIT_IO:
			if (m->run->io.port == 0x3f8 && n < sizeof(text) - 1)
				text[n++] = *((char *)m->run + m->run->io.data_offset);
			continue;
		case KVM_EXIT_HYPERCALL:
			page_state_change(m, evil);
			evil = 0;
			continue;
		case KVM_EXIT_SYSTEM_EVENT:
			expect("GHCB 2.3.1", "termination is a SEV_TERM event", m->run->system_event.type, 6);
			expect("GHCB 2.3.1", "termination code", m->run->system_event.data[0], 0x421100);
			expect("GHCB 4.1.2", "port output", strcmp(text, "hello from an SNP guest\n"), 0);
			return;
		}
		printf("FAIL exit %u\n", m->run->exit_reason);
		failures++;
		return;
	}
	expect("KVM", "the guest ends", 0, 1);
}

void check_log(struct machine *m, int evil)
{
	static const struct {
		int slot;
		const char *section, *what;
		uint64_t want;
	} rows[] = {
		{ 0, "APM 15.34.10", "SEV_STATUS", 7 },
		{ 1, "GHCB 2.3.1", "SEV_INFO: protocols 1 to 2, C-bit 39", 0x0002000127000001 },
		{ 2, "GHCB 2.3.1", "hypervisor features: SNP, AP creation", 0x3081 },
		{ 4, "GHCB 2.3.1", "CPUID by MSR", 0x80000021 },
		{ 5, "APM 3 PVALIDATE", "first validation", 0 },
		{ 6, "APM 3 PVALIDATE", "second validation sets CF", 1ULL << 32 },
		{ 7, "APM 15.36.10", "private page holds what is written", 0x1122334455667788 },
		{ 8, "APM 3 PVALIDATE", "launched page is valid already", 1ULL << 32 },
		{ 9, "APM 3 RMPADJUST", "permissions of VMPL1", 0 },
		{ 10, "APM 3 PVALIDATE", "2 MiB of 4 KiB pages", 6 },
		{ 11, "GHCB 2.3.1", "GHCB page is registered", 0x60013 },
		{ 12, "APM 15.35.2", "XMM register survives exits", 0xdeadbeefcafef00d },
		{ 13, "APM 3 PVALIDATE", "rescission", 0 },
		{ 14, "GHCB 2.3.1", "page state change to shared", 0x15 },
		{ 15, "APM 15.36.10", "guest reads what the host wrote", 0x4057 },
		{ 16, "GHCB 2.3.1", "page state change to private", 0x15 },
		{ 17, "APM 3 PVALIDATE", "validation after the change", 0 },
		{ 20, "ABI 8.17", "count of the CPUID page", 1 },
		{ 21, "ABI 8.17", "version of the secrets page", 3 },
		{ 32, "APM 15.35.5", "#VC for CPUID", 0x72 },
		{ 33, "APM 15.35.5", "#VC for emulated MMIO", 0x400 },
		{ 34, "APM 15.36.6", "#VC for a page not validated", 0x404 },
	};
	uint64_t *log = (uint64_t *)(m->ram + LOG);

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		expect(rows[i].section, rows[i].what, log[rows[i].slot], rows[i].want);
	/* Ciphertext, not what it was: neither the guest's old text nor zeros */
	expect("APM 15.34", "old shared content is not read as private",
	       log[18] == 0 || log[18] == 0x5ade5ade5ade5ade || log[18] == 0x5ec2e7, 0);
	expect("APM 15.36.6", evil ? "replaced page raises #VC" : "page is as the guest left it", log[35], evil ? 0x404 : 0);
	expect("APM 15.36.6", "and is not read", log[22], evil ? 0 : 0x1122334455667788);
}

static void test_guest(int evil)
{
	struct machine m;

	launch_guest(&m);
	run_guest(&m, evil);
	check_log(&m, evil);
	destroy(&m);
}

/* More launches than there are ASIDs and firmware contexts */
static void test_cycles(int n)
{
	for (int i = 0; i < n; i++) {
		struct machine m = create();

		if (start(&m, POLICY) || update(&m, 0x1000, image, PAGE, NORMAL) || finish(&m, NULL, NULL)) {
			printf("FAIL ABI 8.6: launch %d after as many decommissions\n", i);
			exit(1);
		}
		destroy(&m);
	}
	expect("ABI 8.6", "launches and decommissions", n, n);
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	kvm = must("/dev/kvm", open("/dev/kvm", O_RDWR | O_CLOEXEC));
	sev_fd = must("/dev/sev", open("/dev/sev", O_RDWR | O_CLOEXEC));
	expect("KVM", "VM type 4 is offered", ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_VM_TYPES) >> 4 & 1, 1);
	for (int i = 1; i < argc; i++) {
		printf("== %s\n", argv[i]);
		if (!strcmp(argv[i], "launch"))
			test_launch();
		else if (!strcmp(argv[i], "refusals"))
			test_refusals();
		else if (!strcmp(argv[i], "guest") || !strcmp(argv[i], "evil"))
			test_guest(argv[i][0] == 'e');
		else if (!strcmp(argv[i], "host-view"))
			test_host_view();
		else if (!strcmp(argv[i], "vmpl"))
			test_vmpl();
		else if (!strncmp(argv[i], "id=", 3))
			test_id_blocks(argv[i] + 3);
		else if (!strncmp(argv[i], "cycles=", 7))
			test_cycles(atoi(argv[i] + 7));
		else
			must(argv[i], -1);
	}
	return failures != 0;
}
