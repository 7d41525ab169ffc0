#!/bin/sh
# The workload of every end-to-end test's guest; the kernel command line's word task=… says which.
for word in $(cat /proc/cmdline); do
	case $word in task=*) task=${word#task=} ;; esac
done
echo "guest: task $task, input $(cat /casemate/input)"
case $task in
hello) ;;
args)
	# As bytes in hexadecimal: a word may have any. To the disk, since the console is the kernel's, too.
	busybox mount -t sysfs none /sys 2>/dev/null
	for file in /proc/cmdline /proc/1/cmdline /proc/1/environ /sys/module/firmware_class/parameters/path; do
		echo "bytes of $file: $(busybox hexdump -v -e '1/1 "%02x"' "$file")."
	done >/tmp/results
	echo end >>/tmp/results
	busybox dd if=/tmp/results of=/dev/vda conv=fsync || exit 10 ;;
five) exit 5 ;;
kernel)
	# Results share the console with the kernel, whose messages would come between their letters.
	dmesg -n 1
	protected=
	dmesg | grep -q 'Memory Encryption Features.*SEV-SNP' && protected=", protected by SEV-SNP"
	echo "guest: kernel $(uname -r), $(grep -c ^processor /proc/cpuinfo) processors$protected" ;;
cpus) echo "guest: $(grep -c ^processor /proc/cpuinfo) processors" ;;
echo)
	read -r line
	echo "guest: read $line" ;;
wait)
	trap 'echo "guest: told to end"; exit 0' TERM
	while :; do sleep 1 & wait $!; done ;;
fill)
	# Takes all memory that it can get. Only the host ends it.
	busybox mount -t tmpfs -o size=100% none /mnt 2>/dev/null || busybox mkdir -p /mnt
	busybox dd if=/dev/zero of=/mnt/all bs=1M
	echo "guest: there is no more"
	sleep 1000 ;;
reboot) busybox reboot -f ;;
panic) echo c >/proc/sysrq-trigger ;;
*) echo "guest: no such task"; exit 99 ;;
esac
