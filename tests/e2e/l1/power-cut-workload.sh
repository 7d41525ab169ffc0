#!/bin/sh
# What a power cut interrupts: beside a load that nobody waits for, files that are kept, one after the other. What is said to be
# kept was written, and the file system told to make all of it last.
b=/bin/busybox
for word in $($b cat /proc/cmdline); do
	case $word in rounds=*) rounds=${word#rounds=} ;; esac
done
$b mkdir -p /mnt
$b mount -t ext4 /dev/vda /mnt && echo "guest: mounted"
load() {
	n=0
	while :; do
		n=$((n + 1))
		$b mkdir -p /mnt/load/$((n % 5))
		$b dd if=/dev/urandom of=/mnt/load/$((n % 5))/$((n % 7)) bs=4096 count=$((n % 9 + 1)) 2>/dev/null
		[ $((n % 6)) != 0 ] || $b rm -rf /mnt/load/$((n % 3))
		[ $((n % 4)) != 0 ] || $b mv /mnt/load/$((n % 5)) /mnt/load/moved.$((n % 2)) 2>/dev/null
	done
}
load &
round=0
while [ $round -lt $((rounds)) ]; do
	round=$((round + 1))
	$b dd if=/dev/urandom of=/mnt/kept.$round bs=3000 count=$round 2>/dev/null
	$b sync
	echo "guest: kept $round $($b sha256sum </mnt/kept.$round)"
done
