// SPDX-License-Identifier: GPL-2.0
/* The firmware's part in a launch: policy, page types, the launch digest, the CPUID page, the ID block (ABI 8.16 to 8.19). */
#include <linux/kernel.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/psp-sev.h>
#include <asm/page.h>
#include "snpemu.h"

#define POLICY_RESERVED_ONE	(1ULL << 17)
#define POLICY_KNOWN		((1ULL << 26) - 1)
#define CPUID_ENTRIES		64

/* PAGE_INFO, table 67: what the digest is extended with */
struct page_info {
	u8 digest[48], contents[48];
	__le16 length;
	u8 type, imi, vmpl3, vmpl2, vmpl1, reserved;
	__le64 gpa;
} __packed;

struct cpuid_entry {
	u32 eax_in, ecx_in;
	u64 xcr0_in, xss_in;
	u32 eax, ebx, ecx, edx;
	u64 reserved;
};

struct cpuid_page {
	u32 count, reserved[3];
	struct cpuid_entry entry[CPUID_ENTRIES];
};

struct id_block {
	u8 digest[48], family_id[16], image_id[16];
	__le32 version, guest_svn;
	__le64 policy;
};

#define ID_AUTH_KEY		0x240
#define ID_AUTH_AUTHOR_KEY	0x880
#define PUBLIC_KEY		0x404
#define ALGORITHM_P384		1

int fw_launch_start(struct sev_data_snp_launch_start *d)
{
	struct guest_context *g = guest_context(d->gctx_paddr);
	u8 minor = d->policy, major = d->policy >> 8;

	if (!g)
		return SEV_RET_INVALID_GUEST;
	if (g->state != GUEST_INIT)
		return SEV_RET_INVALID_GUEST_STATE;
	if (!(d->policy & POLICY_RESERVED_ONE) || (d->policy & ~POLICY_KNOWN))
		return SEV_RET_POLICY_FAILURE;
	if (major > FW_API_MAJOR || (major == FW_API_MAJOR && minor > FW_API_MINOR))
		return SEV_RET_POLICY_FAILURE;
	if (firmware_attached()) {
		__le64 policy = cpu_to_le64(d->policy);
		int r = firmware_call(FIRMWARE_START, d->gctx_paddr, &policy, sizeof(policy), NULL, 0);

		if (r)
			return r;
		g->forwarded = 1;
	}
	g->policy = d->policy;
	memcpy(g->gosvw, d->gosvw, sizeof(g->gosvw));
	g->state = GUEST_LAUNCH;
	poke_new_guest();
	return 0;
}

/* ---- the CPUID page: no feature that the processor does not have ---- */

static bool keep_only(u32 *value, u32 allowed)
{
	bool wrong = *value & ~allowed;

	*value &= allowed;
	return wrong;
}

static bool must_be(u32 *value, u32 mask, u32 wanted)
{
	bool wrong = (*value & mask) != wanted;

	*value = (*value & ~mask) | wanted;
	return wrong;
}

/* Corrects an entry; says whether it had to. The emulated processor counts as having what every SNP processor has. */
static bool cpuid_entry_wrong(struct cpuid_entry *f)
{
	u32 a, b, c, d;
	bool wrong = false;

	snpemu_cpuid_count(f->eax_in, f->ecx_in, &a, &b, &c, &d);
	switch (f->eax_in) {
	case 0x1: /* x2APIC, OSXSAVE and the hypervisor bit; APIC and multi-threading */
		wrong |= keep_only(&f->ecx, c | 1u << 21 | 1u << 27 | 1u << 31);
		wrong |= keep_only(&f->edx, d | 1u << 9 | 1u << 28);
		break;
	case 0x7:
		if (f->ecx_in)
			break;
		wrong |= keep_only(&f->ebx, b);
		wrong |= keep_only(&f->ecx, c | 1u << 4);
		wrong |= keep_only(&f->edx, d);
		break;
	case 0xd:
		if (f->ecx_in < 2 && f->xcr0_in == 1)
			wrong |= must_be(&f->ebx, ~0u, 0x240);
		if (f->ecx_in == 1)
			wrong |= keep_only(&f->eax, a | 0xf);
		break;
	case 0x80000001: /* processor topology and similar bits that this emulator lacks */
		wrong |= keep_only(&f->ecx, c | 0x00c00003 | 0x100);
		wrong |= keep_only(&f->edx, d | 1u << 9);
		break;
	case 0x80000008:
		wrong |= keep_only(&f->ebx, ~(1u << 25)); /* VIRT_SSBD exists in software only */
		break;
	case 0x8000001f:
		wrong |= keep_only(&f->eax, a);
		wrong |= must_be(&f->ebx, 0x3f, C_BIT);
		break;
	case 0x80000021:
		wrong |= keep_only(&f->eax, ~(1u << 9));
		wrong |= keep_only(&f->ecx, 0);
		break;
	}
	return wrong;
}

static int check_cpuid_page(struct cpuid_page *p)
{
	bool wrong = false;
	u32 i;

	BUILD_BUG_ON(sizeof(struct cpuid_entry) != 48);
	if (p->count > CPUID_ENTRIES)
		return SEV_RET_INVALID_PARAM;
	for (i = 0; i < p->count; i++)
		wrong |= cpuid_entry_wrong(&p->entry[i]);
	/* The corrected table stays in the page for the host to see. */
	if (wrong)
		return SEV_RET_INVALID_PARAM;
	if (p->count && fault_due(FAULT_CPUID_PAGE))
		p->entry[p->count / 2].eax ^= 1;
	return 0;
}

/* ---- pages ---- */

static int fill_secrets(struct guest_context *g, u8 *p)
{
	if (g->forwarded)
		return firmware_call(FIRMWARE_SECRETS, g->pa, NULL, 0, p, PAGE_SIZE);
	memset(p, 0, PAGE_SIZE);
	*(__le32 *)p = cpu_to_le32(3); /* version */
	memcpy(p + 0x10, g->gosvw, sizeof(g->gosvw));
	memcpy(p + 0x20, g->vmpck, sizeof(g->vmpck));
	return 0;
}

static int prepare_page(struct guest_context *g, struct rmp_entry *e, u8 type, u8 *page, u8 *contents)
{
	switch (type) {
	case SNP_PAGE_TYPE_VMSA:
		e->vmsa = 1;
		fallthrough;
	case SNP_PAGE_TYPE_NORMAL:
		snpemu_sha384(page, PAGE_SIZE, contents);
		return 0;
	case SNP_PAGE_TYPE_ZERO:
		memset(page, 0, PAGE_SIZE);
		return 0;
	case SNP_PAGE_TYPE_UNMEASURED:
		return 0;
	case SNP_PAGE_TYPE_SECRET:
		return fill_secrets(g, page);
	case SNP_PAGE_TYPE_CPUID:
		return check_cpuid_page((struct cpuid_page *)page);
	default:
		return SEV_RET_INVALID_PARAM;
	}
}

/* Contents go along where they are measured. One caller at a time. */
static int forward_page(struct guest_context *g, u64 gpa, u8 type, const void *page)
{
	static struct {
		__le64 gpa;
		u8 type, zero[3];
		u8 contents[PAGE_SIZE];
	} __packed m;
	bool measured = type == SNP_PAGE_TYPE_NORMAL || type == SNP_PAGE_TYPE_VMSA;

	if (!g->forwarded)
		return 0;
	m.gpa = cpu_to_le64(gpa);
	m.type = type;
	if (measured)
		memcpy(m.contents, page, PAGE_SIZE);
	return firmware_call(FIRMWARE_UPDATE, g->pa, &m, measured ? sizeof(m) : sizeof(m) - PAGE_SIZE, NULL, 0);
}

int fw_launch_update(struct sev_data_snp_launch_update *d)
{
	struct guest_context *g = guest_context(d->gctx_paddr);
	struct rmp_entry *e = rmp_get(d->address >> PAGE_SHIFT);
	struct page_info info = { .length = cpu_to_le16(sizeof(info)), .type = d->page_type };
	unsigned long flags;
	int r;

	BUILD_BUG_ON(sizeof(info) != 0x70);
	if (!g)
		return SEV_RET_INVALID_GUEST;
	if (g->state != GUEST_LAUNCH)
		return SEV_RET_INVALID_GUEST_STATE;
	if (!e || (d->address & ~PAGE_MASK))
		return SEV_RET_INVALID_ADDRESS;
	if (d->page_size != e->size_2m)
		return SEV_RET_INVALID_PAGE_SIZE;
	if (!e->assigned || !e->immutable || e->validated)
		return SEV_RET_INVALID_PAGE_STATE;
	if (e->asid != g->asid)
		return SEV_RET_INVALID_PAGE_OWNER;
	r = prepare_page(g, e, d->page_type, memory_at(d->address), info.contents);
	if (!r)
		r = forward_page(g, e->gpa, d->page_type, memory_at(d->address));
	if (r)
		return r;
	memcpy(info.digest, g->digest, sizeof(info.digest));
	info.imi = d->imi_page;
	info.vmpl3 = d->vmpl3_perms;
	info.vmpl2 = d->vmpl2_perms;
	info.vmpl1 = d->vmpl1_perms;
	info.gpa = cpu_to_le64(e->gpa);
	snpemu_sha384(&info, sizeof(info), g->digest);
	raw_spin_lock_irqsave(&rmp_lock, flags);
	e->perms[1] = d->vmpl1_perms;
	e->perms[2] = d->vmpl2_perms;
	e->perms[3] = d->vmpl3_perms;
	e->validated = 1;
	e->immutable = 0;
	raw_spin_unlock_irqrestore(&rmp_lock, flags);
	host_view_set(d->address >> PAGE_SHIFT, HOST_CIPHERTEXT); /* encrypted in place */
	if (d->page_type == SNP_PAGE_TYPE_VMSA)
		inject_launched_state(g->asid, d->address >> PAGE_SHIFT);
	return 0;
}

/*
 * The process checks the ID block with its signatures, and measures for itself. Two implementations of the digest that do not
 * agree are a fault of the model, which nobody should work with.
 */
static int forward_finish(struct guest_context *g, struct sev_data_snp_launch_finish *d)
{
	static struct {
		u8 host_data[32];
		__le32 flags;
		u8 id_block[sizeof(struct id_block)], id_auth[PAGE_SIZE];
	} __packed m;
	size_t len = d->id_block_en ? sizeof(m) : offsetof(typeof(m), id_block);
	u8 digest[48];
	int r;

	memcpy(m.host_data, d->host_data, sizeof(m.host_data));
	m.flags = cpu_to_le32(d->id_block_en | d->auth_key_en << 1 | d->vcek_disabled << 2);
	if (d->id_block_en) {
		memcpy(m.id_block, __va(d->id_block_paddr), sizeof(m.id_block));
		memcpy(m.id_auth, __va(d->id_auth_paddr), sizeof(m.id_auth));
	}
	r = firmware_call(FIRMWARE_FINISH, d->gctx_paddr, &m, len, digest, sizeof(digest));
	if (!r && memcmp(digest, g->digest, sizeof(digest))) {
		pr_err("snpemu: digests differ: module %48phN, process %48phN\n", g->digest, digest);
		r = SEV_RET_HWSEV_RET_UNSAFE;
	}
	return r;
}

/* Without the process: no signatures are checked. */
static int take_id_block(struct guest_context *g, const struct id_block *b, const u8 *auth, bool author_key)
{
	BUILD_BUG_ON(sizeof(*b) != 96);
	if (le32_to_cpu(b->version) != 1 || *(u32 *)auth != ALGORITHM_P384)
		return SEV_RET_INVALID_PARAM;
	if (memcmp(b->digest, g->digest, sizeof(g->digest)))
		return SEV_RET_BAD_MEASUREMENT;
	if (le64_to_cpu(b->policy) != g->policy)
		return SEV_RET_POLICY_FAILURE;
	memcpy(g->family_id, b->family_id, sizeof(g->family_id));
	memcpy(g->image_id, b->image_id, sizeof(g->image_id));
	g->guest_svn = le32_to_cpu(b->guest_svn);
	snpemu_sha384(auth + ID_AUTH_KEY, PUBLIC_KEY, g->id_key_digest);
	if (author_key)
		snpemu_sha384(auth + ID_AUTH_AUTHOR_KEY, PUBLIC_KEY, g->author_key_digest);
	g->author_key = author_key;
	g->id_block = 1;
	return 0;
}

int fw_launch_finish(struct sev_data_snp_launch_finish *d)
{
	struct guest_context *g = guest_context(d->gctx_paddr);

	if (!g)
		return SEV_RET_INVALID_GUEST;
	if (g->state != GUEST_LAUNCH)
		return SEV_RET_INVALID_GUEST_STATE;
	if (d->id_block_en) {
		int r;

		if (!rmp_get(d->id_block_paddr >> PAGE_SHIFT) || !rmp_get(d->id_auth_paddr >> PAGE_SHIFT))
			return SEV_RET_INVALID_ADDRESS;
		r = g->forwarded ? 0 : take_id_block(g, __va(d->id_block_paddr), __va(d->id_auth_paddr), d->auth_key_en);
		if (r)
			return r;
	}
	if (g->forwarded) {
		int r = forward_finish(g, d);

		if (r)
			return r;
	}
	memcpy(g->host_data, d->host_data, sizeof(g->host_data));
	g->vcek_disabled = d->vcek_disabled;
	g->state = GUEST_RUNNING;
	pr_info("snpemu: MODEL launch finished: asid %u policy %llx digest %48phN\n", g->asid, g->policy, g->digest);
	return 0;
}
