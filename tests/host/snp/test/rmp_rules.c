// SPDX-License-Identifier: GPL-2.0
/* Tables of what accesses, PVALIDATE and RMPADJUST do, against snpemu/rmp_rules.c. One line per failure; exit status 1 then. */
#include <stdio.h>
#include "../snpemu/rmp_rules.c"

#define GPA	0x7654000ULL
#define ASID	5

static int failures;

static void check(const char *section, const char *what, long long got, long long want)
{
	if (got == want)
		return;
	printf("FAIL %s, %s: %#llx instead of %#llx\n", section, what, got, want);
	failures++;
}


/* The valid entry with changes, as a compound literal */
#define ENTRY(...) ((struct rmp_entry){ .gpa = GPA, .asid = ASID, .assigned = 1, .validated = 1,                      \
	.perms = { PERM_ALL, PERM_READ, PERM_READ | PERM_WRITE, 0 }, ##__VA_ARGS__ })
#define SHARED ((struct rmp_entry){ 0 })

static void accesses(void)
{
	static const struct {
		const char *section, *what;
		struct rmp_entry entry;
		bool private;
		u8 vmpl, cpl;
		enum access access;
		int level;
		u64 gpa, want;
	} rows[] = {
		{ "APM 15.36.10", "private read of own page", ENTRY(), true, 0, 0, ACCESS_READ, 1, GPA, 0 },
		{ "APM 15.36.10", "private write of own page", ENTRY(), true, 0, 3, ACCESS_WRITE, 1, GPA + 8, 0 },
		{ "APM 15.36.10", "fetch from own page", ENTRY(), true, 0, 3, ACCESS_FETCH, 1, GPA, 0 },
		{ "APM 15.36.10", "shared access to a hypervisor page", SHARED, false, 0, 0, ACCESS_WRITE, 1, GPA, 0 },
		{ "APM 15.36.10", "shared access to an assigned page", ENTRY(), false, 0, 0, ACCESS_READ, 1, GPA, NPF_RMP },
		{ "APM 15.36.10", "private access to a hypervisor page", SHARED, true, 0, 0, ACCESS_READ, 1, GPA, NPF_RMP },
		{ "APM 15.36.10", "another guest's page", ENTRY(.asid = 6), true, 0, 0, ACCESS_READ, 1, GPA, NPF_RMP },
		{ "APM 15.36.10", "own page at a second address (alias)", ENTRY(), true, 0, 0, ACCESS_READ, 1, GPA + 4096, NPF_RMP },
		{ "APM 15.36.5", "page in the hands of the firmware", ENTRY(.immutable = 1), true, 0, 0, ACCESS_READ, 1, GPA, NPF_RMP },
		{ "APM 15.36.5", "guest context page", ENTRY(.firmware = 1), true, 0, 0, ACCESS_READ, 1, GPA, NPF_RMP },
		{ "APM 15.36.6", "assigned, not validated", ENTRY(.validated = 0), true, 0, 0, ACCESS_READ, 1, GPA, RMP_NOT_VALIDATED },
		{ "APM 15.36.12", "write to a VMSA page", ENTRY(.vmsa = 1), true, 0, 0, ACCESS_WRITE, 1, GPA, NPF_RMP },
		{ "APM 15.36.12", "read of a VMSA page", ENTRY(.vmsa = 1), true, 0, 0, ACCESS_READ, 1, GPA, 0 },
		{ "APM 15.36.7", "VMPL1 reads what it may read", ENTRY(), true, 1, 0, ACCESS_READ, 1, GPA, 0 },
		{ "APM 15.36.7", "VMPL1 writes what it may read", ENTRY(), true, 1, 0, ACCESS_WRITE, 1, GPA, NPF_RMP | NPF_VMPL },
		{ "APM 15.36.7", "VMPL2 writes what it may write", ENTRY(), true, 2, 0, ACCESS_WRITE, 1, GPA, 0 },
		{ "APM 15.36.7", "VMPL2 fetches without execute", ENTRY(), true, 2, 0, ACCESS_FETCH, 1, GPA, NPF_RMP | NPF_VMPL },
		{ "APM 15.36.7", "VMPL3 reads without permission", ENTRY(), true, 3, 0, ACCESS_READ, 1, GPA, NPF_RMP | NPF_VMPL },
		{ "APM 15.36.7", "user fetch with supervisor-execute only",
		  ENTRY(.perms = { PERM_ALL, PERM_READ | PERM_SUPER_EXEC }), true, 1, 3, ACCESS_FETCH, 1, GPA, NPF_RMP | NPF_VMPL },
		{ "APM 15.36.7", "supervisor fetch with supervisor-execute only",
		  ENTRY(.perms = { PERM_ALL, PERM_READ | PERM_SUPER_EXEC }), true, 1, 0, ACCESS_FETCH, 1, GPA, 0 },
		{ "APM 15.36.11", "2M entry under a 4K nested mapping", ENTRY(.size_2m = 1), true, 0, 0, ACCESS_READ, 1, GPA, NPF_RMP | NPF_SIZE },
		{ "APM 15.36.11", "2M entry under a 2M nested mapping", ENTRY(.size_2m = 1), true, 0, 0, ACCESS_READ, 2, GPA, 0 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		check(rows[i].section, rows[i].what,
		      rmp_check(&rows[i].entry, ASID, rows[i].vmpl, rows[i].cpl, rows[i].gpa, rows[i].private,
				rows[i].access, rows[i].level), rows[i].want);
	check("APM 15.36.3", "private access beyond the RMP",
	      rmp_check(NULL, ASID, 0, 0, GPA, true, ACCESS_READ, 1), NPF_RMP);
	check("APM 15.36.3", "shared access beyond the RMP", rmp_check(NULL, ASID, 0, 0, GPA, false, ACCESS_WRITE, 1), 0);
}

static void pvalidate(void)
{
	static const struct {
		const char *what;
		struct rmp_entry entry;
		u8 vmpl;
		bool shared, size_2m;
		u64 gpa, rdx;
		int want;
		bool carry, validated;
	} rows[] = {
		{ "validates an assigned page", ENTRY(.validated = 0), 0, 0, 0, GPA, 1, INSN_OK, false, true },
		{ "second validation sets the carry flag", ENTRY(), 0, 0, 0, GPA, 1, INSN_OK, true, true },
		{ "rescinds", ENTRY(), 0, 0, 0, GPA, 0, INSN_OK, false, false },
		{ "second rescission sets the carry flag", ENTRY(.validated = 0), 0, 0, 0, GPA, 0, INSN_OK, true, false },
		{ "above VMPL0 is refused", ENTRY(.validated = 0), 1, 0, 0, GPA, 1, INSN_FAIL_PERMISSION, false, false },
		{ "shared address faults", ENTRY(.validated = 0), 0, 1, 0, GPA, 1, INSN_NPF_RMP, false, false },
		{ "hypervisor page faults", SHARED, 0, 0, 0, GPA, 1, INSN_NPF_RMP, false, false },
		{ "another guest's page faults", ENTRY(.validated = 0, .asid = 6), 0, 0, 0, GPA, 1, INSN_NPF_RMP, false, false },
		{ "page at another address faults", ENTRY(.validated = 0), 0, 0, 0, GPA + 4096, 1, INSN_NPF_RMP, false, false },
		{ "pre-guest page faults", ENTRY(.validated = 0, .immutable = 1), 0, 0, 0, GPA, 1, INSN_NPF_RMP, false, false },
		{ "2M of a 4K entry: SIZEMISMATCH", ENTRY(.validated = 0, .gpa = 0x7600000), 0, 0, 1, 0x7600000, 1, INSN_FAIL_SIZEMISMATCH, false, false },
		{ "2M at an unaligned address: FAIL_INPUT", ENTRY(.validated = 0), 0, 0, 1, GPA, 1, INSN_FAIL_INPUT, false, false },
		{ "4K of a 2M entry faults for the host to split", ENTRY(.validated = 0, .size_2m = 1), 0, 0, 0, GPA, 1, INSN_NPF_SIZE, false, false },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct rmp_entry e = rows[i].entry;
		struct insn_operands op = {
			.gpa = rows[i].gpa, .asid = ASID, .vmpl = rows[i].vmpl, .shared = rows[i].shared,
			.size_2m = rows[i].size_2m, .rdx = rows[i].rdx,
		};
		bool carry;

		check("APM 3 PVALIDATE", rows[i].what, rmp_pvalidate(&e, &op, &carry), rows[i].want);
		check("APM 3 PVALIDATE, carry", rows[i].what, carry, rows[i].carry);
		check("APM 3 PVALIDATE, state", rows[i].what, e.validated, rows[i].validated);
	}
}

static void rmpadjust(void)
{
	static const struct {
		const char *what;
		struct rmp_entry entry;
		u8 vmpl;
		u64 rdx;
		int want;
		u8 perms[VMPLS];
		bool vmsa;
	} rows[] = {
		{ "VMPL0 gives VMPL1 everything", ENTRY(), 0, 0x0f01, INSN_OK, { 15, 15, 3, 0 } },
		{ "VMPL0 takes from VMPL2", ENTRY(), 0, 0x0002, INSN_OK, { 15, 1, 0, 0 } },
		{ "VMPL0 makes a VMSA", ENTRY(), 0, 0x10001, INSN_OK, { 15, 0, 3, 0 }, true },
		{ "VMPL0 unmakes a VMSA", ENTRY(.vmsa = 1), 0, 0x0101, INSN_OK, { 15, 1, 3, 0 }, false },
		{ "own VMPL is refused", ENTRY(), 0, 0x0f00, INSN_FAIL_PERMISSION, { 15, 1, 3, 0 } },
		{ "more privileged VMPL is refused", ENTRY(), 2, 0x0101, INSN_FAIL_PERMISSION, { 15, 1, 3, 0 } },
		{ "VMPL above 3 is refused", ENTRY(), 0, 0x0104, INSN_FAIL_INPUT, { 15, 1, 3, 0 } },
		{ "undefined permission bits are refused", ENTRY(), 0, 0x1001, INSN_FAIL_INPUT, { 15, 1, 3, 0 } },
		{ "VMPL1 passes on what it has", ENTRY(), 1, 0x0102, INSN_OK, { 15, 1, 1, 0 } },
		{ "VMPL1 cannot give what it has not", ENTRY(), 1, 0x0202, INSN_FAIL_PERMISSION, { 15, 1, 3, 0 } },
		{ "VMPL1 makes no VMSA", ENTRY(), 1, 0x10102, INSN_OK, { 15, 1, 1, 0 }, false },
		{ "page not validated faults", ENTRY(.validated = 0), 0, 0x0f01, INSN_NPF_RMP, { 15, 1, 3, 0 } },
		{ "hypervisor page faults", SHARED, 0, 0x0f01, INSN_NPF_RMP, { 0 } },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct rmp_entry e = rows[i].entry;
		struct insn_operands op = { .gpa = GPA, .asid = ASID, .vmpl = rows[i].vmpl, .rdx = rows[i].rdx };

		check("APM 3 RMPADJUST", rows[i].what, rmp_adjust(&e, &op), rows[i].want);
		check("APM 3 RMPADJUST, permissions", rows[i].what, memcmp(e.perms, rows[i].perms, VMPLS), 0);
		check("APM 3 RMPADJUST, VMSA", rows[i].what, e.vmsa, rows[i].vmsa);
	}
}

/* A 2 MiB instruction changes all 512 entries, and a validated page starts with VMPL0 alone. */
static void large_pages(void)
{
	static struct rmp_entry e[512];
	struct insn_operands op = { .gpa = 0x40000000, .asid = ASID, .size_2m = true, .rdx = 1 };
	bool carry;

	for (int i = 0; i < 512; i++)
		e[i] = (struct rmp_entry){ .gpa = op.gpa + i * 4096ULL, .asid = ASID, .assigned = 1, .size_2m = 1, .perms = { 1, 2, 4, 8 } };
	check("APM 3 PVALIDATE", "2M", rmp_pvalidate(e, &op, &carry), INSN_OK);
	for (int i = 0; i < 512; i++) {
		check("APM 3 PVALIDATE", "2M: every page", e[i].validated, 1);
		check("APM 15.36.7", "permissions after validation", memcmp(e[i].perms, (u8[]){ PERM_ALL, 0, 0, 0 }, 4), 0);
	}
	op.rdx = 0x0303;
	check("APM 3 RMPADJUST", "2M", rmp_adjust(e, &op), INSN_OK);
	check("APM 3 RMPADJUST", "2M: last page", e[511].perms[3], PERM_READ | PERM_WRITE);
	op.rdx = 0x10001;
	check("APM 3 RMPADJUST", "no 2M VMSA", rmp_adjust(e, &op), INSN_FAIL_INPUT);
}

int main(void)
{
	accesses();
	pvalidate();
	rmpadjust();
	large_pages();
	printf(failures ? "%d failures\n" : "all rules hold\n", failures);
	return failures != 0;
}
