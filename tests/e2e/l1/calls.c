/*
 * calls NAME [PATH]: makes one system call, or touches a port, that a workload is not to get anything by; status 0 when it
 * worked. What the kernel said is printed.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/io_uring.h>
#include <linux/keyctl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Of the host's platform registers, the one that tells the exit status (guest/layout, ports.rs). */
#define STATUS_PORT 0xf4

/* A program of a kind that no kernel knows: for one that begins so, the kernel asks modprobe for binfmt-ffff. */
static long execute(const char *path)
{
	static const unsigned char unknown[] = {0xff, 0xff, 0xff, 0xff};
	char *none[] = {NULL};
	int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0755);

	if (file < 0 || write(file, unknown, sizeof(unknown)) != sizeof(unknown) || close(file))
		return -1;
	return execve(path, none, none);
}

/* What there is to read: the console's lines would be the host's words. */
static long input(void)
{
	char byte;
	long got = read(0, &byte, 1);

	errno = ENODATA;
	return got > 0 ? got : -1;
}

/* Standard output as the workload was given it: whoever starts this program leaves it at 3. */
#define OUTPUT 3

/* Whether it can be read from. A read itself would wait for the host. */
static long readable(void)
{
	int flags = fcntl(OUTPUT, F_GETFL);

	errno = flags < 0 ? errno : EBADF;
	return flags < 0 || (flags & O_ACCMODE) == O_WRONLY ? -1 : 0;
}

/* The same opened once more, to read from it. */
static long opened(void)
{
	return open("/proc/self/fd/3", O_RDONLY | O_NONBLOCK | O_NOCTTY);
}

/* Memory, as much as there is, and touched: what is only asked for costs nothing. Comes back when there is no more. */
static long memory(void)
{
	const size_t piece = 1 << 20;
	char *more;

	while ((more = malloc(piece)))
		memset(more, 1, piece);
	return -1;
}

static long call(const char *name, const char *path)
{
	union bpf_attr map = {.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1};
	struct io_uring_params ring = {0};

	if (!strcmp(name, "nothing"))
		return getppid() > 0 ? 0 : -1;
	if (!strcmp(name, "write-output"))
		return write(OUTPUT, "guest: written\n", 15);
	if (!strcmp(name, "user-namespace"))
		return unshare(CLONE_NEWUSER);
	if (!strcmp(name, "execute"))
		return execute(path);
	if (!strcmp(name, "input"))
		return input();
	if (!strcmp(name, "read-output"))
		return readable();
	if (!strcmp(name, "open-output"))
		return opened();
	/* With a text for it, the kernel starts /sbin/request-key to make the key. */
	if (!strcmp(name, "request-key"))
		return syscall(SYS_request_key, "user", "casemate:probe", "a text", KEY_SPEC_PROCESS_KEYRING);
	if (!strcmp(name, "bpf"))
		return syscall(SYS_bpf, BPF_MAP_CREATE, &map, sizeof(map));
	if (!strcmp(name, "io_uring"))
		return syscall(SYS_io_uring_setup, 1, &ring);
	if (!strcmp(name, "kexec"))
		return syscall(SYS_kexec_load, 0, 0, NULL, 0);
	if (!strcmp(name, "ioperm"))
		return ioperm(STATUS_PORT, 1, 1);
	/* A processor's exception, thus a signal, where it is not permitted. */
	if (!strcmp(name, "port"))
		return inb(STATUS_PORT), 0;
	if (!strcmp(name, "memory"))
		return memory();
	errno = EINVAL;
	return -1;
}

int main(int count, char **words)
{
	long got = call(count > 1 ? words[1] : "", count > 2 ? words[2] : "");

	printf("%s\n", got < 0 ? strerror(errno) : "done");
	return got < 0;
}
