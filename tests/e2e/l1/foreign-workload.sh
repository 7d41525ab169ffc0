#!/bin/sh
# What a guest does with devices that programs of others serve: a network device, whose back end answers for the host at the
# gateway's address, and a socket device, whose back end does not pass on that a side has sent its last.
b=/bin/busybox
host=169.254.2.2
$b ip link set eth0 up
$b ip address add 169.254.2.1/16 dev eth0
echo "guest: eth0 is $($b cat /sys/class/net/eth0/address)"
# It answers ARP once it has seen the guest.
$b ping -c 1 -W 5 $host >/dev/null 2>&1
echo "guest: to the host: $(/bin/net send $host 7000 16777216)"
echo "guest: from the host: $(/bin/net fetch $host 7000)"
echo "guest: a datagram: $(/bin/net echo $host 7000 1400)"
/bin/vsock serve 1024 22
echo "guest: a stream: $(/bin/vsock fetch 52)"
echo "guest: serves"
until /bin/vsock fetch 55 >/dev/null; do $b sleep 0.5; done
echo "guest: done"
