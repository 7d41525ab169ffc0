/* SPDX-License-Identifier: GPL-2.0 */
/*
 * PID 1 of the guest that inject-sweep injects events into: a child computes in user mode and lets the kernel work for it, by
 * turns, checks what comes of it, and says so ("beat"); when it is gone, how it ended is said, and there is another one.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static unsigned long compute(void)
{
	unsigned long x = 1, i;

	for (i = 0; i < 3000000; i++)
		x = x * 6364136223846793005UL + 1442695040888963407UL;
	return x;
}

/* Long system calls, whose answer is known: bytes through a pipe. */
static int kernel_works(int *pipe)
{
	static char out[65536], in[65536];
	int i;

	for (i = 0; i < 20; i++) {
		memset(out, i, sizeof(out));
		if (write(pipe[1], out, 60000) != 60000 || read(pipe[0], in, 60000) != 60000 || memcmp(out, in, 60000))
			return 0;
	}
	return 1;
}

static void victim(void)
{
	unsigned long expected = compute(), n;
	int ends[2];

	if (pipe(ends))
		_exit(1);
	for (n = 0;; n++) {
		if (compute() != expected || !kernel_works(ends)) {
			printf("wrong result\n");
			_exit(2);
		}
		printf("beat %lu\n", n);
	}
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (;;) {
		int status;
		pid_t child = fork();

		if (!child)
			victim();
		while (waitpid(child, &status, 0) != child)
			;
		if (WIFSIGNALED(status))
			printf("victim ended by signal %d\n", WTERMSIG(status));
		else
			printf("victim ended with %d\n", WEXITSTATUS(status));
	}
}
