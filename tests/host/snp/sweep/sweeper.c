/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Runs in the virtual SNP host for inject-sweep: gives a living guest one event after the other, reads its console, and says what came of
 * each in a line: EVENT ERROR CPL OUTCOME. The guest is started again only when an event was its end.
 *
 *     sweeper SECONDS VCPUS EVENTS -- COMMAND...      COMMAND starts the guest; its standard output is the console
 *
 * EVENTS has lines "EVENT ERROR CPL", as the debugfs file inject takes them. After SECONDS no further event is begun. Where EVENTS is a
 * port of the host's, the guest is started first and a line written there: the lines that follow, up to an empty one, are read by each
 * copy of the host that is made then (tests/host/run, --freeze).
 *
 * Most interrupts are nothing to Linux. So several are given one after the other before the guest is asked whether it goes on, and only
 * when it does not, or says more than that nobody handles them, each of them is given again by itself.
 *
 * Nothing here goes by the clock: an event is waited for as long as the guest gets on. A guest stands still when it was entered very
 * often and said nothing, or when it has not been entered at all while this program was scheduled very often.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define FILES		"/sys/kernel/debug/snpemu/"
#define PORTS		"/run/port."
#define POLL_US		5000
#define GIVE_US		1000
#define ENTRIES_SILENT	4000	/* at 250 ticks a second */
#define POLLS_HALTED	600
#define ENTRIES_START	4000000	/* the boot code and Linux say nothing for long */
#define BEATS		2
#define TOGETHER	16
#define MOST_EVENTS	2048
#define SAID		900

enum ended { BEATING, GONE, STILL };

static pid_t guest;
static int console = -1;
static char line[512];
static size_t line_length;
static unsigned long beats, bytes;
static char said[SAID];
static int weak;	/* an earlier event has left its mark: what ends this guest is tried again in a fresh one */
static const char *vcpu;
static char **command;

static void die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

static unsigned long entries(void)
{
	char text[4096] = "", *at;
	FILE *f = fopen(FILES "counters", "r");

	if (!f || !fread(text, 1, sizeof(text) - 1, f))
		die("no counters");
	fclose(f);
	at = strstr(text, "vmrun ");
	return at ? strtoul(at + 6, NULL, 10) : 0;
}

/* What is kept of a line of the kernel's: from the first of these on, without what differs each time. */
static const char *const marks[] = { "victim ended", "victim does not", "wrong ", "Kernel panic", "BUG:", "Oops", "WARNING:", "traps:",
	"No irq handler", "Uhhuh", "unknown reason", "nexpected", "purious", "SEV:", "nsupported", "malicious", "bad frame",
	"int3:", "NMI received", "watchdog:", "rcu:", "MCE", "Machine check", "General protection", "general protection", NULL };

static void keep(const char *text)
{
	size_t at = strlen(said), start = at;
	const char *found = NULL;
	int i;

	if (!strncmp(text, "victim: ", 8) || strstr(text, "RIP:"))
		return;
	for (i = 0; marks[i] && !found; i++)
		found = strstr(text, marks[i]);
	if (!found || at + 200 > SAID)
		return;
	for (; *found && at - start < 120; found++)
		if ((unsigned char)*found >= ' ' && (unsigned char)*found < 127)
			said[at++] = *found;
	said[at++] = ';';
	said[at++] = ' ';
	said[at] = 0;
	if (strstr(said, "Oops") || strstr(said, "BUG") || strstr(said, "WARNING"))
		weak = 1;
}

/* Takes what the console has; 0 at its end. */
static int listen(void)
{
	char buffer[4096];
	ssize_t n, i;

	while ((n = read(console, buffer, sizeof(buffer))) > 0) {
		bytes += n;
		for (i = 0; i < n; i++) {
			if (buffer[i] != '\n' && line_length < sizeof(line) - 1) {
				line[line_length++] = buffer[i];
				continue;
			}
			line[line_length] = 0;
			line_length = 0;
			if (strstr(line, "beat "))
				beats++;
			keep(line);
		}
	}
	return n < 0 && errno == EAGAIN;
}

static enum ended wait_beats(unsigned long count, unsigned long most)
{
	unsigned long until = beats + count, from = entries(), last = from, heard = bytes, now;
	int halted = 0;

	while (beats < until) {
		if (!listen())
			return GONE;
		usleep(POLL_US);
		now = entries();
		halted = now == last ? halted + 1 : 0;
		last = now;
		if (bytes != heard) {
			heard = bytes;
			from = now;
		}
		if (now - from > most || halted > POLLS_HALTED)
			return STILL;
	}
	return BEATING;
}

static void start(void)
{
	int ends[2];

	if (pipe(ends))
		die("pipe: %m");
	fflush(stdout);
	guest = fork();
	if (!guest) {
		int err = open("/tmp/err", O_WRONLY | O_CREAT | O_TRUNC, 0600);

		dup2(ends[1], 1);
		dup2(err, 2);
		close(ends[0]);
		close(ends[1]);
		execvp(command[0], command);
		_exit(127);
	}
	close(ends[1]);
	console = ends[0];
	fcntl(console, F_SETFL, O_NONBLOCK);
	line_length = 0;
	weak = 0;
	said[0] = 0;
	if (wait_beats(2, ENTRIES_START) != BEATING)
		die("the guest does not start: %s %s", line, said);
}

static void end(void)
{
	int status;

	kill(guest, SIGKILL);
	while (waitpid(guest, &status, 0) != guest)
		;
	close(console);
	guest = 0;
}

/* The program's own last word on its guest */
static const char *last_word(void)
{
	static char text[300];
	FILE *f = fopen("/tmp/err", "r");
	char next[300];

	text[0] = 0;
	while (f && fgets(next, sizeof(next), f))
		if (!strncmp(next, "casemate:", 9))
			strcpy(text, next);
	if (f)
		fclose(f);
	text[strcspn(text, "\n")] = 0;
	return text;
}

static void request(const char *text)
{
	int f = open(FILES "inject", O_WRONLY);

	if (f < 0 || write(f, text, strlen(text)) != (ssize_t)strlen(text))
		die("inject: %m");
	close(f);
}

static int pending(void)
{
	char text[64] = "";
	FILE *f = fopen(FILES "inject", "r");

	if (!f || !fgets(text, sizeof(text), f))
		die("inject: %m");
	fclose(f);
	return !strncmp(text, "pending", 7);
}

/* Gives an event; 0 when there was no entry that fits. */
static int give(const char *event)
{
	int polls = 0, given;
	char text[128];

	snprintf(text, sizeof(text), "%s 1 %s\n", event, vcpu);
	request(text);
	/* The guest beats meanwhile, so there are entries of every kind. */
	while (pending() && polls++ < 2000) {
		if (!listen())
			break;
		usleep(GIVE_US);
	}
	given = !pending();
	if (!given)
		request("0 0 0 0\n");
	return given;
}

/* Those below 0x20 come to the gates of exceptions. */
static int is_mere_interrupt(const char *event)
{
	return !strncmp(event, "800000", 6) && event[6] > '1';
}

/* Whether nothing was said, or only that nobody handles an interrupt, which Linux says of some only. */
static int said_nothing_else(void)
{
	const char *at;

	for (at = said; *at; at = strstr(at, "; ") + 2)
		if (strncmp(at, "No irq handler", 14))
			return 0;
	return 1;
}

/* Interrupts that all have the same CPL: whether nothing came of any. If not, the guest may be another one afterwards. */
static int nothing_comes_of(char (*events)[64], int count)
{
	int i, nothing = 1;

	if (!guest)
		start();
	said[0] = 0;
	for (i = 0; i < count && nothing; i++)
		nothing = give(events[i]);
	if (wait_beats(BEATS, ENTRIES_SILENT) != BEATING || weak) {
		end();
		return 0;
	}
	nothing = nothing && said_nothing_else();
	for (i = 0; i < count && nothing; i++)
		printf("%s goes on: %s\n", events[i], said[0] ? said : "nothing said");
	fflush(stdout);
	return nothing;
}

/* Gives an event and says what came of it: 0 when the guest had been weakened before, so that it says nothing. */
static int try(const char *event)
{
	static const char *const words[] = { "goes on", "ends", "stands still" };
	int was_weak, given, status;
	enum ended ended;

	if (!guest)
		start();
	was_weak = weak;
	said[0] = 0;
	given = give(event);
	ended = wait_beats(BEATS, ENTRIES_SILENT);
	if (ended != BEATING && was_weak) {
		end();
		return 0;
	}
	/* Its last word comes with its end. */
	if (ended == GONE)
		while (waitpid(guest, &status, 0) != guest)
			;
	printf("%s %s: %s%s%s\n", event, words[ended], given ? "" : "not given; ", said[0] ? said : "nothing said",
	       ended == GONE ? last_word() : "");
	fflush(stdout);
	if (ended == STILL) {
		end();
	} else if (ended == GONE) {
		close(console);
		guest = 0;
	}
	return 1;
}

/* A signal for all processes that come from `parent`, and for it. */
static void signal_family(pid_t parent, int number)
{
	char path[64], text[512];
	struct dirent *entry;
	DIR *all = opendir("/proc");
	FILE *f;
	int its;

	kill(parent, number);
	while (all && (entry = readdir(all))) {
		snprintf(path, sizeof(path), "/proc/%.20s/stat", entry->d_name);
		f = atoi(entry->d_name) ? fopen(path, "r") : NULL;
		/* The name, in brackets, may hold anything; the parent's number is the second word behind it. */
		if (f && fgets(text, sizeof(text), f) && strrchr(text, ')') && sscanf(strrchr(text, ')') + 1, " %*c %d", &its) == 1 &&
		    its == parent)
			signal_family(atoi(entry->d_name), number);
		if (f)
			fclose(f);
	}
	if (all)
		closedir(all);
}

/*
 * Says that the guest beats, and waits until there is something to read: the descriptor. Meanwhile the guest stands still: QEMU cannot
 * load again the state of a processor that it saved while a nested guest ran on it ("vCPU set in guest-mode inconsistent").
 */
static int let_copies_be_made(const char *port)
{
	int f = open(port, O_RDWR);
	struct pollfd wait = { .fd = f, .events = POLLIN };

	signal_family(guest, SIGSTOP);
	if (f < 0 || write(f, "beats\n", 6) != 6)
		die("%s: %m", port);
	while (poll(&wait, 1, -1) < 0 && errno == EINTR)
		;
	signal_family(guest, SIGCONT);
	return f;
}

int main(int argc, char **argv)
{
	static char events[MOST_EVENTS][64];
	int count = 0, at = 0, together;
	time_t until;
	FILE *file;

	if (argc < 6)
		die("sweeper SECONDS VCPUS EVENTS -- COMMAND...");
	command = argv + 5;
	/* The victim is on the last vCPU: any that is not the boot vCPU, where there are two. */
	vcpu = atoi(argv[2]) > 1 ? "1" : "0";
	if (!strncmp(argv[3], PORTS, strlen(PORTS))) {
		start();
		file = fdopen(let_copies_be_made(argv[3]), "r");
	} else {
		file = fopen(argv[3], "r");
	}
	if (!file)
		die("%s: %m", argv[3]);
	while (count < MOST_EVENTS && fgets(events[count], sizeof(events[count]), file) && events[count][0] != '\n') {
		events[count][strcspn(events[count], "\n")] = 0;
		count++;
	}
	if (!count)
		die("%s: no events", argv[3]);
	until = time(NULL) + atoi(argv[1]);
	while (at < count && time(NULL) < until) {
		const char *mode = strrchr(events[at], ' ');

		for (together = 0; at + together < count && together < TOGETHER && is_mere_interrupt(events[at + together]) &&
		     !strcmp(strrchr(events[at + together], ' '), mode); together++)
			;
		if (together > 1 && nothing_comes_of(events + at, together)) {
			at += together;
			continue;
		}
		for (together = together > 1 ? together : 1; together > 0 && time(NULL) < until; together--, at++)
			while (!try(events[at]))
				;
	}
	if (guest)
		end();
	return 0;
}
