/* SPDX-License-Identifier: GPL-2.0 */
/*
 * PID 1 of the guest that inject-sweep injects events into. A child, on the guest's last processor, computes in user mode and lets
 * the kernel work for it, by turns, checks what comes of it, and says so ("beat"); when it is gone, how it ended is said, and there
 * is another one. PID 1 itself is on the first processor, and says when the child does not get on: where there are two, one
 * can stand still and the other tell of it.
 *
 * What a host could change without anybody's notice, and is looked at: a register between two instructions, bytes that the kernel
 * wrote, an answer of the kernel's.
 *
 * The kernel's work is one that holds nothing meanwhile: it makes random bytes, on its own stack. An event that kills the process there
 * leaves no lock behind, for which the rest of the guest would wait; that would say more of the place than of the event. Nor is it at one
 * of the instructions of which a fault is an answer to the system call.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#define SPINS		100000
#define CALLS		2
#define BYTES		60000
#define ZEROS		512
#define POLL_US		50000
#define POLLS_STUCK	60	/* of POLL_US without a beat: more than a dozen beats take */

/* Fourteen registers hold a pattern for a while: 0 when none has changed, 2 when rax has, 1 when another has. */
static unsigned long changed_registers(void)
{
	unsigned long changed = 0;

	asm volatile(
		"push %%rbp\n\t"
		"sub $128, %%rsp\n\t"	/* not the red zone */
		"mov $0x1111111111111111, %%rax\n\t mov %%rax, %%rbx\n\t mov %%rax, %%rdx\n\t mov %%rax, %%rsi\n\t"
		"mov %%rax, %%rdi\n\t mov %%rax, %%rbp\n\t mov %%rax, %%r8\n\t mov %%rax, %%r9\n\t mov %%rax, %%r10\n\t"
		"mov %%rax, %%r11\n\t mov %%rax, %%r12\n\t mov %%rax, %%r13\n\t mov %%rax, %%r14\n\t"
		"mov %[spins], %%rcx\n\t"
		"mov %%rax, %%r15\n"
		"1: cmp %%rax, %%r15\n\t jne 2f\n\t cmp %%rbx, %%r15\n\t jne 2f\n\t cmp %%rdx, %%r15\n\t jne 2f\n\t"
		"cmp %%rsi, %%r15\n\t jne 2f\n\t cmp %%rdi, %%r15\n\t jne 2f\n\t cmp %%rbp, %%r15\n\t jne 2f\n\t"
		"cmp %%r8, %%r15\n\t jne 2f\n\t cmp %%r9, %%r15\n\t jne 2f\n\t cmp %%r10, %%r15\n\t jne 2f\n\t"
		"cmp %%r11, %%r15\n\t jne 2f\n\t cmp %%r12, %%r15\n\t jne 2f\n\t cmp %%r13, %%r15\n\t jne 2f\n\t"
		"cmp %%r14, %%r15\n\t jne 2f\n\t"
		"dec %%rcx\n\t jnz 1b\n\t"
		"xor %%eax, %%eax\n\t jmp 3f\n"
		"2: mov $1, %%r15d\n\t cmp %%rax, %%r14\n\t je 4f\n\t mov $2, %%r15d\n"
		"4: mov %%r15, %%rax\n"
		"3: add $128, %%rsp\n\t"
		"pop %%rbp\n\t"
		"mov %%rax, %[changed]\n\t"
		: [changed] "=m"(changed)
		: [spins] "i"(SPINS)
		: "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "cc",
		  "memory");
	return changed;
}

/* Long system calls, and one of which every byte is known. */
static int kernel_works(int zeros)
{
	static char bytes[BYTES];
	size_t i;

	for (i = 0; i < CALLS; i++)
		if (getrandom(bytes, BYTES, GRND_INSECURE) != BYTES)
			return 0;
	if (read(zeros, bytes, ZEROS) != ZEROS)
		return 0;
	for (i = 0; i < ZEROS; i++)
		if (bytes[i])
			return 0;
	return 1;
}

static void run_on(int processor)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(processor, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static void victim(int processor, volatile unsigned long *beats)
{
	unsigned long changed;
	int zeros = open("/zero", O_RDONLY);

	run_on(processor);
	if (zeros < 0)
		_exit(1);
	for (;;) {
		changed = changed_registers();
		if (changed) {
			printf("wrong register%s\n", changed == 1 ? "" : ": rax");
			_exit(2);
		}
		if (!kernel_works(zeros)) {
			printf("wrong answer of the kernel's\n");
			_exit(2);
		}
		printf("beat %lu\n", ++*beats);
	}
}

/* Until the child is gone; its status. */
static int wait_for(pid_t child, volatile unsigned long *beats)
{
	unsigned long seen = *beats;
	int status, polls = 0;

	while (waitpid(child, &status, WNOHANG) != child) {
		usleep(POLL_US);
		if (*beats != seen) {
			seen = *beats;
			polls = 0;
		} else if (++polls == POLLS_STUCK) {
			printf("victim does not get on\n");
		}
	}
	return status;
}

int main(void)
{
	volatile unsigned long *beats = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int processors = sysconf(_SC_NPROCESSORS_ONLN);

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (beats == MAP_FAILED || mknod("/zero", S_IFCHR | 0400, makedev(1, 5)))
		return 1;
	printf("victim: %d processors\n", processors);
	run_on(0);
	for (;;) {
		int status;
		pid_t child = fork();

		if (!child)
			victim(processors - 1, beats);
		status = wait_for(child, beats);
		if (WIFSIGNALED(status))
			printf("victim ended by signal %d\n", WTERMSIG(status));
		else
			printf("victim ended with %d\n", WEXITSTATUS(status));
	}
}
