#!/bin/sh
# The workload of an image: says who it is and what it reaches, then does its task, the first argument.
b=/bin/busybox
echo "guest: user $($b id -u):$($b id -g) groups $($b id -G)"
echo "guest: starts in $($b pwd), GREETING=$GREETING HOME=$HOME"
$b grep -E '^(CapBnd|CapEff|NoNewPrivs)' /proc/self/status | $b tr -s '\t' ' ' | $b sed 's/^/guest: /'
attempt() {
	what=$1
	shift
	if "$@" >/dev/null 2>&1; then echo "guest: open: $what"; else echo "guest: closed: $what"; fi
}
if [ "$1" = doors ]; then
	attempt "core pattern" $b sh -c 'echo "|/bin/x" >/proc/sys/kernel/core_pattern'
	attempt "sysrq" $b grep -q 1 /proc/sys/kernel/sysrq
	attempt "settings writable again" $b mount -o remount,rw /proc/sys
	attempt "a mount" $b mount -t tmpfs none /tmp
	attempt "a device node" $b mknod /tmp/disk b 254 0
	attempt "the root disk" $b test -e /dev/vda -o -e /dev/dm-0
	attempt "the root" $b touch /written
	attempt "settings of the kernel" $b sh -c 'echo 1 >/sys/kernel/mm/ksm/run'
	attempt "the kernel's log" $b dmesg
	attempt "files of PID 1" $b ls /proc/1/root/
	attempt "the initramfs" $b test -e /casemate -o -e /init
	attempt "more modules" $b grep -q 0 /proc/sys/kernel/modules_disabled
	attempt "the end of PID 1" $b sh -c 'kill -9 1; exit 1'
	# Each proves first that the probe itself works; then what the kernel would do for a program, or as root.
	attempt "a call" calls nothing
	attempt "a user namespace" calls user-namespace
	attempt "keys" calls request-key
	attempt "programs of the kernel" calls bpf
	attempt "rings of calls" calls io_uring
	attempt "another kernel" calls kexec
	attempt "ports" calls ioperm
	attempt "a port" calls port
	attempt "standard input" calls input
	# What is attempted writes elsewhere; this is the console.
	exec 3>&1
	attempt "standard output, written" calls write-output
	attempt "standard output, read" calls read-output
	attempt "standard output, opened again" calls open-output
	# The helper that the kernel would start, as root of the guest, if it found one: it leaves a mark.
	attempt "a program of no kind" calls execute /tmp/unknown
	attempt "the mark of a helper" $b test -e /tmp/helper
	attempt "interrupts" $b sh -c 'echo 1 >/proc/irq/default_smp_affinity'
	for file in environ maps mem fd/0 fd/1 fd/2 cwd/etc/passwd exe stack; do
		attempt "/proc/1/$file" $b dd if=/proc/1/$file of=/dev/null bs=1 count=1
	done
	attempt "a file in /tmp" $b touch /tmp/file
	attempt "itself over the loopback interface" $b ping -c 1 -W 20 127.0.0.1
	attempt "its bounds" $b grep -qx 4096 /sys/fs/cgroup/workload/pids.max
	attempt "wider bounds" $b sh -c 'echo max >/sys/fs/cgroup/workload/memory.max'
	attempt "another cgroup" $b sh -c 'echo 0 >/sys/fs/cgroup/cgroup.procs'
	attempt "no bound at all" $b grep -qx max /sys/fs/cgroup/workload/memory.max
	echo "guest: core limit $($b awk '/core file/ { print $5 }' /proc/self/limits), year $($b date -u +%Y)"
fi
case $1 in
wait) trap 'echo "guest: asked to end"; exit 0' USR1; echo "guest: waits"; while :; do $b sleep 1; done ;;
read) $b sha256sum /data; exit 0 ;;
results)
	# What comes in goes out again, with what else a workload may leave; a link and a pipe are no results.
	cd /run/casemate/out || exit 1
	$b mkdir -m 750 sums && $b cat /run/casemate/in/* >sums/all && $b chmod 640 sums/all || exit 1
	$b dd if=/dev/zero of=large bs=64k count=20 2>/dev/null
	$b ln -s /data link && $b mkfifo pipe || exit 1
	# Somebody who goes on when the workload has ended.
	(while :; do echo more >>later; $b sleep 0.01; done) &
	exit "${2:-0}" ;;
memory)
	# More than there is, of a process that the program itself waits for and would go on without.
	echo part >/run/casemate/out/part
	calls memory
	echo more >>/run/casemate/out/part
	exit 0 ;;
*) exit "${2:-0}" ;;
esac
