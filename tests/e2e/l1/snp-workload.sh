#!/bin/sh
# The workload of an SEV-SNP guest: what Linux says of its protection, and a report of the security processor.
# Results share the console with the kernel, whose messages would come between their letters.
dmesg -n 1
dmesg | grep "Memory Encryption Features"
echo "guest: $(grep -c ^processor /proc/cpuinfo) processors, $(awk '/MemTotal/ { print int($2 / 1024) }' /proc/meminfo) MiB"
busybox mount -t configfs none /sys/kernel/config || exit 10
entry=/sys/kernel/config/tsm/report/e2e
busybox mkdir $entry || exit 11
printf '%064d' 7 >$entry/inblob || exit 12
cat $entry/outblob >/tmp/report || exit 13
busybox od -An -v -tx1 /tmp/report | busybox sed 's/^/report/' || exit 14
echo "guest: report of $(wc -c </tmp/report) bytes by $(cat $entry/provider)"
