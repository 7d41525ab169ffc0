#!/bin/sh
# What a guest does with devices of which it has one each: it reads random numbers of the host.
b=/bin/busybox
echo "guest: hwrng is $($b cat /sys/class/misc/hw_random/rng_current)"
# In reads of 64 bytes, as the driver asks for them, and in long ones, which it cuts.
first=$($b dd if=/dev/hwrng bs=65536 count=1 iflag=fullblock 2>/dev/null | $b tee /tmp/first | $b sha256sum)
second=$($b dd if=/dev/hwrng bs=64 count=1024 iflag=fullblock 2>/dev/null | $b tee /tmp/second | $b sha256sum)
echo "guest: read $($b wc -c </tmp/first) and $($b wc -c </tmp/second) bytes"
[ "$first" != "$second" ] && echo "guest: they differ"
# Random bytes do not compress; those of a buffer that nobody filled do.
echo "guest: packed into $(($($b gzip -c /tmp/first | $b wc -c) / 65536 * 65536)) and more"
echo "guest: at work"
$b sleep 3
echo "guest: done"
