#!/bin/sh
# The workload of an SEV-SNP guest: what Linux says of its protection, and a report of the security processor. What it found
# goes to its disk: the console is the kernel's, too, whose messages would come between letters.
{
	dmesg | grep "Memory Encryption Features"
	echo "processors $(grep -c ^processor /proc/cpuinfo)"
	echo "MiB $(awk '/MemTotal/ { print int($2 / 1024) }' /proc/meminfo)"
} >/tmp/results
busybox mount -t configfs none /sys/kernel/config || exit 10
entry=/sys/kernel/config/tsm/report/e2e
busybox mkdir $entry || exit 11
printf '%064d' 7 >$entry/inblob || exit 12
cat $entry/outblob >/tmp/report || exit 13
{
	echo "provider $(cat $entry/provider)"
	echo "report $(busybox od -An -v -tx1 /tmp/report | busybox tr -d ' \n')"
	echo end
} >>/tmp/results
busybox dd if=/tmp/results of=/dev/vda conv=fsync || exit 14
