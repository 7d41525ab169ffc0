// SPDX-License-Identifier: GPL-2.0
/*
 * Guest messages (ABI chapter 7). The firmware process answers them; without it this does: AES-256-GCM under a VM platform
 * communication key, MSG_REPORT_REQ only, and the report carries no signature (SIGNING_KEY says so), no TCB and no chip id.
 */
#include <linux/kernel.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/psp-sev.h>
#include <asm/page.h>
#include <asm/sev.h>
#include "snpemu.h"

#define REPORT_REQ_SIZE	96
#define REPORT_SIZE	0x4a0
#define REPORT_AT	32	/* in MSG_REPORT_RSP */
#define ADDITIONAL_DATA	48	/* of the header: from algo to its end */
#define NO_SIGNING_KEY	7

static void put32(u8 *p, u32 v)
{
	*(__le32 *)p = cpu_to_le32(v);
}

/* ATTESTATION_REPORT, table 22, version 2 */
static void fill_report(const struct guest_context *g, u8 *r, const u8 *report_data, u32 vmpl)
{
	put32(r + 0x00, 2);
	put32(r + 0x04, g->guest_svn);
	*(__le64 *)(r + 0x08) = cpu_to_le64(g->policy);
	memcpy(r + 0x10, g->family_id, 16);
	memcpy(r + 0x20, g->image_id, 16);
	put32(r + 0x30, vmpl);
	*(__le64 *)(r + 0x40) = cpu_to_le64(1); /* PLATFORM_INFO: SMT */
	put32(r + 0x48, NO_SIGNING_KEY << 2 | g->author_key);
	memcpy(r + 0x50, report_data, 64);
	memcpy(r + 0x90, g->digest, 48);
	memcpy(r + 0xc0, g->host_data, 32);
	memcpy(r + 0xe0, g->id_key_digest, 48);
	memcpy(r + 0x110, g->author_key_digest, 48);
	memcpy(r + 0x140, g->report_id, 32);
	memset(r + 0x160, 0xff, 32); /* no migration agent */
	r[0x1e8] = r[0x1ec] = 1; /* CURRENT_BUILD, COMMITTED_BUILD */
	r[0x1e9] = r[0x1ed] = FW_API_MINOR;
	r[0x1ea] = r[0x1ee] = FW_API_MAJOR;
}

static bool header_acceptable(const struct snp_guest_msg_hdr *h, const struct guest_context *g)
{
	return h->msg_vmpck < VMPLS && h->algo == 1 && h->hdr_version == 1 && h->hdr_sz == sizeof(*h) &&
	       h->msg_sz <= PAGE_SIZE - sizeof(*h) && h->msg_seqno == g->sequence[h->msg_vmpck] + 1;
}

static int answer(struct guest_context *g, struct snp_guest_msg_hdr *q, struct snp_guest_msg_hdr *a)
{
	const u8 *request = (u8 *)(q + 1);
	u8 *response = (u8 *)(a + 1), iv[12] = {};
	u32 vmpl = le32_to_cpup((__le32 *)(request + 64));

	memset(a, 0, PAGE_SIZE);
	a->msg_seqno = q->msg_seqno + 1;
	a->algo = 1;
	a->hdr_version = 1;
	a->hdr_sz = sizeof(*a);
	a->msg_type = SNP_MSG_REPORT_RSP;
	a->msg_version = 1;
	a->msg_vmpck = q->msg_vmpck;
	a->msg_sz = REPORT_AT + REPORT_SIZE;
	if (vmpl < q->msg_vmpck || vmpl >= VMPLS) {
		put32(response, SEV_RET_INVALID_PARAM);
	} else {
		put32(response + 4, REPORT_SIZE);
		fill_report(g, response + REPORT_AT, request, vmpl);
	}
	memcpy(iv, &a->msg_seqno, sizeof(a->msg_seqno));
	if (gcm256(g->vmpck[a->msg_vmpck], iv, &a->algo, ADDITIONAL_DATA, response, a->msg_sz, a->authtag, true))
		return SEV_RET_HWSEV_RET_PLATFORM;
	return 0;
}

int fw_guest_request(struct sev_data_snp_guest_request *d)
{
	struct guest_context *g = guest_context(d->gctx_paddr);
	struct snp_guest_msg_hdr *q;
	u8 iv[12] = {};

	BUILD_BUG_ON(sizeof(*q) != 96);
	if (!g)
		return SEV_RET_INVALID_GUEST;
	if (g->state != GUEST_RUNNING)
		return SEV_RET_INVALID_GUEST_STATE;
	if (((d->req_paddr | d->res_paddr) & ~PAGE_MASK) || !rmp_get(d->req_paddr >> PAGE_SHIFT) ||
	    !rmp_get(d->res_paddr >> PAGE_SHIFT))
		return SEV_RET_INVALID_ADDRESS;
	q = __va(d->req_paddr);
	if (g->forwarded)
		return firmware_call(FIRMWARE_GUEST_REQUEST, d->gctx_paddr, q, PAGE_SIZE, __va(d->res_paddr), PAGE_SIZE);
	if (!header_acceptable(q, g))
		return SEV_RET_INVALID_PARAM;
	memcpy(iv, &q->msg_seqno, sizeof(q->msg_seqno));
	if (gcm256(g->vmpck[q->msg_vmpck], iv, &q->algo, ADDITIONAL_DATA, (u8 *)(q + 1), q->msg_sz, q->authtag, false))
		return SEV_RET_BAD_MEASUREMENT;
	if (q->msg_type != SNP_MSG_REPORT_REQ || q->msg_version != 1 || q->msg_sz != REPORT_REQ_SIZE)
		return SEV_RET_INVALID_PARAM;
	g->sequence[q->msg_vmpck] += 2;
	return answer(g, q, __va(d->res_paddr));
}
