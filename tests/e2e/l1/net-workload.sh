#!/bin/sh
# What a guest does with its network device: streams and datagrams in both directions, large ones that the device cuts, a port
# that its policy does not admit, a frame whose sum would change where it goes. Then its device's process is killed, and it goes
# on without a network.
b=/bin/busybox
net=/bin/net
host=10.9.0.1
$b ip link set eth0 up
$b ip address add 10.9.0.2/24 dev eth0
echo "guest: eth0 is $($b cat /sys/class/net/eth0/address), mtu $($b cat /sys/class/net/eth0/mtu)"
echo "guest: to the host: $($net send $host 7000 16777216)"
echo "guest: from the host: $($net fetch $host 7000)"
echo "guest: a datagram: $($net echo $host 7000 1400)"
echo "guest: a port that is not admitted: $($net silent $host 7001)"
echo "guest: pieces of a datagram: $($net segments $host 7000)"
$net forge eth0 $host 7000 77 34 6
$net forge eth0 $host 7000 78 34 2
echo "guest: behind it: $($net echo $host 7000 99)"
received=$($b awk '/eth0/ {sub(/.*:/, ""); print int($1 / $2)}' /proc/net/dev)
[ "$received" -gt 1600 ] && echo "guest: frames came in one piece that are larger than the link's"
echo "guest: at work"
until ! $b ping -c 1 -W 2 $host >/dev/null 2>&1; do $b sleep 0.5; done
echo "guest: nobody answers any more, and it goes on"
