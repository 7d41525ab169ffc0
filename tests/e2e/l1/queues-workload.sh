#!/bin/sh
# What a guest with two processors finds of a disk with two queues: each processor reads by its own, past the page cache, as
# many blocks as the command line says. What it wrote it reads back.
b=/bin/busybox
n=$($b sed -n 's/.*requests=\([0-9]*\).*/\1/p' /proc/cmdline)
echo "guest: vda sectors $($b cat /sys/block/vda/size) queues $($b ls /sys/block/vda/mq | $b wc -l)"
$b taskset 1 $b dd if=/dev/vda of=/dev/null bs=4096 count=$n iflag=direct 2>/dev/null &
$b taskset 2 $b dd if=/dev/vda of=/dev/null bs=4096 count=$n iflag=direct 2>/dev/null
wait
$b awk '/virtio0-req/ { sum = 0; for (i = 2; i <= NF; i++) if ($i ~ /^[0-9]+$/) sum += $i; print "guest: interrupts", $NF, sum }' /proc/interrupts
$b head -c 262144 /dev/urandom >/tmp/bytes
$b dd if=/tmp/bytes of=/dev/vda bs=65536 seek=8 conv=fsync 2>/dev/null
echo 3 >/proc/sys/vm/drop_caches
$b dd if=/dev/vda bs=65536 skip=8 count=4 2>/dev/null | $b cmp - /tmp/bytes && echo "guest: read back the same"
echo "guest: requests $($b awk '{ print $1 + $5 }' /sys/block/vda/stat)"
echo "guest: sum of the disk $($b sha256sum </tmp/bytes)"
