#!/bin/sh
# What a guest does with streams to its host: it serves three ports, connects to one of the host's, is refused at another, and
# stays until the host says that all is done.
b=/bin/busybox
vsock=/bin/vsock
$vsock serve 1024 22
echo "guest: to the host: $($vsock connect 52 3000000 | $b tr '\n' ' ')"
echo "guest: a port that is not named: $($vsock refused 53)"
echo "guest: a port without a listener: $($vsock refused 54)"
for i in 1 2 3 4 5 6 7 8; do $vsock connect 52 "10000$i" >/tmp/many.$i & done
wait
echo "guest: $($b grep -l 'sum .* of 10000[1-8] bytes' /tmp/many.* | $b wc -l) of 8 at once"
echo "guest: serves"
# Somebody who listens there is the host's word that it is done.
until $vsock connect 55 0 >/dev/null; do $b sleep 0.5; done
echo "guest: done"
