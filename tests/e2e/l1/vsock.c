/*
 * Streams, from a guest's side (AF_VSOCK) or the host's (AF_UNIX), for tests: what is sent has a pattern that tells where a
 * byte belongs, so that what is lost, doubled or out of order is seen.
 *
 *   vsock serve PORT...        accepts on AF_VSOCK ports for ever, a child for each connection, by the first byte that comes:
 *                              'e' sends back all that comes, 'c' counts it and sends the sum back after the end, 'n' never
 *                              reads, 's' sends 8 MiB of the pattern
 *   vsock connect PORT BYTES   connects to the host (context id 2), sends BYTES of the pattern, ends sending, prints what
 *                              comes back
 *   vsock refused PORT         connects to the host and expects that it cannot
 *   vsock listen PATH COUNT    AF_UNIX: accepts COUNT connections, sums each up until its end, answers "sum N of M bytes"
 *   vsock ask PATH PORT WORD BYTES  AF_UNIX: CONNECT PORT (none for port 0), sends WORD and BYTES of the pattern, ends
 *                              sending, prints what comes back: text, or what 8 MiB of the pattern add up to
 *   vsock fetch PORT           connects to the host, sums up 8 MiB, prints that
 *   vsock offer PATH COUNT     AF_UNIX: accepts COUNT connections, sends each 8 MiB of the pattern, waits for its end
 *   vsock take PATH PORT       AF_UNIX: as ask with "s", and no end is told before all is there
 *   vsock many PATH PORT COUNT AF_UNIX: so many connections at once, each with its own word that must come back
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <signal.h>
#include <linux/vm_sockets.h>

#define BIG (8u << 20)

static void die(const char *what)
{
	printf("vsock: %s: %s\n", what, strerror(errno));
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

static uint64_t send_pattern(int fd, uint64_t len)
{
	unsigned char bytes[32768];
	uint64_t sum = 0;
	for (uint64_t at = 0; at < len;) {
		size_t now = len - at < sizeof bytes ? len - at : sizeof bytes;
		for (size_t i = 0; i < now; i++)
			bytes[i] = pattern(at + i);
		send_all(fd, bytes, now);
		sum = sum_of(sum, bytes, now);
		at += now;
	}
	return sum;
}

/* Reads to the end; prints text, or what a long stream adds up to. */
static void print_all(int fd)
{
	unsigned char bytes[32768];
	uint64_t sum = 0, all = 0;
	char text[256] = "";
	for (;;) {
		ssize_t now = recv(fd, bytes, sizeof bytes, 0);
		if (now < 0)
			die("recv");
		if (now == 0)
			break;
		if (all < sizeof text - 1)
			memcpy(text + all, bytes, (size_t)now < sizeof text - 1 - all ? (size_t)now : sizeof text - 1 - all);
		sum = sum_of(sum, bytes, now);
		all += now;
	}
	if (all < sizeof text - 1)
		printf("%s\n", text);
	else
		printf("sum %016llx of %llu bytes\n", (unsigned long long)sum, (unsigned long long)all);
}

/* Reads so much as "s" and "offer" send, and prints what it adds up to: for back ends that do not tell half an end. */
static void print_big(int fd)
{
	unsigned char bytes[32768];
	uint64_t sum = 0, all = 0;
	for (ssize_t now; all < BIG; all += now) {
		if ((now = recv(fd, bytes, sizeof bytes, 0)) <= 0)
			die("recv");
		sum = sum_of(sum, bytes, now);
	}
	printf("sum %016llx of %llu bytes\n", (unsigned long long)sum, (unsigned long long)all);
}

static void answer_sum(int fd, uint64_t sum, uint64_t all)
{
	char line[80];
	int len = snprintf(line, sizeof line, "sum %016llx of %llu bytes", (unsigned long long)sum, (unsigned long long)all);
	send_all(fd, line, len);
}

static void sum_up(int fd)
{
	unsigned char bytes[32768];
	uint64_t sum = 0, all = 0;
	ssize_t now;
	while ((now = recv(fd, bytes, sizeof bytes, 0)) > 0) {
		sum = sum_of(sum, bytes, now);
		all += now;
	}
	if (now < 0)
		die("recv");
	answer_sum(fd, sum, all);
}

static void serve_one(int fd)
{
	unsigned char bytes[4096], kind;
	ssize_t now;
	if (recv(fd, &kind, 1, 0) != 1)
		exit(0);
	switch (kind) {
	case 'e':
		while ((now = recv(fd, bytes, sizeof bytes, 0)) > 0)
			send_all(fd, bytes, now);
		break;
	case 'c':
		sum_up(fd);
		break;
	case 's':
		send_pattern(fd, BIG);
		break;
	case 'n':
		for (;;)
			pause();
	}
	exit(0);
}

static int vsock(int port, int listening)
{
	int fd = socket(AF_VSOCK, SOCK_STREAM, 0);
	struct sockaddr_vm address = {
		.svm_family = AF_VSOCK, .svm_port = port, .svm_cid = listening ? VMADDR_CID_ANY : VMADDR_CID_HOST,
	};
	if (fd < 0)
		die("socket(AF_VSOCK)");
	if (listening) {
		if (bind(fd, (void *)&address, sizeof address) || listen(fd, 64))
			die("listen(AF_VSOCK)");
	} else if (connect(fd, (void *)&address, sizeof address)) {
		close(fd);
		return -1;
	}
	return fd;
}

static int unix_socket(const char *path, int listening)
{
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	strncpy(address.sun_path, path, sizeof address.sun_path - 1);
	if (fd < 0)
		die("socket(AF_UNIX)");
	if (listening ? bind(fd, (void *)&address, sizeof address) || listen(fd, 64)
		      : connect(fd, (void *)&address, sizeof address))
		die(path);
	return fd;
}

/* Connects to a port of the guest by the path, or without a word where the port is 0. */
static int ask(const char *path, int port)
{
	int fd = unix_socket(path, 0);
	char line[64];
	if (port) {
		int len = snprintf(line, sizeof line, "CONNECT %d\n", port);
		send_all(fd, line, len);
		for (size_t at = 0; at < sizeof line - 1; at++) {
			if (recv(fd, line + at, 1, 0) != 1) {
				close(fd);
				return -1;
			}
			if (line[at] == '\n')
				break;
		}
		if (strncmp(line, "OK ", 3))
			die("no OK");
	}
	return fd;
}

static void many(const char *path, int port, int count)
{
	int fds[64], good = 0;
	char word[64], back[64];
	for (int i = 0; i < count && i < 64; i++)
		if ((fds[i] = ask(path, port)) < 0)
			die("refused");
	for (int i = 0; i < count; i++) {
		int len = snprintf(word, sizeof word, "eword %d", i * 7919);
		send_all(fds[i], word, len);
		shutdown(fds[i], SHUT_WR);
	}
	for (int i = count - 1; i >= 0; i--) {
		int len = snprintf(word, sizeof word, "word %d", i * 7919);
		if (recv(fds[i], back, sizeof back, MSG_WAITALL) == len && !memcmp(word, back, len))
			good++;
	}
	printf("%d of %d words came back\n", good, count);
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGCHLD, SIG_IGN);
	const char *what = argc > 2 ? argv[1] : "";
	int fd;
	if (!strcmp(what, "serve")) {
		for (int i = 2; i < argc; i++) {
			int listener = vsock(atoi(argv[i]), 1);
			if (fork() == 0)
				while ((fd = accept(listener, NULL, NULL)) >= 0) {
					if (fork() == 0)
						serve_one(fd);
					close(fd);
				}
		}
	} else if (!strcmp(what, "connect")) {
		if ((fd = vsock(atoi(argv[2]), 0)) < 0)
			die("connect");
		printf("sent %016llx\n", (unsigned long long)send_pattern(fd, strtoull(argv[3], NULL, 0)));
		shutdown(fd, SHUT_WR);
		print_all(fd);
	} else if (!strcmp(what, "refused")) {
		fd = vsock(atoi(argv[2]), 0);
		printf("%s\n", fd < 0 ? strerror(errno) : "connected");
	} else if (!strcmp(what, "fetch")) {
		if ((fd = vsock(atoi(argv[2]), 0)) < 0)
			die("connect");
		print_big(fd);
	} else if (!strcmp(what, "take")) {
		if ((fd = ask(argv[2], atoi(argv[3]))) < 0)
			die("refused");
		send_all(fd, "s", 1);
		print_big(fd);
	} else if (!strcmp(what, "listen") || !strcmp(what, "offer")) {
		int offers = !strcmp(what, "offer");
		int listener = unix_socket(argv[2], 1);
		for (int left = atoi(argv[3]); left > 0; left--) {
			if ((fd = accept(listener, NULL, NULL)) < 0)
				die("accept");
			if (fork() == 0) {
				if (offers) {
					char end;
					send_pattern(fd, BIG);
					exit(recv(fd, &end, 1, 0) != 0);
				}
				sum_up(fd);
				exit(0);
			}
			close(fd);
		}
	} else if (!strcmp(what, "ask")) {
		if ((fd = ask(argv[2], atoi(argv[3]))) < 0) {
			printf("refused\n");
			return 0;
		}
		send_all(fd, argv[4], strlen(argv[4]));
		printf("sent %016llx\n", (unsigned long long)send_pattern(fd, strtoull(argv[5], NULL, 0)));
		shutdown(fd, SHUT_WR);
		print_all(fd);
	} else if (!strcmp(what, "many")) {
		many(argv[2], atoi(argv[3]), atoi(argv[4]));
	} else {
		return 2;
	}
	return 0;
}
