#!/bin/sh
# Writes files to a disk, flushes each, and compares all of them with what was written after they were read from the disk
# again. Meanwhile the host kills the process that serves the disk.
b=/bin/busybox
rounds=40
$b mkdir -p /mnt
$b mount -t ext4 /dev/vda /mnt && echo "guest: mounted"
round=0
while [ $round -lt $rounds ]; do
	round=$((round + 1))
	$b head -c 150000 /dev/urandom >/tmp/bytes
	$b dd if=/tmp/bytes of=/mnt/file$round bs=32768 conv=fsync 2>/dev/null || echo "guest: a write failed"
	$b sha256sum </tmp/bytes >/tmp/sum$round
	echo "guest: round $round"
done
echo 3 >/proc/sys/vm/drop_caches
same=0
round=0
while [ $round -lt $rounds ]; do
	round=$((round + 1))
	[ "$($b sha256sum </mnt/file$round)" = "$($b cat /tmp/sum$round)" ] && same=$((same + 1))
done
echo "guest: $same of $rounds files are the same"
echo "guest: errors in the kernel's log: $($b dmesg | $b grep -ciE 'I/O error|EXT4-fs error|critical')"
$b umount /mnt && echo "guest: unmounted"
