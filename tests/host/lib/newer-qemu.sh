# QEMU of Debian testing with its own C library and firmware, unpacked under target/host/qemu: sets the array qemu. Sourced by run;
# needs OUT, HERE and die().
(
	say() { echo "virtual host: $*" >&2; }
	die() { say "$*"; exit 125; }
	. "$HERE/lib/newer.sh"
	exec 9>"$OUT/lock"
	flock 9
	newer_packages "$OUT/qemu" testing qemu-system-x86
) || exit 125
root=$OUT/qemu/root
for lib in "$root/lib/x86_64-linux-gnu" "$root/usr/lib/x86_64-linux-gnu"; do
	[ ! -x "$lib/ld-linux-x86-64.so.2" ] || break
done
[ -x "$root/usr/bin/qemu-system-x86_64" ] || die "the package qemu-system-x86 has changed: no usr/bin/qemu-system-x86_64" 125
qemu=("$lib/ld-linux-x86-64.so.2" --library-path "$root/lib/x86_64-linux-gnu:$root/usr/lib/x86_64-linux-gnu"
	"$root/usr/bin/qemu-system-x86_64" -L "$root/usr/share/qemu" -L "$root/usr/share/seabios")
