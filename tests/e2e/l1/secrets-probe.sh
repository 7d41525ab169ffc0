#!/bin/sh
# The workload of an image with secrets: says what it finds of them, and what it cannot do to them.
b=/bin/busybox
folder=/run/casemate/secrets
echo "guest: user $($b id -u), on $($b date -u +%F), clock by $($b cat /run/casemate/clock)"
for file in "$folder"/*; do
	echo "guest: $($b stat -c '%n %a %u:%g %s' "$file") $($b sha256sum <"$file" | $b cut -c1-16)"
done
echo "guest: the folder $($b stat -c '%a %u:%g' $folder), $($b grep " $folder " /proc/mounts | $b tr ' ' '_')"
attempt() {
	what=$1
	shift
	if "$@" >/dev/null 2>&1; then echo "guest: open: $what"; else echo "guest: closed: $what"; fi
}
attempt "a secret, written" $b sh -c "chmod 600 $folder/db.key && echo x >$folder/db.key"
attempt "a secret, removed" $b rm -f "$folder/db.key"
attempt "reports" $b sh -c 'mkdir /sys/kernel/config/tsm/report/mine'
attempt "reports, by the mount" $b mount -t configfs none /tmp
attempt "the processor's device" $b test -e /dev/sev-guest
attempt "another file of Casemate's" $b touch /run/casemate/x
attempt "secrets in the environment" $b grep -q 'disk' /proc/self/environ
echo "guest: ends"
