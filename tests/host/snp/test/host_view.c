// SPDX-License-Identifier: GPL-2.0
/* What the host's kernel gets of a guest's pages: reads by /proc/kcore, writes by the model's host_write (APM 15.36.7). */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "vmm.h"

/* The page number of a guest's page, and of a page of the firmware when @gpa is -1; by the model's own table */
static uint64_t pfn_of(uint64_t gpa)
{
	FILE *f = fopen("/sys/kernel/debug/snpemu/rmp", "r");
	unsigned long pfn, pages, from;
	char line[256], state[32];
	unsigned int asid;

	must("rmp", f ? 0 : -1);
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx %lu %u %lx %31s", &pfn, &pages, &asid, &from, state) != 5)
			continue;
		if (gpa == -1ULL ? !strcmp(state, "firmware") : asid && gpa - from < pages * PAGE) {
			fclose(f);
			return pfn + (gpa == -1ULL ? 0 : (gpa - from) / PAGE);
		}
	}
	fclose(f);
	return must("a page in the RMP", -1);
}

static void host_reads(uint64_t pfn, uint8_t to[PAGE])
{
	int fd = must("/proc/kcore", open("/proc/kcore", O_RDONLY));
	Elf64_Ehdr h;
	Elf64_Phdr p;

	must("header", pread(fd, &h, sizeof(h), 0) == sizeof(h) ? 0 : -1);
	for (int i = 0; i < h.e_phnum; i++) {
		must("segment", pread(fd, &p, sizeof(p), h.e_phoff + i * sizeof(p)) == sizeof(p) ? 0 : -1);
		/* The kernel's own text is there once more, with an address that is no direct map's. */
		if (p.p_type != PT_LOAD || p.p_paddr == -1ULL || p.p_vaddr >= 0xffffffff80000000 || pfn * PAGE - p.p_paddr >= p.p_memsz)
			continue;
		must("memory", pread(fd, to, PAGE, p.p_offset + pfn * PAGE - p.p_paddr) == PAGE ? 0 : -1);
		close(fd);
		return;
	}
	must("a segment of /proc/kcore with the page", -1);
}

/* 0 or the error */
static int host_writes(uint64_t pfn)
{
	int fd = must("host_write", open("/sys/kernel/debug/snpemu/host_write", O_WRONLY));
	char text[32];
	int n = snprintf(text, sizeof(text), "%lx", (unsigned long)pfn);
	int r = write(fd, text, n) == n ? 0 : errno;

	close(fd);
	return r;
}

static uint64_t pfn_of_own(const void *address)
{
	int fd = must("pagemap", open("/proc/self/pagemap", O_RDONLY));
	uint64_t entry;

	must("entry", pread(fd, &entry, 8, (uintptr_t)address / PAGE * 8) == 8 ? 0 : -1);
	close(fd);
	return entry & ((1ULL << 55) - 1);
}

void test_host_view(void)
{
	static uint8_t page[PAGE], again[PAGE];
	uint64_t *shared, code;
	struct machine m;

	launch_guest(&m);
	code = pfn_of(CODE);
	host_reads(code, page);
	expect("APM 15.36.7", "host reads ciphertext of a private page", !!memcmp(page, image + CODE, PAGE), 1);
	expect("APM 15.36.7", "nothing of the text is in it", memmem(page, PAGE, "hello from", 10) != NULL, 0);
	expect("APM 15.36.7", "host writes a private page: fault", host_writes(code), EFAULT);
	host_reads(code, again);
	expect("APM 15.36.7", "which changes nothing", memcmp(page, again, PAGE), 0);
	expect("APM 15.36.7", "host writes a page of the firmware: fault", host_writes(pfn_of(-1)), EFAULT);

	shared = (uint64_t *)(m.ram + 0x63000);
	*shared = 1;
	host_reads(pfn_of_own(shared), page);
	expect("APM 15.36.7", "host reads a shared page as it is", *(uint64_t *)page, 1);
	expect("APM 15.36.7", "host writes a shared page", host_writes(pfn_of_own(shared)), 0);
	expect("APM 15.36.7", "and it is written", *shared, 0x4057);

	run_guest(&m, 0);
	check_log(&m, 0);
	destroy(&m);
}
