// SPDX-License-Identifier: GPL-2.0
/* The ioctls of /dev/sev-guest (Documentation/virt/coco/sev-guest.rst), one after the other; answers in base64. */
#include <errno.h>
#include <fcntl.h>
#include <linux/ioctl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

struct request {
	uint8_t msg_version;
	uint64_t req_data, resp_data, exitinfo2;
};

struct report_req {
	uint8_t user_data[64];
	uint32_t vmpl;
	uint8_t rsvd[28];
};

struct derived_key_req {
	uint32_t root_key_select, rsvd;
	uint64_t guest_field_select;
	uint32_t vmpl, guest_svn;
	uint64_t tcb_version;
};

struct ext_report_req {
	struct report_req data;
	uint64_t certs_address;
	uint32_t certs_len;
};

#define GET_REPORT	_IOWR('S', 0, struct request)
#define GET_DERIVED_KEY	_IOWR('S', 1, struct request)
#define GET_EXT_REPORT	_IOWR('S', 2, struct request)

static int device;

static void base64(const char *name, const uint8_t *p, size_t n)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	printf("BEGIN %s\n", name);
	for (size_t i = 0; i < n; i += 3) {
		uint32_t v = p[i] << 16 | (i + 1 < n ? p[i + 1] << 8 : 0) | (i + 2 < n ? p[i + 2] : 0);

		printf("%c%c%c%c", digits[v >> 18], digits[v >> 12 & 63], i + 1 < n ? digits[v >> 6 & 63] : '=',
		       i + 2 < n ? digits[v & 63] : '=');
		if (i % 48 == 45)
			printf("\n");
	}
	printf("\nEND %s\n", name);
}

/* Returns exitinfo2: the firmware's error in the lower half, the hypervisor's in the upper. */
static uint64_t ask(unsigned long command, void *q, void *a)
{
	struct request r = { .msg_version = 1, .req_data = (uint64_t)q, .resp_data = (uint64_t)a };
	int status = ioctl(device, command, &r);

	printf("ioctl %lu status %d errno %d exitinfo2 %llx\n", command & 0xff, status, status ? errno : 0,
	       (unsigned long long)r.exitinfo2);
	return r.exitinfo2;
}

int main(void)
{
	static uint8_t answer[4000], again[64], certs[4 * 4096] __attribute__((aligned(4096)));
	struct report_req q = { .user_data = "from /dev/sev-guest" };
	struct derived_key_req k = { .guest_field_select = 1 };
	struct ext_report_req e = { .certs_address = (uint64_t)certs };
	uint32_t room;

	setvbuf(stdout, NULL, _IOLBF, 0);
	device = open("/dev/sev-guest", O_RDWR);
	if (device < 0) {
		printf("no /dev/sev-guest: %s\n", strerror(errno));
		return 1;
	}
	/* The answer: status, size, 24 reserved bytes, report */
	ask(GET_REPORT, &q, answer);
	base64("report", answer + 32, 1184);
	q.vmpl = 9;
	ask(GET_REPORT, &q, answer);
	printf("status of VMPL 9: %u\n", *(uint32_t *)answer);
	ask(GET_DERIVED_KEY, &k, answer);
	base64("key", answer + 32, 32);
	ask(GET_DERIVED_KEY, &k, again);
	printf("same key again: %d\n", !memcmp(answer, again, 64));
	k.guest_field_select = 1 << 3; /* with the measurement */
	ask(GET_DERIVED_KEY, &k, again);
	printf("same key with the measurement: %d\n", !memcmp(answer + 32, again + 32, 32));
	q.vmpl = 0;
	memcpy(&e.data, &q, sizeof(q));
	/* Without room for certificates the host says how much they need. */
	e.certs_len = 0;
	ask(GET_EXT_REPORT, &e, answer);
	printf("certificates need %u bytes\n", e.certs_len);
	room = e.certs_len;
	if (room > 4096) {
		e.certs_len = 4096;
		ask(GET_EXT_REPORT, &e, answer);
		printf("with room for 4096 they need %u bytes\n", e.certs_len);
	}
	if (!room || room > sizeof(certs))
		room = sizeof(certs);
	memset(certs, 0xff, sizeof(certs));
	e.certs_len = room;
	ask(GET_EXT_REPORT, &e, answer);
	base64("extended", answer + 32, 1184);
	base64("certificates", certs, room);
	return 0;
}
