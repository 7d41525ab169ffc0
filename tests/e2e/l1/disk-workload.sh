#!/bin/sh
# What a guest finds on its disks: the first is read-only and has the file system that `casemate image root` made, the
# second keeps what is written to it. Everything is read from the disk again before it is compared.
b=/bin/busybox
# The host looks at the processes meanwhile.
echo "guest: at work"
$b sleep 3
for disk in vda vdb; do
	echo "guest: $disk sectors $($b cat /sys/block/$disk/size) read-only $($b cat /sys/block/$disk/ro) serial $($b cat /sys/block/$disk/serial)"
done
$b mkdir -p /mnt
$b mount -t erofs -o ro /dev/vda /mnt && echo "guest: mounted, file says $($b cat /mnt/etc/motd), mode and owner $($b stat -c '%a %u:%g' /mnt/bin/tool)"
$b dd if=/dev/zero of=/dev/vda bs=4096 count=1 conv=fsync 2>/dev/null && echo "guest: the read-only disk was written"
before=$($b head -c 2097152 /dev/urandom | $b tee /tmp/bytes | $b sha256sum)
$b dd if=/tmp/bytes of=/dev/vdb bs=65536 conv=fsync 2>/dev/null
echo 3 >/proc/sys/vm/drop_caches
after=$($b dd if=/dev/vdb bs=65536 count=32 2>/dev/null | $b sha256sum)
[ "$before" = "$after" ] && echo "guest: read back the same"
$b dd if=/dev/vdb of=/dev/null bs=65536 count=8 2>/dev/null && echo "guest: the disk goes on"
echo "guest: sum of the disk $after"
