/*
 * TCP and UDP, from a guest's side or its host's, for tests: what is sent has a pattern that tells where a byte belongs, so
 * that what is lost, doubled or out of order is seen.
 *
 *   net serve ADDRESS PORT            for ever: TCP, a child for each connection, by the first byte that comes: 'c' sums up
 *                                     what comes and answers after the end, 's' sends 16 MiB of the pattern; UDP, sends each
 *                                     datagram back; prints a word for each of them
 *   net send ADDRESS PORT BYTES       TCP: sends BYTES of the pattern, ends sending, prints what comes back
 *   net fetch ADDRESS PORT            TCP: prints what 16 MiB of the pattern add up to
 *   net echo ADDRESS PORT BYTES       UDP: sends a datagram and says whether the same came back
 *   net segments ADDRESS PORT         UDP: gives the kernel 6000 bytes to cut into datagrams of 1200, and counts the echoes
 *   net silent ADDRESS PORT           TCP and UDP: expects that nobody answers within four seconds
 *   net forge INTERFACE ADDRESS PORT BYTES START FIELD
 *                                     UDP by a packet socket: a frame whose sum the device is asked to write FIELD bytes
 *                                     behind byte START
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define BIG (16u << 20)
#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif

static void die(const char *what)
{
	printf("net: %s: %s\n", what, strerror(errno));
	exit(1);
}

static unsigned char pattern(uint64_t at)
{
	return (unsigned char)(at * 31 + (at >> 11));
}

static uint64_t sum_of(uint64_t sum, const unsigned char *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		sum = sum * 1099511628211ull + bytes[i];
	return sum;
}

static void send_all(int fd, const void *bytes, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t now = send(fd, (const char *)bytes + done, len - done, MSG_NOSIGNAL);
		if (now <= 0)
			die("send");
		done += now;
	}
}

static void send_pattern(int fd, uint64_t len)
{
	static unsigned char bytes[65536];
	for (uint64_t at = 0; at < len;) {
		size_t now = len - at < sizeof bytes ? len - at : sizeof bytes;
		for (size_t i = 0; i < now; i++)
			bytes[i] = pattern(at + i);
		send_all(fd, bytes, now);
		at += now;
	}
}

/* What comes until the end, in words. */
static void sum_up(int fd, char *line, size_t room)
{
	static unsigned char bytes[65536];
	uint64_t sum = 0, all = 0;
	ssize_t now;
	while ((now = recv(fd, bytes, sizeof bytes, 0)) > 0) {
		sum = sum_of(sum, bytes, now);
		all += now;
	}
	if (now < 0)
		die("recv");
	snprintf(line, room, "sum %016llx of %llu bytes", (unsigned long long)sum, (unsigned long long)all);
}

static struct sockaddr_in address_of(const char *address, const char *port)
{
	struct sockaddr_in all = { .sin_family = AF_INET, .sin_port = htons(atoi(port)) };
	if (inet_pton(AF_INET, address, &all.sin_addr) != 1)
		die(address);
	return all;
}

static int connected(int type, const char *address, const char *port)
{
	struct sockaddr_in to = address_of(address, port);
	struct timeval wait = { .tv_sec = 60 };
	int fd = socket(AF_INET, type, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait) ||
	    connect(fd, (void *)&to, sizeof to))
		die("connect");
	return fd;
}

static void serve_one(int fd)
{
	char line[80], kind;
	if (recv(fd, &kind, 1, 0) != 1)
		exit(0);
	if (kind == 's') {
		send_pattern(fd, BIG);
	} else {
		sum_up(fd, line, sizeof line);
		send_all(fd, line, strlen(line));
	}
	exit(0);
}

static void serve(const char *address, const char *port)
{
	static unsigned char bytes[65536];
	struct sockaddr_in at = address_of(address, port);
	int tcp = socket(AF_INET, SOCK_STREAM, 0), udp = socket(AF_INET, SOCK_DGRAM, 0), on = 1;
	setsockopt(tcp, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (bind(tcp, (void *)&at, sizeof at) || listen(tcp, 64) || bind(udp, (void *)&at, sizeof at))
		die("bind");
	signal(SIGCHLD, SIG_IGN);
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (;;) {
		struct pollfd fds[2] = { { .fd = tcp, .events = POLLIN }, { .fd = udp, .events = POLLIN } };
		poll(fds, 2, -1);
		if (fds[0].revents) {
			int fd = accept(tcp, NULL, NULL);
			printf("tcp\n");
			if (fork() == 0)
				serve_one(fd);
			close(fd);
		}
		if (fds[1].revents) {
			struct sockaddr_in from;
			socklen_t len = sizeof from;
			ssize_t now = recvfrom(udp, bytes, sizeof bytes, 0, (void *)&from, &len);
			printf("udp %zd\n", now);
			sendto(udp, bytes, now, 0, (void *)&from, len);
		}
	}
}

static void echo(const char *address, const char *port, size_t len)
{
	static unsigned char out[65536], back[65536];
	int fd = connected(SOCK_DGRAM, address, port);
	for (size_t i = 0; i < len; i++)
		out[i] = pattern(i);
	send_all(fd, out, len);
	ssize_t now = recv(fd, back, sizeof back, 0);
	printf("%s\n", now == (ssize_t)len && !memcmp(out, back, len) ? "the same" : "something else, or nothing");
}

static void segments(const char *address, const char *port)
{
	static unsigned char out[6000], back[65536];
	int fd = connected(SOCK_DGRAM, address, port), size = 1200, good = 0;
	if (setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &size, sizeof size))
		die("UDP_SEGMENT");
	for (size_t i = 0; i < sizeof out; i++)
		out[i] = pattern(i);
	send_all(fd, out, sizeof out);
	for (int i = 0; i < 5; i++)
		good += recv(fd, back, sizeof back, 0) == 1200 && !memcmp(out + 1200 * i, back, 1200);
	printf("%d of 5\n", good);
}

static void silent(const char *address, const char *port)
{
	struct sockaddr_in to = address_of(address, port);
	int udp = connected(SOCK_DGRAM, address, port), tcp = socket(AF_INET, SOCK_STREAM, 0);
	send_all(udp, "hello", 5);
	fcntl(tcp, F_SETFL, O_NONBLOCK);
	connect(tcp, (void *)&to, sizeof to);
	struct pollfd fds[2] = { { .fd = tcp, .events = POLLIN | POLLOUT }, { .fd = udp, .events = POLLIN } };
	printf("%s\n", poll(fds, 2, 4000) == 0 ? "silence" : "somebody answers");
}

static void forge(char **words)
{
	size_t len = atoi(words[3]);
	struct sockaddr_in to = address_of(words[1], words[2]);
	struct __attribute__((packed)) {
		struct virtio_net_hdr header;
		unsigned char frame[1500];
	} all = { { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = atoi(words[4]), .csum_offset = atoi(words[5]) } };
	unsigned char *frame = all.frame;
	struct ifreq request = { 0 };
	int fd = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL)), on = 1;
	strncpy(request.ifr_name, words[0], IFNAMSIZ - 1);
	if (fd < 0 || setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof on) || ioctl(fd, SIOCGIFINDEX, &request))
		die("packet socket");
	struct sockaddr_ll on_link = { .sll_family = AF_PACKET, .sll_ifindex = request.ifr_ifindex,
				       .sll_protocol = htons(ETH_P_IP) };
	if (ioctl(fd, SIOCGIFHWADDR, &request))
		die("SIOCGIFHWADDR");
	memset(frame, 0xff, 6);
	memcpy(frame + 6, request.ifr_hwaddr.sa_data, 6);
	if (ioctl(fd, SIOCGIFADDR, &request))
		die("SIOCGIFADDR");
	unsigned char ip[20] = { 0x45, 0, (28 + len) >> 8, 28 + len, 0, 0, 0x40, 0, 64, 17 };
	memcpy(ip + 12, &((struct sockaddr_in *)&request.ifr_addr)->sin_addr, 4);
	memcpy(ip + 16, &to.sin_addr, 4);
	uint32_t sum = 0;
	for (int i = 0; i < 20; i += 2)
		sum += ip[i] << 8 | ip[i + 1];
	sum = (sum & 0xffff) + (sum >> 16);
	sum = ~(sum + (sum >> 16)) & 0xffff;
	ip[10] = sum >> 8, ip[11] = sum;
	frame[12] = 8, frame[13] = 0;
	memcpy(frame + 14, ip, 20);
	uint16_t udp[4] = { htons(9), to.sin_port, htons(8 + len), 0 };
	/* Of the sum that is left to others the pseudo header is there already. */
	uint32_t pseudo = 17 + 8 + len;
	for (int i = 12; i < 20; i += 2)
		pseudo += ip[i] << 8 | ip[i + 1];
	pseudo = (pseudo & 0xffff) + (pseudo >> 16);
	udp[3] = htons((pseudo & 0xffff) + (pseudo >> 16));
	memcpy(frame + 34, udp, 8);
	if (sendto(fd, &all, sizeof all.header + 42 + len, 0, (void *)&on_link, sizeof on_link) < 0)
		die("sendto");
	printf("forged\n");
}

int main(int argc, char **argv)
{
	char line[80];
	const char *what = argc > 3 ? argv[1] : "";
	if (!strcmp(what, "serve")) {
		serve(argv[2], argv[3]);
	} else if (!strcmp(what, "send") && argc == 5) {
		int fd = connected(SOCK_STREAM, argv[2], argv[3]);
		send_all(fd, "c", 1);
		send_pattern(fd, atoll(argv[4]));
		shutdown(fd, SHUT_WR);
		ssize_t now = recv(fd, line, sizeof line - 1, MSG_WAITALL);
		printf("%.*s\n", now > 0 ? (int)now : 0, line);
	} else if (!strcmp(what, "fetch")) {
		int fd = connected(SOCK_STREAM, argv[2], argv[3]);
		send_all(fd, "s", 1);
		sum_up(fd, line, sizeof line);
		printf("%s\n", line);
	} else if (!strcmp(what, "echo") && argc == 5) {
		echo(argv[2], argv[3], atoi(argv[4]));
	} else if (!strcmp(what, "segments")) {
		segments(argv[2], argv[3]);
	} else if (!strcmp(what, "silent")) {
		silent(argv[2], argv[3]);
	} else if (!strcmp(what, "forge") && argc == 8) {
		forge(argv + 2);
	} else {
		printf("net: wrong use\n");
		return 2;
	}
	return 0;
}
