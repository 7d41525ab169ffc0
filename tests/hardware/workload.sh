#!/bin/sh
# The workload of a guest of tests/hardware/check: its processors, the hash of its second disk, and a report for the nonce that this
# disk begins with. What it found goes to its first disk: the console is the kernel's, too.
{
	echo "processors $(grep -c ^processor /proc/cpuinfo)"
	echo "encryption $(dmesg | grep -c 'Memory Encryption Features.*SEV-SNP')"
	echo "data $(sha256sum /dev/vdb | cut -c1-64)"
} >/tmp/results
busybox mount -t configfs none /sys/kernel/config || exit 10
entry=/sys/kernel/config/tsm/report/check
busybox mkdir $entry || exit 11
busybox dd if=/dev/vdb of=$entry/inblob bs=64 count=1 2>/dev/null || exit 12
cat $entry/outblob >/tmp/report || exit 13
echo "report $(busybox od -An -v -tx1 /tmp/report | busybox tr -d ' \n')" >>/tmp/results
busybox dd if=/tmp/results of=/dev/vda conv=fsync 2>/dev/null || exit 14
