// SPDX-License-Identifier: GPL-2.0
/*
 * with_cpuid [--stay] SITES PROGRAM [ARGUMENT]...   starts PROGRAM and answers its first question for CPUID leaf 0x8000001F
 * as the MODEL's processor would; with --stay every one.
 *
 * The emulator below the virtual SNP host cannot trap CPUID in user space and does not have that leaf; QEMU takes the position
 * of the C-bit from the instruction. SITES is a file with the addresses of CPUID instructions in PROGRAM, one hexadecimal
 * number a line. Each becomes a breakpoint until the leaf was asked for (with --stay, to the end); then PROGRAM runs on as it is, without a tracer.
 * PROGRAM's file is not touched.
 */
#define _GNU_SOURCE
#include <cpuid.h>
#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define SEV_LEAF	0x8000001f
#define MAX_EXT_LEAF	0x80000021
#define SITES		256
#define THREADS		64

static struct {
	uint64_t address;
	long old;
} site[SITES];
static int sites;
static pid_t thread[THREADS];
static int threads;
static int stay;

static void die(const char *what)
{
	fprintf(stderr, "with_cpuid: %s: %s\n", what, strerror(errno));
	exit(125);
}

static void read_sites(const char *path)
{
	FILE *f = fopen(path, "r");

	if (!f)
		die(path);
	while (sites < SITES && fscanf(f, "%lx", &site[sites].address) == 1)
		sites++;
	fclose(f);
}

/* Where the kernel has put the program: the difference between its entry point now and in the file (0 without PIE) */
static uint64_t load_bias(pid_t pid, const char *program)
{
	Elf64_Ehdr header;
	uint64_t pair[2], entry = 0;
	char path[32];
	FILE *f = fopen(program, "r");

	if (!f || fread(&header, sizeof(header), 1, f) != 1)
		die(program);
	fclose(f);
	snprintf(path, sizeof(path), "/proc/%d/auxv", pid);
	f = fopen(path, "r");
	if (!f)
		die(path);
	while (fread(pair, sizeof(pair), 1, f) == 1)
		if (pair[0] == AT_ENTRY)
			entry = pair[1];
	fclose(f);
	return entry - header.e_entry;
}

static void plant(pid_t pid, uint64_t bias)
{
	for (int i = 0; i < sites; i++) {
		site[i].address += bias;
		errno = 0;
		site[i].old = ptrace(PTRACE_PEEKTEXT, pid, site[i].address, 0);
		if (errno || (site[i].old & 0xffff) != 0xa20f)
			die("no CPUID instruction where the file of sites says");
		if (ptrace(PTRACE_POKETEXT, pid, site[i].address, (site[i].old & ~0xffL) | 0xcc))
			die("breakpoint");
	}
}

static void remove_all(pid_t pid)
{
	for (int i = 0; i < sites; i++)
		if (ptrace(PTRACE_POKETEXT, pid, site[i].address, site[i].old))
			die("removing a breakpoint");
}

/* 1: that was the leaf; 0: another one; -1: not at a breakpoint of ours */
static int answer(pid_t pid)
{
	struct user_regs_struct r;
	unsigned int a, b, c, d, leaf;
	int i;

	if (ptrace(PTRACE_GETREGS, pid, 0, &r))
		die("registers");
	for (i = 0; i < sites && site[i].address != r.rip - 1; i++)
		;
	if (i == sites)
		return -1;
	leaf = r.rax;
	__cpuid_count(leaf, (unsigned int)r.rcx, a, b, c, d);
	if (leaf == 0x80000000 && a < MAX_EXT_LEAF) {
		a = MAX_EXT_LEAF;
	} else if (leaf == SEV_LEAF) { /* as snpemu/cpuid.c */
		a = 0x1a;
		b = 39 | 1 << 6 | 4 << 12;
		c = 16;
		d = 9;
	}
	r.rax = a;
	r.rbx = b;
	r.rcx = c;
	r.rdx = d;
	r.rip++; /* past the second byte of CPUID */
	if (ptrace(PTRACE_SETREGS, pid, 0, &r))
		die("registers");
	return leaf == SEV_LEAF;
}

static void detach_all(pid_t stopped)
{
	remove_all(stopped);
	for (int i = 0; i < threads; i++) {
		int status;

		if (thread[i] != stopped) { /* a thread has to be stopped to be let go */
			tgkill(thread[0], thread[i], SIGSTOP);
			if (waitpid(thread[i], &status, __WALL) < 0 || !WIFSTOPPED(status))
				continue;
		}
		ptrace(PTRACE_DETACH, thread[i], 0, 0);
	}
}

/* Until the leaf was asked for or the program has ended; returns its wait status then, or -1. */
static int follow(pid_t pid)
{
	for (;;) {
		int status, r, signal = 0;
		pid_t who = waitpid(-1, &status, __WALL);

		if (who < 0)
			die("wait");
		if (WIFEXITED(status) || WIFSIGNALED(status)) {
			if (who == pid)
				return status;
			continue;
		}
		if (status >> 8 == (SIGTRAP | PTRACE_EVENT_CLONE << 8)) {
			unsigned long new;

			ptrace(PTRACE_GETEVENTMSG, who, 0, &new);
			if (threads == THREADS)
				die("too many threads");
			thread[threads++] = new;
		} else if (WSTOPSIG(status) == SIGTRAP) {
			r = answer(who);
			if (r == 1 && !stay) {
				detach_all(who);
				return -1;
			}
			signal = r < 0 && status >> 16 == 0 ? SIGTRAP : 0;
		} else if (WSTOPSIG(status) != SIGSTOP) { /* SIGSTOP: a new thread's first stop */
			signal = WSTOPSIG(status);
		}
		ptrace(PTRACE_CONT, who, 0, signal);
	}
}

int main(int argc, char **argv)
{
	int status;
	pid_t pid;

	if (argc > 1 && !strcmp(argv[1], "--stay")) {
		stay = 1;
		argc--;
		argv++;
	}
	if (argc < 3) {
		fprintf(stderr, "usage: with_cpuid [--stay] SITES PROGRAM [ARGUMENT]...\n");
		return 2;
	}
	read_sites(argv[1]);
	pid = fork();
	if (pid < 0)
		die("fork");
	if (!pid) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		execv(argv[2], argv + 2);
		die(argv[2]);
	}
	if (waitpid(pid, &status, 0) < 0 || !WIFSTOPPED(status))
		return 125;
	thread[threads++] = pid;
	if (ptrace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL))
		die("PTRACE_SETOPTIONS");
	plant(pid, load_bias(pid, argv[2]));
	ptrace(PTRACE_CONT, pid, 0, 0);
	status = follow(pid);
	if (status == -1 && waitpid(pid, &status, 0) < 0)
		die("wait");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
